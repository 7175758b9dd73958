"""Results as a chart: for each figure a group of bars on a logarithmic scale of seconds, one bar an implementation.

`python -m bench.chart docs/images/benchmarks.json docs/images/benchmarks.svg`
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

Row = dict[str, Any]
_LEFT, _WIDTH, _BAR = 260, 420, 14
_LEAST, _DECADES = 0.01, 5
_COLOURS = ("#148f77", "#b03a2e", "#7d6608")
_FIGURES = (
    ("first sync", "seconds", "first sync, all Ready"),
    ("one app changed", "applied_after_seconds", "one app changed: applied"),
    ("one app changed", "seconds", "one app changed: all Ready"),
    ("one app changed", "cpu_seconds", "one app changed: CPU of the controllers"),
    ("all apps changed", "seconds", "all apps changed: all Ready"),
    ("shared base changed", "seconds", "shared base changed: all Ready"),
)


def chart(rows: Sequence[Row]) -> str:
    """The monorepo rows as SVG."""
    rows = [row for row in rows if row.get("scenario") == "monorepo"]
    names = sorted({row["implementation"] for row in rows}, key=lambda name: (name != "weir", name))
    lines, y = _legend(names), 50
    for apps in sorted({row["apps"] for row in rows}):
        lines.append(f'<text x="10" y="{y + 4}" font-weight="bold">{apps} apps</text>')
        y += 16
        for what, field, title in _FIGURES:
            found = {row["implementation"]: row[field] for row in rows if (row["apps"], row["what"]) == (apps, what)}
            if not found:
                continue
            lines.append(f'<text x="{_LEFT - 8}" y="{y + 11}" text-anchor="end">{title}</text>')
            for name, seconds in sorted(found.items(), key=lambda pair: names.index(pair[0])):
                lines += _bar(y, seconds, _COLOURS[names.index(name) % len(_COLOURS)])
                y += _BAR
            y += 6
        y += 12
    grid = [
        f'<path d="M{_x(10.0**power):.0f} 34V{y}" stroke="#ddd"/>'
        f'<text x="{_x(10.0**power):.0f}" y="{y + 14}" text-anchor="middle">{10.0**power:g} s</text>'
        for power in range(-2, _DECADES - 1)
    ]
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 760 {y + 24}" font-family="sans-serif" font-size="12">',
        f'<rect width="760" height="{y + 24}" fill="white"/>',
    )
    return "\n".join([*head, *grid, *lines, "</svg>"]) + "\n"


def _legend(names: Sequence[str]) -> list[str]:
    lines = []
    for number, name in enumerate(names):
        x = _LEFT + 120 * number
        lines.append(f'<rect x="{x}" y="12" width="12" height="12" fill="{_COLOURS[number % len(_COLOURS)]}"/>')
        lines.append(f'<text x="{x + 18}" y="22">{name}</text>')
    return lines


def _bar(y: int, seconds: float, colour: str) -> list[str]:
    end = _x(seconds)
    return [
        f'<rect x="{_LEFT}" y="{y}" width="{max(end - _LEFT, 1):.1f}" height="{_BAR - 2}" fill="{colour}"/>',
        f'<text x="{end + 5:.1f}" y="{y + 10}">{seconds:.3g}</text>',
    ]


def _x(seconds: float) -> float:
    return _LEFT + _WIDTH * max(math.log10(max(seconds, _LEAST) / _LEAST), 0.0) / _DECADES


def main(arguments: Sequence[str]) -> None:
    """Draw the results of the first file into the second."""
    rows = json.loads(Path(arguments[0]).read_text())
    Path(arguments[1]).write_text(chart(rows))


if __name__ == "__main__":
    main(sys.argv[1:])
