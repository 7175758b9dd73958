"""Lines in a file on the agent's disk: what it remembers over a restart, and can do without."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from agent.telemetry.logging import named

_SPARE: Final = 2
"""The file is written anew when it has so many times the lines that are kept."""


class Journal:
    """The last `limit` lines that were appended, without line feeds in them. A disk that fails is told of once.

    Several threads may append: one at a time, since what comes while the file is written anew would be lost.
    """

    def __init__(self, path: Path, *, limit: int) -> None:
        self._path = path
        self._limit = limit
        self._lines = 0
        self._failed = False
        self._turn = threading.Lock()

    def read(self) -> list[bytes]:
        """What is remembered, oldest first; nothing if the file cannot be read."""
        with self._turn:
            return self._read()

    def append(self, lines: Iterable[bytes]) -> None:
        """Remember more. Blocks for as long as the disk does."""
        text = b"".join(line + b"\n" for line in lines)
        with self._turn:
            self._append(text)

    def _read(self) -> list[bytes]:
        try:
            lines = [line for line in self._path.read_bytes().split(b"\n") if line]
        except FileNotFoundError:
            return []
        except OSError as error:
            self._tell(error)
            return []
        kept = lines[-self._limit :]
        if len(lines) > len(kept):
            self._replace(kept)
        self._lines = len(kept)
        return kept

    def _append(self, text: bytes) -> None:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            with os.fdopen(descriptor, "ab") as file:
                file.write(text)
        except OSError as error:
            self._tell(error)
            return
        self._lines += text.count(b"\n")
        if self._lines > self._limit * _SPARE:
            self._read()

    def _replace(self, lines: Iterable[bytes]) -> None:
        """The file with these lines alone; a crash leaves the old one."""
        beside = self._path.with_suffix(".new")
        try:
            descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(b"".join(line + b"\n" for line in lines))
            beside.replace(self._path)
        except OSError as error:
            self._tell(error)

    def _tell(self, error: OSError) -> None:
        if not self._failed:
            self._failed = True
            named("journal").error("history is not kept over a restart", file=self._path.name, error=error.strerror)
