"""A new LoRA adapter of an LLMInferenceService is tried in the pods that serve: names are split, no pod is added.

KServe's controller, the model servers and the endpoint picker are played: the servers load and unload as vLLM does, the
picker sends requests where the rewrite says and counts as llm-d's does. API server, agent and Prometheus are real.
"""

import json
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from canary_agent import canary_agent, eventually
from canary_cluster import CRDS, FLAGGER, Rollouts, watched
from canary_gitops import Judge, whole_agent
from canary_lives import live_and_die
from kserve_world import NAME, KServeStory, kserve_story

from agent.adapters.kube.client import KubeClient
from agent.adapters.kube.errors import Forbidden
from agent.adapters.loraservers import LoraError, LoraServers
from agent.adapters.traffic.kserve import KServeRouter
from agent.adapters.traffic.lorapool import LoraPool
from agent.api.canary import Canary
from agent.core.rollout.actions import Weights
from agent.core.rollout.affinity import NO_COOKIES
from agent.core.rollout.kserve.content import TRIAL, WANTED, content_of
from agent.core.rollout.kserve.serving import Withdraw
from agent.core.rollout.kserve.split import REWRITE_APIS, Pool, Split, rewriting
from testbed.controlplane import ControlPlane
from testbed.git import GitRepository
from testbed.kserve import CRDS as KSERVE_CRDS
from testbed.kserve import StatusWriter
from testbed.kserve.status import LLM_SERVICES
from testbed.kube import Admin, Object
from testbed.lora import LoraServer, lora_server
from testbed.ports import free_port
from testbed.prometheus import Prometheus, Target

CANARIES = (FLAGGER, "Canary")
REWRITES = ("llm-d.ai/v1alpha2", "InferenceModelRewrite")
REWRITE = f"{NAME}-canary"
QUICK = {"weir.dev/warm-up": "1s", "weir.dev/min-requests": "100"}
LOADS = {"name": "VLLM_ALLOW_RUNTIME_LORA_UPDATING", "value": "True"}
EACH = 40
"""Requests for the adapter between two scrapes."""


@dataclass
class Pods:
    """Two pods of the service, each with a server that was started with the first version of the adapter."""

    admin: Admin
    namespace: str
    servers: tuple[LoraServer, ...]

    async def start(self, suffix: str = "a", *, env: Object = LOADS) -> None:
        """Play Deployment and kubelet."""
        for number, server in enumerate(self.servers):
            name = f"{NAME}-kserve-5d9c4f7b8{number}-x1y2{suffix}"
            labels = {"app.kubernetes.io/name": NAME}
            ports = [{"containerPort": server.port}]
            spec = {"containers": [{"name": "main", "image": "vllm", "env": [env], "ports": ports}]}
            metadata = {"name": name, "namespace": self.namespace, "labels": labels}
            spec["nodeSelector"] = {"no-such": "node"}
            await self.admin.create({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
            ready = [{"type": kind, "status": "True"} for kind in ("Ready", "ContainersReady")]
            status = {"phase": "Running", "podIP": "127.0.0.1", "conditions": ready}
            await self.admin.patch("v1", "Pod", self.namespace, name, {"status": status}, subresource="status")

    async def falter(self) -> None:
        """The first is not ready any more, while its server runs."""
        pod, *_ = await self.admin.list("v1", "Pod", self.namespace, f"app.kubernetes.io/name={NAME}")
        ready = {"type": "Ready", "status": "False", "lastTransitionTime": "2026-11-30T12:00:01Z"}
        main = {"name": "main", "image": "vllm", "imageID": "x", "ready": False, "restartCount": 0}
        main["state"] = {"running": {"startedAt": "2026-11-30T12:00:00Z"}}
        status = {"conditions": [ready], "containerStatuses": [main]}
        name = pod["metadata"]["name"]
        await self.admin.patch("v1", "Pod", self.namespace, name, {"status": status}, subresource="status")

    async def stop(self) -> None:
        for pod in await self.admin.list("v1", "Pod", self.namespace, f"app.kubernetes.io/name={NAME}"):
            name = pod["metadata"]["name"]
            await self.admin.delete("v1", "Pod", self.namespace, name)

    def serve(self, *names: str) -> bool:
        """Whether the servers serve the public name, and nothing else but adapters of these names."""
        return all({name.removeprefix(f"publishers/{self.namespace}/models/") for name in server.adapters} == {*names}
                   for server in self.servers)  # fmt: skip

    def come_from(self, path: str) -> bool:
        return all(server.adapters["sql"] == path for server in self.servers)


@asynccontextmanager
async def pods_of(admin: Admin, namespace: str) -> AsyncIterator[Pods]:
    async with AsyncExitStack() as stack:
        servers = [await stack.enter_async_context(lora_server(sql="org/sql-1")) for _ in range(2)]
        pods = Pods(admin, namespace, tuple(servers))
        await pods.start()
        yield pods


@dataclass
class Picker:
    """An endpoint picker with clients that ask for the adapter: it follows the rewrite at each scrape.

    A name that a server does not know is an error, and so is one in five answers of an adapter whose path says `bad`.
    """

    pods: Pods
    port: int = field(default_factory=free_port)
    sent: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)

    async def scraped(self, _: web.Request) -> web.Response:
        rewrite = await self.pods.admin.find(*REWRITES, self.pods.namespace, REWRITE)
        targets = shares(rewrite) if rewrite is not None else {"sql": 100}
        for name, weight in targets.items():
            for server in self.pods.servers:
                requests = EACH * weight // 100 // len(self.pods.servers)
                self.sent[name] += requests
                path = server.adapters.get(name, "")
                self.errors[name] += requests // 5 if "bad" in path else 0 if path else requests
        lines = []
        for name in self.sent:
            labels = f'model_name="sql",target_model_name="{name}",fairness_id="",priority="0"'
            lines.append(f"llm_d_epp_request_total{{{labels}}} {self.sent[name]}")
            lines.append(f'llm_d_epp_request_error_total{{{labels},error_code="ModelServerError"}} {self.errors[name]}')
            lines += [f'llm_d_epp_request_ttft_seconds_bucket{{{labels},le="{edge}"}} {self.sent[name]}'
                      for edge in ("0.05", "0.5", "+Inf")]  # fmt: skip
        return web.Response(text="\n".join(lines) + "\n")


@asynccontextmanager
async def picking(pods: Pods, prometheus: Prometheus) -> AsyncIterator[Picker]:
    picker = Picker(pods)
    app = web.Application()
    app.router.add_get("/metrics", picker.scraped)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", picker.port).start()
    labels = {"namespace": pods.namespace, "pod": f"{NAME}-kserve-router-scheduler-5d9c4f7b86-x1y2z"}
    await prometheus.set_targets("picker", [Target(f"127.0.0.1:{picker.port}", labels)])
    try:
        yield picker
    finally:
        await runner.cleanup()


def shares(rewrite: Object) -> dict[str, int]:
    (rule,) = rewrite["spec"]["rules"]
    return {target["modelRewrite"]: target["weight"] for target in rule["targets"]}


def tried(rewrite: Object) -> int:
    """The share of the new adapter."""
    found = shares(rewrite)
    assert sum(found.values()) == 100
    return sum(weight for name, weight in found.items() if name != "sql")


def adapter(service: Object) -> Any:
    return service["spec"]["model"]["lora"]["adapters"][0]["uri"], TRIAL in service["metadata"]["annotations"]


async def gone(admin: Admin, namespace: str, kind: tuple[str, str], name: str) -> bool:
    return await admin.find(*kind, namespace, name) is None


async def test_a_new_adapter_is_judged_by_its_name_and_promoted_or_taken_back(
    control_plane: ControlPlane, admin: Admin, namespace: str, judge: tuple[Judge, str], tmp_path: Path
) -> None:
    rollouts = Rollouts(admin, namespace, tmp_path)
    async with (
        pods_of(admin, namespace) as pods,
        Prometheus(interval=0.25) as prometheus,
        picking(pods, prometheus) as picker,
        kserve_story(admin, namespace, judge[1], tmp_path, kind=LLM_SERVICES, annotations=QUICK, adapter="1") as (
            story,
            _,
        ),
        whole_agent(control_plane, namespace, tmp_path / "weir", metrics_server=prometheus.url),
    ):
        await rollouts.phase("Initialized")
        async with (
            watched(admin, REWRITES, namespace, REWRITE, tried) as weights,
            story.watched(lambda service: service["spec"]["model"]["uri"], f"{NAME}-canary") as beside,
        ):
            story.adapter = "2"
            await story.push("1")
            status = await rollouts.phase("Succeeded", "Failed", within=180)
            assert status["phase"] == "Succeeded"
            assert (status["judge"]["pack"], status["judge"]["verdict"]) == ("endpoint-picker", "pass")
            findings = {finding["metric"]: finding for finding in status["judge"]["findings"]}
            assert findings["request-success-rate"]["samples"] >= 100
            assert 'target_model_name=~"sql-' in findings["request-success-rate"]["query"]
            await eventually(lambda: _is_bare(story, "hf://org/sql-2"))
            assert weights == [30, 60, 100]
            assert beside == [], "no second service"
        assert await gone(admin, namespace, REWRITES, REWRITE)
        assert pods.serve("sql")
        assert pods.come_from("org/sql-2")
        assert await rollouts.told(f"{NAME}.{namespace}: adapter sql is split by name")
        assert not sum(picker.errors.values()), "nobody asked for a name that a server did not know"

        story.adapter = "bad"
        await story.push("1")
        status = await rollouts.phase("Failed", within=180)
        rate = next(found for found in status["judge"]["findings"] if found["metric"] == "request-success-rate")
        assert rate["conclusion"] == "fail"
        await eventually(lambda: _is_bare(story, "hf://org/sql-2"))
        await eventually(lambda: pods.serve("sql"))
        assert await gone(admin, namespace, REWRITES, REWRITE)
        assert pods.come_from("org/sql-2")
        rejected = await rollouts.status()
        await story.push("1", note="unrelated")
        await story.again()
        assert await rollouts.still(rejected), "it is quarantined"


async def _is_bare(story: KServeStory, uri: str) -> bool:
    return await story.serves((uri, False), adapter)


async def test_where_it_cannot_be_tried_so_the_run_says_why(
    control_plane: ControlPlane, admin: Admin, namespace: str, judge: tuple[Judge, str], tmp_path: Path
) -> None:
    rollouts = Rollouts(admin, namespace, tmp_path)
    async with (
        pods_of(admin, namespace) as pods,
        kserve_story(admin, namespace, judge[1], tmp_path, kind=LLM_SERVICES, adapter="1") as (story, _),
        whole_agent(control_plane, namespace, tmp_path / "weir"),
    ):
        await rollouts.phase("Initialized")
        story.adapter = "missing"
        await story.push("1")
        await rollouts.phase("Failed")
        await eventually(lambda: _is_bare(story, "hf://org/sql-1"))
        assert pods.serve("sql")
        assert any("No adapter found for org/sql-missing" in text for text in await rollouts.events())

        await pods.stop()
        await pods.start("b", env={"name": "OTHER", "value": "1"})
        async with story.watched(lambda service: adapter(service)[0], f"{NAME}-canary") as beside:
            story.adapter = "3"
            await story.push("1")
            await rollouts.phase("Succeeded")
            await eventually(lambda: beside == ["hf://org/sql-3"])
        assert any("VLLM_ALLOW_RUNTIME_LORA_UPDATING is not set" in text for text in await rollouts.events())
        assert all(server.calls == [] for server in pods.servers)


async def test_a_pod_that_comes_without_it_gets_it_and_a_target_made_anew_gets_no_requests_for_it(
    admin: Admin, namespace: str, kube: KubeClient, tmp_path: Path
) -> None:
    """Even of a suspended Canary, of which traffic stays as it is: requests go on to a name that a pod must know."""
    await admin.apply_files([*sorted(CRDS.glob("flagger.app_*.yaml")), KSERVE_CRDS])
    rollouts = Rollouts(admin, namespace, tmp_path)
    hooks = [{"name": "gate", "type": "confirm-promotion", "url": "http://127.0.0.1:9/"}]
    story = KServeStory(
        admin, namespace, GitRepository(tmp_path / "git"), kind=LLM_SERVICES, analysis={"webhooks": hooks}, adapter="1"
    )
    async with (
        StatusWriter(admin, namespace),
        pods_of(admin, namespace) as pods,
        canary_agent(kube, namespace, minimum_interval=0.1),
    ):
        await rollouts.apply(story.service("1"), story.canary())
        await rollouts.phase("Initialized")
        story.adapter = "2"
        note = {"metadata": {"annotations": {WANTED: json.dumps(content_of(story.service("1")))}}}
        await admin.patch(*story.kind, namespace, NAME, note)
        await rollouts.phase("WaitingPromotion")
        await admin.patch(*CANARIES, namespace, NAME, {"spec": {"suspend": True}})
        (name,) = {*pods.servers[0].adapters} - {"sql"}
        del pods.servers[0].adapters[name]

        async def repaired() -> bool:
            rewrite = await admin.find(*REWRITES, namespace, REWRITE)
            return name in pods.servers[0].adapters and rewrite is not None and tried(rewrite) == 60

        await eventually(repaired)

        await admin.delete(*story.kind, namespace, NAME)
        await admin.wait_for(*story.kind, namespace, NAME, lambda found: found is None)
        await rollouts.apply(story.service("1"))
        await admin.patch(*CANARIES, namespace, NAME, {"spec": {"suspend": False}})
        await eventually(lambda: gone(admin, namespace, REWRITES, REWRITE))


async def test_requests_are_taken_back_before_any_server_is_asked_and_a_promotion_waits_for_all(
    admin: Admin, namespace: str, kube: KubeClient, tmp_path: Path
) -> None:
    """Since one that hangs would be waited for; in one look each is asked once."""
    await admin.apply_files([*sorted(CRDS.glob("flagger.app_*.yaml")), KSERVE_CRDS])
    story = KServeStory(admin, namespace, GitRepository(tmp_path / "git"), kind=LLM_SERVICES, adapter="1")
    await Rollouts(admin, namespace, tmp_path).apply(story.service("1"), story.canary())
    found = await admin.find(*CANARIES, namespace, NAME)
    assert found is not None
    canary = Canary.from_object(found)
    async with pods_of(admin, namespace) as pods, LoraServers() as servers:
        first = KServeRouter(kube, servers)
        await first.take_over(canary)
        story.adapter = "2"
        note = {"metadata": {"annotations": {WANTED: json.dumps(content_of(story.service("1")))}}}
        await admin.patch(*story.kind, namespace, NAME, note)
        await first.bring_up(canary)
        await first.set_routes(canary, Weights(70, 30), NO_COOKIES)
        before = [server.asked for server in pods.servers]

        router = KServeRouter(kube, servers)
        assert await router.get_routes(canary) == Weights(70, 30)
        await router.set_routes(canary, Weights(100, 0), NO_COOKIES)
        assert await gone(admin, namespace, REWRITES, REWRITE)
        assert [server.asked for server in pods.servers] == before
        for _ in range(2):
            await router.find(canary)
        assert [server.asked for server in pods.servers] == [count + 1 for count in before]
        await router.take_down(canary)
        assert [server.asked for server in pods.servers] == [count + 1 for count in before]
        await router.reconcile(canary, NO_COOKIES)
        assert pods.serve("sql")

        await router.bring_up(canary)
        await router.promote(canary, "2")
        await pods.falter()
        pods.servers[0].allows = False
        await router.reconcile(canary, NO_COOKIES)
        rewrite = await admin.find(*REWRITES, namespace, REWRITE)
        assert rewrite is not None
        assert tried(rewrite) == 100, "it may serve any moment"
        pods.servers[0].allows = True
        await KServeRouter(kube, servers).reconcile(canary, NO_COOKIES)
        assert pods.come_from("org/sql-2")
        assert await gone(admin, namespace, REWRITES, REWRITE)


async def test_a_rewrite_is_withdrawn_wherever_its_kind_is_served_or_that_is_told(
    admin: Admin, namespace: str, kube: KubeClient, tmp_path: Path
) -> None:
    other = "inference.networking.x-k8s.io"
    text = KSERVE_CRDS.read_text()
    (tmp_path / "other.yaml").write_text(text[text.index("# Of llm-d") :].replace("llm-d.ai", other))
    await admin.apply_files([KSERVE_CRDS, tmp_path / "other.yaml"])
    split = Split("sql", "sql-2", "org/sql-2")
    for api in REWRITE_APIS:
        where = {"namespace": namespace, "name": REWRITE, "pool": "chat-inference-pool", "owner": None}
        await admin.apply(rewriting(split, api, 30, **where))
    async with LoraServers() as servers:
        for pool in (Pool(), Pool(api=REWRITE_APIS[0])):
            with pytest.raises(Forbidden):
                await LoraPool(kube.as_service_account(namespace, "nobody"), servers).withdraw(
                    pool, namespace, Withdraw(REWRITE)
                )
        await LoraPool(kube, servers).withdraw(Pool(api=REWRITE_APIS[0]), namespace, Withdraw(REWRITE))
    for api in REWRITE_APIS:
        assert await gone(admin, namespace, (api, REWRITES[1]), REWRITE)


async def test_what_a_server_was_asked_for_before_is_no_refusal() -> None:
    async with lora_server(sql="org/sql-1") as server, LoraServers() as servers:
        server.begun["sql-2"] = "org/sql-2"
        url = f"http://127.0.0.1:{server.port}"
        await servers.bring(url, "/v1", {"sql-2": "org/sql-2"}, ())
        assert server.adapters["sql-2"] == "org/sql-2"
        server.begun["sql-3"] = "org/other"
        with pytest.raises(LoraError, match="already been loaded"):
            await servers.bring(url, "/v1", {"sql-3": "org/sql-3"}, ())


@pytest.mark.parametrize("passes", [True, False])
async def test_killed_at_any_moment_the_new_adapter_has_all_requests_or_none(
    admin: Admin, namespace: str, kube: KubeClient, tmp_path: Path, passes: bool
) -> None:
    dice = random.Random(passes)
    await admin.apply_files([*sorted(CRDS.glob("flagger.app_*.yaml")), KSERVE_CRDS])
    rollouts = Rollouts(admin, namespace, tmp_path)
    hooks = [] if passes else [{"name": "judge", "type": "rollout", "url": "http://127.0.0.1:9/"}]
    story = KServeStory(
        admin, namespace, GitRepository(tmp_path / "git"), kind=LLM_SERVICES, analysis={"webhooks": hooks}, adapter="1"
    )
    async with StatusWriter(admin, namespace), pods_of(admin, namespace) as pods:
        await rollouts.apply(story.service("1"), story.canary())
        await live_and_die(kube, rollouts, dice, "Initialized")
        story.adapter = "2"
        note = {"metadata": {"annotations": {WANTED: json.dumps(content_of(story.service("1")))}}}
        async with watched(admin, REWRITES, namespace, REWRITE, tried) as weights:
            await admin.patch(*story.kind, namespace, NAME, note)
            async with canary_agent(kube, namespace, minimum_interval=0.1):
                await rollouts.phase("Progressing", "Succeeded", "Failed")
            await live_and_die(kube, rollouts, dice, "Succeeded" if passes else "Failed")
            async with canary_agent(kube, namespace, minimum_interval=0.1):
                await eventually(lambda: _is_bare(story, f"hf://org/sql-{2 if passes else 1}"))
                await eventually(lambda: pods.serve("sql"))
            assert weights == ([30, 60, 100] if passes else [30])
        assert pods.come_from(f"org/sql-{2 if passes else 1}")
        assert await gone(admin, namespace, REWRITES, REWRITE)
