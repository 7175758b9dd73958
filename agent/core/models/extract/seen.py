"""A container as extractors see it: its place, its environment, its commands, and what their words refer to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from msgspec.structs import replace

from agent.core.models.extract import argv as command_line
from agent.core.models.extract.argv import Environment, Flags, Hidden
from agent.core.models.extract.mounts import Mounts
from agent.core.models.extract.server import Server
from agent.core.models.extract.slot import Context, Trait
from agent.core.models.extract.written import Written
from agent.core.models.grammar import Grammar, parse
from agent.core.models.ref import Ref

POD: frozenset[Trait] = frozenset({"pod-template"})


class Place(NamedTuple):
    """Where a container stands: the prefix of its slots, its JSONPath, and the volumes around it.

    *assumed* is the server that the resource starts when neither command nor image tells.
    """

    base: str
    path: str
    context: Context
    mounts: Mounts
    assumed: Server | None = None


class Seen(NamedTuple):
    """A container's place together with its environment and where its words are written."""

    place: Place
    env: Environment
    written: Written

    def hidden(self, value: str) -> Ref | None:
        """The stand-in for a value that is one variable whose content is not in the rendered text."""
        return command_line.hidden(value, self.env)

    def variable(self, names: Sequence[str]) -> str | Hidden | None:
        """The first of the variables *names* that is set."""
        return next((self.env[name] for name in names if self.env.get(name)), None)

    def plain(self, names: Sequence[str]) -> str | None:
        """The same, if its value is known."""
        found = self.variable(names)
        return found if isinstance(found, str) else None


class Run(NamedTuple):
    """One command of a container together with the server it starts."""

    server: Server
    flags: Flags


def reference(value: str, grammar: Grammar, seen: Seen, revision: str | None = None) -> Ref:
    """What the word *value* refers to."""
    stand_in = seen.hidden(value) or seen.place.mounts.content(value)
    return parse(value, grammar, revision=revision) if stand_in is None else _revised(stand_in, revision)


def from_value(found: str | Hidden, grammar: Grammar, seen: Seen, revision: str | None = None) -> Ref:
    """What the value of a variable refers to."""
    if isinstance(found, Hidden):
        return _revised(found.ref, revision)
    return reference(found, grammar, seen, revision)


def _revised(ref: Ref, revision: str | None) -> Ref:
    """*ref*, whose text is not known, at the *revision* that is."""
    if not revision:
        return ref
    return replace(ref, spelling=f"{ref.spelling}@{revision}", canonical=f"{ref.canonical}@{revision}")
