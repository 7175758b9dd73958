"""Runs that are judged by counts: real pods, real requests, a real Prometheus."""

from datetime import datetime
from pathlib import Path

import aiohttp
from canary_agent import canary_agent, eventually
from canary_cluster import NAME, Rollouts, busy
from cli_agent import Person, agent_behind_service

from agent.adapters.kube.client import KubeClient
from testbed.controlplane import ControlPlane
from testbed.gateway import ProcessGateway
from testbed.kube import Object
from testbed.prometheus import Prometheus

LONG = 150
"""Seconds in which clients have asked often enough, however slow the machine is."""
ONE_STEP = {"interval": "1s", "threshold": 1, "stepWeight": 50, "maxWeight": 50}


def judged(rollouts: Rollouts, judge: str = "guarded", **settings: str) -> Object:
    """A Canary with one step, whose annotations make everything quick."""
    chosen = {"judge": judge, "warm-up": "1s", "min-requests": "100", **settings}
    annotations = {f"weir.dev/{name.replace('_', '-')}": value for name, value in chosen.items()}
    return rollouts.canary(annotations=annotations, analysis=ONE_STEP)


async def begin(rollouts: Rollouts, canary: Object, first: str, second: str) -> None:
    """The first model serves, then the second is rolled out."""
    await rollouts.apply(rollouts.target(rollouts.server(first)), canary)
    await rollouts.phase("Initialized")
    await rollouts.apply(rollouts.target(rollouts.server(second), replicas=None))
    await rollouts.phase("Progressing")


async def blocked(rollouts: Rollouts) -> str:
    """Why the Canary does not go on."""
    conditions = (await rollouts.status()).get("conditions", [])
    return next((item["reason"] for item in conditions if item["type"] == "Blocked"), "")


async def test_a_bad_canary_is_caught_with_a_handful_of_errors(
    control_plane: ControlPlane, rollouts: Rollouts, edge: ProcessGateway, prometheus: Prometheus, tmp_path: Path
) -> None:
    canary = judged(rollouts, min_requests="1000000")
    behind = agent_behind_service(
        control_plane, rollouts.admin, rollouts.namespace, tmp_path / "agent", metrics_server=prometheus.url
    )
    async with behind as api:
        await begin(rollouts, canary, rollouts.model("v1"), rollouts.model("v2", error_rate=0.1))
        async with busy(edge, rollouts.host):
            status = await rollouts.phase("Failed", "Succeeded", within=LONG)
        assert status["phase"] == "Failed"
        assert await rollouts.weights() == (100, 0)
        judge = status["judge"]
        rate = judge["findings"][0]
        assert (judge["mode"], judge["pack"], judge["verdict"], judge["step"]) == ("guarded", "http", "fail", 1)
        assert (rate["metric"], rate["conclusion"], rate["bound"]) == ("request-success-rate", "fail", 0.01)
        assert 50 <= rate["samples"] < 1000000, "harm does not wait for the minimum"
        assert 0.05 < rate["estimate"] < 0.2
        assert rate["pValue"] < rate["alpha"] == 0.025
        assert 'status=~"5.*"' in rate["query"]
        assert rate["since"] == judge["since"]
        # both in whole seconds: where clients are quick, a fraction of one is enough
        assert datetime.fromisoformat(rate["since"]) <= datetime.fromisoformat(rate["until"])
        await explained_everywhere(Person(control_plane.kubeconfig, rollouts.namespace), api, judge)
        await eventually(lambda: _told(rollouts, f"Canary failed! Scaling down chat.{rollouts.namespace}"))
    texts = await rollouts.events()
    told = [text for text in texts if text.startswith(f"Rolling back chat.{rollouts.namespace} judged worse:")]
    assert len(told) == 1
    assert "request-success-rate" in told[0]
    assert "requests to one pod are bad, 1.00% may be" in told[0]
    assert not any("failed checks threshold reached" in text for text in texts)
    event = await _event(rollouts, told[0])
    assert event["metadata"]["annotations"]["weir.dev/verdict"] == "fail"
    assert '"metric":"request-success-rate"' in event["metadata"]["annotations"]["weir.dev/findings"]


async def explained_everywhere(operator: Person, api: str, judge: Object) -> None:
    """The verdict of a run that is over: the API and the command give the numbers, the query and the window of the
    status, and people read them."""
    name = f"{operator.namespace}/{NAME}"

    async def told(collection: str) -> Object:
        wanted = {"namespace": operator.namespace, "name": NAME}
        async with aiohttp.ClientSession() as http, http.get(f"{api}/api/v1/{collection}", params=wanted) as answer:
            items = (await answer.json())["items"]
        return dict(items[0]) if items else {}

    numbers = {"samples", "estimate", "lower", "upper", "bound", "pValue", "alpha", "look", "query", "since", "until"}
    assert judge["findings"][0].keys() >= numbers
    await eventually(lambda: told("runs"))
    explained = (await operator.rollout("explain", name, "-o", "json")).json
    for view in (await told("rollouts"), await told("runs"), explained):
        assert (view["phase"], view["judge"], view["verdict"], view["step"]) == ("Failed", "guarded", "fail", 1)
        for known, shown in zip(judge["findings"], view["findings"], strict=True):
            assert shown.items() >= known.items()
    drawn = (await operator.rollout("explain", name)).out
    rate = judge["findings"][0]
    assert "Last verdict of the guarded judge, at step 1: fail" in drawn
    assert " ".join(rate["query"].split()) in drawn
    assert f"in truth between {rate['lower']:.2%} and {rate['upper']:.2%}" in drawn
    assert f"counted from {datetime.fromisoformat(rate['since']):%Y-%m-%d %H:%M:%S} to " in drawn


async def test_one_unlucky_error_rolls_nothing_back(
    kube: KubeClient, rollouts: Rollouts, edge: ProcessGateway, prometheus: Prometheus
) -> None:
    # every 56th fails, so that there is one in any hundred
    canary = judged(rollouts, max_error_rate="4")
    async with canary_agent(kube, rollouts.namespace, metrics_server=prometheus.url):
        await begin(rollouts, canary, rollouts.model("v1"), rollouts.model("v2", error_rate=0.018))
        async with busy(edge, rollouts.host):
            status = await rollouts.phase("Failed", "Succeeded", within=LONG)
    assert status["phase"] == "Succeeded"
    rate = status["judge"]["findings"][0]
    assert (status["judge"]["verdict"], rate["conclusion"]) == ("pass", "pass")
    assert 0 < rate["estimate"] <= 0.04, "there was an error"
    assert rate["samples"] >= 100


async def test_silence_holds_until_clients_come(
    kube: KubeClient, rollouts: Rollouts, edge: ProcessGateway, prometheus: Prometheus
) -> None:
    canary = judged(rollouts, max_step_duration="5s", min_requests="40")
    async with canary_agent(kube, rollouts.namespace, metrics_server=prometheus.url) as agent:
        await begin(rollouts, canary, rollouts.model("v1"), rollouts.model("v2"))
        await eventually(lambda: _blocked_by(rollouts, "TooFewRequests"))
        held = await rollouts.phase("Waiting", "Failed")
        assert held["phase"] == "Waiting"
        assert (held["failedChecks"], held["canaryWeight"], held["judge"]["held"]) == (0, 50, True)
        passes = len(agent.passes)
        await eventually(lambda: len(agent.passes) > passes + 2)
        assert await rollouts.weights() == (50, 50)
        async with busy(edge, rollouts.host):
            status = await rollouts.phase("Failed", "Succeeded", within=LONG)
    assert status["phase"] == "Succeeded"
    assert await blocked(rollouts) == ""
    texts = await rollouts.events()
    waiting = [text for text in texts if text.startswith(f"Hold chat.{rollouts.namespace} inconclusive after 5s,")]
    holding = [text for text in texts if text.startswith(f"Hold chat.{rollouts.namespace} advancement ")]
    assert len(waiting) == 1
    assert len(holding) <= 3, "once for each reason"
    assert sum("no requests are counted" in text for text in holding) == 1
    assert not any(text.startswith("Halt ") for text in texts)
    assert len([text for text in texts if text.startswith("New revision detected!")]) == 1


async def test_two_versions_that_are_equally_bad(
    kube: KubeClient, rollouts: Rollouts, edge: ProcessGateway, prometheus: Prometheus
) -> None:
    canary = judged(rollouts, "comparative", error_rate_margin="15")
    # slow enough for both to be in the middle of a bucket, whatever the machine adds to it
    bad = {"error_rate": 0.2, "latency_ms": 110}
    async with canary_agent(kube, rollouts.namespace, metrics_server=prometheus.url):
        await begin(rollouts, canary, rollouts.model("v1", **bad), rollouts.model("v2", **bad))
        async with busy(edge, rollouts.host, clients=12):
            status = await rollouts.phase("Failed", "Succeeded", within=LONG)
    assert status["phase"] == "Succeeded"
    rate = status["judge"]["findings"][0]
    assert rate["reason"] == "not worse than the primary"
    assert 0.1 < rate["estimate"] < 0.3
    assert 0.1 < rate["baselineEstimate"] < 0.3
    assert rate["upper"] < rate["bound"] == 0.15


async def test_an_agent_that_is_killed_in_a_step_goes_on_with_it(
    kube: KubeClient, rollouts: Rollouts, edge: ProcessGateway, prometheus: Prometheus
) -> None:
    # more requests than there will be, so that the step is not over before the agent is
    canary = judged(rollouts, min_requests="1000000")
    async with canary_agent(kube, rollouts.namespace, metrics_server=prometheus.url, drain=False):
        await begin(rollouts, canary, rollouts.model("v1"), rollouts.model("v2"))
        async with busy(edge, rollouts.host):
            await rollouts.until(lambda status: status.get("judge", {}).get("looks", 0) >= 1, within=LONG)
    before = await rollouts.status()
    assert before["phase"] == "Progressing"
    unchanged = {name: before["judge"][name] for name in ("mode", "pack", "step", "started", "since")}
    await rollouts.apply(judged(rollouts, "compatibility", min_requests="1000000"))
    async with canary_agent(kube, rollouts.namespace, metrics_server=prometheus.url), busy(edge, rollouts.host):
        later = await rollouts.until(lambda status: status["judge"]["looks"] > before["judge"]["looks"], within=LONG)
        assert {name: later["judge"][name] for name in unchanged} == unchanged, "the judge of a run does not change"
        assert later["judge"]["samples"] > before["judge"]["samples"]
        await rollouts.apply(judged(rollouts, "compatibility"))
        status = await rollouts.phase("Failed", "Succeeded", within=LONG)
    assert status["phase"] == "Succeeded"
    assert status["judge"]["step"] == 1


async def test_a_change_of_the_model_is_guarded_whoever_applied_it(
    kube: KubeClient, rollouts: Rollouts, edge: ProcessGateway
) -> None:
    async with canary_agent(kube, rollouts.namespace):
        await rollouts.apply(rollouts.target(rollouts.server(rollouts.model("v1"))), rollouts.canary(annotations={}))
        await rollouts.phase("Initialized")
    await rollouts.apply(rollouts.target(rollouts.server(rollouts.model("v2")), replicas=None))
    async with canary_agent(kube, rollouts.namespace):  # that was not there when the change was made
        status = await rollouts.phase("Progressing", "Succeeded")
    assert status["judge"]["mode"] == "guarded"


async def test_other_changes_are_judged_as_flagger_does(
    kube: KubeClient, rollouts: Rollouts, edge: ProcessGateway
) -> None:
    server = rollouts.server(rollouts.model("v1"))
    async with canary_agent(kube, rollouts.namespace):
        await rollouts.apply(rollouts.target(server), rollouts.canary(annotations={}))
        await rollouts.phase("Initialized")
        await rollouts.apply(rollouts.target({**server, "env": [{"name": "LOG", "value": "debug"}]}, replicas=None))
        status = await rollouts.phase("Succeeded")
    assert "judge" not in status


async def test_an_annotation_that_cannot_be_read_is_told(
    kube: KubeClient, rollouts: Rollouts, edge: ProcessGateway
) -> None:
    await rollouts.apply(rollouts.target(rollouts.server(rollouts.model("v1"))), judged(rollouts, "harsh"))
    async with canary_agent(kube, rollouts.namespace):
        await eventually(lambda: _blocked_by(rollouts, "AnnotationInvalid"))
        text = (
            f"canary chat.{rollouts.namespace}: annotation weir.dev/judge is 'harsh': "
            "use compatibility, guarded, comparative"
        )
        await eventually(lambda: _told(rollouts, text))
        await rollouts.apply(judged(rollouts, "guarded"))
        await rollouts.phase("Initialized")
    assert await blocked(rollouts) == ""


async def _blocked_by(rollouts: Rollouts, reason: str) -> bool:
    return await blocked(rollouts) == reason


async def _told(rollouts: Rollouts, text: str) -> bool:
    return text in await rollouts.events()


async def _event(rollouts: Rollouts, text: str) -> Object:
    found = await rollouts.admin.list("v1", "Event", rollouts.namespace)
    return next(item for item in found if item["message"] == text)
