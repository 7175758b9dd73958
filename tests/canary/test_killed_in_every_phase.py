"""The canary role alone, as a process that dies at every step of a rollout, before it hears that the step was done."""

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
from canary_agent import eventually
from canary_cluster import FLAGGER, GATEWAY_API, HOLD, NAME, Rollouts, version_of
from canary_gitops import Judge

from testbed.controlplane import ControlPlane
from testbed.gateway import ProcessGateway
from testbed.kube import Object
from tests.fault.fault_agent import AgentProcess
from tests.fault.faulty_api import faulty_api

Named = tuple[str, str, str]
"""API version, kind and name."""
FLAGS = ("--controllers=canary", "--minimum-analysis-interval=300ms")
START = {"name": "start", "type": "confirm-rollout", "url": "weir://gate"}
CANARY, ROUTE, PRIMARY, TARGET = (
    (FLAGGER, "Canary", NAME),
    (GATEWAY_API, "HTTPRoute", NAME),
    ("apps/v1", "Deployment", f"{NAME}-primary"),
    ("apps/v1", "Deployment", NAME),
)
STEPS = {
    CANARY: lambda found: found.get("status", {}).get("phase", ""),
    ROUTE: lambda found: [(one["name"], one.get("weight")) for one in found["spec"]["rules"][0]["backendRefs"]],
    PRIMARY: lambda found: (version_of(found), found["metadata"]["generation"]),
    TARGET: lambda found: found["spec"]["replicas"],
}
"""What is a step, by the object that shows it."""
PROMOTED = ["Waiting", "Progressing", "WaitingPromotion", "Promoting", "Finalising", "Succeeded"]


def split(canary: int) -> list[tuple[str, int]]:
    return [(f"{NAME}-primary", 100 - canary), (f"{NAME}-canary", canary)]


WAY = {
    CANARY: ["", "Initializing", "Initialized", *PROMOTED, "Progressing", "Failed", "Terminating"],
    ROUTE: [*map(split, [0, 30, 60, 0, 30, 0]), [(NAME, 1)]],
    PRIMARY: [("1", 1), ("2", 2)],
    TARGET: [1, 0, 1, 0, 1, 0, 1],
}
"""One promotion, one rollback, a deletion; each step once."""


class Reaper:
    """Kills the agent at each step that it takes: the write is done, and it never hears of that. Then comes another."""

    def __init__(self, weir: AgentProcess) -> None:
        self._weir = weir
        self.deaths: dict[Named, list[Any]] = {about: [] for about in STEPS}

    def witness(self, answer: bytes) -> bool:
        written = json.loads(answer)
        about = (written["apiVersion"], written["kind"], written["metadata"].get("name"))
        step = STEPS[about](written) if about in STEPS else ""
        if step == "" or self.deaths[about][-1:] == [step]:
            return False
        self.deaths[about].append(step)
        self._weir.process.signal(signal.SIGKILL)
        return True

    async def lives(self) -> None:
        """One after the other. Raises AssertionError if one ends by itself."""
        while True:
            status = await self._weir.process.wait()
            assert status == -signal.SIGKILL, self._weir.process.tail()
            await self._weir.start()


@asynccontextmanager
async def killed_at_every_step(control_plane: ControlPlane, rollouts: Rollouts) -> AsyncIterator[Reaper]:
    """Agents over the namespace, none of which outlives a step, while the block lasts."""
    async with faulty_api(control_plane, rollouts.folder) as api:
        weir = AgentProcess(api.kubeconfig, rollouts.namespace, rollouts.folder, *FLAGS)
        reaper = Reaper(weir)
        api.witness = reaper.witness
        await weir.start()
        try:
            async with asyncio.TaskGroup() as group:
                lives = group.create_task(reaper.lives())
                yield reaper
                lives.cancel()
        finally:
            await weir.kill()
    assert weir.crashed() == ""


@asynccontextmanager
async def steps(rollouts: Rollouts) -> AsyncIterator[dict[Named, list[Any]]]:
    """Every step that is taken while the block lasts, whoever takes it."""
    async with AsyncExitStack() as stack:
        seen = {}
        for (api, kind, name), form in STEPS.items():
            watch = rollouts.watched(kind, api, form, name)
            seen[api, kind, name] = await stack.enter_async_context(watch)
        yield seen


async def play(rollouts: Rollouts, judge: Judge, canary: Object) -> None:
    """A model that is promoted, one that is rejected, and the Canary's end."""
    await rollouts.apply(rollouts.target(rollouts.sleeper("1")), canary)
    await rollouts.phase("Initialized")
    await rollouts.apply(rollouts.target(rollouts.sleeper("2"), replicas=None))
    await rollouts.phase("Waiting")
    await rollouts.let_go(START["name"])
    await rollouts.phase("WaitingPromotion")
    await rollouts.let_go()
    await rollouts.phase("Succeeded")
    judge.refuses = True
    await rollouts.apply(rollouts.target(rollouts.sleeper("3"), replicas=None))
    await rollouts.phase("Failed")
    await rollouts.admin.delete(FLAGGER, "Canary", rollouts.namespace, NAME)
    for api, kind, name in (CANARY, PRIMARY):
        await rollouts.admin.wait_for(api, kind, rollouts.namespace, name, lambda found: found is None)


@pytest.mark.timeout(900)  # some twenty-five processes, one after the other
async def test_killed_at_every_step_of_every_phase_it_comes_to_the_same_end(
    control_plane: ControlPlane, rollouts: Rollouts, edge: ProcessGateway, judge: tuple[Judge, str]
) -> None:
    hooks = [START, {"name": "judge", "type": "rollout", "url": judge[1]}, HOLD]
    canary = rollouts.canary(analysis={"interval": "300ms", "threshold": 1, "webhooks": hooks}, revertOnDeletion=True)
    async with steps(rollouts) as seen, killed_at_every_step(control_plane, rollouts) as reaper:
        await play(rollouts, judge[0], canary)
        await eventually(lambda: all(seen[about][-1:] == way[-1:] for about, way in WAY.items()), within=30)
    assert seen == WAY
    assert reaper.deaths == {**WAY, CANARY: WAY[CANARY][1:], TARGET: WAY[TARGET][1:]}
    service = await rollouts.get("Service", NAME, "v1")
    assert service is not None
    assert service["spec"]["selector"] == {"app": NAME}
    assert not service["metadata"].get("ownerReferences")
