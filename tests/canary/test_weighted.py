"""Rollouts behind a gateway, with real pods, real clients and a real Prometheus."""

from datetime import UTC, datetime
from functools import partial

from canary_agent import CanaryAgent, canary_agent, eventually
from canary_cluster import GATEWAY_API, HOLD, NAME, SUCCESS, Rollouts, traffic

from agent.adapters.kube.client import KubeClient
from agent.core.rollout.view import NamedChange, NoChanges
from testbed.gateway import ProcessGateway
from testbed.kube import Object
from testbed.prometheus import Prometheus


class KnownChanges(NoChanges):
    """What another part of the agent found out about the target."""

    def __init__(self) -> None:
        self.found: list[NamedChange] = []

    def add(self, text: str) -> None:
        self.found.insert(0, NamedChange(text, datetime.now(UTC)))

    def for_target(self, kind: str, namespace: str, name: str) -> list[NamedChange]:
        assert (kind, name) == ("Deployment", NAME)
        assert namespace
        return self.found


async def test_from_the_first_model_to_a_rejected_one_and_back(
    kube: KubeClient, rollouts: Rollouts, edge: ProcessGateway, prometheus: Prometheus
) -> None:
    one, two, bad = rollouts.model("v1"), rollouts.model("v2"), rollouts.model("v3", error_rate=0.5)
    good_target, bad_target = rollouts.target(rollouts.server(two)), rollouts.target(rollouts.server(bad))
    changes = KnownChanges()
    # A series has to be scraped twice before it has a rate, which takes its time on a busy machine: until it is known
    # that the bad model was judged by one, no threshold is in reach.
    metrics = {"metrics": [SUCCESS], "interval": "2s"}
    canary = rollouts.canary(analysis={**metrics, "threshold": 100})
    # Without replicas, as rollout-owned fields reach the API server from the applier.
    good_target["spec"].pop("replicas")
    bad_target["spec"].pop("replicas")
    async with canary_agent(kube, rollouts.namespace, metrics_server=prometheus.url, changes=changes) as agent:
        await rollouts.apply(rollouts.target(rollouts.server(one)), canary)
        await rollouts.phase("Initialized")
        assert await rollouts.args("chat-primary") == ["--model", one]
        await eventually(lambda: _all_zero(rollouts))
        async with traffic(edge, rollouts.host) as clients:
            await eventually(lambda: clients.versions["v1"] > 20)
            changes.add(f"model container[server].model of Deployment chat: {one} -> {two}")
            await rollouts.apply(good_target)
            named = (f"model container[server].model of Deployment chat: {one} -> {two}",)
            await eventually(lambda: _changes(agent, rollouts) == named)
            await rollouts.phase("Succeeded", within=120)
            assert await rollouts.args("chat-primary") == ["--model", two]
            assert await rollouts.weights() == (100, 0)
            await eventually(lambda: clients.versions["v2"] > 0)

            changes.add(f"model container[server].model of Deployment chat: {two} -> {bad}")
            await rollouts.apply(bad_target)
            await eventually(lambda: _is_bad(rollouts), within=120)
            await rollouts.apply(rollouts.canary(analysis={**metrics, "threshold": 2}))
            await rollouts.phase("Failed")
            assert await rollouts.args("chat-primary") == ["--model", two]
            assert await rollouts.weights() == (100, 0)
            assert await rollouts.replicas("chat") == 0
            rejected = await rollouts.status()

            unrelated = {**bad_target, "metadata": {**bad_target["metadata"], "annotations": {"team": "search"}}}
            await rollouts.apply(unrelated)
            before = len([item for item in agent.passes if item.outcome == "requeue"])
            await eventually(lambda: len([item for item in agent.passes if item.outcome == "requeue"]) > before + 3)
            assert await rollouts.still(rejected)
            assert await rollouts.replicas("chat") == 0

            await rollouts.apply(good_target)
            await rollouts.phase("Succeeded")
            assert await rollouts.replicas("chat") == 0
    texts = await rollouts.events()
    assert f"Advance chat.{rollouts.namespace} canary weight 30" in texts
    assert any(text.startswith(f"Analysing model container[server].model of Deployment chat: {one}") for text in texts)
    assert any(
        text.startswith(f"Rolling back chat.{rollouts.namespace} failed checks threshold reached") for text in texts
    )
    assert texts[-1].startswith("Target chat.")
    finished = agent.rollouts.history(rollouts.namespace, NAME)
    assert [run.phase.value for run in finished] == ["Failed", "Succeeded"]
    measured = [item for item in finished[0].judgements if item.value is not None]
    assert measured[-1].query.startswith("sum(rate(http_request_duration_seconds_count{")
    exported = agent.exported()
    assert (
        'flagger_canary_successes_total{analysis_status="completed",deployment_strategy="canary",name="chat",'
        in exported
    )
    assert (
        'flagger_canary_failures_total{analysis_status="completed",deployment_strategy="canary",name="chat",'
        in exported
    )


def _changes(agent: CanaryAgent, rollouts: Rollouts) -> tuple[str, ...]:
    """What is being judged, which the agent tells of once the pass is over that wrote the status."""
    view = agent.rollouts.get(rollouts.namespace, NAME)
    return view.changes if view is not None else ()


async def _is_bad(rollouts: Rollouts) -> bool:
    texts = await rollouts.events()
    return any("advancement success rate" in text and text.endswith("% < 95%") for text in texts)


async def _all_zero(rollouts: Rollouts) -> bool:
    return await rollouts.replicas("chat") == 0


async def test_a_restart_in_mid_run_goes_on_where_the_traffic_is(
    kube: KubeClient, rollouts: Rollouts, edge: ProcessGateway, prometheus: Prometheus
) -> None:
    one, two = rollouts.model("v1"), rollouts.model("v2")
    # No threshold that a slow start could reach: a series without a rate is a failed check.
    canary = rollouts.canary(analysis={"stepWeight": 20, "metrics": [SUCCESS], "interval": "3s", "threshold": 100})
    async with canary_agent(kube, rollouts.namespace, metrics_server=prometheus.url):
        await rollouts.apply(rollouts.target(rollouts.server(one)), canary)
        await rollouts.phase("Initialized")
    async with traffic(edge, rollouts.host):
        target = rollouts.target(rollouts.server(two), replicas=None)
        async with rollouts.watched("HTTPRoute", GATEWAY_API, _share) as shares:
            await rollouts.apply(target)
            while shares[-1] or len(shares) == 1:
                moved = partial(_is_longer, shares, len(shares))
                async with canary_agent(kube, rollouts.namespace, metrics_server=prometheus.url, drain=False):
                    await eventually(moved)
            async with canary_agent(kube, rollouts.namespace, metrics_server=prometheus.url):
                await rollouts.phase("Succeeded")
        assert shares == [0, 20, 40, 60, 0]
    assert await rollouts.args("chat-primary") == ["--model", two]
    texts = await rollouts.events()
    assert len([text for text in texts if text.startswith("New revision detected!")]) == 1


def _is_longer(shares: list[int], than: int) -> bool:
    return len(shares) > than


def _share(route: Object) -> int:
    """The canary's share of the traffic."""
    return next(
        int(ref["weight"]) for ref in route["spec"]["rules"][0]["backendRefs"] if ref["name"] == f"{NAME}-canary"
    )


async def test_a_route_keeps_its_weight_and_the_rules_of_others(
    kube: KubeClient, rollouts: Rollouts, edge: ProcessGateway
) -> None:
    canary = rollouts.canary(analysis={"webhooks": [HOLD]})
    async with canary_agent(kube, rollouts.namespace):
        await rollouts.apply(rollouts.target(rollouts.sleeper("1")), canary)
        await rollouts.phase("Initialized")
        route = await rollouts.get("HTTPRoute", NAME, GATEWAY_API)
        assert route is not None
        foreign = {
            "matches": [{"path": {"type": "PathPrefix", "value": "/docs"}}],
            "backendRefs": [{"group": "", "kind": "Service", "name": "docs", "port": 80, "weight": 1}],
        }
        await rollouts.admin.patch(
            GATEWAY_API,
            "HTTPRoute",
            rollouts.namespace,
            NAME,
            {"spec": {"rules": [*route["spec"]["rules"], foreign]}},
        )
        await rollouts.apply(rollouts.target(rollouts.sleeper("2"), replicas=None))
        await rollouts.phase("WaitingPromotion")
        canary["spec"]["service"]["hosts"].append("more.example.com")
        await rollouts.apply(canary)
        await eventually(lambda: _has_host(rollouts, "more.example.com"))
        assert await rollouts.weights() == (40, 60)
    route = await rollouts.get("HTTPRoute", NAME, GATEWAY_API)
    assert route is not None
    assert route["spec"]["rules"][-1] == foreign


async def _has_host(rollouts: Rollouts, host: str) -> bool:
    route = await rollouts.get("HTTPRoute", NAME, GATEWAY_API)
    return route is not None and host in route["spec"]["hostnames"]
