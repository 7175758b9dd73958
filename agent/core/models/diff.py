"""Old build, new build, changed files -> change records. Pure: no clock, no network, no randomness."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

from agent.core.models.cut import is_cut_off, told_of
from agent.core.models.extract.files import FileChange, file_slots
from agent.core.models.extract.pointers import POINTERS, Blob
from agent.core.models.extract.registry import Failure, extract
from agent.core.models.extract.slot import Context, MalformedError, Slot
from agent.core.models.impact import ImpactIndex, UsersElsewhere
from agent.core.models.moves import pair_moves
from agent.core.models.record import ChangeRecord, Commit, ObjectId, Operation
from agent.core.models.recording import (
    Comparison,
    Failed,
    History,
    Origin,
    Pair,
    moved,
    parse_error,
    record,
    unreadable,
)
from agent.core.models.ref import SECRET_KEYED, Ref, have_equal_digests
from agent.core.models.rendered import Entry, Object, RenderedSet
from agent.core.models.rules import NO_RULES, Rules
from agent.core.objects import ObjectKey, split_api_version

Resolve = Callable[[Literal["old", "new"], ObjectKey, str, Ref], Ref]
"""(side, object, slot, textual reference) -> the reference with the identity and digest that are known for it."""


class Build(NamedTuple):
    """One Kustomization as the old and the new revision build it.

    *kustomization* (``namespace/name``) is named in the impact; *scope* keeps equal objects of two builds apart. With
    *incomplete* a part of the new build could not be read, so that nothing counts as removed with its object.
    *origins* tell which file an object was written in; *history* is about this build alone; *elsewhere* tells who
    uses its objects from other builds.
    """

    old: RenderedSet | None
    new: RenderedSet
    kustomization: str = ""
    scope: str = ""
    incomplete: bool = False
    origins: Mapping[ObjectKey, Origin] = {}
    history: History | None = None
    elsewhere: UsersElsewhere | None = None


class _Side(NamedTuple):
    entry: Entry | None
    slots: Mapping[str, Slot]
    failures: Sequence[Failure]


class _Found:
    """What differs, as it is collected."""

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self.pairs: list[Pair] = []
        self.failures: list[Failed] = []


def changes(
    old: RenderedSet | None,
    new: RenderedSet,
    files: Sequence[FileChange] = (),
    commit: Commit | None = None,
    kustomization: str = "",
    *,
    history: History | None = None,
    resolve: Resolve | None = None,
    canaries: Iterable[Object] = (),
    incomplete: bool = False,
    rules: Rules = NO_RULES,
    elsewhere: UsersElsewhere | None = None,
) -> list[ChangeRecord]:
    """The change records between two builds of one Kustomization, in a stable order.

    *kustomization* (``namespace/name``) keeps equal objects of two overlays apart. *resolve* adds what is known about
    references, *history* knows what was served before; without it no direction is claimed. *canaries* are those of
    the cluster. With *incomplete* a part of the new build could not be read, so that nothing counts as removed with
    its object. Never raises for what the objects and files contain: what cannot be read becomes a ``parse-error``
    record and its references never count as removed.
    """
    return changes_across(
        [Build(old, new, kustomization, kustomization, incomplete, elsewhere=elsewhere)],
        files,
        commit,
        kustomization,
        history=history,
        resolve=resolve,
        canaries=canaries,
        rules=rules,
    )


def changes_across(
    builds: Iterable[Build],
    files: Sequence[FileChange] = (),
    commit: Commit | None = None,
    kustomization: str = "",
    *,
    history: History | None = None,
    complete_history: bool = True,
    resolve: Resolve | None = None,
    canaries: Iterable[Object] = (),
    rules: Rules = NO_RULES,
) -> list[ChangeRecord]:
    """The same for several Kustomizations of one repository, whose objects may move from one to another.

    *kustomization* is the one that the files belong to, if any. Without *complete_history*, what the history does not
    know may have been served all the same: its direction is unknown, and not forward.
    """
    found, canaries = _Found(rules), list(canaries)
    general = Comparison(
        commit or Commit(None, None),
        kustomization,
        ImpactIndex(RenderedSet(()), kustomization),
        history,
        complete_history=complete_history,
    )
    for build in builds:
        _compare_build(build, general, canaries, found)
    for change in files:
        _compare_file(change, general, found)
    records = [parse_error(failure) for failure in found.failures]
    records += _records([_resolved(pair, resolve) for pair in found.pairs])
    unique = {record.id: record for record in records}
    return sorted(unique.values(), key=lambda r: (r.object.kind, r.object.namespace, r.object.name, r.slot, r.id))


def changes_since(
    known: Mapping[tuple[str, str], Ref],
    files: Sequence[FileChange],
    commit: Commit,
    *,
    history: History | None = None,
    resolve: Resolve | None = None,
    rules: Rules = NO_RULES,
) -> list[ChangeRecord]:
    """The change records of files whose earlier text is gone.

    They are compared with what was *known* of their slots, by path and name. What nobody knew is no news, and what
    cannot be read is none.
    """
    found = _Found(rules)
    shared = Comparison(commit, "", ImpactIndex(RenderedSet(()), ""), history, complete_history=False)
    for change in files:
        _compare_file(FileChange(change.path, None, change.new), shared, found)
    pairs = [
        pair._replace(old=pair.slot._replace(ref=before))
        for pair in found.pairs
        if (before := known.get((pair.key.name, pair.slot.name))) is not None
    ]
    return sorted(_records([_resolved(pair, resolve) for pair in pairs]), key=lambda r: (r.object.name, r.slot, r.id))


def _compare_build(build: Build, general: Comparison, canaries: Sequence[Object], found: _Found) -> None:
    before = build.old if build.old is not None else RenderedSet(())
    keys = _changed_keys(before, build.new, build.incomplete)
    if not keys and not build.new.unreadable:
        return
    impact = ImpactIndex(build.new, build.kustomization, canaries, build.elsewhere, before)
    shared = general._replace(
        scope=build.scope, impact=impact, history=build.history or general.history, origins=build.origins
    )
    for key in keys:
        _compare_object(key, (before, build.new), shared, found)
    found.failures.extend(unreadable(shared, shown, message) for shown, message in build.new.unreadable)


def _changed_keys(old: RenderedSet, new: RenderedSet, incomplete: bool) -> list[ObjectKey]:
    """Objects whose text differs, and those that use a ConfigMap whose text differs."""
    found = {
        key
        for key, entry in new.entries.items()
        if (before := old.entries.get(key)) is None or not entry.hash or before.hash != entry.hash
    }
    found |= {key for key in old.entries.keys() - new.entries.keys() if not (incomplete or new.may_hide(key))}
    touched = {(key.namespace, key.name) for key in found if key.kind == "ConfigMap" and key.group == ""}
    if touched:
        names: dict[str, list[str]] = {}
        for namespace, name in touched:
            names.setdefault(namespace, []).append(name)
        found |= {
            key
            for key, entry in new.entries.items()
            if key not in found and key.namespace in names and entry.mentions(names[key.namespace])
        }
    return sorted(found)


def _compare_object(key: ObjectKey, sides: tuple[RenderedSet, RenderedSet], shared: Comparison, found: _Found) -> None:
    was, now = (_side(key, rendered, found.rules) for rendered in sides)
    entry = now.entry or was.entry
    if entry is None:
        return
    shown = object_id(key, entry.object)
    standing = was.entry is not None and now.entry is not None
    found.failures.extend(Failed(shared, key, shown, failure) for failure in now.failures)
    for name in sorted(was.slots.keys() | now.slots.keys()):
        before, after = was.slots.get(name), now.slots.get(name)
        # What one side could not read is neither added nor removed.
        if (after is None and now.failures) or (before is None and was.failures):
            continue
        if before is not None and after is not None and _same(before, after):
            continue
        found.pairs.append(Pair(shared, key, shown, before, after, standing=standing))


def _side(key: ObjectKey, rendered: RenderedSet, rules: Rules) -> _Side:
    entry = rendered.entries.get(key)
    if entry is None:
        return _Side(None, {}, ())
    found = extract(entry.object, Context(key.namespace, rendered, rules))
    return _Side(entry, found.slots, found.failures)


def _same(old: Slot, new: Slot) -> bool:
    return old.ref == new.ref and old.kind == new.kind and old.fingerprint == new.fingerprint


def _compare_file(change: FileChange, shared: Comparison, found: _Found) -> None:
    key = ObjectKey("", "File", "", change.path)
    shown = ObjectId("", "", "File", "", change.path)
    was, old_problem = _file_side(change.path, change.old, found.rules)
    now, new_problem = _file_side(change.path, change.new, found.rules)
    if new_problem is None and change.new is not None and _broke_off(change, was, now):
        new_problem = Failure("file", "$", f"{change.path} {told_of(change.new.data)}")
    if new_problem is not None:
        found.failures.append(Failed(shared, key, shown, new_problem, change.path))
    if new_problem is not None or old_problem is not None:
        was, now = {}, {name: slot for name, slot in now.items() if old_problem is not None}
    for name in sorted(was.keys() | now.keys()):
        before, after = was.get(name), now.get(name)
        if before is None or after is None or not _same(before, after):
            standing = change.old is not None and change.new is not None
            found.pairs.append(Pair(shared, key, shown, before, after, change.path, standing=standing))


def _file_side(path: str, blob: Blob | None, rules: Rules) -> tuple[dict[str, Slot], Failure | None]:
    if blob is None:
        return {}, None
    try:
        slots = (
            slot._replace(kind=rules.role_of(path, slot.kind), path=_inside(slot.path))
            for slot in file_slots(path, blob)
        )
        return {slot.name: slot for slot in slots}, None
    except MalformedError as error:
        return {}, Failure("file", _inside(error.path), str(error))
    except Exception as error:  # noqa: BLE001 - one unreadable file must not hide the other changes
        return {}, Failure("file", "$", f"{path} cannot be read ({type(error).__name__})")


def _inside(path: str) -> str:
    """*path* if it leads into the file; readers of text without fields only know the file."""
    return path if path.startswith("$") else "$"


def _broke_off(change: FileChange, was: Mapping[str, Slot], now: Mapping[str, Slot]) -> bool:
    """Whether the new side is what is left of the old one. Of a pointer, no beginning is a text of its own."""
    if not was or change.old is None or change.new is None:
        return False
    before, left = change.old.data, change.new.data
    is_pointer = any(slot.ref.scheme in POINTERS for slot in was.values())
    return is_cut_off(before, left) or (is_pointer and not now and before.startswith(left))


def _resolved(pair: Pair, resolve: Resolve | None) -> Pair:
    if resolve is None:
        return pair
    old = pair.old and pair.old._replace(ref=resolve("old", pair.key, pair.old.name, pair.old.ref))
    new = pair.new and pair.new._replace(ref=resolve("new", pair.key, pair.new.name, pair.new.ref))
    return pair._replace(old=old, new=new)


def _records(pairs: list[Pair]) -> Iterator[ChangeRecord]:
    moves = pair_moves([p for p in pairs if p.new is None], [p for p in pairs if p.old is None])
    for pair in (*(p for p in pairs if p.old is not None and p.new is not None), *moves.changed):
        assert pair.old is not None
        assert pair.new is not None
        op = classify(pair.old, pair.new)
        if op is not None:
            yield record(pair, op)
    for source, target in moves.moved:
        yield moved(source, target)
    for gone in moves.removed:
        yield record(gone, "removed")
    for fresh in moves.added:
        yield record(fresh, "added")


def classify(old: Slot, new: Slot) -> Operation | None:
    """What happened to a slot that both sides have; None when nothing did.

    Digests decide where both sides have comparable ones; else the canonical text decides.
    """
    before, after = old.ref.digest, new.ref.digest
    # An address that a Secret completes may be on another server than the same address written out.
    same_text = old.ref.canonical == new.ref.canonical and len({_keyed(old.ref), _keyed(new.ref)}) == 1
    if old.fingerprint != new.fingerprint:
        return "changed"
    if before and after and before.is_like(after):
        if not have_equal_digests(old.ref, new.ref):
            return "changed"
        revisions = {ref.identity.revision if ref.identity else None for ref in (old.ref, new.ref)}
        if before.scope in {"files", "loaded"} and len(revisions) > 1 and not same_text:
            return "metadata-only"
        return "respelled" if old.ref.spelling != new.ref.spelling else None
    if not same_text:
        return "changed"
    if old.ref.spelling != new.ref.spelling:
        return "respelled"
    return "changed" if old.kind != new.kind else None


def _keyed(ref: Ref) -> bool:
    return ref.unresolved == SECRET_KEYED


def object_id(key: ObjectKey, obj: Object) -> ObjectId:
    """How records name an object."""
    uid = obj["metadata"].get("uid")
    _, version = split_api_version(obj["apiVersion"])
    return ObjectId(key.group, version, key.kind, key.namespace, key.name, uid if isinstance(uid, str) else None)
