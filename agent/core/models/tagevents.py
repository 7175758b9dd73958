"""From two states of a registry in Git tags to change records. A tag is set, moved or deleted with no commit."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from msgspec.structs import replace

from agent.core.models.extract import document
from agent.core.models.extract.slot import MalformedError, Slot, mapping, text
from agent.core.models.gto import ARTIFACTS, KEPT, Artifact, Held, Registry
from agent.core.models.impact import ImpactIndex
from agent.core.models.record import ChangeRecord, Commit, Kind, Location, ObjectId, Operation, Reason
from agent.core.models.recording import Comparison, History, Pair, record
from agent.core.models.redact import bounded
from agent.core.models.ref import Identity, Ref
from agent.core.models.rendered import RenderedSet
from agent.core.models.rules import NO_RULES, Rules
from agent.core.objects import ObjectKey
from agent.core.tree import PathEscapeError, clean

LATEST: Final = "artifact"
"""The slot of an artifact's highest version."""


class TagChange(NamedTuple):
    """What a slot of an artifact was and is. *moved*: the tag of a version, which should stay where it is."""

    artifact: str
    slot: str
    old: Held | None
    new: Held | None
    moved: bool = False


class Declared(NamedTuple):
    """What the repository says about an artifact: where it is, of which kind, and the file and field that say so."""

    path: str
    kind: Kind = "model"
    file: str | None = None
    field: str = "$"


def tag_changes(before: Registry, after: Registry) -> Iterator[TagChange]:
    """What differs between two states. The same commit under another version or tag is no change.

    Of what has no room in one of them nobody can tell whether it has come or gone.
    """
    for name in _both(before, after, ARTIFACTS):
        old, new = before.get(name, Artifact()), after.get(name, Artifact())
        yield from _versions(name, old, new)
        for stage in _both(old.stages, new.stages, KEPT):
            had, has = old.stages.get(stage), new.stages.get(stage)
            if _commit(had) != _commit(has):
                yield TagChange(name, f"stage[{stage}]", had, has)


def _both(old: Mapping[str, object], new: Mapping[str, object], room: int) -> list[str]:
    full = max(len(old), len(new)) >= room
    return sorted(old.keys() & new.keys() if full else old.keys() | new.keys())


def _versions(name: str, old: Artifact, new: Artifact) -> Iterator[TagChange]:
    had, has = old.latest, new.latest
    same = had is not None and has is not None and had.version == has.version
    if _commit(had) != _commit(has):
        yield TagChange(name, LATEST, had, has, moved=same)
    for version, held in new.versions.items():
        known = old.versions.get(version)
        if known is not None and known.commit != held.commit and not (same and has is not None and held == has):
            yield TagChange(name, f"version[{version}]", known, held, moved=True)


def _commit(held: Held | None) -> str | None:
    return held.commit if held is not None else None


def declared(artifact: str, read: Callable[[str], bytes | None]) -> Declared:
    """What `dvc.yaml` of its folder, or else `artifacts.yaml`, declares of an artifact; *read* gives a file's content.

    An artifact that nobody declares, or of which nothing can be read, is a model with its name in place of a path.
    """
    folder, _, name = artifact.rpartition(":")
    try:
        folder = clean(folder)
    except PathEscapeError:
        return Declared(artifact)
    above = f"{folder}/" if folder else ""
    for file, parent, key, base in (
        (f"{above}dvc.yaml", "artifacts", name, above),
        ("artifacts.yaml", "", artifact, ""),
    ):
        entry = _entry(read(file), file, parent, key)
        if entry is not None:
            field = f"$.{parent}.{key}" if parent else f"$.{key}"
            return Declared(_path(entry, base) or artifact, _kind(entry), file, field)
    return Declared(artifact)


def of_models(
    found: Iterable[TagChange], places: Mapping[str, Declared], before: Registry, after: Registry
) -> list[TagChange]:
    """The changes of artifacts that are declared, or have or had a stage.

    Other projects tag what they release as `name@v1.2.3` too, and nobody has said that it is a model.
    """
    staged = {name for state in (before, after) for name, artifact in state.items() if artifact.stages}
    return [change for change in found if places[change.artifact].file is not None or change.artifact in staged]


def _entry(data: bytes | None, file: str, parent: str, key: str) -> Mapping[str, Any] | None:
    if data is None:
        return None
    try:
        found = document.load(data, file)
        artifacts = mapping(found, parent, "$") if parent else found
        return mapping(artifacts, key, "$") if key in artifacts else None
    except MalformedError:
        return None


def _path(entry: Mapping[str, Any], base: str) -> str:
    """The path from the top; empty where none is given that lies in the repository."""
    try:
        path = text(entry, "path", "$")
        return clean(f"{base}{path}") if path and not path.startswith("/") else ""
    except (MalformedError, PathEscapeError):
        return ""


def _kind(entry: Mapping[str, Any]) -> Kind:
    return "data" if entry.get("type") in ("data", "dataset") else "model"


def tag_records(
    found: Iterable[TagChange],
    places: Mapping[str, Declared],
    commit: Commit,
    *,
    history: History | None = None,
    rules: Rules = NO_RULES,
) -> list[ChangeRecord]:
    """A record for each change, about the file that *places* have for its artifact.

    A version whose tag was moved has ``floated``: its text means other content now, with no commit.
    """
    shared = Comparison(commit, "", ImpactIndex(RenderedSet(()), ""), _of_tags(history), complete_history=False)
    return [_recorded(change, places[change.artifact], shared, rules) for change in found]


def _of_tags(history: History | None) -> History | None:
    """Tells the commit of a tag that a slot had before: the revision of the source need not have been another one."""
    if history is None:
        return None

    def earlier(key: ObjectKey, slot: str, ref: Ref | None) -> str | None:
        known = history(key, slot, ref)
        return ref.identity.revision if known and ref is not None and ref.identity is not None else None

    return earlier


def _recorded(change: TagChange, place: Declared, shared: Comparison, rules: Rules) -> ChangeRecord:
    kind = rules.role_of(place.path, place.kind)
    old, new = (_slot(change, kind, held) for held in (change.old, change.new))
    key, shown = ObjectKey("", "File", "", place.path), ObjectId("", "", "File", "", place.path)
    op: Operation = "floated" if change.moved else "added" if old is None else "removed" if new is None else "changed"
    made = record(Pair(shared, key, shown, old, new, place.path), op)
    held = change.new or change.old
    assert held is not None
    location = Location(place.field if place.file else f"refs/tags/{held.tag}", place.file)
    made = replace(made, cause="tag-event", location=location)
    if change.moved:
        return replace(made, reason=Reason("moved-tag", "the tag of a version was moved to another commit"))
    return made


def _slot(change: TagChange, kind: Kind, held: Held | None) -> Slot | None:
    return Slot(change.slot, kind, tag_ref(change.artifact, held), "$") if held is not None else None


def tag_ref(artifact: str, held: Held) -> Ref:
    """What a tag refers to: a version of an artifact, pinned by the commit."""
    named = f"{artifact}@{held.version}" if held.version else artifact
    identity = Identity(revision=held.commit, version=held.version or None)
    return Ref(bounded(held.tag), "gto", bounded(f"gto:{named}@{held.commit}"), True, identity)
