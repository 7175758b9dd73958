"""The gateway's picture of the cluster: mirrors of what it watches, and Services down to local ports."""

from collections.abc import Callable
from dataclasses import dataclass

from testbed.node.kubeapi import KubeApi, Mirror, Obj
from testbed.node.ports import local_port

_GATEWAY_API = "/apis/gateway.networking.k8s.io"
COLLECTIONS = {
    "gatewayclasses": f"{_GATEWAY_API}/v1/gatewayclasses",
    "gateways": f"{_GATEWAY_API}/v1/gateways",
    "httproutes": f"{_GATEWAY_API}/v1/httproutes",
    "referencegrants": f"{_GATEWAY_API}/v1beta1/referencegrants",
    "namespaces": "/api/v1/namespaces",
    "services": "/api/v1/services",
    "pods": "/api/v1/pods",
    "endpointslices": "/apis/discovery.k8s.io/v1/endpointslices",
}
_ROUTING = frozenset({"gatewayclasses", "gateways", "httproutes", "referencegrants", "namespaces", "services"})


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A ready Pod behind a Service port, and the local port on which it listens."""

    pod: str
    port: int


class World:
    """Mirrors by plural name; ``on_routing_change`` is called when anything but Pods and EndpointSlices changed."""

    def __init__(self, on_routing_change: Callable[[], None]) -> None:
        self._on_routing_change = on_routing_change
        self._endpoints: dict[tuple[str, str, int | None], list[Endpoint]] = {}
        self._mirrors = {name: Mirror(self._changed(name in _ROUTING)) for name in COLLECTIONS}

    def __getitem__(self, plural: str) -> dict[tuple[str, str], Obj]:
        return self._mirrors[plural].items

    async def follow(self, api: KubeApi, plural: str) -> None:
        """Keep one mirror up to date for ever."""
        await api.follow(COLLECTIONS[plural], self._mirrors[plural].note)

    def service_port(self, namespace: str, service: str, port: int | None) -> Obj | None:
        """The entry of a Service's ports (the first one for None); None when Service or port do not exist."""
        found = self["services"].get((namespace, service))
        ports: list[Obj] = [] if found is None else found["spec"].get("ports") or []
        return next((entry for entry in ports if port is None or entry["port"] == port), None)

    def endpoints(self, namespace: str, service: str, port: int | None) -> list[Endpoint]:
        """The ready Pods behind a Service port, sorted by name; empty when there are none."""
        key = (namespace, service, port)
        if key not in self._endpoints:
            self._endpoints[key] = self._find_endpoints(namespace, service, port)
        return self._endpoints[key]

    def _changed(self, routing: bool) -> Callable[[], None]:
        def changed() -> None:
            self._endpoints.clear()
            if routing:
                self._on_routing_change()

        return changed

    def _find_endpoints(self, namespace: str, service: str, port: int | None) -> list[Endpoint]:
        entry = self.service_port(namespace, service, port)
        if entry is None:
            return []
        found: set[Endpoint] = set()
        for (slice_namespace, _), endpoint_slice in self["endpointslices"].items():
            labels = endpoint_slice["metadata"].get("labels") or {}
            if slice_namespace != namespace or labels.get("kubernetes.io/service-name") != service:
                continue
            for slice_port in endpoint_slice.get("ports") or []:
                if (slice_port.get("name") or "") == (entry.get("name") or ""):
                    found |= self._ready_pods(namespace, endpoint_slice, slice_port["port"])
        return sorted(found, key=lambda endpoint: endpoint.pod)

    def _ready_pods(self, namespace: str, endpoint_slice: Obj, port: int) -> set[Endpoint]:
        ready: set[Endpoint] = set()
        for endpoint in endpoint_slice.get("endpoints") or []:
            name = (endpoint.get("targetRef") or {}).get("name", "")
            pod = self["pods"].get((namespace, name))
            if pod is None or (endpoint.get("conditions") or {}).get("ready") is False:
                continue
            if "deletionTimestamp" in pod["metadata"]:  # its EndpointSlice says so a moment later
                continue
            local = local_port(pod, port)
            if local is not None:
                ready.add(Endpoint(name, local))
        return ready
