"""Which files of a source stay out of its artifact, by Flux's rules.

Patterns have the format of gitignore, as Flux's own matcher reads it: every pattern is compared with the whole path
from its folder down, name by name, and also matches everything below what it matches; the last pattern that matches
decides, so `!deploy` after `/*` brings a folder back with all it holds. Wildcards within a name are Go's
(`*`, `?`, `[a-z]`, `[^a]`, `\\x`); a malformed one matches nothing.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Callable, Iterable
from typing import Final

from agent.core.tree import Entry, Stat, Tree, parent_and_name

IGNORE_FILE: Final = ".sourceignore"
_GIT_FOLDER: Final = ".git"
_ANY_DEPTH: Final = "**"
_SPECIAL: Final = frozenset("*?[\\")

_ALWAYS: Final = (".git/", ".gitignore", ".gitmodules", ".gitattributes")
_WITHOUT_RULES: Final = (
    *("*.jpg", "*.jpeg", "*.gif", "*.png", "*.wmv", "*.flv", "*.tar.gz", "*.zip"),
    *(".github/", ".circleci/", ".travis.yml", ".gitlab-ci.yml", "appveyor.yml", ".drone.yml"),
    *("cloudbuild.yaml", "codeship-services.yml", "codeship-steps.yml"),
    *("**/.goreleaser.yml", "**/.sops.yaml", "**/.flux.yaml"),
)

_Path = tuple[str, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Pattern:
    """One line of rules. `segments` are its names; `anchored` means it holds a slash and starts at its folder."""

    folder: _Path
    segments: _Path
    anchored: bool
    brings_back: bool
    folders_only: bool

    def matches(self, path: _Path, *, is_dir: bool) -> bool:
        """Whether the pattern speaks about a path (from the root, split at slashes)."""
        depth = len(self.folder)
        if len(path) <= depth or path[:depth] != self.folder:
            return False
        below = path[depth:]
        matched = self._prefix_length(below) if self.anchored else self._name_position(below)
        if matched is None:
            return False
        # What lies below a match is in a folder by nature; only the match itself may be the wrong kind.
        return not (self.folders_only and not is_dir and matched == len(below))

    def _name_position(self, path: _Path) -> int | None:
        matches = _matcher(self.segments[0])
        for position, name in enumerate(path, start=1):
            if matches(name):
                return position
        return None

    def _prefix_length(self, path: _Path) -> int | None:
        """How many names the pattern uses up from the start of the path; None without a match."""
        position = 0
        skipping = matched = False
        for index, segment in enumerate(self.segments):
            if segment == _ANY_DEPTH:
                if index == len(self.segments) - 1:
                    break
                skipping = True
                continue
            if not segment:
                skipping = False
                continue
            if _ANY_DEPTH in segment:
                return None
            matches = _matcher(segment)
            while skipping and position < len(path) and not matches(path[position]):
                position += 1
            if position == len(path) or not matches(path[position]):
                return None
            position += 1
            matched, skipping = True, False
        return position if matched else None


def parse_pattern(line: str, folder: _Path = ()) -> Pattern:
    """Read one line, which applies to what is below `folder` (names from the root)."""
    brings_back = line.startswith("!")
    text = line[1:] if brings_back else line
    if not text.endswith("\\ "):
        text = text.rstrip(" ")
    folders_only = text.endswith("/")
    text = text.removesuffix("/")
    return Pattern(folder, tuple(text.split("/")), "/" in text, brings_back, folders_only)


def parse_rules(text: str, folder: _Path = ()) -> tuple[Pattern, ...]:
    """Read a file of rules: a line each, empty lines and lines that start with `#` left out."""
    lines = (line.removesuffix("\r") for line in text.split("\n"))
    return tuple(parse_pattern(line, folder) for line in lines if line.strip() and not line.startswith("#"))


class IgnoreRules:
    """Patterns of rising precedence that decide which paths stay out."""

    def __init__(self, patterns: Iterable[Pattern]) -> None:
        self.patterns = tuple(patterns)
        numbered = tuple(enumerate(self.patterns))
        # Most patterns only look at single names, and trees repeat their names: what they say is worth remembering.
        self._of_names = tuple((n, one) for n, one in numbered if not one.anchored and not one.folder)
        self._of_paths = tuple((n, one) for n, one in reversed(numbered) if one.anchored or one.folder)
        self._last_by_name: dict[str, tuple[int, int]] = {}

    def ignores(self, path: str, *, is_dir: bool) -> bool:
        """Whether a path stays out of the artifact. The root never does."""
        if not path:
            return False
        names = tuple(path.split("/"))
        last = self._last_for_name(names[-1])[is_dir]
        for name in names[:-1]:
            last = max(last, self._last_for_name(name)[True])
        for number, pattern in self._of_paths:
            if number < last:
                break
            if pattern.matches(names, is_dir=is_dir):
                last = number
                break
        return last >= 0 and not self.patterns[last].brings_back

    def _last_for_name(self, name: str) -> tuple[int, int]:
        """The last pattern that a name fits, as a file's and as a folder's; -1 where none does."""
        known = self._last_by_name.get(name)
        if known is None:
            as_file, as_folder = (
                max((n for n, one in self._of_names if one.matches((name,), is_dir=is_dir)), default=-1)
                for is_dir in (False, True)
            )
            known = self._last_by_name[name] = (as_file, as_folder)
        return known


def rules_of_tree(tree: Tree, extra: str | None = None) -> IgnoreRules:
    """The rules for a source: Flux's defaults, every `.sourceignore` in the tree, then `spec.ignore` (`extra`).

    The defaults for images, archives and CI files only hold where nobody wrote a rule.
    """
    return rules_with((*_rules_below(tree, ""), *parse_rules(extra or "")))


def rules_with(written: tuple[Pattern, ...]) -> IgnoreRules:
    """Flux's defaults, then what is written in the repository and in the source's spec."""
    defaults = _ALWAYS if written else (*_ALWAYS, *_WITHOUT_RULES)
    return IgnoreRules((*(parse_pattern(line) for line in defaults), *written))


class FilteredTree:
    """A tree without what the rules leave out: what a consumer of the artifact would see.

    A folder that is left out itself still shows if something in it was brought back.
    """

    def __init__(self, tree: Tree, rules: IgnoreRules) -> None:
        self._tree = tree
        self._rules = rules
        self._folders: dict[str, dict[str, Entry]] = {}

    def stat(self, path: str) -> Stat | None:
        """What is at the path, None where nothing is."""
        return self._tree.stat(path) if self._has(path) else None

    def read(self, path: str) -> bytes:
        """The content of a file."""
        if not self._has(path):
            raise FileNotFoundError(path)
        return self._tree.read(path)

    def list(self, path: str) -> tuple[Entry, ...]:
        """The entries of a folder by name."""
        if not self._has(path):
            raise FileNotFoundError(path)
        return tuple(self._shown(path).values())

    def _has(self, path: str) -> bool:
        if not path:
            return True
        folder, name = parent_and_name(path)
        try:
            # A folder that shows something is shown itself, so the folders above need no look.
            return name in self._shown(folder)
        except (FileNotFoundError, NotADirectoryError):
            return False

    def _shown(self, folder: str) -> dict[str, Entry]:
        known = self._folders.get(folder)
        if known is None:
            prefix = f"{folder}/" if folder else ""
            entries = self._tree.list(folder)
            known = {entry.name: entry for entry in entries if self._is_shown(prefix + entry.name, entry)}
            self._folders[folder] = known
        return known

    def _is_shown(self, path: str, entry: Entry) -> bool:
        is_dir = entry.kind == "dir"
        return not self._rules.ignores(path, is_dir=is_dir) or (is_dir and bool(self._shown(path)))


def _rules_below(tree: Tree, folder: str) -> tuple[Pattern, ...]:
    prefix = f"{folder}/" if folder else ""
    names = tuple(folder.split("/")) if folder else ()
    found: list[Pattern] = []
    entries = tree.list(folder)
    if any(entry.name == IGNORE_FILE and entry.kind == "file" for entry in entries):
        found.extend(parse_rules(tree.read(prefix + IGNORE_FILE).decode(errors="replace"), names))
    for entry in entries:
        if entry.kind == "dir" and entry.name != _GIT_FOLDER:
            found.extend(_rules_below(tree, prefix + entry.name))
    return tuple(found)


@functools.lru_cache(maxsize=4096)
def _matcher(wildcard: str) -> Callable[[str], bool]:
    """What tells whether a name fits a wildcard; nearly all are plain names or endings, which need no expression."""
    ending = wildcard.removeprefix("*")
    if not _SPECIAL.intersection(ending):
        return wildcard.__eq__ if ending == wildcard else lambda name: name.endswith(ending)
    expression = _expression(wildcard)
    if expression is None:
        return lambda _: False
    compiled = re.compile(expression, re.DOTALL)
    return lambda name: compiled.fullmatch(name) is not None


def _expression(wildcard: str) -> str | None:
    """Translate Go's wildcards for one name into a regular expression; None if they are malformed.

    What stands between two stars is best found at the first place where it is: no other one is tried, or a few dozen
    stars would take years.
    """
    parts = [""]
    rest = wildcard
    while rest:
        char, rest = rest[0], rest[1:]
        if char == "*":
            parts.append("")
        elif char == "?":
            parts[-1] += "[^/]"
        elif char == "[":
            parsed = _character_class(rest)
            if parsed is None:
                return None
            piece, rest = parsed
            parts[-1] += piece
        else:
            if char == "\\":
                if not rest:
                    return None
                char, rest = rest[0], rest[1:]
            parts[-1] += re.escape(char)
    if len(parts) == 1:
        return parts[0]
    first, *between, last = parts
    return first + "".join(f"(?>[^/]*?{part})" for part in between) + f"[^/]*{last}"


def _character_class(text: str) -> tuple[str, str] | None:
    """Read a class after its `[`; returns its expression and what follows the `]`."""
    negated = text.startswith("^")
    rest = text.removeprefix("^")
    ranges: list[str] = []
    while not (rest.startswith("]") and ranges):
        low = _class_character(rest)
        if low is None:
            return None
        first, rest = low
        last = first
        if rest.startswith("-"):
            high = _class_character(rest[1:])
            if high is None:
                return None
            last, rest = high
        # A range that runs backwards matches nothing in Go and is an error in Python.
        if first <= last:
            ranges.append(f"{re.escape(first)}-{re.escape(last)}")
        else:
            ranges.append("")
    inside = "".join(ranges)
    if not inside:
        return ("[^/]" if negated else r"[^\s\S]"), rest[1:]
    return (f"[^{inside}]" if negated else f"[{inside}]"), rest[1:]


def _class_character(text: str) -> tuple[str, str] | None:
    """One possibly escaped character of a class, and what follows; None where Go sees a malformed pattern."""
    if not text or text[0] in "-]":
        return None
    if text[0] == "\\":
        text = text[1:]
    # The class still has to be closed after this character.
    return (text[0], text[1:]) if len(text) > 1 else None
