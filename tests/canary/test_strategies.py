"""The other ways in which traffic moves, through the real gateway."""

import aiohttp
from canary_agent import canary_agent, eventually
from canary_cluster import GATEWAY_API, HOLD, NAME, Rollouts

from agent.adapters.kube.client import KubeClient
from testbed.gateway import ProcessGateway
from testbed.kube import Object


async def ask(edge: ProcessGateway, host: str, **headers: str) -> str:
    """The version of the model that answers. A gateway that refuses, having nobody to ask yet, is asked again."""
    answers: list[str] = []

    async def answered() -> bool:
        async with (
            aiohttp.ClientSession() as http,
            http.post(f"{edge.url}/v1/predict", json={"x": [1, 2]}, headers={"Host": host, **headers}) as response,
        ):
            if response.status == 200:
                answers.append(str((await response.json())["version"]))
        return bool(answers)

    await eventually(answered)
    return answers[0]


async def test_ab_testing_sends_matched_requests_to_the_canary(
    kube: KubeClient, rollouts: Rollouts, edge: ProcessGateway
) -> None:
    one, two = rollouts.model("v1"), rollouts.model("v2")
    match = [{"headers": {"x-user": {"exact": "insider"}}}]
    analysis = {"stepWeight": None, "maxWeight": None, "iterations": 2, "match": match, "webhooks": [HOLD]}
    canary = rollouts.canary(analysis=analysis)

    async def answer(version: str, **headers: str) -> bool:
        # the gateway follows the API server: what is written there is not yet what it does
        return await ask(edge, rollouts.host, **headers) == version

    async with canary_agent(kube, rollouts.namespace):
        await rollouts.apply(rollouts.target(rollouts.server(one)), canary)
        await rollouts.phase("Initialized")
        await rollouts.apply(rollouts.target(rollouts.server(two), replicas=None))
        await rollouts.phase("WaitingPromotion")
        await eventually(lambda: answer("v2", **{"x-user": "insider"}))
        assert await ask(edge, rollouts.host) == "v1"
        await rollouts.let_go()
        await rollouts.phase("Succeeded")
        await eventually(lambda: answer("v2"))
        await eventually(lambda: answer("v2", **{"x-user": "insider"}))


async def test_mirroring_precedes_the_weights(kube: KubeClient, rollouts: Rollouts, edge: ProcessGateway) -> None:
    canary = rollouts.canary(analysis={"mirror": True, "stepWeight": 50, "maxWeight": 50})
    async with canary_agent(kube, rollouts.namespace):
        await rollouts.apply(rollouts.target(rollouts.sleeper("1")), canary)
        await rollouts.phase("Initialized")
        async with rollouts.watched("HTTPRoute", GATEWAY_API, _share) as seen:
            await rollouts.apply(rollouts.target(rollouts.sleeper("2"), replicas=None))
            await rollouts.phase("Succeeded")
            await eventually(lambda: len(seen) >= 4)
    assert seen == [(0, False), (0, True), (50, False), (0, False)]
    assert await rollouts.version("chat-primary") == "2"


def _share(route: Object) -> tuple[int, bool]:
    """The weight of the canary, and whether it gets copies of requests."""
    (rule,) = route["spec"]["rules"]
    mirrored = any(item["type"] == "RequestMirror" for item in rule.get("filters") or ())
    weights = {backend["name"]: backend["weight"] for backend in rule["backendRefs"]}
    return weights[f"{NAME}-canary"], mirrored


async def test_skip_analysis_is_an_ordinary_rollout(kube: KubeClient, rollouts: Rollouts, edge: ProcessGateway) -> None:
    async with canary_agent(kube, rollouts.namespace):
        await rollouts.apply(rollouts.target(rollouts.sleeper("1")), rollouts.canary(skipAnalysis=True))
        await rollouts.phase("Initialized")
        await rollouts.apply(rollouts.target(rollouts.sleeper("2"), replicas=None))
        await rollouts.phase("Succeeded")
        await eventually(lambda: _told(rollouts, f"Canary analysis was skipped for chat.{rollouts.namespace}"))
    assert await rollouts.version("chat-primary") == "2"


async def _told(rollouts: Rollouts, text: str) -> bool:
    """Events are written beside the rollout, after the status that they are about."""
    return f"Promotion completed! {text}" in await rollouts.events()


async def test_a_primary_that_breaks_in_its_promotion(
    kube: KubeClient, rollouts: Rollouts, edge: ProcessGateway
) -> None:
    """Only the primary fails with the new template: the traffic stays where the new revision works.

    The deadline is short once the canary is up, so that it is the primary's alone.
    """
    broken = rollouts.sleeper("2")
    # Pods of the primary have another label than those of the target, and so another name.
    broken["readinessProbe"] = {
        "exec": {"command": ["/bin/sh", "-c", "case $POD in *-primary-*) exit 1;; esac"]},
        "periodSeconds": 1,
    }
    broken["env"].append({"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}})
    target = rollouts.target(broken, replicas=None)
    async with canary_agent(kube, rollouts.namespace):
        await rollouts.apply(rollouts.target(rollouts.sleeper("1")), rollouts.canary(analysis={"webhooks": [HOLD]}))
        await rollouts.phase("Initialized")
        await rollouts.apply(target)
        await rollouts.phase("WaitingPromotion")
        target["spec"]["progressDeadlineSeconds"] = 3
        await rollouts.apply(target)
        await rollouts.let_go()
        status = await rollouts.phase("Failed")
        assert status["canaryWeight"] == 100
        assert await rollouts.weights() == (0, 100)
        assert await rollouts.replicas("chat") == 1
        await rollouts.apply(rollouts.target(rollouts.sleeper("3"), replicas=None))
        await rollouts.phase("Succeeded")
        assert await rollouts.version("chat-primary") == "3"
        assert await rollouts.weights() == (100, 0)
    texts = await rollouts.events()
    assert any(text.startswith(f"Promotion of chat.{rollouts.namespace} failed, primary not ready:") for text in texts)
