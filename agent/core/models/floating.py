"""References that mean other content than before, or nothing any more, although Git did not change."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from agent.core.models.diff import object_id
from agent.core.models.extract.slot import Slot
from agent.core.models.impact import ImpactIndex
from agent.core.models.record import ChangeRecord, Commit, ObjectId
from agent.core.models.recording import Comparison, Pair, record
from agent.core.models.ref import Ref, is_absent
from agent.core.models.references import Reference
from agent.core.models.rendered import Object, RenderedSet
from agent.core.objects import ObjectKey


class Floated(NamedTuple):
    """A reference in its place, with what it meant before and what it means now."""

    reference: Reference
    old: Ref
    new: Ref


class LostFile(NamedTuple):
    """A pointer in a file of a repository, and what is known of its content now."""

    path: str
    slot: Slot
    now: Ref


def has_floated(old: Ref, new: Ref) -> bool:
    """Whether the same text means other content: two certain digests of one kind differ; where none is known, as of
    files that MLflow gives out itself, versions or sizes.

    That of a pin does, too, where its files can be overwritten, as those of a version that MLflow has registered.
    """
    before, after = old.digest, new.digest
    if new.unresolved or old.canonical != new.canonical:
        return False
    if before is None and after is None:
        return _differ(old.size, new.size) or _differ(_version(old), _version(new))
    return before is not None and after is not None and before.is_like(after) and before.value != after.value


def _differ(before: object, after: object) -> bool:
    return before is not None and after is not None and before != after


def _version(ref: Ref) -> str | None:
    return ref.identity.version if ref.identity else None


def is_lost(old: Ref, new: Ref) -> bool:
    """Whether pinned content that a registry had is not there any more."""
    return not old.unresolved and old.pinned is True and is_absent(new)


def floated(
    moved: Iterable[Floated],
    rendered: RenderedSet,
    kustomization: str,
    revision: str,
    canaries: Sequence[Object] = (),
) -> list[ChangeRecord]:
    """A record for each; the commit is the applied one on both sides."""
    shared = Comparison(
        Commit(revision, revision), kustomization, ImpactIndex(rendered, kustomization, canaries), history=None
    )
    return [
        record(
            Pair(
                shared,
                one.reference.key,
                object_id(one.reference.key, rendered.entries[one.reference.key].object),
                one.reference.slot._replace(ref=one.old),
                one.reference.slot._replace(ref=one.new),
                standing=True,
            ),
            "pin-lost" if is_lost(one.old, one.new) else "floated",
        )
        for one in moved
    ]


def lost_files(lost: Iterable[LostFile], revision: str) -> list[ChangeRecord]:
    """A record for each pointer whose content is not there any more; the commit is the current one on both sides."""
    shared = Comparison(Commit(revision, revision), "", ImpactIndex(RenderedSet(()), ""), history=None)
    return [
        record(
            Pair(
                shared,
                ObjectKey("", "File", "", one.path),
                ObjectId("", "", "File", "", one.path),
                one.slot,
                one.slot._replace(ref=one.now),
                one.path,
                standing=True,
            ),
            "pin-lost",
        )
        for one in lost
    ]
