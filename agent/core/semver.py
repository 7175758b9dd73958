"""Semantic versions and the constraints Flux accepts in `spec.ref.semver`.

Flux compares with the Masterminds semver library (v3), so its documented rules hold here: comparators, hyphen ranges,
wildcards, tilde, caret, `||`; commas and blanks both mean "and". A pre-release only matches when some comparator of
the same "and" group names a pre-release itself.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from typing import Final

# Upstream stores the numbers in 64 bits and bounds the texts, so that a hostile tag or spec costs nothing.
_MAX_NUMBER: Final = 2**64 - 1
_MAX_VERSION_LENGTH: Final = 256
_MAX_CONSTRAINT_LENGTH: Final = 512
_MAX_GROUPS: Final = 32

_IDENTIFIERS = r"[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*"
_STRICT = re.compile(rf"(\d+)\.(\d+)\.(\d+)(?:-({_IDENTIFIERS}))?(?:\+({_IDENTIFIERS}))?", re.ASCII)
_NUMBER = r"(?:\d+|[xX*])"
_PARTIAL = rf"v?{_NUMBER}(?:\.{_NUMBER})?(?:\.{_NUMBER})?(?:-{_IDENTIFIERS})?(?:\+{_IDENTIFIERS})?"
_HYPHEN_RANGE = re.compile(rf"\s*({_PARTIAL})\s+-\s+({_PARTIAL})(?![^\s,|])\s*", re.ASCII)
_COMPARATOR = re.compile(
    rf"(?P<operator>>=|=>|<=|=<|!=|~>|=|>|<|~|\^|)\s*"
    rf"v?(?P<major>{_NUMBER})(?:\.(?P<minor>{_NUMBER}))?(?:\.(?P<patch>{_NUMBER}))?"
    rf"(?:-(?P<prerelease>{_IDENTIFIERS}))?(?:\+{_IDENTIFIERS})?",
    re.ASCII,
)
_SEPARATOR = re.compile(r"\s*,\s*|\s+", re.ASCII)
_BLANKS = " \t\n\r\f\v"

_Identifier = tuple[int, int, str]


class InvalidConstraintError(ValueError):
    """The text is not a version constraint."""


@dataclasses.dataclass(frozen=True, slots=True)
class Version:
    """A full version. Build metadata takes no part in the precedence, nor in equality of precedence."""

    major: int
    minor: int
    patch: int
    prerelease: str = ""
    metadata: str = ""
    original: str = ""

    @property
    def precedence(self) -> tuple[int, int, int, bool, tuple[_Identifier, ...]]:
        """A key that sorts as the semantic versioning specification orders versions."""
        identifiers = tuple(map(_identifier, self.prerelease.split("."))) if self.prerelease else ()
        return (self.major, self.minor, self.patch, not self.prerelease, identifiers)


def parse_version(text: str) -> Version | None:
    """Read a full `x.y.z`, with at most one leading `v`. As in Flux zeros before a number are allowed (`2026.01.02`).

    Anything shorter or looser is no version, and is skipped.
    """
    bare = text.removeprefix("v")
    if len(bare) > _MAX_VERSION_LENGTH:
        return None
    match = _STRICT.fullmatch(bare)
    if match is None:
        return None
    numbers = match.group(1, 2, 3)
    prerelease = match.group(4) or ""
    if any(int(number) > _MAX_NUMBER for number in numbers):
        return None
    if not _is_valid_prerelease(prerelease):
        return None
    major, minor, patch = map(int, numbers)
    return Version(major, minor, patch, prerelease, match.group(5) or "", text)


@dataclasses.dataclass(frozen=True, slots=True)
class _Comparator:
    """One operator and its version; `wild` says which parts were left open (`1.2.x` leaves the patch open)."""

    operator: str
    version: Version
    wild: str  # "", "major", "minor" or "patch": the first open part


@dataclasses.dataclass(frozen=True, slots=True)
class Constraint:
    """A disjunction of conjunctions of comparators."""

    groups: tuple[tuple[_Comparator, ...], ...]

    def matches(self, version: Version) -> bool:
        """Whether some group accepts the version."""
        return any(_group_matches(group, version) for group in self.groups)


def parse_constraint(text: str) -> Constraint:
    """Read a constraint; raises `InvalidConstraintError` with the words Flux reports."""
    if len(text) > _MAX_CONSTRAINT_LENGTH:
        raise InvalidConstraintError(f"constraint string is too long (max {_MAX_CONSTRAINT_LENGTH} bytes)")
    groups = _HYPHEN_RANGE.sub(r">= \1, <= \2 ", text).split("||")
    if len(groups) > _MAX_GROUPS:
        raise InvalidConstraintError(f"too many constraint groups (max {_MAX_GROUPS})")
    return Constraint(tuple(_parse_group(group) for group in groups))


def _parse_group(text: str) -> tuple[_Comparator, ...]:
    rest = text.strip(_BLANKS)
    comparators = []
    while True:
        match = _COMPARATOR.match(rest)
        if match is None:
            raise InvalidConstraintError(f'improper constraint: "{text}"')
        comparators.append(_comparator(match, text))
        rest = rest[match.end() :]
        if not rest:
            return tuple(comparators)
        separator = _SEPARATOR.match(rest)
        if separator is None:
            raise InvalidConstraintError(f'improper constraint: "{text}"')
        rest = rest[separator.end() :]


def _comparator(match: re.Match[str], text: str) -> _Comparator:
    numbers = [0, 0, 0]
    wild = ""
    for position, part in enumerate(("major", "minor", "patch")):
        number = match[part]
        if number is None or number in "xX*":
            wild = part
            break
        numbers[position] = int(number)
    prerelease = match["prerelease"] or ""
    if max(numbers) > _MAX_NUMBER or not _is_valid_prerelease(prerelease):
        raise InvalidConstraintError(f'improper constraint: "{text}"')
    return _Comparator(match["operator"], Version(numbers[0], numbers[1], numbers[2], prerelease), wild)


def _group_matches(group: tuple[_Comparator, ...], version: Version) -> bool:
    if version.prerelease and not any(comparator.version.prerelease for comparator in group):
        return False
    return all(_OPERATORS[comparator.operator](version, comparator) for comparator in group)


def _equal(version: Version, comparator: _Comparator) -> bool:
    if comparator.wild:
        return _tilde(version, comparator)
    return version.precedence == comparator.version.precedence


def _not_equal(version: Version, comparator: _Comparator) -> bool:
    bound = comparator.version
    match comparator.wild:
        case "minor":
            return version.major != bound.major
        case "patch" if (version.major, version.minor) == (bound.major, bound.minor):
            return version.prerelease != bound.prerelease
        case "patch":
            return True
        case _:
            return version.precedence != bound.precedence


def _greater(version: Version, comparator: _Comparator) -> bool:
    bound = comparator.version
    match comparator.wild:
        case "minor":
            return version.major > bound.major
        case "patch":
            return (version.major, version.minor) > (bound.major, bound.minor)
        case _:
            return version.precedence > bound.precedence


def _less(version: Version, comparator: _Comparator) -> bool:
    return version.precedence < comparator.version.precedence


def _greater_or_equal(version: Version, comparator: _Comparator) -> bool:
    return version.precedence >= comparator.version.precedence


def _less_or_equal(version: Version, comparator: _Comparator) -> bool:
    bound = comparator.version
    match comparator.wild:
        case "minor":
            return version.major <= bound.major
        case "major" | "patch":
            return (version.major, version.minor) <= (bound.major, bound.minor)
        case _:
            return version.precedence <= bound.precedence


def _tilde(version: Version, comparator: _Comparator) -> bool:
    bound = comparator.version
    if version.precedence < bound.precedence:
        return False
    if (bound.major, bound.minor, bound.patch) == (0, 0, 0) and comparator.wild in {"", "major"}:
        return True
    if comparator.wild == "minor":
        return version.major == bound.major
    return (version.major, version.minor) == (bound.major, bound.minor)


def _caret(version: Version, comparator: _Comparator) -> bool:
    bound = comparator.version
    if version.precedence < bound.precedence:
        return False
    if bound.major > 0 or comparator.wild == "minor":
        return version.major == bound.major
    if bound.minor > 0 or comparator.wild == "patch":
        return (version.major, version.minor) == (0, bound.minor)
    return (version.major, version.minor, version.patch) == (0, 0, bound.patch)


_OPERATORS: Final[dict[str, Callable[[Version, _Comparator], bool]]] = {
    "": _equal,
    "=": _equal,
    "!=": _not_equal,
    ">": _greater,
    "<": _less,
    ">=": _greater_or_equal,
    "=>": _greater_or_equal,
    "<=": _less_or_equal,
    "=<": _less_or_equal,
    "~": _tilde,
    "~>": _tilde,
    "^": _caret,
}


def _identifier(text: str) -> _Identifier:
    """Numbers sort below words and by value among themselves."""
    if text.isdigit() and int(text) <= _MAX_NUMBER:
        return (0, int(text), "")
    return (1, 0, text)


def _has_leading_zero(digits: str) -> bool:
    return len(digits) > 1 and digits.startswith("0")


def _is_valid_prerelease(prerelease: str) -> bool:
    return not any(part.isdigit() and _has_leading_zero(part) for part in prerelease.split("."))
