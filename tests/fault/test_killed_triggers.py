"""An agent that is killed between any two writes, or that works beside another one, runs the same data once."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path
from typing import Any

from fault_agent import AgentProcess
from fault_lives import live_until_some_write
from fault_world import World

from testbed.controlplane import ControlPlane
from testbed.processes import ProcessError, until

CRDS = Path(__file__).parents[2] / "config" / "crd"
TRIGGER = ("weir.dev/v1alpha1", "DataTrigger")
SLOTS = 3


def holder(data: list[int]) -> str:
    """A ConfigMap that names data in several places."""
    notes = {f"weir.dev/data-ref.set-{slot}": f"s3://data/{value}" for slot, value in enumerate(data)}
    return f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: sets, annotations: {notes}}}\n"


class Trainings:
    """A repository whose data moves, and the Jobs that exist for it; their Pods are never made, so they never end."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.data = list(range(SLOTS))
        self.head = ""

    async def begin(self, policy: str) -> None:
        await self.world.operator.apply_files([CRDS / "weir.dev_datatriggers.yaml"])
        self.world.content = {"part-0": {("ConfigMap", "base"): 1}}
        self.world.commit()
        self.commit()
        await self.world.declare(**{"part-0": {"targetNamespace": self.world.namespace}})
        pod = {"restartPolicy": "Never", "containers": [{"name": "train", "image": "train:1"}]}
        template = {"apiVersion": "batch/v1", "kind": "Job", "spec": {"suspend": True, "template": {"spec": pod}}}
        await self.world.operator.apply(
            {
                "apiVersion": TRIGGER[0],
                "kind": TRIGGER[1],
                "metadata": {"name": "retrain", "namespace": self.world.namespace},
                "spec": {"template": template, "settleFor": "0s", "concurrencyPolicy": policy},
            }
        )

    def commit(self) -> None:
        self.head = self.world.repository.commit({"part-0/sets.yaml": holder(self.data)})

    async def status(self) -> dict[str, Any]:
        found = await self.world.operator.get(*TRIGGER, self.world.namespace, "retrain")
        return dict(found.get("status", {}))

    async def jobs(self) -> Counter[str]:
        """How many Jobs there are for each data."""
        found = await self.world.operator.list("batch/v1", "Job", self.world.namespace)
        return Counter(job["metadata"]["annotations"]["weir.dev/data"] for job in found)

    async def dealt_with(self) -> bool:
        status = await self.status()
        slots = {slot["slot"]: slot for slot in status.get("slots", ())}
        wanted = {f"set-{slot}": f"s3://data/{value}" for slot, value in enumerate(self.data)}
        done = {slot: found.get("reference") for slot, found in slots.items() if "pending" not in found}
        return done == wanted and all(run["state"] == "Running" for run in status.get("runs", ()))

    async def until_dealt_with(self, agent: AgentProcess) -> None:
        # Data that has come back to what it was looks dealt with before the commits between were seen.
        await self.world.until_settled(self.head, agent.process)
        try:
            await until(self.dealt_with, timeout=90, what="all data is dealt with", process=agent.process, every=0.1)
        except ProcessError:
            raise AssertionError(f"{self.data} are not dealt with: {await self.status()}") from None

    async def assert_once(self) -> None:
        async def told() -> bool:
            runs = Counter(run["data"] for run in (await self.status())["runs"])
            return runs == await self.jobs()

        await until(told, timeout=60, what="the status names the Jobs that there are", every=0.1)
        jobs = await self.jobs()
        assert set(jobs.values()) == {1}, jobs


async def test_killed_at_any_write_the_same_data_runs_once(agent: AgentProcess, world: World) -> None:
    dice, trainings = random.Random(7), Trainings(world)
    await trainings.begin("Allow")
    await agent.start()
    await trainings.until_dealt_with(agent)
    for life in range(6):
        for _ in range(dice.randrange(1, 3)):
            trainings.data[dice.randrange(SLOTS)] = dice.randrange(100, 110)
            trainings.commit()
        await world.announce()
        await live_until_some_write(agent, world, dice.randrange(1, 9))
        await agent.kill()
        await agent.start()
        if life % 3 == 2:
            await trainings.until_dealt_with(agent)
            await trainings.assert_once()
    await trainings.until_dealt_with(agent)
    await trainings.assert_once()
    assert agent.crashed() == ""


async def test_two_agents_that_do_not_know_of_each_other_run_the_same_data_once(
    agent: AgentProcess, world: World, own_plane: ControlPlane, tmp_path: Path
) -> None:
    trainings, other = Trainings(world), AgentProcess(own_plane.kubeconfig, world.namespace, tmp_path, name="other")
    await trainings.begin("Allow")
    await agent.start()
    await other.start()
    try:
        await trainings.until_dealt_with(agent)
        for value in range(200, 204):
            trainings.data[value % SLOTS] = value
            trainings.commit()
            await world.announce()
            await trainings.until_dealt_with(agent)
        await trainings.assert_once()
        assert {f"s3://data/{value}" for value in range(200, 204)} <= (await trainings.jobs()).keys()
    finally:
        await other.kill()
    assert agent.crashed() + other.crashed() == ""
