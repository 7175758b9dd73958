"""The process gateway routes real requests to real Pods as HTTPRoutes and Services say."""

import asyncio
import json
import sys
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from serving import available, deploy_model, deployment, model_server, service, write_model

from testbed.binaries import crd_files
from testbed.controlplane import ControlPlane
from testbed.gateway import CONTROLLER, ProcessGateway
from testbed.kube import Admin, Object, condition
from testbed.node import Access, Image, ProcessNode, python_module
from testbed.processes import until
from testbed.prometheus import Prometheus, Target

API = "gateway.networking.k8s.io/v1"


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back for one request."""

    status: int
    body: str
    headers: Mapping[str, str]

    @property
    def version(self) -> str:
        """The version of the model that answered."""
        return str(json.loads(self.body)["version"])


class Client:
    """Sends requests to the gateway under a host name."""

    def __init__(self, gateway: ProcessGateway, http: aiohttp.ClientSession) -> None:
        self._gateway = gateway
        self._http = http

    async def get(self, host: str, path: str, **options: Any) -> Reply:
        return await self._send("GET", host, path, **options)

    async def predict(self, host: str, path: str = "/v1/predict", **options: Any) -> Reply:
        return await self._send("POST", host, path, json={"x": [1, 2]}, **options)

    async def until_served(self, namespace: str, *services: str) -> None:
        """Wait until the gateway knows a ready Pod of each; it learns of one a moment after the cluster does."""
        for name in services:

            async def answers(host: str = f"{name}.{namespace}") -> bool:
                return (await self.predict(host)).status == 200

            await until(answers, timeout=60, what=f"the gateway reaches {name}")

    async def versions(self, host: str, requests: int) -> Counter[str]:
        return Counter([(await self.predict(host)).version for _ in range(requests)])

    async def metrics(self) -> str:
        async with self._http.get(self._gateway.metrics_url) as response:
            return await response.text()

    async def _send(
        self, method: str, host: str, path: str, headers: Mapping[str, str] | None = None, **options: Any
    ) -> Reply:
        url = f"{self._gateway.url}{path}"
        async with self._http.request(method, url, headers={"Host": host, **(headers or {})}, **options) as response:
            return Reply(response.status, await response.text(), response.headers)


@pytest.fixture(scope="module")
def access(control_plane: ControlPlane) -> Access:
    return Access(control_plane.url, control_plane.admin_token, control_plane.ca_file)


@pytest.fixture(scope="module")
async def node(access: Access, admin: Admin, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ProcessNode]:
    images = {
        "model-server": python_module("testbed.model_server"),
        "echo": Image(entrypoint=(sys.executable, str(Path(__file__).with_name("echo_server.py")))),
    }
    async with ProcessNode(
        access, workdir=tmp_path_factory.mktemp("node"), images=images, name="gateway-tests"
    ) as running:
        yield running
    await admin.delete("v1", "Node", None, "gateway-tests")


@pytest.fixture(scope="module")
async def gateway(access: Access, admin: Admin, node: ProcessNode) -> AsyncIterator[ProcessGateway]:
    await admin.apply_files(await asyncio.to_thread(crd_files, "gateway-api"))
    gateway_class = {
        "apiVersion": API,
        "kind": "GatewayClass",
        "metadata": {"name": "process"},
        "spec": {"controllerName": CONTROLLER},
    }
    async with ProcessGateway(access) as running:
        await admin.apply(gateway_class)
        yield running
        await admin.delete(API, "GatewayClass", None, "process")


@pytest.fixture
async def prometheus(gateway: ProcessGateway, access: Access) -> AsyncIterator[Prometheus]:
    """A Prometheus that scrapes the gateway and all annotated Pods four times a second."""
    async with Prometheus(interval=0.25) as running, asyncio.TaskGroup() as group:
        await running.set_targets("gateway", [Target(f"127.0.0.1:{gateway.metrics_port}")])
        follower = group.create_task(running.follow_pods(access))
        yield running
        follower.cancel()


@pytest.fixture
async def client(gateway: ProcessGateway) -> AsyncIterator[Client]:
    async with aiohttp.ClientSession() as http:
        yield Client(gateway, http)


@pytest.fixture
async def parent(admin: Admin, gateway: ProcessGateway, namespace: str) -> Object:
    """A programmed Gateway in the test's namespace."""
    item = {
        "apiVersion": API,
        "kind": "Gateway",
        "metadata": {"name": "edge", "namespace": namespace},
        "spec": {"gatewayClassName": "process", "listeners": [{"name": "http", "protocol": "HTTP", "port": 80}]},
    }
    await admin.create(item)
    found = await admin.wait_for(
        API, "Gateway", namespace, "edge", lambda found: condition(found, "Programmed") == "True"
    )
    assert found is not None
    return found


def route(
    namespace: str, name: str, *rules: Object, hostnames: list[str] | None = None, parent: Object | None = None
) -> Object:
    return {
        "apiVersion": API,
        "kind": "HTTPRoute",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "parentRefs": [{"name": "edge", **(parent or {})}],
            "hostnames": hostnames or [f"{name}.{namespace}.example.com"],
            "rules": list(rules),
        },
    }


def backends(**weights: int) -> list[Object]:
    return [{"name": name.replace("_", "-"), "port": 80, "weight": weight} for name, weight in weights.items()]


def parent_condition(found: Object | None, kind: str) -> str:
    parents = (found or {}).get("status", {}).get("parents") or []
    reasons = [c["reason"] for entry in parents for c in entry["conditions"] if c["type"] == kind]
    return reasons[0] if reasons else ""


async def accepted(admin: Admin, item: Object) -> Object:
    """Apply a route and wait until its status is about this very generation."""
    applied = await admin.apply(item)
    namespace, name = item["metadata"]["namespace"], item["metadata"]["name"]
    generation = applied["metadata"]["generation"]

    def observed(found: Object | None) -> bool:
        parents = (found or {}).get("status", {}).get("parents") or []
        return any(c["observedGeneration"] == generation for entry in parents for c in entry["conditions"])

    found = await admin.wait_for(API, "HTTPRoute", namespace, name, observed)
    assert found is not None
    return found


@pytest.mark.usefixtures("parent")
async def test_requests_follow_the_weights(admin: Admin, namespace: str, client: Client, tmp_path: Path) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(deploy_model(admin, namespace, "stable", write_model(tmp_path, "v1")))
        group.create_task(deploy_model(admin, namespace, "canary", write_model(tmp_path, "v2")))
    await client.until_served(namespace, "stable", "canary")
    host = f"chat.{namespace}.example.com"
    for stable, canary, expected in [
        (100, 0, {"v1": 20}),
        (70, 30, {"v1": 14, "v2": 6}),
        (95, 5, {"v1": 19, "v2": 1}),
        (0, 100, {"v2": 20}),
    ]:
        found = await accepted(admin, route(namespace, "chat", {"backendRefs": backends(stable=stable, canary=canary)}))
        assert parent_condition(found, "Accepted") == "Accepted"
        assert parent_condition(found, "ResolvedRefs") == "ResolvedRefs"
        assert await client.versions(host, 20) == expected


@pytest.mark.usefixtures("parent")
async def test_the_most_specific_rule_wins(admin: Admin, namespace: str, client: Client, tmp_path: Path) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(deploy_model(admin, namespace, "stable", write_model(tmp_path, "v1")))
        group.create_task(deploy_model(admin, namespace, "canary", write_model(tmp_path, "v2")))
    await client.until_served(namespace, "stable", "canary")
    to_canary = {"backendRefs": backends(canary=1)}
    cookie = {"type": "RegularExpression", "name": "Cookie", "value": ".*canary=always.*"}
    await accepted(
        admin,
        route(
            namespace,
            "chat",
            {"backendRefs": backends(stable=1)},
            {"matches": [{"headers": [{"name": "X-Canary", "value": "yes"}]}, {"headers": [cookie]}], **to_canary},
            {"matches": [{"queryParams": [{"name": "model", "value": "new"}]}], **to_canary},
            {"matches": [{"method": "GET", "path": {"type": "Exact", "value": "/v1/models"}}], **to_canary},
        ),
    )
    host = f"chat.{namespace}.example.com"
    assert (await client.predict(host)).version == "v1"
    assert (await client.predict(host, headers={"x-canary": "yes"})).version == "v2"
    assert (await client.predict(host, headers={"X-Canary": "no"})).version == "v1"
    assert (await client.predict(host, headers={"Cookie": "a=b; canary=always; c=d"})).version == "v2"
    assert (await client.predict(host, "/v1/predict?model=new")).version == "v2"
    assert json.loads((await client.get(host, "/v1/models")).body)["models"][0]["version"] == "v2"
    assert (await client.predict(f"other.{namespace}.example.com")).status == 404


@pytest.mark.usefixtures("parent")
async def test_filters_change_requests_and_answers(
    admin: Admin, namespace: str, client: Client, node: ProcessNode
) -> None:
    container = {"image": "echo:1", "ports": [{"name": "http", "containerPort": 8080}]}
    for name in ("echo", "shadow"):
        ready = {"readinessProbe": {"tcpSocket": {"port": "http"}}}
        await admin.create(deployment(namespace, name, container | ready))
        await admin.create(service(namespace, name))
        await available(admin, namespace, name, 1)
    await client.until_served(namespace, "echo", "shadow")
    mirror = {"backendRef": {"name": "shadow", "port": 80}, "percent": 50}
    prefix = {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/v2"}
    filters = [
        {"type": "URLRewrite", "urlRewrite": {"hostname": "inner.example.com", "path": prefix}},
        {
            "type": "RequestHeaderModifier",
            "requestHeaderModifier": {
                "set": [{"name": "X-Model", "value": "chat"}],
                "add": [{"name": "X-Extra", "value": "1"}],
                "remove": ["X-Secret"],
            },
        },
        {
            "type": "ResponseHeaderModifier",
            "responseHeaderModifier": {"set": [{"name": "X-From", "value": "gateway"}]},
        },
        {"type": "RequestMirror", "requestMirror": mirror},
    ]
    matches = [{"path": {"type": "PathPrefix", "value": "/api"}}]
    found = await accepted(
        admin, route(namespace, "chat", {"matches": matches, "filters": filters, "backendRefs": backends(echo=1)})
    )
    assert parent_condition(found, "Accepted") == "Accepted"
    host = f"chat.{namespace}.example.com"
    for number in range(4):
        reply = await client.predict(host, f"/api/a%20b?n={number}", headers={"X-Secret": "s", "X-Model": "old"})
        seen = json.loads(reply.body)
        assert (seen["method"], seen["path"]) == ("POST", f"/v2/a%20b?n={number}")
        assert json.loads(seen["body"]) == {"x": [1, 2]}
        assert seen["headers"]["host"] == "inner.example.com"
        assert (seen["headers"]["x-model"], seen["headers"]["x-extra"]) == ("chat", "1")
        assert "x-secret" not in seen["headers"]
        assert seen["headers"]["x-forwarded-for"] == "127.0.0.1"
        assert reply.headers["X-From"] == "gateway"
    (shadow,) = await admin.list("v1", "Pod", namespace, selector="app=shadow")
    log = node.log_path(namespace, shadow["metadata"]["name"], "main")

    def rewritten() -> list[str]:
        paths = [json.loads(line)["path"] for line in log.read_text().splitlines(keepends=True) if line.endswith("\n")]
        return [path for path in paths if path.startswith("/v2")]

    async def mirrored() -> bool:
        return len(rewritten()) == 2

    await until(mirrored, timeout=60, what="half of the requests are mirrored")
    assert {path[-1] for path in rewritten()} == {"1", "3"}


async def test_statuses_tell_what_attaches_and_resolves(
    admin: Admin, namespace: str, parent: Object, client: Client
) -> None:
    await admin.wait_for(API, "GatewayClass", None, "process", lambda found: condition(found, "Accepted") == "True")
    assert parent["status"]["addresses"] == [{"type": "IPAddress", "value": "127.0.0.1"}]

    missing = await accepted(admin, route(namespace, "chat", {"backendRefs": backends(absent=1)}))
    assert parent_condition(missing, "Accepted") == "Accepted"
    assert parent_condition(missing, "ResolvedRefs") == "BackendNotFound"
    assert (await client.get(f"chat.{namespace}.example.com", "/")).status == 500

    def one_route(found: Object | None) -> bool:
        listeners = (found or {}).get("status", {}).get("listeners") or []
        return [listener["attachedRoutes"] for listener in listeners] == [1]

    await admin.wait_for(API, "Gateway", namespace, "edge", one_route)

    stray = await accepted(admin, route("default", f"stray-{namespace}", {}, parent={"namespace": namespace}))
    assert parent_condition(stray, "Accepted") == "NotAllowedByListeners"
    await admin.delete(API, "HTTPRoute", "default", f"stray-{namespace}")

    lost = await accepted(admin, route(namespace, "lost", {}, parent={"sectionName": "https"}))
    assert parent_condition(lost, "Accepted") == "NoMatchingParent"

    redirect = {"filters": [{"type": "RequestRedirect", "requestRedirect": {"statusCode": 301}}]}
    refused = await accepted(admin, route(namespace, "moved", redirect))
    assert parent_condition(refused, "Accepted") == "UnsupportedValue"


@pytest.mark.usefixtures("parent")
async def test_a_service_appears_and_its_pods_come_and_go(
    admin: Admin, namespace: str, client: Client, tmp_path: Path
) -> None:
    host = f"chat.{namespace}.example.com"
    await accepted(admin, route(namespace, "chat", {"backendRefs": backends(stable=1)}))
    await admin.create(service(namespace, "stable"))

    async def answers(status: int) -> bool:
        return (await client.predict(host)).status == status

    await until(lambda: answers(503), timeout=60, what="the Service resolves, without Pods")
    await admin.create(deployment(namespace, "stable", model_server(write_model(tmp_path, "v1")), replicas=2))
    await available(admin, namespace, "stable", 2)
    await until(lambda: answers(200), timeout=60, what="the Pods answer")
    await admin.patch("apps/v1", "Deployment", namespace, "stable", {"spec": {"replicas": 0}})
    await available(admin, namespace, "stable", 0)
    await until(lambda: answers(503), timeout=60, what="the Pods are gone")


@pytest.mark.usefixtures("parent")
async def test_a_rule_can_limit_the_time(admin: Admin, namespace: str, client: Client, tmp_path: Path) -> None:
    await deploy_model(admin, namespace, "slow", write_model(tmp_path, "v1", latency_ms=2000))
    await client.until_served(namespace, "slow")
    rule = {"backendRefs": backends(slow=1), "timeouts": {"request": "200ms"}}
    await accepted(admin, route(namespace, "chat", rule))
    assert (await client.predict(f"chat.{namespace}.example.com")).status == 504


async def test_services_are_reached_by_name(admin: Admin, namespace: str, client: Client, tmp_path: Path) -> None:
    await deploy_model(admin, namespace, "chat", write_model(tmp_path, "v1"))
    headless = service(namespace, "headless", clusterIP="None", selector={"app": "chat"})
    await admin.create(headless)
    await client.until_served(namespace, "chat", "headless")
    for host in (f"chat.{namespace}", f"chat.{namespace}.svc:80", f"chat.{namespace}.svc.cluster.local"):
        assert (await client.predict(host)).version == "v1"
    assert (await client.predict(f"absent.{namespace}")).status == 404


async def test_a_rolling_update_loses_no_request(admin: Admin, namespace: str, client: Client, tmp_path: Path) -> None:
    await deploy_model(admin, namespace, "chat", write_model(tmp_path, "v1"), replicas=2)
    await client.until_served(namespace, "chat")
    statuses: Counter[int] = Counter()
    versions: Counter[str] = Counter()
    rolled_out = asyncio.Event()

    async def call() -> None:
        while not rolled_out.is_set():
            reply = await client.predict(f"chat.{namespace}")
            statuses[reply.status] += 1
            versions[reply.version if reply.status == 200 else "none"] += 1

    async with asyncio.TaskGroup() as group:
        group.create_task(call())
        update = deployment(namespace, "chat", model_server(write_model(tmp_path, "v2")), replicas=2)
        await admin.apply(update)
        await until(lambda: _updated(admin, namespace), timeout=60, what="both replicas are new")
        await until(lambda: _all_are_new(client, namespace), timeout=60, what="the gateway knows of the old no more")
        rolled_out.set()
    assert set(statuses) == {200}
    assert set(versions) == {"v1", "v2"}


async def test_node_and_gateway_survive_the_api_server(tmp_path: Path) -> None:
    images = {"model-server": python_module("testbed.model_server")}
    async with ControlPlane() as own, Admin(own.url, own.ca_file, own.admin_token) as admin:
        access = Access(own.url, own.admin_token, own.ca_file)
        async with (
            ProcessNode(access, workdir=tmp_path / "node", images=images),
            ProcessGateway(access) as gateway,
            aiohttp.ClientSession() as http,
        ):
            client = Client(gateway, http)
            await deploy_model(admin, "default", "chat", write_model(tmp_path, "v1"))
            await client.until_served("default", "chat")
            async with asyncio.TaskGroup() as group:
                restart = group.create_task(own.restart_apiserver(pause=0.5))
                statuses: Counter[int] = Counter()
                while not restart.done():
                    statuses[(await client.predict("chat.default")).status] += 1
            assert set(statuses) == {200}
            await admin.patch("apps/v1", "Deployment", "default", "chat", {"spec": {"replicas": 2}})
            await available(admin, "default", "chat", 2)

            async def both() -> bool:
                for _ in range(2):
                    await client.predict("chat.default")
                metrics = await client.metrics()
                return metrics.count('gateway_requests_total{code="200"') == 2

            await until(both, timeout=60, what="both Pods have answered")


async def _all_are_new(client: Client, namespace: str) -> bool:
    return await client.versions(f"chat.{namespace}", 4) == {"v2": 4}


async def _updated(admin: Admin, namespace: str) -> bool:
    found = await admin.get("apps/v1", "Deployment", namespace, "chat")
    status = found["status"]
    return bool(
        status.get("observedGeneration") == found["metadata"]["generation"]
        and status.get("updatedReplicas") == status.get("availableReplicas") == status.get("replicas") == 2
    )


@pytest.mark.usefixtures("parent")
async def test_requests_are_counted_by_pod_and_scraped(
    admin: Admin, namespace: str, client: Client, prometheus: Prometheus, tmp_path: Path
) -> None:
    model = write_model(tmp_path, "v1", error_rate=0.25)
    item = deployment(namespace, "stable", model_server(model), replicas=2)
    item["spec"]["template"]["metadata"]["annotations"] = {"prometheus.io/scrape": "true"}
    await admin.create(item)
    await admin.create(service(namespace, "stable"))
    await available(admin, namespace, "stable", 2)
    await accepted(admin, route(namespace, "chat", {"backendRefs": backends(stable=1)}))
    pods = {pod["metadata"]["name"] for pod in await admin.list("v1", "Pod", namespace)}

    async def both_known() -> bool:
        seen = [await client.predict(f"chat.{namespace}.example.com") for _ in range(2)]
        return all(reply.status in {200, 500} for reply in seen)

    await until(both_known, timeout=60, what="both Pods are endpoints")
    selector = f'route_namespace="{namespace}",route="chat",service="stable"'
    application = f'kubernetes_namespace="{namespace}",kubernetes_pod_name=~"stable-.*",app="stable",status!~"5.*"'
    queries = {
        "pods": f"sum by (pod) (rate(gateway_requests_total{{{selector}}}[5s])) > 0",
        "failing": f'sum(rate(gateway_requests_total{{{selector},code="500"}}[5s])) > 0',
        "latency": f"histogram_quantile(0.99, sum by (le) "
        f"(rate(gateway_request_duration_seconds_bucket{{{selector}}}[5s])))",
        "application": f"sum by (kubernetes_pod_name) "
        f"(rate(http_request_duration_seconds_count{{{application}}}[5s])) > 0",
    }
    answers: dict[str, list[tuple[Mapping[str, str], float]]] = {}

    async def all_answer() -> bool:
        await client.versions(f"chat.{namespace}.example.com", 8)
        answers.update({name: await prometheus.query(query) for name, query in queries.items()})
        complete = len(answers["pods"]) == len(answers["application"]) == 2 and bool(answers["failing"])
        return complete and all(0 < seconds < 2 for _, seconds in answers["latency"]) and len(answers["latency"]) == 1

    await until(all_answer, timeout=60, what="Prometheus has rates")
    assert {labels["pod"] for labels, _ in answers["pods"]} == pods
    assert {labels["kubernetes_pod_name"] for labels, _ in answers["application"]} == pods
