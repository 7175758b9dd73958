"""What a report may be about: the models that a revision serves, as far as its own text fixes their content."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from agent.core.models import RenderedSet
from agent.core.models.extract.registry import extract
from agent.core.models.extract.slot import Context
from agent.core.objects import key_of

SERVED = frozenset({"model", "adapter"})
"""Kinds of references that answers come from."""


def subjects_of(objects: Sequence[Mapping[str, Any]]) -> frozenset[str]:
    """The pinned references of a workload, which comes first, with the configs that it uses.

    Each as it is spelled, in its canonical form and by its digest. A reference whose content may change without a
    commit is none: nobody knows whether a report is about what is served now.
    """
    rendered = RenderedSet(objects)
    key = key_of(objects[0])
    found = rendered.get(*key)
    if found is None:
        return frozenset()
    slots = extract(found, Context(key.namespace, rendered)).slots.values()
    pinned = [slot.ref for slot in slots if slot.kind in SERVED and slot.ref.pinned is True]
    digests = {str(ref.digest) for ref in pinned if ref.digest is not None}
    return frozenset({ref.spelling for ref in pinned} | {ref.canonical for ref in pinned} | digests)
