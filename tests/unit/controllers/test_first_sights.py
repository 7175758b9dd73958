"""What is told of the references that a first sync finds: all in one event. Changes are told one by one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from controller_cluster import FakeCluster
from msgspec.structs import replace

from agent.adapters.journal import Journal
from agent.adapters.kube.events import MESSAGE_LIMIT
from agent.api.kustomization import Kustomization, KustomizationStatus
from agent.controllers.changelog import ChangeLog
from agent.controllers.changes import ChangeRecorder
from agent.controllers.kustomization.build import Built
from agent.controllers.resolution import Resolution
from agent.controllers.sources import SourceSnapshot
from agent.core.inventory import Inventory
from agent.telemetry.events import Involved
from agent.telemetry.metrics import Metrics
from tests.unit.models.manifests import A, B, Manifest, config_map, vllm

KUSTOMIZATION = Kustomization.from_object(
    {
        "metadata": {"namespace": "ml", "name": "app", "uid": "u"},
        "spec": {"interval": "10m", "prune": True, "sourceRef": {"kind": "GitRepository", "name": "repo"}},
    }
)
NOBODY: Any = None


class Heard(NamedTuple):
    """An event: what it is about, its reason, its text, and the records that it names."""

    about: str
    reason: str
    text: str
    ids: tuple[str, ...]


class World:
    """A recorder, in a cluster that has seen every object. It takes its own events."""

    def __init__(self, journal: Journal | None = None) -> None:
        self.log, self.cluster = ChangeLog(journal=journal), FakeCluster()
        self.heard: list[Heard] = []
        live: Any = self.cluster.live
        live.uid = lambda _key: "1"
        events: Any = self
        self.recorder = ChangeRecorder(
            self.log,
            NOBODY,
            live,
            events,
            Metrics(),
            canaries=tuple,
            policies=tuple,
            resolution=Resolution(NOBODY, NOBODY, patience=1.0),
        )

    def event(
        self, involved: Involved, _kind: str, reason: str, message: str, *, annotations: dict[str, str], **_: Any
    ) -> None:
        """Remember it."""
        ids = tuple(annotations["weir.dev/change-id"].split(","))
        self.heard.append(Heard(involved.reference.kind, reason, message, ids))

    async def delivered(self) -> None:
        """They are, as soon as they are heard."""

    async def applies(self, revision: str, *objects: Manifest) -> list[Heard]:
        """The events of a revision with these objects."""
        self.heard.clear()
        built = await self.detects(revision, *objects)
        await self.recorder.announce(KUSTOMIZATION, built, f"main@sha1:{revision}", (), self.cluster.target)
        return list(self.heard)

    async def detects(self, revision: str, *objects: Manifest, applied: str | None = None) -> Built:
        """A revision with these objects, which is not applied yet; another one may have been by another process."""
        rendered = tuple(json.dumps(one).encode() for one in objects)
        built = Built(f"sha256:{revision}", (), Inventory(), rendered, None, False)
        source = SourceSnapshot(revision=f"main@sha1:{revision}", digest="sha256:b", tree=NOBODY)
        before = replace(KUSTOMIZATION, status=KustomizationStatus(last_applied_revision=applied))
        await self.recorder.detect(before, source, built, NOBODY)
        return built


async def test_a_first_sync_is_told_in_one_event_that_names_models_first() -> None:
    world = World()
    (told,) = await world.applies("1", config_map({"a": "b"}), vllm("org/m", "--revision", A))
    assert (told.about, told.reason) == ("Kustomization", "ReferencesAdded")
    lines = told.text.splitlines()
    assert lines[0] == "First sync finds 3 references:"
    assert lines[1] == f"model container[vllm].model of Deployment chat: added hf://org/m@{A}"
    assert {line.split()[0] for line in lines[2:]} == {"code-image", "config"}
    # each has its record, as if it had been told alone
    assert {entry.record.id for entry in world.log.entries()} == set(told.ids)


async def test_what_later_commits_add_and_change_is_told_one_by_one_and_on_the_objects() -> None:
    world = World()
    await world.applies("1", vllm("org/m", "--revision", A))
    told = await world.applies("2", vllm("org/m", "--revision", B), vllm("org/n", "--revision", A, name="other"))
    reasons = {"ModelChanged", "ModelAdded", "CodeImageAdded"}
    assert {(one.about, one.reason) for one in told} == {
        (about, reason) for about in ("Kustomization", "Deployment") for reason in reasons
    }
    assert all(len(one.ids) == 1 for one in told)


async def test_what_is_amiss_in_a_first_sync_is_told_for_itself() -> None:
    world = World()
    broken = vllm("org/m", "--revision", A)
    broken["spec"]["template"]["spec"]["containers"][0]["args"] = ["--model", "org/m", "--revision", {"no": "text"}]
    told = await world.applies("1", broken, vllm("org/n", "--revision", A, name="other"), config_map({"a": "b"}))
    assert ("Kustomization", "ReferencesAdded") in {(one.about, one.reason) for one in told}
    amiss = [one for one in told if one.reason != "ReferencesAdded"]
    assert {one.reason.endswith("ParseError") for one in amiss} == {True}


async def test_many_references_have_room_in_an_event() -> None:
    world = World()
    (told,) = await world.applies("1", *(vllm(f"org/m{n}", "--revision", A, name=f"app-{n}") for n in range(100)))
    assert len(told.text) <= MESSAGE_LIMIT
    lines = told.text.splitlines()
    assert len(lines) > 5
    assert lines[-1] == f"and {200 - len(told.ids)} more, which weir changes lists"
    assert len(told.ids) == len(lines) - 2


async def test_a_single_reference_is_told_as_what_it_is() -> None:
    (told,) = await World().applies("1", config_map({"a": "b"}))
    assert (told.about, told.reason) == ("Kustomization", "ConfigAdded")


async def test_objects_hear_once_of_a_change_in_whose_apply_the_agent_was_killed(tmp_path: Path) -> None:
    def started() -> World:
        return World(Journal(tmp_path / "changes", limit=1000))

    killed = started()
    await killed.applies("1", vllm("org/m", "--revision", A))
    await killed.detects("2", vllm("org/m", "--revision", B))
    await killed.recorder.teller.settled(60)
    assert [(one.about, one.reason) for one in killed.heard[1:]] == [("Kustomization", "ModelChanged")]
    for heard in ([("Deployment", "ModelChanged")], []):  # by the next agent, and not by the one after it
        world = started()
        built = await world.detects("2", vllm("org/m", "--revision", B), applied="main@sha1:1")
        assert world.heard == [], "it is not applied yet"
        await world.recorder.announce(KUSTOMIZATION, built, "main@sha1:2", (), world.cluster.target)
        await world.recorder.teller.settled(60)
        assert [(one.about, one.reason) for one in world.heard] == heard
        assert {one.ids for one in world.heard} <= {killed.heard[-1].ids}
