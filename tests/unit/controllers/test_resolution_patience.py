"""For how long registries that do not answer are waited for, and by whom."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Sequence
from typing import Any

import pytest
from controller_cluster import FakeCluster
from msgspec.structs import replace

from agent.adapters.journal import Journal
from agent.adapters.kube.client import KubeClient
from agent.adapters.kube.config import Cluster, FixedCredentials
from agent.api.changepolicy import ChangePolicy
from agent.api.kustomization import Kustomization
from agent.assembly import Assembly
from agent.controllers.announcing import Announcer, Question, Subject
from agent.controllers.changelog import ChangeLog
from agent.controllers.changes import ChangeRecorder, Detected
from agent.controllers.kustomization.build import Built
from agent.controllers.resolution import Resolution
from agent.controllers.sources import SourceSnapshot
from agent.core.fingerprint import fingerprint_of
from agent.core.inventory import Inventory
from agent.core.models import Blob, ChangeRecord, Digest, FileChange, Ref, parse
from agent.core.objects import ObjectKey
from agent.core.tree import Tree
from agent.runtime.manager import Ended, Manager
from agent.settings import Settings
from agent.telemetry.events import EventRecorder, Involved, ObjectReference
from agent.telemetry.metrics import Metrics
from tests.unit.models.manifests import compare, vllm

PINNED, FLOATING = parse(f"hf://org/m@{'a' * 40}"), parse("hf://org/m@main")
OLD, NEW = "1" * 40, "2" * 40


def kustomization(applied: str | None = None) -> Kustomization:
    return Kustomization.from_object(
        {
            "metadata": {"namespace": "ml", "name": "app", "uid": "u"},
            "spec": {"interval": "10m", "prune": True, "sourceRef": {"kind": "GitRepository", "name": "repo"}},
            "status": {"lastAppliedRevision": f"main@sha1:{applied}"} if applied else {},
        }
    )


KUSTOMIZATION = kustomization()
CANARY = {
    "apiVersion": "flagger.app/v1beta1",
    "kind": "Canary",
    "metadata": {"name": "chat", "namespace": "ml"},
    "spec": {"targetRef": {"apiVersion": "serving.kserve.io/v1beta1", "kind": "InferenceService", "name": "chat"}},
}


def policy(*rules: dict[str, Any]) -> ChangePolicy:
    return ChangePolicy.from_object(
        {
            "metadata": {"namespace": "ml", "name": "p"},
            "spec": {
                "rules": list(rules),
                "resolution": {
                    "interval": "1m",
                    "registries": [{"scheme": scheme} for scheme in ("hf", "git-lfs", "dvc")],
                },
            },
        }
    )


class Silent:
    """A registry, and a login to it, that answer once they are told to."""

    def __init__(self, same: bool = False) -> None:
        self.asked = asyncio.Event()
        self.answers = asyncio.Event()
        self.logs_in = asyncio.Event()
        self.logs_in.set()
        self.same = same

    async def prepared(self, *_: Any) -> Any:
        """How to reach it."""
        await self.logs_in.wait()
        return lambda _ref: None

    async def resolve(self, ref: Ref, *_: Any, **_options: Any) -> Ref:
        """What it knows: other files for each reference, or the same for all."""
        self.asked.set()
        await self.answers.wait()
        value = "a" if self.same else ref.canonical[-1]
        return replace(ref, digest=Digest("sha256", value * 64, "files", "sha256"))

    async def listing(self, ref: Ref, *_: Any) -> dict[str, str]:
        """The files of a folder."""
        return {"same.csv": "1", f"{ref.canonical[-5]}.csv": "2"}


class Told:
    """Takes events: their reasons, and the kinds of what they are about."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str]] = []
        self._news = asyncio.Event()

    async def delivered(self) -> None:
        """At once."""

    def event(self, involved: Involved, _kind: str, reason: str, *_: Any, **_more: Any) -> None:
        """Remember it."""
        self.events.append((involved.reference.kind, reason))
        self._news.set()

    async def hears(self, *wanted: tuple[str, str]) -> None:
        """Wait until these events have come, and no others."""
        async with asyncio.timeout(60):
            while self.events != list(wanted):
                self._news.clear()
                await self._news.wait()


class Writer:
    """Takes events for the cluster."""

    def __init__(self) -> None:
        self.reasons: list[str] = []

    async def create_event(self, _regarding: Any, *, reason: str, **_: Any) -> None:
        """Remember its reason."""
        self.reasons.append(reason)


class Held:
    """A journal that writes once it is let."""

    def __init__(self) -> None:
        self.free = threading.Event()
        self.free.set()
        self.asked = threading.Event()

    def read(self) -> list[bytes]:
        """Nothing."""
        return []

    def append(self, _lines: Sequence[bytes]) -> None:
        """Wait for leave."""
        self.asked.set()
        assert self.free.wait(60)


class Turns:
    """Knows how many ask at once, and how many have begun to; answers once it is let."""

    def __init__(self) -> None:
        self.begun = self.now = self.most = 0
        self.free = asyncio.Event()
        self._news = asyncio.Event()

    async def resolved(self, *_: Any, **_options: Any) -> dict[str, Ref]:
        """Nothing, in the end."""
        self.begun += 1
        self.now += 1
        self.most = max(self.most, self.now)
        self._news.set()
        await self.free.wait()
        self.now -= 1
        return {}

    async def reaches(self, count: int) -> None:
        """Wait until so many have begun."""
        async with asyncio.timeout(60):
            while self.begun < count:
                self._news.clear()
                await self._news.wait()


class Story:
    """A recorder that asks `registry`, whose Kustomization has a service of one model applied."""

    def __init__(
        self,
        registry: Silent,
        *rules: dict[str, Any],
        journal: Any = None,
        writer: Writer | None = None,
        canaries: Sequence[Any] = (),
    ) -> None:
        self.log = ChangeLog(journal=journal)
        self.told = Told()
        self.events: Any = EventRecorder(writer, Metrics()) if writer is not None else self.told
        self.policies = [policy(*rules)]
        self.cluster = FakeCluster()
        self.nobody: Any = None
        asked: Any = registry
        self.recorder = ChangeRecorder(
            self.log,
            self.nobody,
            self.cluster.live,
            self.events,
            Metrics(),
            canaries=lambda: canaries,
            policies=lambda: self.policies,
            resolution=Resolution(asked, asked, patience=3600.0),
            whom=lambda _entry: KUSTOMIZATION,
        )

    async def begin(self) -> None:
        """Apply the old model, with nobody asked."""
        built = build(OLD)
        await self.recorder.detect(KUSTOMIZATION, snapshot("1"), built, self.nobody)
        await self.recorder.announce(KUSTOMIZATION, built, "main@sha1:1", (), self.cluster.target)
        self.told.events.clear()

    async def detect(self, model: str) -> Detected:
        """What the commit after it changes."""
        async with asyncio.timeout(60):
            return await self.recorder.detect(KUSTOMIZATION, snapshot("2"), build(model), self.nobody, self.policies)

    async def applies(self, model: str, commit: str, before: str) -> None:
        """A commit after another, detected and applied."""
        async with asyncio.timeout(60):
            await self.recorder.detect(
                kustomization(before), snapshot(commit), build(model), self.nobody, self.policies
            )
        await self.recorder.announce(
            kustomization(before), build(model), f"main@sha1:{commit}", self.policies, self.cluster.target
        )

    def found(self) -> list[tuple[str, str | None]]:
        """Operation and new digest of the records of the second commit, oldest first."""
        records = [entry.record for entry in self.log.entries() if entry.revision == "main@sha1:2"]
        return [(one.op, str(one.new.digest) if one.new and one.new.digest else None) for one in reversed(records)]


class Files:
    """A history with these changes of files."""

    def __init__(self, files: Sequence[FileChange]) -> None:
        self._files = tuple(files)

    async def tree_at(self, _revision: str) -> Tree | None:
        """Nothing."""
        return None

    async def files_changed(self, _old: str) -> tuple[FileChange, ...] | None:
        """The files."""
        return self._files

    async def files(self) -> tuple[FileChange, ...]:
        """Nothing."""
        return ()


def snapshot(commit: str, history: Files | None = None) -> SourceSnapshot:
    tree: Any = None
    return SourceSnapshot(revision=f"main@sha1:{commit}", digest="sha256:b", tree=tree, history=history)


def build(model: str) -> Built:
    service = {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": "chat", "namespace": "ml"},
        "spec": {"predictor": {"model": {"storageUri": f"hf://org/m:{model}"}}},
    }
    return Built(f"sha256:{model}", (), Inventory(), (json.dumps(service).encode(),), None, False)


async def test_a_pinned_change_waits_for_no_registry() -> None:
    story = Story(registry := Silent())
    await story.begin()
    detected = await story.detect(NEW)
    assert [record.op for record in detected.records or ()] == ["changed"]
    # it is in the log already, for a rollout that begins now
    assert story.found() == [("changed", None)]
    await story.recorder.announce(KUSTOMIZATION, build(NEW), "main@sha1:2", story.policies, story.cluster.target)
    registry.answers.set()
    await story.told.hears(("Kustomization", "ModelChanged"))
    assert story.found() == [("changed", f"sha256:{'2' * 64}")]


async def test_what_an_answer_makes_of_a_change_is_told_and_not_what_the_text_said() -> None:
    story = Story(registry := Silent(same=True))
    await story.begin()
    await story.detect(NEW)
    registry.answers.set()
    await story.told.hears(("Kustomization", "ModelMetadataOnly"))
    assert story.found() == [("metadata-only", f"sha256:{'a' * 64}")]


async def test_objects_hear_of_a_change_that_is_answered_after_they_were_applied() -> None:
    story = Story(registry := Silent())
    await story.begin()
    service = json.loads(build(OLD).rendered[0])
    service["metadata"] |= {"uid": "s", "resourceVersion": "1"}
    key = ObjectKey("serving.kserve.io", "InferenceService", "ml", "chat")
    story.cluster.live.seen[key] = fingerprint_of(service)
    await story.detect(NEW)
    await story.recorder.announce(KUSTOMIZATION, build(NEW), "main@sha1:2", story.policies, story.cluster.target)
    registry.answers.set()
    await story.told.hears(("Kustomization", "ModelChanged"), ("InferenceService", "ModelChanged"))


@pytest.mark.parametrize(
    "rules",
    [
        ({"action": "hold", "operations": ["changed"]},),
        ({"action": "gate", "trigger": {"name": "t"}},),
    ],
)
async def test_a_change_whose_rule_depends_on_its_content_waits(rules: Sequence[dict[str, Any]]) -> None:
    story = Story(registry := Silent(same=True), *rules)
    await story.begin()
    deciding = asyncio.create_task(story.detect(NEW))
    async with asyncio.timeout(60):
        await registry.asked.wait()
    assert not deciding.done()
    assert story.found() == []
    registry.answers.set()
    assert [record.op for record in (await deciding).records or ()] == ["metadata-only"]
    assert story.found() == [("metadata-only", f"sha256:{'a' * 64}")]


@pytest.mark.parametrize(
    ("same", "operation", "heard"),
    [
        (True, "metadata-only", [("Kustomization", "ModelMetadataOnly"), ("Kustomization", "PolicyAlert")]),
        (True, "changed", [("Kustomization", "ModelMetadataOnly")]),
        (False, "metadata-only", [("Kustomization", "ModelChanged")]),
        (False, "changed", [("Kustomization", "ModelChanged"), ("Kustomization", "PolicyAlert")]),
    ],
)
async def test_an_alert_waits_for_a_registry_and_the_apply_does_not(
    same: bool, operation: str, heard: list[tuple[str, str]]
) -> None:
    story = Story(registry := Silent(same), {"action": "alert", "operations": [operation]})
    await story.begin()
    detected = await story.detect(NEW)
    assert [record.op for record in detected.records or ()] == ["changed"]
    await story.recorder.announce(KUSTOMIZATION, build(NEW), "main@sha1:2", story.policies, story.cluster.target)
    assert story.told.events == []
    registry.answers.set()
    await story.told.hears(*heard)


async def test_what_a_job_is_for_is_known_before_it_runs_and_the_apply_does_not_wait() -> None:
    story = Story(registry := Silent(same=True), {"action": "job", "trigger": {"name": "t"}})
    await story.begin()
    await story.detect(NEW)
    await story.recorder.announce(KUSTOMIZATION, build(NEW), "main@sha1:2", story.policies, story.cluster.target)
    entry, version = story.log.entries()[0], story.recorder.applied.version(("ml", "app"))
    assert entry.record.impact.jobs == ("DataTrigger/ml/t",)
    assert story.log.is_asked(entry)
    registry.answers.set()
    await story.told.hears(("Kustomization", "ModelMetadataOnly"))
    entry = story.log.entries()[0]
    assert (entry.record.op, entry.record.impact.jobs, story.log.is_asked(entry)) == ("metadata-only", (), False)
    assert story.recorder.applied.version(("ml", "app")) > version, "triggers look again"


async def test_an_alert_that_was_asked_about_when_the_agent_was_killed_is_told_by_the_next_one(tmp_path: Any) -> None:
    killed = Story(registry := Silent(), {"action": "alert"}, journal=Journal(tmp_path / "changes", limit=1000))
    await killed.begin()
    await killed.recorder.teller.settled(60)
    await killed.detect(NEW)
    async with asyncio.timeout(60):
        await registry.asked.wait()  # after it is kept
    story = Story(Silent(), {"action": "alert"}, journal=Journal(tmp_path / "changes", limit=1000))
    announcing = asyncio.create_task(story.recorder.announcer.run())
    await story.told.hears(("Kustomization", "ModelChanged"), ("Kustomization", "PolicyAlert"))
    announcing.cancel()
    await asyncio.wait({announcing})
    await killed.recorder.announcer.stop()


async def test_what_a_canary_tries_is_waited_for() -> None:
    story = Story(registry := Silent(), canaries=[CANARY])
    await story.begin()
    deciding = asyncio.create_task(story.detect(NEW))
    async with asyncio.timeout(60):
        await registry.asked.wait()
    assert not deciding.done()
    assert story.found() == []
    registry.answers.set()
    (record,) = (await deciding).records or ()
    assert record.impact.canaries == ("Canary/ml/chat",)
    assert story.found() == [("changed", f"sha256:{'2' * 64}")]


async def test_what_floats_is_waited_for() -> None:
    story = Story(registry := Silent())
    await story.begin()
    deciding = asyncio.create_task(story.detect("main"))
    async with asyncio.timeout(60):
        await registry.asked.wait()
    assert not deciding.done()
    assert story.found() == []
    registry.answers.set()
    await deciding
    assert story.found() == [("changed", f"sha256:{'n' * 64}")]


async def test_a_journal_knows_the_answered_record_alone(tmp_path: Any) -> None:
    journal = Journal(tmp_path / "changes", limit=1000)
    story = Story(registry := Silent(), journal=journal)
    await story.begin()
    await story.detect(NEW)
    registry.answers.set()
    await story.told.hears(("Kustomization", "ModelChanged"))
    await story.recorder.announcer.stop()
    read = ChangeLog(journal=Journal(tmp_path / "changes", limit=1000))
    assert [entry.record for entry in read.entries()] == [entry.record for entry in story.log.entries()]


async def test_what_is_answered_later_is_as_old_as_it_was_and_no_revert() -> None:
    story = Story(registry := Silent())
    await story.begin()
    await story.applies(NEW, "2", before="1")
    await story.applies("3" * 40, "3", before="2")
    before = story.log.entries()
    assert [entry.revision[-1] for entry in before] == ["3", "2", "1"]
    registry.answers.set()
    await story.told.hears(("Kustomization", "ModelChanged"), ("Kustomization", "ModelChanged"))
    after = story.log.entries()
    assert [entry.record.new and entry.record.new.digest is not None for entry in after] == [True, True, False]
    assert [(one.at, one.revision, one.record.direction) for one in after] == [
        (one.at, one.revision, one.record.direction) for one in before
    ]


@pytest.mark.parametrize("journalled", [True, False])
async def test_nothing_puts_back_what_the_text_alone_said(journalled: bool, tmp_path: Any) -> None:
    story = Story(registry := Silent(), journal=Journal(tmp_path / "changes", limit=1000))
    await story.begin()
    await story.detect(NEW)
    said, kept = story.log.entries(), story.log.lines()
    registry.answers.set()
    await story.told.hears(("Kustomization", "ModelChanged"))
    await story.recorder.announcer.stop()
    if journalled:
        log = ChangeLog(journal=Journal(tmp_path / "changes", limit=1000))
        log.restore(kept)  # the cluster was told before registries answered
    else:
        log = ChangeLog()
        log.restore(story.log.lines())
    assert log.add(said) == ()  # found again, since it is not applied yet
    assert log.entries() == story.log.entries()


async def test_what_was_asked_when_the_agent_ends_is_told_by_its_text(tmp_path: Any) -> None:
    story = Story(Silent(), journal=Journal(tmp_path / "changes", limit=1000))
    await story.begin()
    await story.detect(NEW)
    await story.recorder.announcer.stop()
    read = ChangeLog(journal=Journal(tmp_path / "changes", limit=1000))
    assert [entry.record.op for entry in read.entries()] == ["changed", "added"]
    assert story.told.events == [("Kustomization", "ModelChanged")]


async def test_an_agent_that_stops_delivers_what_it_tells_at_its_end() -> None:
    story = Story(registry := Silent(), writer=(writer := Writer()))
    await story.begin()
    stop = asyncio.Event()
    announcer = story.recorder.announcer
    leads = asyncio.Event()

    async def lead() -> None:
        leads.set()
        await asyncio.Event().wait()

    manager = Manager(watchers=[], controllers=[], services=[story.events.run], led_services=[announcer.run, lead])
    agent = asyncio.create_task(manager.run(stop))
    async with asyncio.timeout(60):
        await leads.wait()
        await story.detect(NEW)
        await registry.asked.wait()
        stop.set()
        assert await agent is Ended.STOPPED
    assert writer.reasons == ["ModelAdded", "ModelChanged"]


async def test_the_announcer_of_the_agent_ends_before_delivery_does() -> None:
    client = KubeClient(Cluster("https://nowhere.test", FixedCredentials()))
    metrics = Metrics()
    assembly = Assembly(Settings(), client, metrics, lambda _cluster: lambda *_: None, None)
    services = [getattr(service, "__self__", None) for service in assembly.services]
    led = [getattr(service, "__self__", None) for service in assembly.led_services]
    # led services end first
    assert any(isinstance(one, Announcer) for one in led)
    assert any(isinstance(one, EventRecorder) for one in services)


async def test_a_pass_that_is_cancelled_leaves_nothing_untold() -> None:
    story = Story(registry := Silent(), journal=(journal := Held()))
    await story.begin()
    await story.recorder.teller.settled(60)
    journal.free.clear()
    journal.asked.clear()
    detecting = asyncio.create_task(story.detect(NEW))
    assert await asyncio.to_thread(journal.asked.wait, 60)
    detecting.cancel()
    await asyncio.wait({detecting})
    journal.free.set()
    registry.answers.set()
    await story.told.hears(("Kustomization", "ModelChanged"))


async def test_only_so_many_questions_are_asked_at_once() -> None:
    story = Story(Silent())
    waiting: Any = Turns()
    announcer = Announcer(story.log, story.recorder.teller, waiting, lambda _entry: None, turns=2)

    async def nothing(_answers: Any) -> list[ChangeRecord]:
        return []

    for number in range(5):
        involved = Involved(ObjectReference(api_version="v1", kind="GitRepository", namespace="ml", name=f"r{number}"))
        source, revision = f"GitRepository/ml/r{number}", f"main@sha1:{number}"
        subject = Subject(involved, source, revision, policies=[policy()])
        records = compare([], [vllm("org/m", "--revision", str(number) * 40)])
        await announcer.announce(subject, records, Question([PINNED], nothing))
    await waiting.reaches(2)
    waiting.free.set()
    await waiting.reaches(5)
    await announcer.stop()
    assert waiting.most == 2


async def test_a_source_waits_for_no_registry_either() -> None:
    story = Story(registry := Silent())
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'c' * 64}\nsize 1\n"
    history = Files([FileChange("weights.bin", None, Blob(pointer.encode()))])
    involved = Involved(ObjectReference(api_version="v1", kind="GitRepository", namespace="ml", name="repo", uid="u"))
    async with asyncio.timeout(60):
        await story.recorder.record_files(
            "GitRepository/ml/repo", involved, snapshot("2", history), "main@sha1:1", url="https://git.example/x"
        )
    assert story.told.events == []
    registry.answers.set()
    await story.told.hears(("GitRepository", "DataAdded"))


async def test_a_folder_says_which_of_its_files_have_changed() -> None:
    story = Story(registry := Silent())
    registry.answers.set()
    sides = (Blob(f"outs:\n- md5: {digest * 32}.dir\n  path: data\n".encode()) for digest in "ab")
    history = Files([FileChange("data.dvc", *sides)])
    involved = Involved(ObjectReference(api_version="v1", kind="GitRepository", namespace="ml", name="repo", uid="u"))
    await story.recorder.record_files(
        "GitRepository/ml/repo", involved, snapshot("2", history), "main@sha1:1", url="https://git.example/x"
    )
    await story.told.hears(("GitRepository", "DataChanged"))
    (entry,) = story.log.entries()
    assert entry.record.reason.message == "1 added: b.csv; 1 removed: a.csv"
    assert entry.text.endswith("(1 added: b.csv; 1 removed: a.csv)")


@pytest.mark.parametrize("silent", ["answers", "logs_in"])
async def test_patience_ends(silent: str) -> None:
    registry: Any = Silent()
    registry.answers.set()
    getattr(registry, silent).clear()
    asking = Resolution(registry, registry, patience=0.05)
    async with asyncio.timeout(60):
        assert await asking.resolved([PINNED, FLOATING], [policy()]) == {}
