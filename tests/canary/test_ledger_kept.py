"""The ledger and the finished runs on a real Canary, and the short way back to a model that has served before."""

import json

from canary_agent import canary_agent
from canary_cluster import FLAGGER, NAME, Rollouts

from agent.adapters.kube.client import KubeClient
from testbed.kube import Object

RUNS = "weir.dev/runs"
ONE, TWO = "hf://acme/chat@" + "1" * 40, "hf://acme/chat@" + "2" * 40


def target(rollouts: Rollouts, model: str) -> Object:
    found = rollouts.target({"name": "server", "image": "sleeper:1.0", "args": [f"--model={model}"]})
    found["spec"].pop("replicas")
    return found


async def roll_out(rollouts: Rollouts, model: str) -> None:
    """Apply another model and wait until it is the one that was promoted."""
    before = (await rollouts.status())["lastPromotedSpec"]
    await rollouts.apply(target(rollouts, model))
    await rollouts.until(lambda now: now["phase"] == "Succeeded" and now["lastPromotedSpec"] != before)


async def test_a_model_that_has_served_before_comes_back_in_one_step(kube: KubeClient, rollouts: Rollouts) -> None:
    canary = rollouts.canary(analysis={"stepWeight": None, "maxWeight": None, "iterations": 3})
    canary["spec"] |= {"provider": "kubernetes", "service": {"port": 80, "targetPort": 8080}}
    canary["metadata"]["annotations"] = {"weir.dev/revert": "fast"}
    async with canary_agent(kube, rollouts.namespace):
        await rollouts.apply(rollouts.target({"name": "server", "image": "sleeper:1.0", "args": [f"--model={ONE}"]}))
        await rollouts.apply(canary)
        await rollouts.phase("Initialized")
        for model in (TWO, ONE):
            await roll_out(rollouts, model)
    found = await rollouts.get("Canary", NAME, FLAGGER)
    assert found is not None
    ledger = json.loads(found["metadata"]["annotations"]["weir.dev/ledger"])
    assert [(one["role"], one["models"][0]["spelling"], one.get("outcome")) for one in ledger] == [
        ("primary", ONE, "replaced"),
        ("canary", TWO, "promoted"),
        ("primary", TWO, "replaced"),
        ("canary", ONE, "promoted"),
        ("primary", ONE, None),
    ]
    texts = await rollouts.events()
    promoted = runs_of(found)
    assert [(run["phase"], run["applied"]) for run in promoted] == [
        ("Succeeded", one["revision"]) for one in ledger if one["role"] == "canary"
    ]
    assert promoted[-1]["changes"][0].startswith("what has served before")
    await an_end_that_nobody_kept(kube, rollouts, promoted[-1])
    steps = [text.rpartition(" ")[2] for text in texts if "canary iteration" in text]
    assert steps == ["1/3", "2/3", "3/3", "1/1"]
    assert any(text.startswith("Analysing what has served before, until ") for text in texts)


async def an_end_that_nobody_kept(kube: KubeClient, rollouts: Rollouts, last: Object) -> None:
    """As after a process that died with the status that ended the run: the next one finds what that and the ledger say.

    It ends at a whole second then.
    """
    gone = {"metadata": {"annotations": {RUNS: None}}}
    await rollouts.admin.patch(FLAGGER, "Canary", rollouts.namespace, NAME, gone)
    async with canary_agent(kube, rollouts.namespace):
        found = await rollouts.admin.wait_for(
            FLAGGER, "Canary", rollouts.namespace, NAME, lambda canary: RUNS in str(canary)
        )
    (run,) = runs_of(found)
    assert (run["phase"], run["applied"], run["message"]) == (last["phase"], last["applied"], last["message"])
    assert run["started"][:19] <= last["started"][:19] < run["finished"][:19] <= last["finished"][:19]


def runs_of(canary: Object | None) -> list[Object]:
    """The finished runs on the Canary."""
    assert canary is not None
    return list(json.loads(canary["metadata"]["annotations"][RUNS]))
