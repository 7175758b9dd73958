"""Go's spellings of flag values, and what else flags hold. All raise argparse.ArgumentTypeError for anything else."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TypeVar

from agent.api.duration import parse_duration
from agent.core.selector import labels_match
from agent.gates import FeatureGates, parse_bool
from agent.settings import CONTROLLERS, Address

T = TypeVar("T")


def _told(parse: Callable[[str], T]) -> Callable[[str], T]:
    """The parser, with the text of its ValueError shown to the user, which argparse does not do."""

    def parsed(text: str) -> T:
        try:
            return parse(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return parsed


boolean = _told(parse_bool)
address = _told(Address.parse)
gates = _told(FeatureGates.parse)


@_told
def duration(text: str) -> float:
    """Seconds, of a duration that is not negative."""
    seconds = parse_duration(text)
    if seconds < 0:
        raise ValueError(f"{text!r} is negative")
    return seconds


def number(least: int, most: int | None = None) -> Callable[[str], int]:
    """A whole number within bounds."""

    @_told
    def parsed(text: str) -> int:
        value = int(text) if text.isascii() and text.removeprefix("-").isdigit() else None
        if value is None or value < least or (most is not None and value > most):
            bounds = f"of at least {least}" if most is None else f"from {least} to {most}"
            raise ValueError(f"{text!r} is not a number {bounds}")
        return value

    return parsed


count = number(1)
"""A number of things at once: none at all would be a standstill."""


@_told
def rate(text: str) -> float:
    """Things in a second; a negative number is no limit, as in client-go."""
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if value == 0 or value != value or value in {float("inf"), float("-inf")}:  # noqa: PLR0124 - not-a-number
        raise ValueError(f"{text!r} is not a number other than 0")
    return value


def percentage(text: str) -> float:
    """The share, from 0 to 0.99."""
    return number(0, 99)(text) / 100


def words(text: str) -> tuple[str, ...]:
    """Comma-separated."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def word_set(text: str) -> frozenset[str]:
    """Comma-separated, in no order."""
    return frozenset(words(text))


@_told
def selector(text: str) -> str:
    """A label selector in Kubernetes' syntax."""
    labels_match(text, {})
    return text


@_told
def controllers(text: str) -> tuple[str, ...]:
    """Roles to run."""
    names = tuple(name.strip() for name in text.split(","))
    unknown = [name for name in names if name not in CONTROLLERS]
    if unknown:
        raise ValueError(f"{', '.join(map(repr, unknown))}: choose from {', '.join(CONTROLLERS)}")
    return tuple(dict.fromkeys(names))


def switch(group: argparse._ArgumentGroup, name: str, default: bool, text: str, *, dest: str | None = None) -> None:
    """A flag that may stand alone or be given as --name=true|false."""
    dest = dest or name.removeprefix("--").replace("-", "_")
    group.add_argument(name, dest=dest, type=boolean, nargs="?", const=True, default=default, metavar="BOOL", help=text)
