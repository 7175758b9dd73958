"""All references of a build, changed or not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from agent.core.models.extract.registry import extract
from agent.core.models.extract.slot import Context, Slot
from agent.core.models.rendered import RenderedSet
from agent.core.models.rules import NO_RULES, Rules
from agent.core.objects import ObjectKey

_NO_REFERENCES = frozenset({"literal", "secret", "configmap"})


class Reference(NamedTuple):
    """A reference in its place."""

    key: ObjectKey
    slot: Slot


def references(rendered: RenderedSet, rules: Rules = NO_RULES) -> Iterator[Reference]:
    """What the objects refer to, plain settings left out. Objects that cannot be read are passed over."""
    for key, entry in sorted(rendered.entries.items()):
        for slot in extract(entry.object, Context(key.namespace, rendered, rules)).slots.values():
            if slot.ref.scheme not in _NO_REFERENCES:
                yield Reference(key, slot)
