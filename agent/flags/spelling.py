"""Flags as Go programs spell them."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from agent.exitstatus import exit_status, write

if TYPE_CHECKING:
    from _typeshed import SupportsWrite


class CommandParser(argparse.ArgumentParser):
    """A parser that with `go_flags` takes each of its long flags with a single dash too.

    Go's flag package, which Flagger uses, makes no difference between `-name` and `--name`, and Flagger's chart and
    manifests have the former. What is no flag with two dashes stays as it is.
    """

    def __init__(self, *, go_flags: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._go_flags = go_flags

    def parse_known_args(  # type: ignore[override]  # one signature for typeshed's three
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> tuple[Any, list[str]]:
        """As the base class does; `args` is given for every command below the first parser."""
        if self._go_flags and args is not None:
            args = [self._spelled(text) for text in args]
        return super().parse_known_args(args, namespace)

    def _print_message(self, message: str, file: SupportsWrite[str] | None = None) -> None:
        """Help and versions: where they cannot be written, argparse would say nothing, and Python a traceback."""
        if file is not sys.stdout or not message:
            super()._print_message(message, file)
        elif status := exit_status(lambda: _printed(message)):
            raise SystemExit(status)

    def _spelled(self, text: str) -> str:
        doubled = f"-{text}"
        return doubled if doubled.partition("=")[0] in self._option_string_actions else text


def _printed(message: str) -> int:
    write(message.encode(errors="replace"))
    return 0
