"""What goes to standard output."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from typing import Any

import msgspec

from agent.core.console.table import Paint
from agent.exitstatus import write


def paint() -> Paint:
    """Colours on a terminal, unless somebody does not want them."""
    return Paint(sys.stdout is not None and sys.stdout.isatty() and "NO_COLOR" not in os.environ)


def lines(found: Iterable[str]) -> None:
    """One line each."""
    text = "".join(f"{line}\n" for line in found)
    write(text.encode(errors="replace"))


def document(value: Any) -> None:
    """As JSON, indented, keys in their order."""
    write(msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n")
