"""A KServe object whose rollout is judged by counts: what its pods export decides.

The pods are only names here, under which an exporter of the test tells of requests to a real Prometheus; KServe's
controller is played (testbed/kserve). The API server, the agent and its queries are real.
"""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import web
from canary_agent import eventually
from canary_cluster import Rollouts
from canary_gitops import Judge, whole_agent
from kserve_world import NAME, KServeStory, kserve_story

from testbed.controlplane import ControlPlane
from testbed.kube import Admin
from testbed.ports import free_port
from testbed.prometheus import Prometheus, Target

QUICK = {"weir.dev/warm-up": "1s", "weir.dev/min-requests": "100"}
EACH = 5
"""Requests to each pod between two scrapes."""


@dataclass
class Fleet:
    """Pods that answer requests all the time; those with a share of failures answer that many in a hundred with 500."""

    port: int
    failing: dict[str, int] = field(default_factory=dict)
    served: dict[str, int] = field(default_factory=dict)

    async def expose(self, request: web.Request) -> web.Response:
        pod = request.match_info["pod"]
        self.served[pod] = self.served.get(pod, 0) + EACH
        return web.Response(text="\n".join(_lines(self.served[pod], self.failing.get(pod, 0))) + "\n")

    def targets(self, namespace: str) -> list[Target]:
        labels = ({"namespace": namespace, "pod": pod} for pod in self.failing)
        return [Target(f"127.0.0.1:{self.port}", each, path=f"/{each['pod']}") for each in labels]


def _lines(requests: int, failing: int) -> Iterator[str]:
    """As KServe's server for Hugging Face models exports them, and the HTTP counts that a proxy adds."""
    bad = requests * failing // 100
    yield f'http_requests_total{{handler="/v1/chat/completions",status="2xx"}} {requests - bad}'
    yield f'http_requests_total{{handler="/v1/chat/completions",status="5xx"}} {bad}'
    yield f'http_request_duration_seconds_count{{handler="/v1/chat/completions"}} {requests}'
    for edge in ("0.05", "0.5", "+Inf"):
        yield f'request_predict_seconds_bucket{{model_name="chat",le="{edge}"}} {requests}'


@asynccontextmanager
async def exporting() -> AsyncIterator[Fleet]:
    fleet = Fleet(free_port())
    app = web.Application()
    app.router.add_get("/{pod}", fleet.expose)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", fleet.port).start()
    try:
        yield fleet
    finally:
        await runner.cleanup()


async def tried(story: KServeStory) -> str:
    """The name of the predictor on trial."""
    entries = (await story.live())["spec"].get("canary") or ()
    return entries[0]["predictor"]["name"] if entries else ""


async def test_a_model_change_is_judged_by_what_the_predictors_pods_export(
    control_plane: ControlPlane, admin: Admin, namespace: str, judge: tuple[Judge, str], tmp_path: Path
) -> None:
    rollouts = Rollouts(admin, namespace, tmp_path)
    async with (
        exporting() as pods,
        Prometheus(interval=0.25) as prometheus,
        kserve_story(admin, namespace, judge[1], tmp_path, annotations=QUICK) as (story, _),
        whole_agent(control_plane, namespace, tmp_path / "weir", metrics_server=prometheus.url),
    ):

        async def up(predictor: str, failing: int = 0) -> None:
            pods.failing[f"{NAME}-{predictor}predictor-5d9c4f7b86-x1y2z"] = failing
            await prometheus.set_targets("pods", pods.targets(namespace))

        await up("")
        await rollouts.phase("Initialized")
        await story.push("2")
        await eventually(lambda: tried(story))
        promoted = await tried(story)
        await up(f"{promoted}-")
        status = await rollouts.phase("Succeeded", "Failed", within=180)
        assert status["phase"] == "Succeeded"
        verdict = status["judge"]
        findings = {finding["metric"]: finding for finding in verdict["findings"]}
        assert (verdict["mode"], verdict["pack"], verdict["verdict"]) == ("guarded", "kserve", "pass")
        assert set(findings) == {"predict-error-rate", "predict-latency"}
        assert findings["predict-error-rate"]["samples"] >= 100
        assert f"{NAME}-{promoted}-predictor-" in findings["predict-error-rate"]["query"]

        await story.push("3")
        await eventually(lambda: _another(story, promoted))
        await up(f"{await tried(story)}-", failing=20)
        status = await rollouts.phase("Failed", within=180)
        rate = next(found for found in status["judge"]["findings"] if found["metric"] == "predict-error-rate")
        assert rate["conclusion"] == "fail"
        assert 0.1 < rate["estimate"] < 0.3, "the two names of the same counter are not added up"
        await eventually(lambda: _gone(story))
        assert await story.serving() == "2"


async def _gone(story: KServeStory) -> bool:
    return not await tried(story)


async def _another(story: KServeStory, than: str) -> bool:
    return await tried(story) not in {"", than}
