"""When pods are started anew for content that moved with no commit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from agent.api.changepolicy import ChangePolicy
from agent.controllers.changelog import ChangeLog
from agent.controllers.contentmoves import APPROVED, ContentMoves
from agent.controllers.hotadapters import HotAdapters
from agent.controllers.telling import Teller
from agent.core.models import Reason
from agent.telemetry.metrics import Metrics
from tests.unit.controllers.test_floats import KUSTOMIZATION, Hub
from tests.unit.models.manifests import vllm

KEY = ("team", "app")
CLOSED = [{"mode": "deny", "start": "00:00", "end": "00:00"}]


def policy(windows: list[dict[str, Any]], *actions: str) -> ChangePolicy:
    spec = {
        "rules": [{"action": action, "operations": ["floated"]} for action in actions],
        "resolution": {"interval": "1h", "registries": [{"scheme": "hf"}]},
        "windows": windows,
    }
    return ChangePolicy.from_object({"metadata": {"namespace": "team", "name": "p"}, "spec": spec})


class World:
    """A hub, a cluster with one Deployment, and who is told."""

    def __init__(self) -> None:
        self.hub, self.log = Hub(), ChangeLog()
        self.rendered = (msgspec.json.encode(vllm("org/m")),)
        self.suspended = False
        self.events: list[str] = []
        self.patched: list[str] = []
        anything: Any = self
        resolution: Any = self.hub
        teller = Teller(self.log, anything, anything, Metrics(), triggers=tuple)
        self.moves = ContentMoves(
            self.log,
            teller,
            anything,
            resolution,
            canaries=list,
            learned=lambda _key: None,
            suspended=lambda _key: self.suspended,
        )

    @property
    def client(self) -> Any:
        """The target's client is the same."""
        return self

    @property
    def discovery(self) -> Any:
        """And so is its discovery."""
        return self

    def uid(self, _key: Any) -> None:
        """Nothing is known of live objects."""

    async def delivered(self) -> None:
        """At once."""

    def event(self, _involved: Any, _kind: str, reason: str, _message: str, **_options: Any) -> None:
        """Note an event."""
        self.events.append(reason)

    async def resource(self, _version: str, kind: str) -> str:
        """A kind."""
        return kind

    async def get(self, _resource: str, _namespace: str | None, _name: str) -> dict[str, Any]:
        """The Deployment."""
        return vllm("org/m")

    async def merge_patch(
        self, _resource: str, _namespace: str | None, name: str, *_rest: Any, **_options: Any
    ) -> None:
        """Note that its pods are started anew."""
        self.patched.append(name)

    async def look(
        self, content: str, windows: list[dict[str, Any]] | None = None, actions: Sequence[str] = ("rollout",)
    ) -> None:
        """A pass, and a look at once, while the branch means that."""
        self.hub.content["hf://org/m@main"] = content
        target: Any = self
        self.moves.floats.follow(
            KUSTOMIZATION, "main@sha1:1", self.rendered, [policy(windows or [], *actions)], target=target
        )
        self.moves.floats.hasten(KEY)
        await self.moves.floats.look()


async def test_nothing_is_started_anew_while_suspended_and_what_moved_is_not_lost() -> None:
    world = World()
    await world.look("a")
    world.suspended = True
    await world.look("b")
    assert (world.patched, len(world.hub.rounds)) == ([], 2)  # what floats and what is pinned, once
    world.suspended = False
    await world.look("b")
    assert world.patched == ["chat"]


async def test_outside_of_the_windows_nothing_is_started_anew_and_that_is_told_once() -> None:
    world = World()
    await world.look("a", CLOSED)
    for _ in range(2):
        await world.look("b", CLOSED)
    assert (world.patched, world.events.count("RolloutHeld")) == ([], 1)
    await world.look("b")
    assert world.patched == ["chat"]


@pytest.mark.parametrize("actions", [(), ("alert",), ("hold",)])
async def test_a_rollout_that_waits_for_a_window_is_asked_for_again(actions: Sequence[str]) -> None:
    world = World()
    await world.look("a", CLOSED)
    await world.look("b", CLOSED)
    await world.look("b", actions=actions)
    assert world.patched == []
    await world.look("b")
    assert world.patched == ["chat"]


async def test_an_approval_is_for_now_whatever_the_windows_say() -> None:
    world = World()
    await world.look("a", CLOSED)
    await world.look("b", CLOSED)
    (entry,) = world.log.entries()
    released = replace(entry.record, action="gate", reason=Reason("policy", "held"))
    await world.moves.release(KUSTOMIZATION, [released], "jane")
    assert next(one.record.reason.code for one in world.log.entries()) == APPROVED
    await world.moves.floats.look()
    assert world.patched == ["chat"]


@pytest.mark.parametrize("suspended", [True, False])
async def test_adapters_are_loaded_into_no_pod_while_suspended(suspended: bool) -> None:
    looked: list[str] = []

    class Watched(HotAdapters):
        async def _look(self, at: Any, this: Any) -> None:
            looked.append(at)

    anything: Any = None
    adapters = Watched(anything, anything, canaried=lambda _key: False, suspended=lambda key: suspended and key == KEY)
    adapters._kept[KEY] = {anything: anything}
    await adapters.look()
    assert bool(looked) is not suspended
