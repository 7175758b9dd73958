"""Objects and questions of the canary tests."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from testbed.gateway import ProcessGateway
from testbed.kube import Admin, Object

CRDS = Path(__file__).resolve().parents[2] / "config" / "crd"
GATEWAY_API = "gateway.networking.k8s.io/v1"
FLAGGER = "flagger.app/v1beta1"
SUCCESS = {"name": "request-success-rate", "interval": "5s", "thresholdRange": {"min": 95}}
NAME = "chat"
HOLD = {"name": "hold", "type": "confirm-promotion", "url": "weir://gate"}
"""A webhook that keeps a run as it is after its last step, in phase WaitingPromotion, until `Rollouts.let_go`."""


@dataclass
class Rollouts:
    """A namespace with one target named chat."""

    admin: Admin
    namespace: str
    folder: Path

    def model(self, version: str, **chaos: float) -> str:
        """A reference to a new model file."""
        path = self.folder / f"{version}.json"
        path.write_text(json.dumps({"name": "adder", "version": version, "weights": [1, 1], "chaos": chaos}))
        return f"file://{path}"

    def server(self, reference: str) -> Object:
        """A container that serves a model."""
        return {
            "name": "server",
            "image": "model-server:1.0",
            "args": ["--model", reference],
            "ports": [{"name": "http", "containerPort": 8080}],
            "readinessProbe": {"httpGet": {"path": "/healthz", "port": "http"}, "periodSeconds": 1},
        }

    def sleeper(self, version: str) -> Object:
        """A container that does nothing, in some version."""
        return {"name": "server", "image": "sleeper:1.0", "env": [{"name": "VERSION", "value": version}]}

    def target(self, container: Object, *, replicas: int | None = 1, name: str = NAME, **pod: Any) -> Object:
        """The Deployment as Git has it."""
        labels = {"app": name}
        scrape = {"prometheus.io/scrape": "true", "prometheus.io/port": "8080"}
        spec: Object = {
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels, "annotations": scrape},
                "spec": {"containers": [container], "terminationGracePeriodSeconds": 2, **pod},
            },
        }
        if replicas is not None:
            spec["replicas"] = replicas
        return {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": name, "namespace": self.namespace},
            "spec": spec,
        }

    def canary(
        self,
        *,
        service: Object | None = None,
        name: str = NAME,
        target: str = NAME,
        annotations: dict[str, str] | None = None,
        **spec: Any,
    ) -> Object:
        """A Canary behind the Gateway: 30, 60, promoted; every second; judged by Flagger's rule if nothing is said."""
        noted = {"weir.dev/judge": "compatibility"} if annotations is None else annotations
        analysis = {"interval": "1s", "threshold": 2, "stepWeight": 30, "maxWeight": 60, **spec.pop("analysis", {})}
        return {
            "apiVersion": FLAGGER,
            "kind": "Canary",
            "metadata": {"name": name, "namespace": self.namespace, "annotations": noted},
            "spec": {
                "provider": "gatewayapi:v1",
                "targetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": target},
                "service": {
                    "port": 80,
                    "targetPort": 8080,
                    "gatewayRefs": [{"name": "edge"}],
                    "hosts": [self.host],
                    **(service or {}),
                },
                "analysis": {key: value for key, value in analysis.items() if value is not None},
                **spec,
            },
        }

    @property
    def host(self) -> str:
        return f"chat.{self.namespace}.example.com"

    async def apply(self, *items: Object) -> None:
        for item in items:
            await self.admin.apply(item)

    async def get(self, kind: str, name: str, api: str = "apps/v1") -> Object | None:
        return await self.admin.find(api, kind, self.namespace, name)

    async def status(self, name: str = NAME) -> Object:
        found = await self.get("Canary", name, FLAGGER)
        return (found or {}).get("status", {})

    async def still(self, status: Object) -> bool:
        """Whether the Canary's status says what it said, wherever the target's generation is by now."""
        now = await self.status()
        return {**now, "lastTrackedRevision": ""} == {**status, "lastTrackedRevision": ""}

    async def until(self, check: Callable[[Object], bool], name: str = NAME, within: float = 120.0) -> Object:
        """Wait until the Canary's status is as wanted; the status."""
        found = await self.admin.wait_for(
            FLAGGER,
            "Canary",
            self.namespace,
            name,
            lambda canary: check((canary or {}).get("status", {})),
            timeout=within,
        )
        assert found is not None
        return found["status"]

    async def phase(self, *phases: str, name: str = NAME, within: float = 120.0) -> Object:
        return await self.until(lambda status: status.get("phase") in phases, name, within)

    async def blocked(self, reason: str) -> str:
        """Wait until something stands in the way of the Canary for that reason; in which words."""

        def told(status: Object) -> list[str]:
            return [item["message"] for item in status.get("conditions", ()) if _is_blocked(item, reason)]

        return told(await self.until(lambda status: bool(told(status))))[0]

    def phases(self) -> AbstractAsyncContextManager[list[Any]]:
        """Every phase that the Canary goes through while the block lasts: some pass by themselves."""
        return self.watched("Canary", FLAGGER, lambda canary: canary.get("status", {}).get("phase", ""))

    async def events(self, name: str = NAME, kind: str = "Canary") -> list[str]:
        """Texts of the events about the Canary, or another object, the oldest first, each as often as it was told."""
        ordered = sorted(await self.event_objects(name, kind), key=lambda item: item["metadata"]["name"])
        return [item["message"] for item in ordered for _ in range(item["count"])]

    async def event_objects(self, name: str = NAME, kind: str = "Canary") -> list[Object]:
        """The events about the Canary, or another object, in no order."""
        found = await self.admin.list("v1", "Event", self.namespace)
        # those about its Deployment, of the same name, are written by others and may have no count
        wanted = {"kind": kind, "name": name}
        return [item for item in found if wanted.items() <= item["involvedObject"].items()]

    async def told(self, start: str) -> bool:
        """Whether there is an event about the Canary whose text begins so. Events come after the status."""
        return any(text.startswith(start) for text in await self.events())

    async def let_go(self, gate: str = HOLD["name"]) -> None:
        """Open the gate of a webhook that asks a person."""
        opened = {"metadata": {"annotations": {f"weir.dev/gate.{gate}": "approved"}}}
        await self.admin.patch(FLAGGER, "Canary", self.namespace, NAME, opened)

    def promotions(self) -> AbstractAsyncContextManager[list[Any]]:
        """Reason, status and message of the condition Promoted, each form that it takes while the block lasts; None
        before there is one."""

        def promoted(canary: Object) -> tuple[str, str, str] | None:
            listed = canary.get("status", {}).get("conditions", ())
            found = [(one["reason"], one["status"], one["message"]) for one in listed if one["type"] == "Promoted"]
            return found[0] if found else None

        return self.watched("Canary", FLAGGER, promoted)

    def watched(
        self, kind: str, api: str, form: Callable[[Object], Any], name: str = NAME
    ) -> AbstractAsyncContextManager[list[Any]]:
        """See `watched`."""
        return watched(self.admin, (api, kind), self.namespace, name, form)

    async def replicas(self, name: str) -> int:
        found = await self.get("Deployment", name)
        assert found is not None
        return int(found["spec"]["replicas"])

    async def args(self, name: str) -> list[str]:
        found = await self.get("Deployment", name)
        assert found is not None
        return list(found["spec"]["template"]["spec"]["containers"][0]["args"])

    async def version(self, name: str) -> str:
        """The version of a sleeper."""
        found = await self.get("Deployment", name)
        assert found is not None
        return version_of(found)

    async def weights(self) -> tuple[int, int]:
        route = await self.get("HTTPRoute", NAME, GATEWAY_API)
        assert route is not None
        by_name = {ref["name"]: ref["weight"] for ref in route["spec"]["rules"][0]["backendRefs"]}
        return by_name[f"{NAME}-primary"], by_name[f"{NAME}-canary"]


def version_of(deployment: Object) -> str:
    """The version of a sleeper."""
    return str(deployment["spec"]["template"]["spec"]["containers"][0]["env"][0]["value"])


def _is_blocked(condition: Object, reason: str) -> bool:
    return (condition["type"], condition["reason"]) == ("Blocked", reason)


@asynccontextmanager
async def watched(
    admin: Admin, kind: tuple[str, str], namespace: str, name: str, form: Callable[[Object], Any]
) -> AsyncIterator[list[Any]]:
    """Every form that an object takes while the block lasts, from the present one on, each once in a row.

    `form` says what counts of it. Unlike who asks again and again, a watch misses nothing however busy the machine is;
    but it may come after what else tells of the same write.
    """
    seen: list[Any] = []
    looked = asyncio.Event()

    def look(found: Object | None) -> bool:
        if found is not None and (not seen or seen[-1] != form(found)):
            seen.append(form(found))
        looked.set()
        return False

    task = asyncio.create_task(admin.wait_for(*kind, namespace, name, look, timeout=600))
    try:
        await looked.wait()
        yield seen
    finally:
        task.cancel()
        await asyncio.wait({task})


@dataclass
class Traffic:
    """What clients got."""

    versions: Counter[str] = field(default_factory=Counter)
    failures: int = 0


@asynccontextmanager
async def traffic(gateway: ProcessGateway, host: str, *, every: float = 0.03) -> AsyncIterator[Traffic]:
    """Clients that ask for predictions all the time."""
    seen = Traffic()

    async def ask(http: aiohttp.ClientSession) -> None:
        while True:
            try:
                async with http.post(
                    f"{gateway.url}/v1/predict", json={"x": [1, 2]}, headers={"Host": host}
                ) as response:
                    if response.status == 200:
                        seen.versions[(await response.json())["version"]] += 1
                    else:
                        seen.failures += 1
            except aiohttp.ClientError:
                seen.failures += 1
            await asyncio.sleep(every)

    async with aiohttp.ClientSession() as http, asyncio.TaskGroup() as group:
        task = group.create_task(ask(http))
        yield seen
        task.cancel()


@asynccontextmanager
async def busy(gateway: ProcessGateway, host: str, *, clients: int = 3) -> AsyncIterator[None]:
    """Several such clients at once."""
    async with AsyncExitStack() as stack:
        for _ in range(clients):
            await stack.enter_async_context(traffic(gateway, host, every=0.02))
        yield
