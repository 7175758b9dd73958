"""Rules that a user adds: references in kinds, containers and files that the tables do not know."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from typing import Final

import msgspec

from agent.core.models.record import Kind
from agent.core.models.spelled import Grammar

_STEP: Final = re.compile(r"\.([A-Za-z_][\w-]*)|\['([^']+)'\]|\[(\*)\]|\.(\*)")


class ObjectRule(msgspec.Struct, frozen=True):
    """A reference in a field of a kind.

    *path* is a JSONPath of names and ``[*]`` (``$.spec.models[*].uri``); *revision* the name of the field beside it
    that holds the revision. With a wildcard the slot is ``slot[name]``, by the name of the item or the key.
    """

    group: str
    kind: str
    path: str
    slot: str
    role: Kind = "model"
    grammar: Grammar = Grammar.GENERIC
    revision: str = ""

    def __post_init__(self) -> None:
        """Raises ValueError for a path outside the supported subset."""
        steps(self.path)


class ContainerRule(msgspec.Struct, frozen=True):
    """A reference in a flag or variable of containers whose name matches the glob *container*."""

    container: str
    slot: str
    flag: str = ""
    env: str = ""
    role: Kind = "model"
    grammar: Grammar = Grammar.GENERIC


class FileRule(msgspec.Struct, frozen=True):
    """Data files under the glob *path* (``*`` crosses folders) are of kind *role* instead."""

    path: str
    role: Kind


class Rules(msgspec.Struct, frozen=True):
    """All rules of a user."""

    objects: tuple[ObjectRule, ...] = ()
    containers: tuple[ContainerRule, ...] = ()
    files: tuple[FileRule, ...] = ()

    def role_of(self, path: str, kind: Kind) -> Kind:
        """The kind of what the file at *path* stands for, when the file itself says *kind*."""
        if kind != "data":
            return kind
        return next((rule.role for rule in self.files if fnmatchcase(path, rule.path)), kind)


NO_RULES: Final = Rules()


def steps(path: str) -> tuple[str, ...]:
    """The names of a JSONPath, ``*`` for a wildcard. Raises ValueError for what is not supported."""
    if not path.startswith("$"):
        raise ValueError(f"path {path!r} does not start with $")
    position, found = 1, []
    while position < len(path):
        match = _STEP.match(path, position)
        if match is None:
            raise ValueError(f"path {path!r} cannot be read at character {position}")
        name, quoted, item, anything = match.groups()
        found.append(name or quoted or item or anything)
        position = match.end()
    if not found or found[-1] == "*":
        raise ValueError(f"path {path!r} does not end in a field")
    return tuple(found)
