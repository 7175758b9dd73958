"""What a DataTrigger gets to see of the Kustomizations and repositories of its namespace."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from agent.api.changepolicy import ChangePolicy
from agent.api.datatrigger import DataTrigger, DataTriggerStatus, SeenSource, TriggerSlot
from agent.api.gitrepository import GitRepository
from agent.api.kustomization import Kustomization
from agent.controllers.applied import Applied, AppliedObjects
from agent.controllers.changelog import ChangeEntry, ChangeLog
from agent.controllers.datatrigger.looking import Lookout
from agent.controllers.sources import SourceKey, SourceRegistry, SourceSnapshot
from agent.core.models import Blob, Commit, Digest, FileChange, Identity, Ref, RenderedSet, changes
from agent.core.models.gto import Tag, registry
from agent.core.models.tagevents import Declared, tag_changes, tag_records
from agent.core.policy.judging import overruled
from agent.core.tree import MemoryTree, Tree
from agent.core.trigger.sighting import looked
from agent.runtime.store import Store
from agent.runtime.watch import Apply, Init, InitDone, Item, ObjectKey

KEY = ("ml", "app")
MADE = datetime(2026, 11, 29, 12, tzinfo=UTC)
SECRET = "hunter2-very-secret"


def trigger(seen: dict[str, str] | None = None, **selector: Any) -> DataTrigger:
    spec = {"template": {}, "selector": {"kinds": [], **selector}}
    made = DataTrigger.from_object({"metadata": {"name": "retrain", "namespace": "ml"}, "spec": spec})
    sources = tuple(SeenSource(name=name, revision=revision) for name, revision in (seen or {}).items())
    return msgspec.structs.replace(made, status=DataTriggerStatus(sources=sources))


def holder(reference: str, name: str = "sets", **notes: str) -> bytes:
    annotations = {"weir.dev/data-ref.train": reference, **{f"weir.dev/{key}": text for key, text in notes.items()}}
    metadata = {"name": name, "namespace": "ml", "annotations": annotations}
    return json.dumps({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}).encode()


class History:
    """Files that differ, whatever from."""

    def __init__(self, *files: FileChange) -> None:
        self._files = files
        self.gone = False
        self.asked: list[str] = []

    async def tree_at(self, revision: str) -> Tree | None:
        return None

    async def files_changed(self, old: str) -> tuple[FileChange, ...] | None:
        self.asked.append(old)
        return None if self.gone else self._files

    async def files(self) -> tuple[FileChange, ...]:
        return tuple(FileChange(change.path, None, change.new) for change in self._files)


class World:
    """One Kustomization and one GitRepository, as their watches have them."""

    def __init__(
        self, attempted: str = "1", *, synced: bool = True, applied: str = "", at: datetime | None = None
    ) -> None:
        self.kustomizations: Store[Kustomization] = Store()
        self.repositories: Store[GitRepository] = Store()
        self.applied, self.registry, self.meant = AppliedObjects(), SourceRegistry(), dict[str, Ref]()
        self.log = ChangeLog()
        self.lookout = Lookout(
            self.kustomizations,
            self.repositories,
            self.applied,
            self.registry,
            lambda _key: self.meant,
            log=self.log,
        )
        if synced:
            self._fill(attempted, applied, at)

    def _fill(self, attempted: str, applied: str, at: datetime | None) -> None:
        source = {"kind": "GitRepository", "name": "repo"}
        spec = {"interval": "10m", "prune": True, "sourceRef": source}
        metadata = {"name": "app", "namespace": "ml", "labels": {"team": "ml"}}
        status: dict[str, Any] = {"lastAttemptedRevision": attempted, "lastAppliedRevision": applied}
        if at is not None:
            ended = {
                "digest": "sha256:1",
                "firstReconciled": at.isoformat(),
                "lastReconciled": at.isoformat(),
                "lastReconciledDuration": "1s",
                "lastReconciledStatus": "ReconciliationSucceeded",
                "totalReconciliations": 1,
            }
            status["history"] = [ended]
        kustomization = Kustomization.from_object({"metadata": metadata, "spec": spec, "status": status})
        repository = GitRepository.from_object(
            {"metadata": {"name": "repo", "namespace": "ml"}, "spec": {"interval": "10m", "url": "https://x.example"}}
        )
        for store, value in ((self.kustomizations, kustomization), (self.repositories, repository)):
            store.feed(Init())
            store.feed(InitDone())
            store.feed(Apply(Item(ObjectKey(value.namespace, value.name), "1", value)))  # type: ignore[arg-type]

    def put(self, *objects: bytes, revision: str = "1", exposed: frozenset[str] = frozenset()) -> None:
        self.applied.put(KEY, Applied(revision, str(hash(objects)), objects, exposed))

    def change(self, old: str, new: str, revision: str, at: datetime, action: str = "job") -> None:
        """Take note of a change that a policy sends to the trigger."""
        sides = [RenderedSet([json.loads(holder(reference))]) for reference in (old, new)]
        (record,) = changes(*sides, kustomization="ml/app")
        rule = {"action": action, "trigger": {"name": "retrain"}}
        policy = {"metadata": {"namespace": "ml", "name": "p"}, "spec": {"rules": [rule]}}
        record = overruled([ChangePolicy.from_object(policy)], record)
        source = "GitRepository/ml/repo"
        self.log.add(
            [ChangeEntry(at=at, kustomization="ml/app", source=source, revision=revision, text="", record=record)]
        )

    async def seen(self, subject: DataTrigger) -> list[tuple[str, str, str]]:
        """Source, object and canonical form of all that is seen."""
        sightings = await self.lookout.look(subject)
        return [
            (sighting.source, place.object, place.ref.canonical if place.ref else "")
            for sighting in sightings
            for place in sighting.places
        ]


async def test_what_a_policy_sends_is_looked_at_once_registries_have_had_their_time() -> None:
    world = World()
    world.put(holder("s3://data/v2"))
    world.change("s3://data/v1", "s3://data/v2", "1", datetime.now(UTC))
    world.log.ask(world.log.entries())
    subject, found = trigger(), [("Kustomization/app", "ConfigMap/ml/sets", "s3://data/v2")]
    other = msgspec.structs.replace(subject, metadata=msgspec.structs.replace(subject.metadata, name="other"))
    assert await world.seen(subject) == []
    assert await world.seen(other) == found, "nothing is sent to it"
    world.log.answered(world.log.entries())
    assert await world.seen(subject) == found


async def test_references_are_those_of_what_is_applied_with_what_registries_said() -> None:
    world = World()
    assert await world.seen(trigger()) == [], "nothing was applied by this process yet"
    world.put(holder("s3://data/v1"))
    assert await world.seen(trigger()) == [("Kustomization/app", "ConfigMap/ml/sets", "s3://data/v1")]
    digest = Digest("sha256", "a" * 64, "listing", "sha256")
    world.meant["s3://data/v1"] = Ref("s3://other/spelling", "s3", "s3://data/v1", False, Identity(), digest)
    (sighting,) = await world.lookout.look(trigger())
    (place,) = sighting.places
    assert place.ref is not None
    assert (place.ref.digest, place.ref.spelling) == (digest, "s3://data/v1")
    assert await world.seen(trigger(sources=[{"kind": "Kustomization", "name": "other"}])) == []


async def test_what_is_ignored_or_shows_an_encrypted_value_is_not_seen() -> None:
    world = World()
    ignored = holder("s3://data/v1", "ignored", **{"ignore-change": "true"})
    world.put(ignored, holder(f"s3://{SECRET}/v1"), exposed=frozenset({SECRET}))
    assert await world.seen(trigger()) == []


@pytest.mark.parametrize(
    ("applied", "attempted", "seen", "current"),
    [
        ("2", "2", "1", True),
        ("2", "2", "2", True),
        ("1", "2", "2", False),  # another replica has applied what follows, and it was looked at
        ("2", "3", "2", True),  # what follows is held: what is applied may float
        ("2", "1", "0", True),  # the status is about to be written
        ("2", "1", "1", False),  # the same, but it might be a replica that lags: wait for the status
    ],
)
async def test_a_replica_that_lags_does_not_take_old_data_for_new(
    applied: str, attempted: str, seen: str, *, current: bool
) -> None:
    world = World(attempted)
    world.put(holder("s3://data/v1"), revision=applied)
    assert bool(await world.seen(trigger({"Kustomization/app": seen}))) is current


async def test_files_are_compared_with_the_revision_that_was_looked_at() -> None:
    world = World()
    old, new = (f"outs:\n- md5: {digest * 32}\n  path: train.csv\n".encode() for digest in "ab")
    broken = FileChange("broken.dvc", Blob(b"outs: {"), Blob(b"outs: {"))
    history = History(FileChange("train.csv.dvc", Blob(old), Blob(new)), broken)
    snapshot = SourceSnapshot(revision="2", digest="", tree=MemoryTree({}), history=history)
    world.registry.publish(SourceKey("GitRepository", "ml", "repo"), snapshot)
    assert await world.seen(trigger()) == []
    assert history.asked == [], "at first there is nothing to compare with"
    seen = await world.seen(trigger({"GitRepository/repo": "1"}))
    assert [(source, place) for source, place, _ in seen] == [("GitRepository/repo", "File/train.csv.dvc")]
    assert history.asked == ["1"]
    assert await world.lookout.look(trigger({"GitRepository/repo": "2"})) == []


async def test_files_whose_old_revision_is_gone_are_compared_with_what_was_dealt_with() -> None:
    world = World()
    new = b"outs:\n- md5: " + b"b" * 32 + b"\n  path: out\n"
    history = History(*(FileChange(f"{name}.dvc", None, Blob(new)) for name in ("known", "unknown")))
    history.gone = True
    snapshot = SourceSnapshot(revision="2", digest="", tree=MemoryTree({}), history=history)
    world.registry.publish(SourceKey("GitRepository", "ml", "repo"), snapshot)
    subject = trigger({"GitRepository/repo": "1"})
    slot = TriggerSlot(source="GitRepository/repo", object="File/known.dvc", slot="out[out]", reference="dvc:md5:a")
    subject = msgspec.structs.replace(subject, status=msgspec.structs.replace(subject.status, slots=(slot,)))
    assert [(place, ref) for _, place, ref in await world.seen(subject)] == [("File/known.dvc", f"dvc:md5:{'b' * 32}")]


@pytest.mark.parametrize(("at", "revision"), [(1, "2"), (1, "1"), (-1, "2")])
async def test_what_tags_made_of_data_since_there_is_the_trigger_is_new_with_or_without_a_commit(
    at: int, revision: str
) -> None:
    world = World()
    snapshot = SourceSnapshot(revision="2", digest="", tree=MemoryTree({}), history=History())
    world.registry.publish(SourceKey("GitRepository", "ml", "repo"), snapshot)
    states = [registry([Tag(f"set#prod#{number}", "", number * 40) for number in numbers]) for numbers in ("1", "12")]
    (record,) = tag_records(tag_changes(*states), {"set": Declared("data/set", "data")}, Commit("2", "2"))
    source, told = "GitRepository/ml/repo", MADE + timedelta(minutes=at)
    world.log.add([ChangeEntry(at=told, kustomization="", source=source, revision="2", text="", record=record)])
    subject = trigger({"GitRepository/repo": revision}, kinds=["data"], schemes=["gto"])
    metadata = msgspec.structs.replace(subject.metadata, creation_timestamp=MADE)
    subject = msgspec.structs.replace(subject, metadata=metadata)
    sightings = await world.lookout.look(subject)
    status = looked(subject.status, sightings, world.lookout.present(subject), MADE)
    pending = [
        (slot.object, slot.slot, slot.reference, slot.pending and slot.pending.reference) for slot in status.slots
    ]
    new = ("File/data/set", "stage[prod]", f"gto:set@{'1' * 40}", f"gto:set@{'2' * 40}")
    assert pending == ([new] if at > 0 else [])
    assert [known.revision for known in status.sources] == ["2"]


def test_before_a_store_is_filled_nothing_in_it_counts_as_gone() -> None:
    known = {"Kustomization/app": "1", "Kustomization/gone": "1", "GitRepository/repo": "1"}
    assert World(synced=False).lookout.present(trigger(known)) == known.keys()
    assert World().lookout.present(trigger(known)) == {"Kustomization/app", "GitRepository/repo"}


async def test_what_was_seen_is_not_read_again_until_there_is_news() -> None:
    world, subject = World(), trigger({"Kustomization/app": "1"})
    world.put(holder("s3://data/v1"))
    assert len(await world.seen(subject)) == 1
    world.put(holder("s3://data/v1"))
    assert await world.lookout.look(subject) == [], "the same build of the same revision"
    assert len(await world.lookout.look(trigger())) == 1, "it is not in the status"
    world.applied.moved(KEY)
    assert len(await world.seen(subject)) == 1, "a registry was asked"
    edited = msgspec.structs.replace(subject, metadata=msgspec.structs.replace(subject.metadata, generation=2))
    assert len(await world.seen(edited)) == 1
    assert await world.lookout.look(edited) == []
    notes = {"reconcile.fluxcd.io/requestedAt": "now"}
    asked = msgspec.structs.replace(edited, metadata=msgspec.structs.replace(edited.metadata, annotations=notes))
    assert len(await world.seen(asked)) == 1
    world.lookout.forget(("ml", "retrain"))
    assert len(await world.seen(edited)) == 1


@pytest.mark.parametrize(
    ("minutes", "revision", "attempted", "found"),
    [
        (1, "1", "1", True),
        (1, "2", "2", True),  # held: something else is applied
        (-1, "1", "1", False),  # applied before there was a trigger
        (-1, "1", "2", False),
        (-1, "2", "2", True),  # still held
        (-1, "0", "1", False),
        (-1, "0", "2", True),  # held, and so is a commit after it that changes nothing of it
        (-9, "0", "1", False),  # applied long ago
        (-9, "0", "2", False),
    ],
)
async def test_policies_send_what_the_selector_does_not_fit(
    minutes: int, revision: str, attempted: str, *, found: bool
) -> None:
    world = World(attempted, applied="1", at=MADE - timedelta(minutes=5))
    subject = trigger(kinds=["model"], sources=[{"kind": "Kustomization", "name": "other"}])
    metadata = msgspec.structs.replace(subject.metadata, creation_timestamp=MADE)
    subject = msgspec.structs.replace(subject, metadata=metadata)
    world.put(holder("s3://data/v2"))
    assert await world.lookout.look(subject) == []
    world.change("s3://data/v1", "s3://data/v2", revision, MADE + timedelta(minutes=minutes))
    sightings = await world.lookout.look(subject)
    assert bool(sightings) is found
    assert ("Kustomization/app" in world.lookout.present(subject)) is found
    if found:
        ((place,),) = [sighting.places for sighting in sightings]
        assert (place.sent, place.ref and place.ref.canonical, place.old and place.old.canonical) == (
            True,
            "s3://data/v2",
            "s3://data/v1",
        )


async def test_of_what_was_never_applied_all_that_was_sent_is_run() -> None:
    world = World("2")
    subject = trigger(kinds=["model"])
    subject = msgspec.structs.replace(
        subject, metadata=msgspec.structs.replace(subject.metadata, creation_timestamp=MADE)
    )
    world.put(holder("s3://data/v2"), revision="2")
    world.change("s3://data/v1", "s3://data/v2", "1", MADE - timedelta(minutes=1))
    ((place,),) = [sighting.places for sighting in await world.lookout.look(subject)]
    assert place.sent


def with_slot(reference: str, **more: Any) -> DataTrigger:
    """A trigger that a policy has sent a change, of a Kustomization that its selector leaves out."""
    subject = trigger({"Kustomization/app": "1"}, kinds=["model"], sources=[{"kind": "Kustomization", "name": "other"}])
    slot = TriggerSlot(
        source="Kustomization/app", object="ConfigMap/ml/sets", slot="train", reference=reference, sent=True, **more
    )
    status = msgspec.structs.replace(subject.status, slots=(slot,))
    metadata = msgspec.structs.replace(subject.metadata, creation_timestamp=MADE)
    return msgspec.structs.replace(subject, status=status, metadata=metadata)


async def test_what_was_sent_stays_where_the_log_has_forgotten_it() -> None:
    world, subject = World(applied="1"), with_slot("s3://data/v2", run="retrain-1")
    assert "Kustomization/app" in world.lookout.present(subject)
    world.put(holder("s3://data/v2"))
    (sighting,) = await world.lookout.look(subject)
    ((place,),) = [sighting.places]
    assert (place.sent, place.old) == (True, place.ref)
    status = looked(subject.status, [sighting], world.lookout.present(subject), MADE)
    assert status.slots == subject.status.slots


async def test_what_waited_to_be_applied_and_was_sent_stays_once_it_is_applied() -> None:
    world, subject = World("2", applied="2"), with_slot("s3://data/v2", run="retrain-1")
    world.change("s3://data/v1", "s3://data/v2", "2", MADE - timedelta(minutes=1))
    world.put(holder("s3://data/v2"), revision="2")
    sightings = await world.lookout.look(subject)
    status = looked(subject.status, sightings, world.lookout.present(subject), MADE)
    assert status.slots == subject.status.slots


@pytest.mark.parametrize("told", [True, False])
async def test_what_was_sent_goes_with_a_change_that_is_not(*, told: bool) -> None:
    world, subject = World("2", applied="2"), with_slot("s3://data/v2")
    if told:
        world.change("s3://data/v2", "s3://data/v3", "2", MADE + timedelta(minutes=1), action="alert")
    world.put(holder("s3://data/v3"), revision="2")
    sightings = await world.lookout.look(subject)
    assert looked(subject.status, sightings, world.lookout.present(subject), MADE).slots == ()


async def test_nothing_is_looked_at_before_the_log_is_known() -> None:
    world, subject = World(applied="1"), trigger(kinds=["model"])
    world.put(holder("s3://data/v2"))
    world.log.restored.clear()
    looking = asyncio.create_task(world.lookout.look(subject))
    for _ in range(20):
        await asyncio.sleep(0)
    assert not looking.done()
    world.change("s3://data/v1", "s3://data/v2", "1", MADE)
    world.log.restored.set()
    ((place,),) = [sighting.places for sighting in await looking]
    assert place.sent
