"""A row of the table of model servers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from agent.core.models.extract.slot import Trait
from agent.core.models.record import Kind
from agent.core.models.spelled import Grammar


class Setting(NamedTuple):
    """A flag beside the model. *reference*: its value is a reference, unless it is one of *words*.

    *revision*: the flag of its revision.
    """

    kind: Kind
    traits: frozenset[Trait] = frozenset({"output"})
    env: str = ""
    reference: bool = False
    revision: str = ""
    words: frozenset[str] = frozenset()


class Server(NamedTuple):
    """One row: *programs* are word sequences in the command, *images* parts of the image repository.

    *short* gives the long names of flags that have another one. *file* are flags that name a file in the model's
    repository, *models* those that name models one by one. A server with *hot_adapters* can load adapters while it
    runs, if *hot_env* (where given) allows it.
    """

    name: str
    programs: tuple[tuple[str, ...], ...]
    images: tuple[str, ...] = ()
    model: tuple[str, ...] = ()
    positional: bool = False
    model_env: tuple[str, ...] = ()
    revision: tuple[str, ...] = ()
    short: Mapping[str, str] = {}
    revision_env: tuple[str, ...] = ()
    grammar: Grammar = Grammar.HUB
    settings: Mapping[str, Setting] = {}
    file: tuple[str, ...] = ()
    file_env: str = ""
    models: tuple[str, ...] = ()
    adapters: tuple[str, ...] = ()
    adapters_env: str = ""
    switches: frozenset[str] = frozenset()
    lists: frozenset[str] = frozenset()
    hot_adapters: bool = False
    hot_env: str = ""
    config_file: bool = False

    def names(self, *flags: str) -> tuple[str, ...]:
        """*flags* and the short names that they have."""
        return (*flags, *(short for short, long in self.short.items() if long in flags))
