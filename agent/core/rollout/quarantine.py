"""References that a rollout has rejected: recorded on the Canary, so that restarts, syncs and other commits keep them.

An entry is about one slot of the target and the meaning that the reference had in it (its canonical form). It counts as
long as the slot has that meaning. The list is bounded, the oldest entries go first.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

from agent.core.models import ChangeRecord, RenderedSet, Resolve, changes
from agent.core.models.extract.declared import without_digests
from agent.core.models.extract.registry import extract
from agent.core.models.extract.slot import Context
from agent.core.models.restarting import with_digests_before
from agent.core.objects import ObjectKey, key_of
from agent.core.rollout.hashing import FLAGGER_ID
from agent.core.rollout.noted import Moment, noted
from agent.core.rollout.objects import primary_name
from agent.core.rollout.podspec import ConfigRef, with_copies
from agent.core.rollout.rewording import SAME

QUARANTINE = "weir.dev/quarantine"
"""Annotation on a Canary: the entries as JSON. Whoever removes it lets the references in again."""
KEPT = 10
_VERDICT = 400
_CONTENT = frozenset({"model", "adapter", "tokenizer", "chat-template", "quantization", "data"})
_AS_BEFORE = SAME | {"parse-error"}
_REJECTABLE = frozenset({"rollout", "hot-reload", "recreate"})
_PRIMARY = primary_name("")


class Rejected(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """One rejected reference.

    `rejected` and `restore` are the references as they are spelled, `digest` and `restore_digest` what they mean.
    Without `restore` the slot was empty before. `revision` is the hash of the template that was on trial, `verdict`
    one line about why it was rejected.
    """

    slot: str
    kind: str
    rejected: str
    digest: str
    restore: str = ""
    restore_digest: str = ""
    revision: str
    at: Moment
    verdict: str = ""


class Reference(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a slot of a workload refers to: its spelling, and its meaning."""

    slot: str
    kind: str
    spelling: str
    digest: str


class Withheld(msgspec.Struct, frozen=True, kw_only=True):
    """A reference that Git asks for while the primary serves another one, or none; spelled as they are."""

    slot: str
    kind: str
    wanted: str
    serving: str = ""


def decode_quarantine(annotations: Mapping[str, str]) -> tuple[Rejected, ...]:
    """The entries on a Canary; an annotation that somebody has broken holds none."""
    return tuple(noted(annotations, QUARANTINE, list[Rejected]) or ())


def encode_quarantine(entries: Sequence[Rejected]) -> str | None:
    """The annotation's value; None to remove it."""
    return msgspec.json.encode(entries).decode() if entries else None


def added(entries: Sequence[Rejected], fresh: Sequence[Rejected]) -> tuple[Rejected, ...]:
    """The entries with new ones. A reference that is rejected once more keeps its first entry, of the new revision."""
    known = {(entry.slot, entry.digest): entry for entry in entries}
    for entry in fresh:
        old = known.pop((entry.slot, entry.digest), None)
        again = old is not None and old.revision == entry.revision
        known[entry.slot, entry.digest] = old if old is not None and again else entry
    return tuple(known.values())[-KEPT:]


def without(entries: Sequence[Rejected], promoted: Iterable[Reference]) -> tuple[Rejected, ...]:
    """The entries but for references that have been promoted since: they have proven themselves."""
    good = {(reference.slot, reference.digest) for reference in promoted}
    return tuple(entry for entry in entries if (entry.slot, entry.digest) not in good)


def rejected_because(annotations: Mapping[str, str], revision: str) -> str:
    """Why a revision was rejected, as it is noted on the Canary; empty where it is not."""
    return next((entry.verdict for entry in decode_quarantine(annotations) if entry.revision == revision), "")


def held(entries: Sequence[Rejected], references: Iterable[Reference]) -> Rejected | None:
    """The first entry whose reference is in its slot now."""
    present = {(reference.slot, reference.digest) for reference in references}
    return next((entry for entry in entries if (entry.slot, entry.digest) in present), None)


def rejected_by(
    before: Sequence[Mapping[str, Any]],
    after: Sequence[Mapping[str, Any]],
    revision: str,
    at: datetime,
    verdict: str,
    *,
    resolve: Resolve | None = None,
) -> tuple[Rejected, ...]:
    """What a rejected revision had changed. The workload comes first on both sides, then the configs that it uses.

    What is the same content by what `resolve` knows of references has not been rejected.
    """
    same = same_slots(before, after, resolve)
    meanings = {reference.slot: reference.digest for reference in references_of(after)}
    return tuple(
        Rejected(
            slot=record.slot,
            kind=record.kind,
            rejected=record.new.spelling,
            digest=meanings.get(record.slot, record.new.canonical),
            restore=record.old.spelling if record.old else "",
            restore_digest=meaning_of(record.old.canonical, record.old.digest) if record.old else "",
            revision=revision,
            at=at.replace(microsecond=0),
            verdict=one_line(verdict),
        )
        for record in _changes(before, after)
        if record.new is not None and _is_rejectable(record) and record.slot not in same
    )


def changes_content(
    before: Sequence[Mapping[str, Any]], after: Sequence[Mapping[str, Any]], resolve: Resolve | None = None
) -> bool:
    """Whether another model, or the same one on other data, answers after than before. As for `rejected_by`."""
    return any(record.kind in _CONTENT and record.op not in _AS_BEFORE for record in _changes(before, after, resolve))


def same_slots(
    before: Sequence[Mapping[str, Any]], after: Sequence[Mapping[str, Any]], resolve: Resolve | None
) -> frozenset[str]:
    """The slots that have the same content in other words. As for `rejected_by`."""
    return frozenset(record.slot for record in _changes(before, after, resolve) if record.op in SAME)


def _changes(
    before: Sequence[Mapping[str, Any]], after: Sequence[Mapping[str, Any]], resolve: Resolve | None = None
) -> list[ChangeRecord]:
    """Those of the workload itself. It has the same metadata on both sides, and digests declared there tell nothing."""
    target = after[0]["metadata"]["name"], after[0]["kind"]
    was, now = (RenderedSet([without_digests(side[0]), *side[1:]]) for side in (before, after))
    found = changes(was, now, resolve=resolve)
    return [record for record in found if (record.object.name, record.object.kind) == target]


def references_of(objects: Sequence[Mapping[str, Any]]) -> tuple[Reference, ...]:
    """The references of a workload, which comes first, with the configs that it uses."""
    workload = objects[0]
    return references_in(RenderedSet(objects), key_of(workload))


def references_in(rendered: RenderedSet, key: ObjectKey) -> tuple[Reference, ...]:
    """The references of one object of a build; none if it is not there."""
    found = rendered.get(*key)
    if found is None:
        return ()
    slots = extract(found, Context(key.namespace, rendered)).slots
    return tuple(
        Reference(
            slot=slot.name,
            kind=slot.kind,
            spelling=slot.ref.spelling,
            digest=meaning_of(slot.ref.canonical, slot.ref.digest),
        )
        for slot in slots.values()
    )


def withheld(asked: Iterable[Reference], served: Iterable[Reference]) -> tuple[Withheld, ...]:
    """The slots in which what Git asks for does not serve, by name."""
    serving = {reference.slot: reference for reference in served}
    return tuple(
        Withheld(
            slot=wanted.slot,
            kind=wanted.kind,
            wanted=wanted.spelling,
            serving=serving[wanted.slot].spelling if wanted.slot in serving else "",
        )
        for wanted in sorted(asked, key=lambda reference: reference.slot)
        if wanted.slot not in serving or serving[wanted.slot].digest != wanted.digest
    )


def as_target(
    target: Mapping[str, Any], primary: Mapping[str, Any], copies: Mapping[ConfigRef, Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """The target with what the primary runs, and its configs under the names of the originals."""
    template = msgspec.json.decode(msgspec.json.encode(primary["spec"]["template"]))
    template.setdefault("metadata", {}).get("annotations", {}).pop(FLAGGER_ID, None)
    with_digests_before(template, target["spec"]["template"].get("metadata", {}).get("annotations") or {})
    copied = frozenset(f"{ref.kind}/{primary_name(ref.name)}" for ref in copies)
    with_copies(template["spec"], copied, lambda name: name.removesuffix(_PRIMARY))
    workload = {**target, "spec": {**target["spec"], "template": template}}
    return [workload, *(_renamed(obj, ref.name) for ref, obj in copies.items())]


def meaning_of(canonical: str, digest: object) -> str:
    """What a reference is compared by: its content where that is known, else its canonical form."""
    return canonical if digest is None else f"{canonical} {digest}"


def one_line(text: str) -> str:
    """A verdict as it fits into an annotation and a trailer."""
    return " ".join(text.split())[:_VERDICT]


def _is_rejectable(record: ChangeRecord) -> bool:
    return record.action in _REJECTABLE and record.op in {"changed", "added"}


def _renamed(obj: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {**obj, "metadata": {**obj["metadata"], "name": name}}
