"""Engines that a resource starts itself: the model stands in a field of the resource, further arguments in a list."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from agent.core.models.extract.container import revision_flag, server_slots
from agent.core.models.extract.seen import Place
from agent.core.models.extract.slot import Slot
from agent.core.models.grammar import Grammar, parse


def engine_slots(
    models: Iterable[Slot], grammar: Grammar, container: Mapping[str, Any], place: Place
) -> Iterator[Slot]:
    """*models*, at the revision that the arguments of *container* ask for, and the settings in these arguments."""
    revision = revision_flag(container, place)
    for slot in models:
        asked = revision if slot.ref.scheme == "hf-model" else None
        yield slot._replace(ref=parse(slot.ref.spelling, grammar, revision=asked)) if asked else slot
    yield from server_slots(container, "", place, model=False)
