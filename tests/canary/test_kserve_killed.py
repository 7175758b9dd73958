"""Agents that are killed again and again bring the rollout of an InferenceService to the same end by the same way."""

import json
import random
from pathlib import Path

import pytest
from canary_agent import canary_agent, eventually
from canary_cluster import CRDS, Rollouts
from canary_lives import live_and_die
from kserve_world import KServeStory, version_in

from agent.adapters.kube.client import KubeClient
from agent.core.rollout.kserve.content import WANTED, content_of
from testbed.git import GitRepository
from testbed.kserve import CRDS as KSERVE_CRDS
from testbed.kserve import StatusWriter
from testbed.kserve.status import LLM_SERVICES, SERVICES
from testbed.kube import Admin, Object


def form(mode: str, service: Object) -> object:
    if mode == "LLM":
        route = service["spec"]["router"]["route"]
        return version_in(service), route.get("weight")
    predictor = service["spec"]["predictor"]
    if mode == "Knative":
        return version_in(service), predictor.get("canaryTrafficPercent")
    return version_in(service), [(version_in({"spec": item}), item["trafficPercent"]) for item in entries(service)]


def entries(service: Object) -> list[Object]:
    return list(service["spec"].get("canary") or ())


@pytest.mark.parametrize(
    ("mode", "way"),
    [
        ("Standard", [("1", []), ("1", [("2", 0)]), ("1", [("2", 30)]), ("1", [("2", 60)]), ("2", [])]),
        ("Knative", [("1", None), ("2", 0), ("2", 30), ("2", 60), ("2", None)]),
        ("LLM", [("1", None), ("1", 70), ("1", 40), ("2", 40), ("2", 100)]),
    ],
)
async def test_killed_at_any_moment_it_goes_on_from_where_the_traffic_is(
    admin: Admin, namespace: str, kube: KubeClient, tmp_path: Path, mode: str, way: list[object]
) -> None:
    dice = random.Random(mode)
    await admin.apply_files([*sorted(CRDS.glob("flagger.app_*.yaml")), KSERVE_CRDS])
    rollouts = Rollouts(admin, namespace, tmp_path)
    kind = LLM_SERVICES if mode == "LLM" else SERVICES
    story = KServeStory(admin, namespace, GitRepository(tmp_path / "git"), kind=kind, mode=mode)
    async with StatusWriter(admin, namespace):
        await rollouts.apply(story.service("1"), story.canary())
        await live_and_die(kube, rollouts, dice, "Initialized")
        note = {"metadata": {"annotations": {WANTED: json.dumps(content_of(story.service("2")))}}}
        async with story.watched(lambda service: form(mode, service)) as seen:
            await admin.patch(*story.kind, namespace, "chat", note)
            async with canary_agent(kube, namespace, minimum_interval=0.1):
                await rollouts.phase("Progressing")
            assert await live_and_die(kube, rollouts, dice, "Succeeded") > 1
            await eventually(lambda: seen[-1] == way[-1])
    assert seen == way


async def test_killed_in_mid_rollback_nothing_of_the_canary_is_left(
    admin: Admin, namespace: str, kube: KubeClient, tmp_path: Path
) -> None:
    dice = random.Random("rollback")
    await admin.apply_files([*sorted(CRDS.glob("flagger.app_*.yaml")), KSERVE_CRDS])
    rollouts = Rollouts(admin, namespace, tmp_path)
    nobody = {"name": "judge", "type": "rollout", "url": "http://127.0.0.1:9/"}
    story = KServeStory(admin, namespace, GitRepository(tmp_path / "git"), analysis={"webhooks": [nobody]})
    async with StatusWriter(admin, namespace):
        await rollouts.apply(story.service("1"), story.canary())
        await live_and_die(kube, rollouts, dice, "Initialized")
        note = {"metadata": {"annotations": {WANTED: json.dumps(content_of(story.service("2")))}}}
        async with story.watched(lambda service: form("Standard", service)) as seen:
            await admin.patch(*story.kind, namespace, "chat", note)
            async with canary_agent(kube, namespace, minimum_interval=0.1):
                await rollouts.phase("Progressing")
            assert await live_and_die(kube, rollouts, dice, "Failed") > 1
            async with canary_agent(kube, namespace, minimum_interval=0.1):
                await eventually(lambda: seen[-1] == ("1", []))
    assert seen == [("1", []), ("1", [("2", 0)]), ("1", [("2", 30)]), ("1", [("2", 0)]), ("1", [])]
