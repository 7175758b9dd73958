"""A fresh copy of the primary that nobody asks for any more is taken away, whatever its Canary is told meanwhile."""

from canary_agent import canary_agent, eventually
from canary_cluster import FLAGGER, GATEWAY_API, NAME, Rollouts

from agent.adapters.kube.client import KubeClient
from testbed.gateway import ProcessGateway
from testbed.kube import Object
from testbed.prometheus import Prometheus

BASELINE = f"{NAME}-baseline"


def compared(rollouts: Rollouts, *, interval: str = "1s", baseline: bool = True, suspend: bool = False) -> Object:
    """A Canary that holds its only step, for requests that never come."""
    chosen = {"judge": "comparative", "warm-up": "1s", "min-requests": "100000"}
    annotations = {f"weir.dev/{name}": value for name, value in chosen.items()}
    if baseline:
        annotations["weir.dev/baseline"] = "fresh"
    analysis = {"interval": interval, "threshold": 1, "stepWeight": 40, "maxWeight": 40}
    return rollouts.canary(annotations=annotations, analysis=analysis, suspend=suspend)


async def held(rollouts: Rollouts) -> None:
    """Version 2 is compared with a copy of version 1, and stays so."""
    await rollouts.apply(rollouts.target(rollouts.server(rollouts.model("v1"))), compared(rollouts))
    await rollouts.phase("Initialized")
    await rollouts.apply(rollouts.target(rollouts.server(rollouts.model("v2")), replicas=None))
    await rollouts.until(lambda status: status.get("canaryWeight") == 40)
    assert await rollouts.get("Deployment", BASELINE) is not None


async def is_gone(rollouts: Rollouts) -> bool:
    route = await rollouts.get("HTTPRoute", NAME, GATEWAY_API)
    names = {ref["name"] for ref in (route or {})["spec"]["rules"][0]["backendRefs"]}
    left = [await rollouts.get("Deployment", BASELINE), await rollouts.get("Service", BASELINE, "v1")]
    return not any(left) and BASELINE not in names


async def test_a_commit_in_mid_run_that_no_longer_asks_for_it(
    kube: KubeClient, rollouts: Rollouts, edge: ProcessGateway, prometheus: Prometheus
) -> None:
    async with canary_agent(kube, rollouts.namespace, metrics_server=prometheus.url):
        await held(rollouts)
        await rollouts.apply(
            compared(rollouts, baseline=False), rollouts.target(rollouts.server(rollouts.model("v3")), replicas=None)
        )
        await eventually(lambda: is_gone(rollouts))
        status = await rollouts.until(lambda status: status.get("canaryWeight") == 40 and not _fresh(status))
        assert status["phase"] == "Progressing"


async def test_a_canary_that_is_suspended_after_a_rollback(
    kube: KubeClient, rollouts: Rollouts, edge: ProcessGateway, prometheus: Prometheus
) -> None:
    async with canary_agent(kube, rollouts.namespace, metrics_server=prometheus.url):
        await held(rollouts)
        await rollouts.apply(compared(rollouts, interval="8s"))
        abort = {"metadata": {"annotations": {"weir.dev/command": "abort by=jane"}}}
        await rollouts.admin.patch(FLAGGER, "Canary", rollouts.namespace, NAME, abort)
        await rollouts.phase("Failed")
        await rollouts.apply(compared(rollouts, interval="8s", suspend=True))
        await eventually(lambda: is_gone(rollouts))
        assert await rollouts.weights() == (100, 0)


def _fresh(status: Object) -> bool:
    return bool(status.get("judge", {}).get("fresh"))
