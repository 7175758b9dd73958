"""From a pair of slots, or a failure to read one, to the change record."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from msgspec.structs import replace

from agent.core.models.decide import decide
from agent.core.models.extract.registry import Failure
from agent.core.models.extract.slot import Slot, Trait
from agent.core.models.impact import RUNTIMES, ImpactIndex
from agent.core.models.record import (
    FORWARD,
    REVERT_TO,
    UNKNOWN,
    Cause,
    ChangeRecord,
    Commit,
    Impact,
    Location,
    ObjectId,
    Operation,
    Reason,
    record_id,
)
from agent.core.models.ref import Identity, Ref
from agent.core.objects import ObjectKey

History = Callable[[ObjectKey, str, Ref | None], str | None]
"""(object, slot, reference or None for its absence) -> the earlier revision that served it well, if there is one."""


_RUNTIMES: Final = RUNTIMES | {"ClusterStorageContainer"}
_WITHOUT_COMMIT: Final[Mapping[Operation, Cause]] = {"floated": "float", "pin-lost": "drift", "stale-serving": "drift"}


class Origin(NamedTuple):
    """Where an object was written: the file of the repository, and what the build says about it."""

    file: str
    note: str | None = None


class Comparison(NamedTuple):
    """What every record of one comparison shares. *scope* keeps equal objects of several comparisons apart.

    With *complete_history*, what the history does not know was never served.
    """

    commit: Commit
    scope: str
    impact: ImpactIndex
    history: History | None
    origins: Mapping[ObjectKey, Origin] = {}
    complete_history: bool = True


class Pair(NamedTuple):
    """One slot of one object on both sides. *standing*: the object exists on both."""

    shared: Comparison
    key: ObjectKey
    object: ObjectId
    old: Slot | None
    new: Slot | None
    file: str | None = None
    standing: bool = False

    @property
    def slot(self) -> Slot:
        """The slot as it is now, else as it was."""
        found = self.new or self.old
        assert found is not None
        return found


class Failed(NamedTuple):
    """What could not be read: the object, its description, why, and the path when it is a file."""

    shared: Comparison
    key: ObjectKey
    object: ObjectId
    failure: Failure
    file: str | None = None


def record(pair: Pair, op: Operation) -> ChangeRecord:
    """The record of what happened to a slot."""
    shared, slot = pair.shared, pair.slot
    old, new = pair.old.ref if pair.old else None, pair.new.ref if pair.new else None
    if op == "changed" and pair.old and pair.new and pair.old.fingerprint != pair.new.fingerprint:
        old, new = pair.old.ref, _rotated(pair.new.ref, shared.commit.new)
    direction = _direction(pair, op, new)
    impact = shared.impact.of(pair.key) if pair.file is None else Impact(shared.impact.kustomizations)
    canaried = slot.kind == "traffic" and shared.impact.is_canaried(pair.key)
    owned: frozenset[Trait] = frozenset({"rollout-owned"} if canaried else ())
    action, reason = decide(
        slot.kind,
        op,
        old,
        new,
        traits=slot.traits | owned,
        direction=direction,
        standing=pair.standing,
        asked=slot.asked,
        canaried=bool(impact.canaries),
    )
    return ChangeRecord(
        id=record_id(key_text(shared.scope, pair.key), slot.name, old, new),
        kind=slot.kind,
        op=op,
        object=pair.object,
        slot=slot.name,
        location=_location(shared, pair.key, slot.path, pair.file),
        old=old,
        new=new,
        cause=_WITHOUT_COMMIT[op] if op in _WITHOUT_COMMIT else _cause(pair, op, impact),
        commit=shared.commit,
        direction=direction,
        impact=impact,
        action=action,
        reason=reason,
    )


def moved(source: Pair, target: Pair) -> ChangeRecord:
    """The record of a reference that left *source* and came to *target*; told at the target."""
    assert source.old is not None
    made = record(target._replace(old=source.old), "moved")
    place = f"{source.old.name} of {source.object.kind} {source.object.name}"
    if source.shared.scope != target.shared.scope and source.shared.scope:
        place = f"{place} in {source.shared.scope}"
    return replace(made, reason=Reason(made.reason.code, f"moved from {place}"))


def parse_error(failed: Failed) -> ChangeRecord:
    """The record of an object or a file that could not be read."""
    shared, failure = failed.shared, failed.failure
    slot = f"parse[{failure.extractor}]"
    action, reason = decide("config", "parse-error", None, None)
    return ChangeRecord(
        id=record_id(key_text(shared.scope, failed.key), slot, None, None),
        kind="data" if failed.file else "config",
        op="parse-error",
        object=failed.object,
        slot=slot,
        location=_location(shared, failed.key, failure.path, failed.file),
        old=None,
        new=None,
        cause="commit",
        commit=shared.commit,
        direction=UNKNOWN,
        impact=Impact(shared.impact.kustomizations),
        action=action,
        reason=Reason(reason.code, failure.message),
    )


def unreadable(shared: Comparison, shown: str, message: str) -> Failed:
    """What a build holds that is no Kubernetes object."""
    key = ObjectKey("", "Unknown", "", shown)
    return Failed(shared, key, ObjectId("", "", "Unknown", "", shown), Failure("object", "$", f"{shown} {message}"))


def key_text(scope: str, key: ObjectKey) -> str:
    """What a record's id takes of the object."""
    return "\n".join((scope, *key))


def _location(shared: Comparison, key: ObjectKey, path: str, file: str | None) -> Location:
    origin = shared.origins.get(key) if file is None else None
    return Location(path, origin.file if origin else file, None, origin.note if origin else None)


def _cause(pair: Pair, op: Operation, impact: Impact) -> Cause:
    if pair.slot.kind == "credential" and pair.key.kind == "Secret":
        return "secret"
    # Services that run take a changed runtime up when they are reconciled next, and not because of this commit. Which
    # they are need not stand in this build; of one that came or left, only services that are known tell.
    indirect = pair.slot.kind == "runtime" and pair.key.kind in _RUNTIMES
    return "runtime-indirect" if indirect and (op == "changed" or impact.objects) else "commit"


def _rotated(ref: Ref, revision: str | None) -> Ref:
    """A Secret's data has no digest that may be shown: the commit that brought it tells its versions apart."""
    canonical = f"{ref.canonical}@{revision or 'new'}"
    identity = Identity(revision=revision, unresolved=ref.unresolved)
    return Ref(ref.spelling, ref.scheme, canonical, ref.pinned, identity)


def _direction(pair: Pair, op: Operation, new: Ref | None) -> str:
    history = pair.shared.history
    if history is None or op not in {"added", "removed", "changed"}:
        return UNKNOWN
    known = history(pair.key, pair.slot.name, new)
    if known:
        return f"{REVERT_TO}{known}"
    # That a slot was absent before is nothing a ledger of served content can tell.
    return FORWARD if new is not None and pair.shared.complete_history else UNKNOWN
