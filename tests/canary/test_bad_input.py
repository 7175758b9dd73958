"""Canaries that cannot work as they are: they say why, leave others alone, and go on once they are mended."""

from typing import Any

from aiohttp import web
from canary_agent import canary_agent, eventually
from canary_cluster import FLAGGER, Rollouts

from agent.adapters.kube.client import KubeClient
from testbed.kube import Object
from testbed.ports import free_port


def plain(rollouts: Rollouts, *, name: str = "chat", target: str = "chat", **analysis: Any) -> Object:
    canary = rollouts.canary(
        name=name,
        target=target,
        analysis={"stepWeight": None, "maxWeight": None, "iterations": 2, **analysis},
    )
    canary["spec"]["provider"] = "kubernetes"
    canary["spec"]["service"] = {"port": 80, "targetPort": 8080}
    return canary


def blocked(status: Object) -> str:
    return next((item["reason"] for item in status.get("conditions", ()) if item["type"] == "Blocked"), "")


async def test_a_missing_target_blocks_its_canary_only(kube: KubeClient, rollouts: Rollouts) -> None:
    other = rollouts.target(rollouts.sleeper("1"), name="other")
    async with canary_agent(kube, rollouts.namespace):
        await rollouts.apply(plain(rollouts), other, plain(rollouts, name="other", target="other"))
        status = await rollouts.until(lambda status: blocked(status) != "")
        assert blocked(status) == "TargetNotFound"
        await rollouts.phase("Initialized", name="other")
        text = f'deployment chat.{rollouts.namespace} get query error: deployments.apps "chat" not found'
        await eventually(lambda: _told(rollouts, text))
        await rollouts.apply(rollouts.target(rollouts.sleeper("1")))
        status = await rollouts.phase("Initialized")
        assert blocked(status) == ""


async def test_a_target_whose_pods_cannot_be_told_apart(kube: KubeClient, rollouts: Rollouts) -> None:
    target = rollouts.target(rollouts.sleeper("1"))
    target["spec"]["selector"] = {"matchLabels": {"tier": "web"}}
    target["spec"]["template"]["metadata"]["labels"] = {"tier": "web"}
    async with canary_agent(kube, rollouts.namespace):
        await rollouts.apply(target, plain(rollouts))
        status = await rollouts.until(lambda status: blocked(status) != "")
        assert blocked(status) == "TargetInvalid"
        await eventually(lambda: _told(rollouts, "getSelectorLabel failed: deployment chat."))


async def test_a_config_that_is_missing(kube: KubeClient, rollouts: Rollouts) -> None:
    container = rollouts.sleeper("1")
    container["envFrom"] = [{"configMapRef": {"name": "settings"}}]
    config = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "settings", "namespace": rollouts.namespace},
        "data": {"a": "b"},
    }
    async with canary_agent(kube, rollouts.namespace):
        await rollouts.apply(rollouts.target(container), plain(rollouts))
        status = await rollouts.until(lambda status: blocked(status) != "")
        assert blocked(status) == "ConfigNotFound"
        await rollouts.apply(config)
        assert blocked(await rollouts.phase("Initialized")) == ""


async def test_two_canaries_for_one_target(kube: KubeClient, rollouts: Rollouts) -> None:
    async with canary_agent(kube, rollouts.namespace):
        await rollouts.apply(rollouts.target(rollouts.sleeper("1")), plain(rollouts))
        await rollouts.phase("Initialized")
        second = plain(rollouts, name="zweite")
        await rollouts.apply(second)
        status = await rollouts.until(lambda status: blocked(status) != "", name="zweite")
        assert blocked(status) == "TargetTaken"
        assert (await rollouts.status())["phase"] == "Initialized"
        await rollouts.admin.delete(FLAGGER, "Canary", rollouts.namespace, "zweite")


async def test_what_is_not_supported_is_refused_by_name(kube: KubeClient, rollouts: Rollouts) -> None:
    istio = plain(rollouts)
    istio["spec"]["provider"] = "linkerd"
    async with canary_agent(kube, rollouts.namespace):
        await rollouts.apply(rollouts.target(rollouts.sleeper("1")), istio)
        status = await rollouts.until(lambda status: blocked(status) != "")
        assert blocked(status) == "ProviderNotSupported"
        await rollouts.apply(plain(rollouts))
        assert blocked(await rollouts.phase("Initialized")) == ""


async def test_a_metric_template_that_is_missing_ends_the_run(kube: KubeClient, rollouts: Rollouts) -> None:
    metric = {"name": "errors", "templateRef": {"name": "errors"}, "thresholdRange": {"max": 1}, "interval": "1m"}
    async with canary_agent(kube, rollouts.namespace):
        await rollouts.apply(rollouts.target(rollouts.sleeper("1")), plain(rollouts, metrics=[metric]))
        await rollouts.phase("Initialized")
        async with rollouts.watched("Canary", FLAGGER, lambda found: blocked(found["status"])) as seen:
            await rollouts.apply(rollouts.target(rollouts.sleeper("2"), replicas=None))
            await rollouts.phase("Failed")
            await eventually(lambda: len(seen) >= 3)
        assert seen == ["", "MetricsUnavailable", ""]
        assert await rollouts.version("chat-primary") == "1"
    expected = f'Metric template errors.{rollouts.namespace} error: metrictemplates.flagger.app "errors" not found'
    assert expected in await rollouts.events()


class FakeAnswers:
    """Not a Prometheus: says over HTTP what a test wants a metrics server to say."""

    def __init__(self) -> None:
        self.result: list[Any] = []
        self.queries: list[str] = []

    async def answer(self, request: web.Request) -> web.Response:
        self.queries.append(request.query["query"])
        result = [{"metric": {}, "value": [0, "1"]}] if request.query["query"] == "vector(1)" else self.result
        return web.json_response({"status": "success", "data": {"resultType": "vector", "result": result}})


async def test_metrics_that_cannot_be_had_are_mended_in_mid_run(kube: KubeClient, rollouts: Rollouts) -> None:
    port, answers = free_port(), FakeAnswers()
    template = {
        "apiVersion": FLAGGER,
        "kind": "MetricTemplate",
        "metadata": {"name": "errors", "namespace": rollouts.namespace},
        "spec": {
            "provider": {"type": "prometheus", "address": f"http://127.0.0.1:{port}"},
            "query": 'errors{ns="{{ namespace }}",\n  app="{{ target }}"}[{{ interval }}] {{ variables.more }}',
        },
    }
    metric = {
        "name": "errors",
        "templateRef": {"name": "errors"},
        "thresholdRange": {"max": 1},
        "templateVariables": {"more": "offset 1m"},
    }
    async with canary_agent(kube, rollouts.namespace):
        await rollouts.apply(
            template, rollouts.target(rollouts.sleeper("1")), plain(rollouts, metrics=[metric], threshold=60)
        )
        await rollouts.phase("Initialized")
        await rollouts.apply(rollouts.target(rollouts.sleeper("2"), replicas=None))
        status = await rollouts.until(lambda status: blocked(status) == "MetricsUnavailable")
        assert status["phase"] == "Progressing"
        app = web.Application()
        app.router.add_get("/api/v1/query", answers.answer)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        try:
            await rollouts.until(lambda status: blocked(status) == "MetricsWithoutData")
            answers.result = [{"metric": {}, "value": [0, "9"]}, {"metric": {}, "value": [0, "0.5"]}]
            status = await rollouts.phase("Succeeded")
            assert blocked(status) == ""
        finally:
            await runner.cleanup()
    assert answers.queries[0] == f'errors{{ns="{rollouts.namespace}", app="chat"}}[1m] offset 1m'
    texts = await rollouts.events()
    assert any(text.startswith("Metric query failed for errors: request failed") for text in texts)
    assert "Halt advancement no values found for custom metric: errors: no values found" in texts


async def test_a_pod_that_never_becomes_ready_is_rolled_back(kube: KubeClient, rollouts: Rollouts) -> None:
    canary = plain(rollouts)
    canary["spec"]["progressDeadlineSeconds"] = 3
    broken = rollouts.sleeper("2")
    broken["readinessProbe"] = {"exec": {"command": ["/bin/false"]}, "periodSeconds": 1}
    async with canary_agent(kube, rollouts.namespace):
        await rollouts.apply(rollouts.target(rollouts.sleeper("1")), canary)
        await rollouts.phase("Initialized")
        await rollouts.apply(rollouts.target(broken, replicas=None))
        await rollouts.phase("Failed")
        await eventually(lambda: _down(rollouts))
        assert await rollouts.version("chat-primary") == "1"
    texts = await rollouts.events()
    assert any(text.startswith("canary deployment chat.") and "not ready: waiting" in text for text in texts)
    assert f"Canary failed! Scaling down chat.{rollouts.namespace}" in texts


async def _told(rollouts: Rollouts, start: str) -> bool:
    return any(text.startswith(start) for text in await rollouts.events())


async def _down(rollouts: Rollouts) -> bool:
    return await rollouts.replicas("chat") == 0
