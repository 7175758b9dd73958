"""Routers beside the plain Services and the Gateway: what they make, how weights move, what is left of others.

There is no Istio and no ingress-nginx here: their kinds are (see foreign_crds.py), so these stories are about the
objects in the API server.
"""

from typing import Any

import aiohttp
import pytest
from canary_agent import canary_agent, eventually
from canary_cluster import HOLD, NAME, Rollouts
from foreign_crds import ISTIO, ISTIO_API, serve

from agent.adapters.kube.client import KubeClient
from testbed.gateway import ProcessGateway
from testbed.kube import Admin, Object

NGINX = "nginx.ingress.kubernetes.io"
NETWORKING = "networking.k8s.io/v1"


@pytest.fixture(scope="module", autouse=True)
async def istio(admin: Admin, tmp_path_factory: pytest.TempPathFactory) -> None:
    await serve(admin, tmp_path_factory.mktemp("crds"), ISTIO)


def canary(rollouts: Rollouts, provider: str, *, service: Object | None = None, **spec: Any) -> Object:
    made = rollouts.canary(**spec)
    made["spec"]["provider"] = provider
    made["spec"]["service"] = {"port": 80, "targetPort": 8080, **(service or {})}
    return made


async def test_istio_weighs_by_a_virtual_service_and_gives_back_what_was_there(
    kube: KubeClient, rollouts: Rollouts
) -> None:
    docs = {"match": [{"uri": {"prefix": "/docs"}}], "route": [{"destination": {"host": "docs"}}]}
    before = {"hosts": [NAME], "http": [docs, {"route": [{"destination": {"host": NAME}}]}]}
    original = {
        "apiVersion": ISTIO_API,
        "kind": "VirtualService",
        "metadata": {"name": NAME, "namespace": rollouts.namespace},
        "spec": before,
    }
    policy = {"loadBalancer": {"simple": "LEAST_REQUEST"}}
    made = canary(
        rollouts, "istio", service={"trafficPolicy": policy}, analysis={"mirror": True}, revertOnDeletion=True
    )

    def weights(service: Object) -> tuple[Any, ...]:
        kept, own = service["spec"]["http"]
        return kept == docs, *(item["weight"] for item in own["route"]), "mirror" in own

    async with canary_agent(kube, rollouts.namespace):
        await rollouts.admin.create(original)
        await rollouts.apply(rollouts.target(rollouts.sleeper("1")), made)
        await rollouts.phase("Initialized")
        for name in (f"{NAME}-primary", f"{NAME}-canary"):
            rule = await rollouts.get("DestinationRule", name, ISTIO_API)
            assert rule is not None
            assert rule["spec"] == {"host": name, "trafficPolicy": policy}
        async with rollouts.watched("VirtualService", ISTIO_API, weights) as seen:
            await rollouts.apply(rollouts.target(rollouts.sleeper("2"), replicas=None))
            await rollouts.phase("Succeeded")
            steps = [(100, 0, False), (100, 0, True), (70, 30, False), (40, 60, False), (100, 0, False)]
            await eventually(lambda: len(seen) >= len(steps))
        assert seen == [(True, *step) for step in steps]
        await rollouts.admin.delete("flagger.app/v1beta1", "Canary", rollouts.namespace, NAME)
        await eventually(lambda: _gone(rollouts))
    left = await rollouts.get("VirtualService", NAME, ISTIO_API)
    assert left is not None
    assert left["spec"] == before


async def _gone(rollouts: Rollouts) -> bool:
    return await rollouts.get("Canary", NAME, "flagger.app/v1beta1") is None


async def test_a_rejected_version_gets_no_traffic_of_the_mesh(kube: KubeClient, rollouts: Rollouts) -> None:
    broken = {"name": "gate", "type": "rollout", "url": "http://127.0.0.1:9/", "timeout": "1s"}
    async with canary_agent(kube, rollouts.namespace):
        await rollouts.apply(
            rollouts.target(rollouts.sleeper("1")), canary(rollouts, "istio", analysis={"webhooks": [broken]})
        )
        await rollouts.phase("Initialized")
        await rollouts.apply(rollouts.target(rollouts.sleeper("2"), replicas=None))
        await rollouts.phase("Failed")
        found = await rollouts.get("VirtualService", NAME, ISTIO_API)
        assert found is not None
        assert [item["weight"] for item in found["spec"]["http"][0]["route"]] == [100, 0]
        assert await rollouts.replicas(NAME) == 0


async def test_a_delegate_with_hosts_is_refused(kube: KubeClient, rollouts: Rollouts) -> None:
    service = {"delegation": True, "hosts": ["chat.example.com"]}
    async with canary_agent(kube, rollouts.namespace):
        await rollouts.apply(rollouts.target(rollouts.sleeper("1")), canary(rollouts, "istio", service=service))
        text = f"VirtualService chat.{rollouts.namespace} cannot have hosts and gateways when delegation enabled"
        await eventually(lambda: _told(rollouts, text))
        await rollouts.apply(canary(rollouts, "istio", service={"delegation": True, "hosts": []}))
        await rollouts.phase("Initialized")


async def _told(rollouts: Rollouts, text: str) -> bool:
    return text in await rollouts.events()


def front(rollouts: Rollouts, service: str = NAME) -> Object:
    backend = {"service": {"name": service, "port": {"number": 80}}}
    path = {"path": "/", "pathType": "Prefix", "backend": backend}
    return {
        "apiVersion": NETWORKING,
        "kind": "Ingress",
        "metadata": {"name": "front", "namespace": rollouts.namespace, "annotations": {f"{NGINX}/rewrite-target": "/"}},
        "spec": {"ingressClassName": "nginx", "rules": [{"host": rollouts.host, "http": {"paths": [path]}}]},
    }


REFERENCE = {"apiVersion": NETWORKING, "kind": "Ingress", "name": "front"}


async def test_nginx_weighs_by_a_copy_of_the_ingress(kube: KubeClient, rollouts: Rollouts) -> None:
    def weight(ingress: Object) -> tuple[str, str]:
        annotations = ingress["metadata"]["annotations"]
        return annotations[f"{NGINX}/canary"], annotations[f"{NGINX}/canary-weight"]

    async with canary_agent(kube, rollouts.namespace):
        await rollouts.apply(
            front(rollouts, "other"),
            rollouts.target(rollouts.sleeper("1")),
            canary(rollouts, "nginx", ingressRef=REFERENCE),
        )
        await eventually(lambda: _told(rollouts, "backend chat not found in ingress front"))
        await rollouts.apply(front(rollouts))
        await rollouts.phase("Initialized")
        copied = await rollouts.get("Ingress", "front-canary", NETWORKING)
        assert copied is not None
        assert copied["metadata"]["annotations"][f"{NGINX}/rewrite-target"] == "/"
        rule = copied["spec"]["rules"][0]
        assert rule["http"]["paths"][0]["backend"]["service"]["name"] == "chat-canary"
        async with rollouts.watched("Ingress", NETWORKING, weight, "front-canary") as seen:
            await rollouts.apply(rollouts.target(rollouts.sleeper("2"), replicas=None))
            await rollouts.phase("Succeeded")
            await eventually(lambda: len(seen) >= 4)
    assert seen == [("true", "0"), ("true", "30"), ("true", "60"), ("true", "0")]
    source = await rollouts.get("Ingress", "front", NETWORKING)
    assert source is not None
    assert source["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"]["name"] == NAME


async def test_nginx_tests_by_header_and_takes_the_annotations_away_again(kube: KubeClient, rollouts: Rollouts) -> None:
    match = [{"headers": {"x-user": {"exact": "insider"}}}, {"headers": {"cookie": {"exact": "canary"}}}]
    analysis = {"stepWeight": None, "maxWeight": None, "iterations": 2, "match": match, "webhooks": [HOLD]}

    async def annotations() -> dict[str, str]:
        found = await rollouts.get("Ingress", "front-canary", NETWORKING)
        assert found is not None
        prefix = f"{NGINX}/canary"
        return {
            key.removeprefix(prefix): value
            for key, value in found["metadata"]["annotations"].items()
            if key.startswith(prefix)
        }

    async with canary_agent(kube, rollouts.namespace):
        await rollouts.apply(
            front(rollouts),
            rollouts.target(rollouts.sleeper("1")),
            canary(rollouts, "nginx", ingressRef=REFERENCE, analysis=analysis),
        )
        await rollouts.phase("Initialized")
        await rollouts.apply(rollouts.target(rollouts.sleeper("2"), replicas=None))
        await rollouts.phase("WaitingPromotion")
        assert await annotations() == {
            "": "true",
            "-weight": "0",
            "-by-header": "x-user",
            "-by-header-value": "insider",
            "-by-cookie": "canary",
        }
        await rollouts.let_go()
        await rollouts.phase("Succeeded")
    assert await annotations() == {"": "true", "-weight": "0"}


async def test_a_cookie_keeps_callers_on_the_version_they_got(
    kube: KubeClient, rollouts: Rollouts, edge: ProcessGateway
) -> None:
    affinity = {"cookieName": "version", "primaryCookieName": "home", "maxAge": 3600}
    analysis = {"stepWeight": 50, "maxWeight": 50, "interval": "2s", "sessionAffinity": affinity, "webhooks": [HOLD]}
    made = rollouts.canary(analysis=analysis)
    one, two = rollouts.model("v1"), rollouts.model("v2")

    async def ask(cookie: str = "") -> tuple[str, str]:
        headers = {"Host": rollouts.host, **({"Cookie": cookie} if cookie else {})}
        async with (
            aiohttp.ClientSession() as http,
            http.post(f"{edge.url}/v1/predict", json={"x": [1, 2]}, headers=headers) as response,
        ):
            version = (await response.json())["version"] if response.status == 200 else f"status {response.status}"
            return version, response.headers.get("Set-Cookie", "")

    async def answers(cookie: str, *wanted: str) -> bool:
        # the gateway follows the API server: what is written there is not yet what it does
        return await ask(cookie) == wanted

    handed: dict[str, str] = {}

    async def both() -> bool:
        version, cookie = await ask()
        if cookie:
            handed[version] = cookie
        return len(handed) == 2

    async with canary_agent(kube, rollouts.namespace):
        await rollouts.apply(rollouts.target(rollouts.server(one)), made)
        await rollouts.phase("Initialized")
        await eventually(lambda: answers("", "v1", ""))
        await rollouts.apply(rollouts.target(rollouts.server(two), replicas=None))
        status = await rollouts.phase("WaitingPromotion")
        cookie = status["sessionAffinityCookie"]
        await eventually(both, every=0.01)
        assert handed["v2"] == f"{cookie}; Max-Age=3600"
        assert handed["v1"] == f"{status['primarySessionAffinityCookie']}; Max-Age=2"
        assert {(await ask(f"theme=dark; {cookie}"))[0] for _ in range(8)} == {"v2"}
        await rollouts.let_go()
        status = await rollouts.phase("Succeeded")
        assert status["previousSessionAffinityCookie"] == cookie
        assert not status.get("sessionAffinityCookie")
        await eventually(lambda: answers(cookie, "v2", f"{cookie}; Max-Age=-1"))
        assert await ask() == ("v2", "")


async def test_one_name_for_both_cookies_is_refused(kube: KubeClient, rollouts: Rollouts) -> None:
    affinity = {"cookieName": "version", "primaryCookieName": "version"}
    async with canary_agent(kube, rollouts.namespace):
        await rollouts.apply(
            rollouts.target(rollouts.sleeper("1")), rollouts.canary(analysis={"sessionAffinity": affinity})
        )
        status = await rollouts.until(lambda status: bool(status.get("conditions")))
        assert status["conditions"][0]["reason"] == "SessionAffinityInvalid"
        assert "can't use the same cookie name" in status["conditions"][0]["message"]
