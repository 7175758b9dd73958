"""What the person at the terminal sees."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

_COLOURS = {"good": "\033[32m", "bad": "\033[31m", "dim": "\033[2m", "bold": "\033[1m", "": ""}
_RESET = "\033[0m"


class Screen:
    """Lines with the time since the start; colours only on a terminal."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._colours = sys.stdout.isatty()

    def title(self, text: str) -> None:
        """The beginning of a chapter."""
        print(f"\n{self._paint('bold', text)}", flush=True)

    def line(self, text: str, mood: str = "") -> None:
        """One thing that happened."""
        elapsed = time.monotonic() - self._began
        print(f"{self._paint('dim', f'{elapsed:6.1f}s')}  {self._paint(mood, text)}", flush=True)

    def table(self, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """The summary."""
        widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
        print()
        for row in (head, ["-" * width for width in widths], *rows):
            print("  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
        print(flush=True)

    def _paint(self, mood: str, text: str) -> str:
        return f"{_COLOURS[mood]}{text}{_RESET}" if self._colours and mood else text
