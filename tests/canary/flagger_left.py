"""What Flagger 1.44 leaves of a Canary, object by object, and its status with hashes of its own kind."""

from dataclasses import dataclass, field
from typing import Any

from canary_cluster import FLAGGER, GATEWAY_API, NAME, Rollouts
from foreign_crds import ISTIO_API

from testbed.kube import Object

NGINX = "nginx.ingress.kubernetes.io"
NETWORKING = "networking.k8s.io/v1"
OFF = {
    "kustomize.toolkit.fluxcd.io/reconcile": "disabled",
    "helm.toolkit.fluxcd.io/driftDetection": "disabled",
}
HASH, OTHER_HASH = "5978589476", "6c7d9f8b55"
INGRESS = {"apiVersion": NETWORKING, "kind": "Ingress", "name": "front"}


@dataclass
class Left:
    """A Canary of some provider whose target and primary run these versions, with that share of the traffic."""

    rollouts: Rollouts
    provider: str
    target: str = "1"
    primary: str = "1"
    weight: int = 0
    replicas: int = 0
    names: list[tuple[str, str, str]] = field(default_factory=list)

    def canary(self, **analysis: Any) -> Object:
        made = self.rollouts.canary(analysis={"interval": "300ms", **analysis})
        made["spec"]["provider"] = self.provider
        if self.provider == "nginx":
            made["spec"]["ingressRef"] = INGRESS
        if self.provider != "gatewayapi:v1":
            made["spec"]["service"] = {"port": 80, "targetPort": 8080}
        return made

    async def leave(self, status: Object, **analysis: Any) -> None:
        """The Canary and everything that belongs to it, as in a cluster in which Flagger was stopped."""
        rollouts = self.rollouts
        if self.provider == "nginx":
            await rollouts.apply(self._front())
        await rollouts.apply(rollouts.target(rollouts.sleeper(self.target), replicas=self.replicas))
        await rollouts.apply(self.canary(**analysis))
        canary = await rollouts.get("Canary", NAME, FLAGGER)
        assert canary is not None
        for item in (*self._services(), self._primary(), *self._routes()):
            item["metadata"] |= {"namespace": rollouts.namespace, "ownerReferences": [_owner(canary)]}
            await rollouts.admin.create(item)
            self.names.append((item["kind"], item["metadata"]["name"], item["apiVersion"]))
        patch = {"status": status}
        await rollouts.admin.patch(FLAGGER, "Canary", rollouts.namespace, NAME, patch, subresource="status")

    async def untouched(self) -> dict[str, Any]:
        """Generation and metadata of all objects, none of which Weir has written. Their status is not Flagger's."""
        found = {}
        for kind, name, api in (*self.names, ("Deployment", NAME, "apps/v1")):
            obj = await self.rollouts.get(kind, name, api)
            assert obj is not None
            writers = [entry["manager"] for entry in obj["metadata"]["managedFields"]]
            assert "weir-canary" not in writers, f"{kind} {name}"
            annotations = dict(obj["metadata"].get("annotations") or {})
            annotations.pop("deployment.kubernetes.io/revision", None)
            found[f"{kind} {name}"] = (obj["metadata"].get("generation"), obj["metadata"].get("labels"), annotations)
        return found

    def _services(self) -> list[Object]:
        pairs = ((NAME, f"{NAME}-primary"), (f"{NAME}-primary", f"{NAME}-primary"), (f"{NAME}-canary", NAME))
        port = {"name": "http", "protocol": "TCP", "port": 80, "targetPort": 8080}
        return [
            {
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": {"name": name, "labels": {"app": name}, "annotations": dict(OFF)},
                "spec": {"type": "ClusterIP", "selector": {"app": to}, "ports": [port]},
            }
            for name, to in pairs
        ]

    def _primary(self) -> Object:
        template = self.rollouts.target(self.rollouts.sleeper(self.primary))["spec"]["template"]
        labels = {"app": f"{NAME}-primary"}
        annotations = {**template["metadata"]["annotations"], "flagger-id": "0d2f6f0e-7d1c-4b7b-9b62"}
        pod = {**template, "metadata": {"labels": labels, "annotations": annotations}}
        return {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": f"{NAME}-primary", "labels": labels},
            "spec": {"replicas": 1, "selector": {"matchLabels": labels}, "template": pod},
        }

    def _routes(self) -> list[Object]:
        shares = ((f"{NAME}-primary", 100 - self.weight), (f"{NAME}-canary", self.weight))
        if self.provider == "gatewayapi:v1":
            return [self._http_route(shares)]
        return _mesh(shares) if self.provider == "istio" else [self._canary_ingress()]

    def _http_route(self, shares: tuple[tuple[str, int], ...]) -> Object:
        backend = {"group": "", "kind": "Service", "port": 80}
        rule = {
            "matches": [{"path": {"type": "PathPrefix", "value": "/"}}],
            "backendRefs": [{**backend, "name": name, "weight": weight} for name, weight in shares],
        }
        parent = {"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "edge"}
        return {
            "apiVersion": GATEWAY_API,
            "kind": "HTTPRoute",
            "metadata": {"name": NAME, "annotations": dict(OFF)},
            "spec": {"parentRefs": [parent], "hostnames": [self.rollouts.host], "rules": [rule]},
        }

    def _front(self, service: str = NAME) -> Object:
        backend = {"service": {"name": service, "port": {"number": 80}}}
        path = {"path": "/", "pathType": "Prefix", "backend": backend}
        return {
            "apiVersion": NETWORKING,
            "kind": "Ingress",
            "metadata": {"name": "front", "namespace": self.rollouts.namespace},
            "spec": {"ingressClassName": "nginx", "rules": [{"host": self.rollouts.host, "http": {"paths": [path]}}]},
        }

    def _canary_ingress(self) -> Object:
        taking = {f"{NGINX}/canary": "true", f"{NGINX}/canary-weight": str(self.weight)}
        spec = self._front(f"{NAME}-canary")["spec"]
        metadata = {"name": "front-canary", "annotations": {**OFF, **taking}}
        return {"apiVersion": NETWORKING, "kind": "Ingress", "metadata": metadata, "spec": spec}


def status(phase: str, **fields: Any) -> Object:
    """The Canary's status; the condition is that of Flagger's table."""
    ok = {"Failed": "False", "Initialized": "True", "Succeeded": "True"}.get(phase, "Unknown")
    moment = "2026-07-01T10:00:00Z"
    times = {"lastUpdateTime": moment, "lastTransitionTime": moment}
    condition = {"type": "Promoted", "status": ok, "reason": phase, "message": f"As Flagger says of {phase}.", **times}
    return {
        "phase": phase,
        "failedChecks": 0,
        "canaryWeight": 0,
        "iterations": 0,
        "lastAppliedSpec": HASH,
        "lastPromotedSpec": HASH,
        "lastTransitionTime": moment,
        "trackedConfigs": {},
        "conditions": [condition],
        **fields,
    }


def _mesh(shares: tuple[tuple[str, int], ...]) -> list[Object]:
    route = [{"destination": {"host": name}, "weight": weight} for name, weight in shares]
    return [
        *(
            {"apiVersion": ISTIO_API, "kind": "DestinationRule", "metadata": {"name": name}, "spec": {"host": name}}
            for name, _ in shares
        ),
        {
            "apiVersion": ISTIO_API,
            "kind": "VirtualService",
            "metadata": {"name": NAME, "annotations": dict(OFF)},
            "spec": {"hosts": [NAME], "gateways": ["mesh"], "http": [{"route": route}]},
        },
    ]


def _owner(canary: Object) -> Object:
    return {
        "apiVersion": FLAGGER,
        "kind": "Canary",
        "name": NAME,
        "uid": canary["metadata"]["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }
