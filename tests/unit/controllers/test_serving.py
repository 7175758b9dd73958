"""When it is told that pods run something else than Git asks for, and when that is over."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from agent.adapters.kube.errors import Forbidden
from agent.api.canary import Canary
from agent.api.changepolicy import ChangePolicy
from agent.api.kustomization import Kustomization
from agent.controllers.changelog import ChangeLog
from agent.controllers.contentmoves import ContentMoves
from agent.controllers.serving import Serving, intervals
from agent.controllers.telling import Teller
from agent.core.models import Digest, parse
from agent.telemetry.metrics import Metrics
from tests.unit.models.manifests import A, B, vllm

KEY = ("ml", "app")
KUSTOMIZATION = Kustomization.from_object(
    {
        "metadata": {"namespace": "ml", "name": "app"},
        "spec": {"interval": "10m", "prune": True, "sourceRef": {"kind": "GitRepository", "name": "repo"}},
    }
)


def policy(**serving: str) -> ChangePolicy:
    return ChangePolicy.from_object(
        {
            "metadata": {"namespace": "ml", "name": "p"},
            "spec": {"serving": {"interval": "1m", "after": "5m", **serving}},
        }
    )


class Cluster:
    """Pods that the test sets, a clock, and what is told."""

    def __init__(self) -> None:
        self.now = 0.0
        self.events: list[str] = []
        self.woken: list[tuple[str, str]] = []
        self.canaries: list[Canary] = []
        self.asked: list[str] = []
        self.running = A
        self.refuses = False
        self.patches: list[str] = []
        self.unpatchable = False
        self.suspended = False
        self.metrics = Metrics()
        anything: Any = self
        log = ChangeLog()
        teller = Teller(log, anything, anything, self.metrics, triggers=tuple)
        moves = ContentMoves(log, teller, anything, anything, canaries=list, learned=lambda _key: None)
        self.serving = Serving(
            teller,
            anything,
            self.metrics,
            moves,
            canaries=lambda: self.canaries,
            loaded=lambda _key: False,
            suspended=lambda _key: self.suspended,
            clock=lambda: self.now,
        )
        self.serving.wake = self.woken.append
        self.moves = moves

    @property
    def client(self) -> Any:
        """The target's client is the same."""
        return self

    @property
    def discovery(self) -> Any:
        """So is its discovery."""
        return self

    async def resource(self, _api_version: str, kind: str) -> str:
        """The kind itself."""
        return kind

    async def get(self, _resource: Any, _namespace: str, _name: str) -> dict[str, Any]:
        """The Deployment."""
        return vllm("org/m", "--revision", A)

    async def merge_patch(self, _resource: Any, _namespace: str, name: str, _patch: Any, **_options: Any) -> None:
        """Note whose pods are started anew."""
        if self.unpatchable:
            raise Forbidden("no right to patch", status=403)
        self.patches.append(name)

    def uid(self, _key: Any) -> None:
        """Nothing is known of live objects."""

    async def delivered(self) -> None:
        """At once."""

    def event(self, _involved: Any, kind: str, reason: str, message: str, **_options: Any) -> None:
        """Note an event."""
        self.events.append(f"{kind} {reason}: {message}")

    async def list(self, _resource: Any, namespace: str, *, label_selector: str) -> Any:
        """The pods."""
        self.asked.append(f"{namespace} {label_selector}")
        if self.refuses:
            raise Forbidden("no right to list pods", status=403)
        spec = vllm("org/m", "--revision", self.running)["spec"]["template"]["spec"]
        metadata = {"name": "chat-1", "namespace": "ml"}
        found = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec, "status": {"phase": "Running"}}

        class Page:
            items = (found,)

        return Page()

    def follow(self, revision: str = A, *policies: ChangePolicy) -> None:
        """What a pass does that has applied the model at that revision."""
        manifest = vllm("org/m", "--revision", revision)
        manifest["spec"]["selector"] = {"matchLabels": {"app": "chat"}}
        target: Any = self
        self.serving.follow(
            KUSTOMIZATION,
            "main@sha1:1",
            (msgspec.json.encode(manifest),),
            policies or (policy(),),
            target=target,
            exposed=frozenset(),
        )

    async def look(self, at: float) -> int | None:
        """How much is stale after a look at that time."""
        self.now = at
        await self.serving.look()
        found = self.serving.stale(KEY)
        return None if found is None else len(found)

    def gauge(self) -> float | None:
        """The metric."""
        return self.metrics.registry.get_sample_value("weir_stale_serving", {"namespace": "ml", "name": "app"})


async def test_what_differs_for_long_is_told_once_and_so_is_its_end() -> None:
    cluster = Cluster()
    cluster.follow(B)
    assert await cluster.look(0.0) is None  # nobody looks before it is due
    assert [await cluster.look(at) for at in (60.0, 120.0, 359.0)] == [0, 0, 0]
    assert await cluster.look(360.0) == 1
    (told,) = cluster.serving.stale(KEY) or ()
    assert (told.object, told.slot, told.pods) == ("Deployment/ml/chat", "container[vllm].model", ("chat-1",))
    assert cluster.gauge() == 1.0
    assert await cluster.look(420.0) == 1
    line = f"Warning ModelStaleServing: model container[vllm].model of Deployment chat: pods run hf://org/m@{A}"
    assert [event for event in cluster.events if event.startswith(line)] == cluster.events[:1]
    cluster.running = B
    assert await cluster.look(480.0) == 0
    assert cluster.gauge() == 0.0
    assert cluster.events[1:] == [
        "Normal ServingCurrent: pods run what Git asks for again: container[vllm].model of Deployment/ml/chat"
    ]
    assert cluster.woken == [KEY, KEY]
    cluster.serving.forget(KEY)
    assert cluster.gauge() is None


async def test_a_rollout_that_takes_its_time_is_no_news() -> None:
    cluster = Cluster()
    cluster.follow(B)
    assert await cluster.look(60.0) == 0
    cluster.running = B
    assert await cluster.look(359.0) == 0
    assert await cluster.look(3600.0) == 0
    assert cluster.events == []


async def test_a_new_revision_goes_on_where_the_one_before_was() -> None:
    cluster = Cluster()
    cluster.follow(B)
    await cluster.look(60.0)
    cluster.now = 200.0
    cluster.follow("c" * 40)
    assert await cluster.look(360.0) == 1


async def test_without_the_right_to_see_pods_nothing_is_claimed() -> None:
    cluster = Cluster()
    cluster.refuses = True
    cluster.follow(B)
    assert await cluster.look(60.0) is None
    assert await cluster.look(3600.0) is None
    assert cluster.asked[0] == "ml app=chat"
    assert cluster.events == []


@pytest.mark.parametrize("phase", ["Progressing", "Failed", "Waiting"])
async def test_what_a_rollout_is_about_is_told_by_the_rollout(phase: str) -> None:
    cluster = Cluster()
    canary = {
        "metadata": {"namespace": "ml", "name": "chat"},
        "spec": {"targetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "chat"}, "analysis": {}},
        "status": {"phase": phase},
    }
    cluster.canaries = [Canary.from_object(canary)]
    cluster.follow(B)
    assert [await cluster.look(at) for at in (60.0, 3600.0)] == [0, 0]
    assert cluster.asked == []


def restarting(*windows: dict[str, Any], action: str = "rollout") -> ChangePolicy:
    found = policy()
    rule = {"action": action, "operations": ["stale-serving"]}
    spec = {"rules": [rule], "windows": list(windows), "serving": {"interval": "1m", "after": "5m"}}
    return ChangePolicy.from_object({"metadata": {"namespace": "ml", "name": found.name}, "spec": spec})


ALWAYS = {"start": "00:00", "end": "00:00"}


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    """A cluster with a registry that has told what Git asks for."""
    cluster, wanted = Cluster(), parse(f"hf://org/m@{B}")
    told = {wanted.canonical: replace(wanted, digest=Digest("sha256", "b" * 64, "files", "sha256"))}
    monkeypatch.setattr(cluster.moves.floats, "known", lambda _key: told)
    return cluster


async def test_pods_are_started_anew_inside_of_the_sync_windows_only(known: Cluster) -> None:
    cluster = known
    cluster.follow(B, restarting({"mode": "deny", **ALWAYS}))
    await cluster.look(60.0)
    assert await cluster.look(360.0) == 1
    assert await cluster.look(420.0) == 1
    assert cluster.patches == []
    held = [event for event in cluster.events if "RolloutHeld" in event]
    assert len(held) == 1
    assert "no pod is started anew outside of the sync windows" in held[0]
    cluster.follow(B, restarting({"mode": "allow", **ALWAYS}))
    assert [await cluster.look(at) for at in (480.0, 540.0)] == [1, 1]
    assert cluster.patches == ["chat"]


async def test_what_is_over_before_a_window_opens_starts_nothing(known: Cluster) -> None:
    cluster = known
    cluster.follow(B, restarting({"mode": "deny", **ALWAYS}))
    await cluster.look(60.0)
    assert await cluster.look(360.0) == 1
    cluster.running = B
    assert await cluster.look(420.0) == 0
    cluster.follow(B, restarting())
    assert await cluster.look(480.0) == 0
    assert cluster.patches == []


@pytest.mark.parametrize("action", [None, "hold", "alert"])
async def test_a_rule_that_is_edited_before_a_window_opens_counts(known: Cluster, action: str | None) -> None:
    cluster = known
    cluster.follow(B, restarting({"mode": "deny", **ALWAYS}))
    await cluster.look(60.0)
    assert await cluster.look(360.0) == 1
    cluster.follow(B, policy() if action is None else restarting(action=action))
    assert await cluster.look(420.0) == 1
    assert cluster.patches == []
    cluster.follow(B, restarting())
    assert await cluster.look(480.0) == 1
    assert cluster.patches == ["chat"]


async def test_pods_that_could_not_be_started_anew_are_tried_again(known: Cluster) -> None:
    cluster = known
    cluster.unpatchable = True
    cluster.follow(B, restarting())
    await cluster.look(60.0)
    assert await cluster.look(360.0) == 1
    cluster.unpatchable = False
    assert await cluster.look(420.0) == 1
    assert await cluster.look(480.0) == 1
    assert cluster.patches == ["chat"]


def test_the_closest_look_that_a_policy_asks_for_is_taken() -> None:
    assert intervals([]) == (300.0, 600.0)
    assert intervals([policy(), policy(interval="10s", after="1h")]) == (10.0, 300.0)


async def test_pods_of_a_suspended_kustomization_are_not_looked_at() -> None:
    cluster = Cluster()
    cluster.follow(B)
    cluster.suspended = True
    assert await cluster.look(60.0) is None
    assert cluster.asked == []
    cluster.suspended = False
    assert await cluster.look(120.0) == 0
    assert cluster.asked
