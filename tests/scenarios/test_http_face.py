"""What the agent shows to the outside: probes, metrics, the JSON API, its log; and what it never shows."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from testbed.kube import condition
from testbed.processes import until
from tests.scenarios.conftest import KS, PATIENCE, REPO, RunningAgent, Story

CONFIG = """
apiVersion: v1
kind: ConfigMap
metadata: {name: %s}
data: {greeting: "%s"}
"""
DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: chat}
spec:
  replicas: 0
  selector: {matchLabels: {app: chat}}
  template:
    metadata: {labels: {app: chat}}
    spec:
      containers:
      - {name: server, image: vllm/vllm-openai:v0.9.0, args: [--model, org/m, --revision, %s]}
      - {name: second, image: vllm/vllm-openai:v0.9.0, args: [--model, org/n, --revision, %s]}
"""
PASSWORD = "correct-horse-battery"
FLUX_KEYS = ("ts", "level", "msg", "controllerKind", "name", "namespace")
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


async def text(url: str) -> tuple[int, str, str]:
    """Status, content type and body."""
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        return answer.status, answer.headers["Content-Type"], await answer.text()


async def scraped(weir: RunningAgent) -> Samples:
    """All samples of the metrics port, by name and labels."""
    _, _, body = await text(f"{weir.metrics}/metrics")
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(body)
        for sample in family.samples
    }


async def eventually_scraped(weir: RunningAgent, check: Callable[[Samples], bool]) -> Samples:
    """Wait until `check` holds for the metrics: much is counted a moment after it can be seen elsewhere."""
    found: Samples = {}

    async def holds() -> bool:
        samples = await scraped(weir)
        found.clear()
        found.update(samples)
        return check(found)

    await until(holds, timeout=PATIENCE, what="what the metrics say")
    return found


def of(samples: Samples, sample: str, /, **labels: str) -> float | None:
    return samples.get((sample, frozenset(labels.items())))


async def walk(weir: RunningAgent, path: str) -> tuple[list[Any], int]:
    """The items of all pages of one, and how many pages they took."""
    items: list[Any] = []
    token, pages = "", 0
    while True:
        page = await weir.get(f"{path}&limit=1&continue={token}")
        items += page["items"]
        token, pages = page["continue"], pages + 1
        if not token:
            return items, pages


def lines(weir: RunningAgent, namespace: str) -> list[dict[str, Any]]:
    """The log lines that mention the namespace."""
    return [json.loads(line) for line in weir.log.read_text().splitlines() if namespace in line]


async def test_probes_answer_on_their_own_port_and_beside_the_api(weir: RunningAgent, story: Story) -> None:
    story.git.commit({"c.yaml": CONFIG % ("c", "x")})
    await story.source()
    await story.kustomization()
    await story.ready()
    for base in (weir.health, weir.api):
        for probe in ("healthz", "readyz"):
            status, _, body = await text(f"{base}/{probe}")
            assert (status, body) == (200, "ok")
    assert (await text(f"{weir.health}/api/v1/status"))[0] == 404
    assert (await text(f"{weir.metrics}/healthz"))[0] == 404


async def test_metrics_tell_of_passes_queues_and_requests(weir: RunningAgent, story: Story) -> None:
    story.git.commit({"c.yaml": CONFIG % ("c", "x")})
    await story.source()
    await story.kustomization()
    await story.ready()

    _, kind, _ = await text(f"{weir.metrics}/metrics")
    assert kind.startswith("text/plain; version=0.0.4")
    durations = "gotk_reconcile_duration_seconds_count"
    found = await eventually_scraped(
        weir,
        lambda found: all(
            of(found, durations, kind=kind, name=name, namespace=story.namespace)
            for kind, name in (("Kustomization", "app"), ("GitRepository", "repo"))
        ),
    )
    for controller in ("gitrepository", "kustomization", "canary"):
        assert of(found, "controller_runtime_max_concurrent_reconciles", controller=controller)
        assert of(found, "controller_runtime_active_workers", controller=controller) is not None
        assert of(found, "workqueue_depth", name=controller) is not None
    assert of(found, "controller_runtime_reconcile_time_seconds_count", controller="kustomization")
    assert of(found, "controller_runtime_reconcile_total", controller="kustomization", result="requeue_after")
    assert of(found, "weir_leader") == 1
    assert any(name == "rest_client_requests_total" and value for (name, _), value in found.items())
    assert any(name == "weir_objects_total" and value for (name, _), value in found.items())
    await eventually_scraped(weir, lambda found: bool(of(found, "weir_event_loop_lag_seconds_count")))

    for what in (KS, REPO):
        name = "app" if what is KS else "repo"
        await story.admin.delete(*what, story.namespace, name)
        await story.until(what, name, lambda left: left is None)

    def left(found: Samples) -> set[frozenset[tuple[str, str]]]:
        return {labels for (name, labels) in found if name == durations and ("namespace", story.namespace) in labels}

    # The object goes a moment before the pass that let it go is over.
    await eventually_scraped(weir, lambda found: not left(found))


async def test_the_api_shows_sources_kustomizations_and_changes_in_pages(weir: RunningAgent, story: Story) -> None:
    first = story.git.commit({"d.yaml": DEPLOYMENT % ("a" * 40, "a" * 40), "c.yaml": CONFIG % ("c", "x")})
    await story.source()
    await story.kustomization("app")
    await story.kustomization("other", path="./", namePrefix="other-")
    await story.ready("app")
    await story.ready("other")
    second = story.git.commit({"d.yaml": DEPLOYMENT % ("b" * 40, "b" * 40)})
    await story.pull("second")
    await story.ready("app", revision=second)
    await story.ready("other", revision=second)

    def has_second(field: str) -> Callable[[Any], bool]:
        return lambda shown: bool(shown[field] == f"main@sha1:{second}" and shown["ready"] == "True")

    source = await weir.get(f"/api/v1/sources/GitRepository/{story.namespace}/repo", has_second("revision"))
    for name in ("app", "other"):
        await weir.get(f"/api/v1/kustomizations/{story.namespace}/{name}", has_second("lastAppliedRevision"))
    assert source["url"] == story.server.url(story.namespace)

    items, pages = await walk(weir, f"/api/v1/kustomizations?namespace={story.namespace}")
    assert ([item["name"] for item in items], pages) == (["app", "other"], 2)
    app = items[0]
    assert sorted(app["objects"]) == [f"{story.namespace}_c__ConfigMap", f"{story.namespace}_chat_apps_Deployment"]
    assert [entry["revision"] for entry in app["history"]] == [f"main@sha1:{second}", f"main@sha1:{first}"]
    assert {entry["status"] for entry in app["history"]} == {"ReconciliationSucceeded"}

    changes, pages = await walk(weir, f"/api/v1/changes?kustomization={story.namespace}/app&kind=model&op=changed")
    assert (len(changes), pages) == (2, 2)
    assert {change["record"]["slot"] for change in changes} == {"container[server].model", "container[second].model"}
    page = await weir.get(f"/api/v1/rollouts?namespace={story.namespace}")
    assert page == {"items": [], "total": 0, "continue": ""}

    status = await weir.get("/api/v1/status")
    assert (status["phase"], status["controllers"]) == ("leading", ["source", "kustomize", "canary"])
    assert status["sources"]["ready"] >= 1
    assert status["kustomizations"]["ready"] >= 2


async def test_a_password_in_a_url_is_shown_nowhere(weir: RunningAgent, story: Story) -> None:
    story.git.commit({"c.yaml": CONFIG % ("c", "x")})
    plain = story.server.url(story.namespace)
    with_password = plain.replace("://", f"://bob:{PASSWORD}@")
    await story.source("anonymous", url=with_password)
    await story.source("nobody", url=with_password + "-does-not-exist")
    await story.source("away", url=f"http://bob:{PASSWORD}@127.0.0.1:1/repository")
    await story.source("token", url=f"http://{PASSWORD}@127.0.0.1:1/repository")
    await story.source("ssh", url=f"ssh://bob:{PASSWORD}@127.0.0.1:1/repository")
    await story.source("broken", url=f"http://bob:{PASSWORD}@[not-an-address/repository")
    await story.source("slash", url=f"http://bob:{PASSWORD}/2@127.0.0.1:1/repository")
    await story.kustomization("app", sourceRef={"kind": "GitRepository", "name": "anonymous"})
    for name in ("nobody", "away", "token", "ssh", "broken", "slash"):
        await story.failed(name, kind=REPO)
    await story.until(REPO, "anonymous", lambda found: condition(found, "Ready") in {"True", "False"})

    for name in ("anonymous", "nobody", "away", "token", "ssh", "broken", "slash"):
        found = await story.admin.get(*REPO, story.namespace, name)
        assert PASSWORD not in json.dumps(found["status"]), name
    page = await weir.get(f"/api/v1/sources?namespace={story.namespace}")
    assert page["total"] == 7
    assert PASSWORD not in json.dumps(page)
    assert next(item["url"] for item in page["items"] if item["name"] == "anonymous") == plain
    await story.event("away", "127.0.0.1:1")
    for event in await story.admin.list("v1", "Event", story.namespace):
        assert PASSWORD not in json.dumps(event)
    for base in (f"{weir.metrics}/metrics", f"{weir.api}/api/v1/changes", f"{weir.api}/api/v1/kustomizations"):
        assert PASSWORD not in (await text(base))[2]
    assert lines(weir, story.namespace)
    assert PASSWORD not in weir.log.read_text()


async def test_what_is_logged_about_an_object_is_found_by_flux_logs(weir: RunningAgent, story: Story) -> None:
    story.git.commit({"c.yaml": CONFIG % ("c", "x"), "d.yaml": DEPLOYMENT % ("a" * 40, "a" * 40)})
    await story.source()
    await story.kustomization()
    await story.kustomization("wrong", path="./no/such/path")
    await story.ready()
    await story.failed("wrong")
    second = story.git.commit({"d.yaml": DEPLOYMENT % ("b" * 40, "b" * 40)})
    await story.pull("second")
    await story.ready(revision=second)

    told = lines(weir, story.namespace)
    for line in told:
        assert all(isinstance(line.get(key), str) and line[key] for key in FLUX_KEYS), line
        assert isinstance(line.get("error", ""), str)
        assert line["level"] in {"error", "info", "debug", "trace"}
        assert line["namespace"] == story.namespace
        assert line[line["controllerKind"]] == {"name": line["name"], "namespace": story.namespace}
        assert "stacktrace" not in line
    assert {(line["controllerKind"], line["name"]) for line in told} == {
        ("GitRepository", "repo"),
        ("Kustomization", "app"),
        ("Kustomization", "wrong"),
    }
    applied = [line["output"] for line in told if "output" in line]
    assert [output[f"Deployment/{story.namespace}/chat"] for output in applied] == ["created", "configured"]
    errors = [line for line in told if line["level"] == "error"]
    assert {line["name"] for line in errors} == {"wrong"}
    assert all("no/such/path" in line["error"] for line in errors)
    changed = [line for line in told if "changeId" in line]
    assert {line["op"] for line in changed} >= {"changed"}


async def test_a_large_application_is_applied_whole_and_told_in_full(weir: RunningAgent, story: Story) -> None:
    parts = [DEPLOYMENT.replace("chat", f"chat-{n}") % ("a" * 40, "a" * 40) for n in range(100)]
    await asyncio.to_thread(story.git.commit, {"d.yaml": "---".join(parts)})
    await story.source()
    await story.kustomization()
    ready = await story.ready()
    assert len(ready["status"]["inventory"]["entries"]) == 100
    page = await weir.get(f"/api/v1/changes?kustomization={story.namespace}/app&kind=model&limit=1")
    assert page["total"] == 200
