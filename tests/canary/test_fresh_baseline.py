"""A canary that is compared with a fresh copy of the primary: real pods, real requests, a real Prometheus."""

from canary_agent import canary_agent, eventually
from canary_cluster import GATEWAY_API, NAME, Rollouts, busy

from agent.adapters.kube.client import KubeClient
from testbed.gateway import ProcessGateway
from testbed.kube import Object
from testbed.prometheus import Prometheus

BASELINE = f"{NAME}-baseline"


def compared(rollouts: Rollouts, **settings: str) -> Object:
    """A Canary with one step, whose annotations make everything quick."""
    chosen = {"judge": "comparative", "baseline": "fresh", "warm-up": "1s", "min-requests": "100", **settings}
    annotations = {f"weir.dev/{name}": value for name, value in chosen.items()}
    analysis = {"interval": "1s", "threshold": 1, "stepWeight": 40, "maxWeight": 40}
    return rollouts.canary(annotations=annotations, analysis=analysis)


async def shares(rollouts: Rollouts) -> dict[str, int]:
    """Weights of the route by Service."""
    route = await rollouts.get("HTTPRoute", NAME, GATEWAY_API)
    return {ref["name"]: ref["weight"] for ref in (route or {})["spec"]["rules"][0]["backendRefs"]}


async def is_gone(rollouts: Rollouts) -> bool:
    left = [await rollouts.get("Deployment", BASELINE), await rollouts.get("Service", BASELINE, "v1")]
    return not any(left) and BASELINE not in await shares(rollouts)


async def begin(rollouts: Rollouts, canary: Object, first: str, second: str) -> None:
    await rollouts.apply(rollouts.target(rollouts.server(first)), canary)
    await rollouts.phase("Initialized")
    await rollouts.apply(rollouts.target(rollouts.server(second), replicas=None))
    await rollouts.phase("Progressing")


async def test_the_copy_answers_beside_the_canary_and_goes_with_the_run(
    kube: KubeClient, rollouts: Rollouts, edge: ProcessGateway, prometheus: Prometheus
) -> None:
    # slow enough for both to be in the middle of a bucket, whatever the machine adds to it
    one, two = rollouts.model("v1", latency_ms=110), rollouts.model("v2", latency_ms=110)
    hold = {**compared(rollouts, **{"min-requests": "100000"})}
    async with canary_agent(kube, rollouts.namespace, metrics_server=prometheus.url):
        await begin(rollouts, hold, one, two)
        await rollouts.until(lambda status: status.get("canaryWeight") == 40)
        copy = await rollouts.get("Deployment", BASELINE)
        assert copy is not None
        assert copy["spec"]["template"]["spec"]["containers"][0]["args"] == ["--model", one]
        assert await shares(rollouts) == {"chat-primary": 20, "chat-canary": 40, BASELINE: 40}
        assert await rollouts.weights() == (20, 40)
        async with busy(edge, rollouts.host, clients=12):
            found = await rollouts.until(lambda status: bool(_counted(status)))
            (rate,) = _counted(found)
            assert rate["baselineSamples"] > 0
            assert f"{BASELINE}-" in rate["query"], "and not the primary, which has answered for longer"
            await rollouts.apply(compared(rollouts))
            status = await rollouts.phase("Succeeded", "Failed", within=150)
        assert status["phase"] == "Succeeded"
        assert status["judge"]["fresh"]
        await eventually(lambda: is_gone(rollouts))
        assert await rollouts.weights() == (100, 0)


async def test_an_agent_that_is_killed_leaves_nothing_behind(
    kube: KubeClient, rollouts: Rollouts, edge: ProcessGateway
) -> None:
    one, two = rollouts.model("v1"), rollouts.model("v2")
    async with canary_agent(kube, rollouts.namespace, drain=False):
        await begin(rollouts, compared(rollouts), one, two)
        await rollouts.until(lambda status: status.get("canaryWeight") == 40)
    assert await rollouts.get("Deployment", BASELINE) is not None
    # while nobody looks, Git goes back, and nobody asks for a fresh copy any more
    plain = rollouts.canary(annotations={"weir.dev/judge": "guarded"})
    await rollouts.apply(plain, rollouts.target(rollouts.server(one), replicas=None))
    async with canary_agent(kube, rollouts.namespace):
        await rollouts.phase("Succeeded")
        await eventually(lambda: is_gone(rollouts))
    assert await rollouts.weights() == (100, 0)


def _counted(status: Object) -> list[Object]:
    findings = status.get("judge", {}).get("findings", [])
    return [found for found in findings if found["metric"] == "request-success-rate" and found.get("baselineSamples")]
