"""Whatever happens, skipping work gives the same cluster as doing it: random histories under `--verify`.

Each step is a commit, a drift, an edit of a spec, a request or a crash. The agent does all that it could have skipped,
and says where that had another outcome. `WEIR_HISTORY_STEPS=2000` makes a long history of it, as `make bench` does.
"""

from __future__ import annotations

import os
import random
from pathlib import Path

import aiohttp
import pytest
from fault_agent import AgentProcess
from fault_world import KINDS, KS, Dice, World

from agent.controllers.kustomization.shortcuts import DIFFERENCE
from testbed.controlplane import ControlPlane
from testbed.kube import ApiError

STEPS = int(os.environ.get("WEIR_HISTORY_STEPS", "300"))
CHAPTER = 25
"""Steps after which everything is looked at."""
DAMAGES = ("data", "metadata", "delete")


class History:
    """What happens to a world, by dice."""

    def __init__(self, world: World, agent: AgentProcess, seed: int) -> None:
        self.world = world
        self.agent = agent
        self.dice = Dice(seed)
        self.random = random.Random(seed)
        self.commit = ""
        self.suspended: set[str] = set()
        self._edits = 0

    async def begin(self) -> None:
        self.dice.fill(self.world, kustomizations=8, objects=4)
        self.commit = self.world.commit()
        await self.world.declare(**{"part-1": {"wait": True}, "part-2": {"dependsOn": [{"name": "part-1"}]}})
        await self.agent.start()

    async def step(self) -> None:
        kinds = {self._commit: 8, self._drift: 8, self._edit_spec: 3, self._ask: 3, self._suspend: 1}
        await self.random.choices(list(kinds), list(kinds.values()))[0]()

    async def crash(self) -> None:
        await self.agent.kill()
        await self.agent.start()

    async def chapter_ends(self) -> None:
        """All that is suspended is resumed, and everything is as Git says."""
        for folder in sorted(self.suspended):
            await self._patch(folder, {"suspend": False})
        self.suspended.clear()
        self.commit = self.world.commit()
        await self.world.announce()
        await self.world.until_settled(self.commit, self.agent.process)

    async def _commit(self) -> None:
        self.dice.edit(self.world, edits=self.random.choice((1, 1, 1, 5)))
        self.commit = self.world.commit()
        await self.world.announce()

    async def _drift(self) -> None:
        folder = self.random.choice(sorted(self.world.content))
        kind, name = self.random.choice(sorted(self.world.content[folder]))
        damage = self.random.choice(DAMAGES)
        try:
            if damage == "delete":
                await self.world.operator.delete("v1", kind, self.world.namespace, name)
            else:
                await self.world.operator.patch("v1", kind, self.world.namespace, name, _patch(kind, damage))
        except ApiError as error:
            if error.status not in {404, 409}:  # not applied yet, or applied just now
                raise

    async def _edit_spec(self) -> None:
        self._edits += 1
        change = self.random.choice(
            (
                {"interval": f"{10 + self._edits}m"},
                {"force": self._edits % 2 == 0},
                {"commonMetadata": {"labels": {"edit": str(self._edits)}}},
                {"wait": self._edits % 2 == 0},
            )
        )
        await self._patch(self.random.choice(sorted(self.world.content)), change)

    async def _ask(self) -> None:
        self._edits += 1
        annotations = {"reconcile.fluxcd.io/requestedAt": f"history-{self._edits}"}
        folder = self.random.choice(sorted(self.world.content))
        await self.world.operator.patch(*KS, self.world.namespace, folder, {"metadata": {"annotations": annotations}})

    async def _suspend(self) -> None:
        folder = self.random.choice(sorted(self.world.content))
        self.suspended ^= {folder}
        await self._patch(folder, {"suspend": folder in self.suspended})

    async def _patch(self, folder: str, spec: dict[str, object]) -> None:
        await self.world.operator.patch(*KS, self.world.namespace, folder, {"spec": spec})


def _patch(kind: str, damage: str) -> dict[str, object]:
    if damage == "metadata":
        return {"metadata": {"annotations": {"example.org/value": "-1"}, "labels": {"drifted": "yes"}}}
    match kind:
        case "ConfigMap":
            return {"data": {"value": "drifted"}}
        case "Secret":
            return {"data": {"value": "ZHJpZnRlZA=="}}
        case "Service":
            return {"spec": {"selector": {"app": "drifted"}}}
    return {"automountServiceAccountToken": False, "metadata": {"annotations": {"example.org/value": "-1"}}}


@pytest.fixture
def verifying(own_plane: ControlPlane, world: World, tmp_path: Path) -> AgentProcess:
    return AgentProcess(own_plane.kubeconfig, world.namespace, tmp_path, "--verify")


@pytest.mark.timeout(0.5 * STEPS + 300)
@pytest.mark.parametrize("seed", [7])
async def test_no_shortcut_has_another_outcome(verifying: AgentProcess, world: World, seed: int) -> None:
    history = History(world, verifying, seed)
    verified = 0.0
    await history.begin()
    try:
        for chapter in range(STEPS // CHAPTER):
            for _ in range(CHAPTER):
                await history.step()
            if chapter % 3 == 1:
                await history.crash()
            await history.chapter_ends()
            await world.assert_exact()
            if chapter % 3 == 0:
                verified += await _verified(verifying)
            assert verifying.entries(DIFFERENCE) == [], f"chapter {chapter}"
        assert verifying.crashed() == ""
    finally:
        await verifying.kill()
    assert verified > STEPS / 10, "shortcuts were there to be taken"
    assert set(KINDS) == {kind for objects in world.content.values() for kind, _ in objects}


async def _verified(agent: AgentProcess) -> float:
    async with aiohttp.ClientSession() as http, http.get(f"{agent.metrics}/metrics") as answer:
        lines = (await answer.text()).splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith("weir_shortcuts_verified_total"))
