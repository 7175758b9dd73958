"""Which listeners of our Gateways a route attaches to, and whether its backends resolve (Gateway API v1)."""

from collections.abc import Iterator
from dataclasses import dataclass

from testbed.gateway.filters import SUPPORTED
from testbed.gateway.matching import intersect_hostnames
from testbed.gateway.world import World
from testbed.node.kubeapi import Obj, object_key

_GROUP = "gateway.networking.k8s.io"


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a condition holds, with its reason and message."""

    ok: bool
    reason: str
    message: str = ""


@dataclass(frozen=True, slots=True)
class Attachment:
    """A parentRef of a route to a Gateway of ours: verdict, hostnames served, names of the listeners used."""

    parent: Obj
    accepted: Verdict
    hostnames: tuple[str | None, ...]
    gateway: tuple[str, str]
    listeners: tuple[str, ...]


def our_gateways(world: World, controller: str) -> dict[tuple[str, str], Obj]:
    """The Gateways whose class names our controller."""
    classes = {name for (_, name), item in world["gatewayclasses"].items() if is_ours(item, controller)}
    return {key: item for key, item in world["gateways"].items() if item["spec"]["gatewayClassName"] in classes}


def is_ours(gateway_class: Obj, controller: str) -> bool:
    """Whether a GatewayClass names our controller."""
    return bool(gateway_class["spec"]["controllerName"] == controller)


def attach(route: Obj, gateways: dict[tuple[str, str], Obj], world: World) -> list[Attachment]:
    """One attachment per parentRef that names one of our Gateways."""
    namespace = route["metadata"]["namespace"]
    found = []
    for parent in route["spec"].get("parentRefs") or []:
        if (parent.get("kind") or "Gateway") != "Gateway" or (parent.get("group") or _GROUP) != _GROUP:
            continue
        key = (parent.get("namespace") or namespace, parent["name"])
        if key in gateways:
            found.append(_attach_to(route, parent, key, gateways[key], world))
    return found


def backends_resolve(route: Obj, world: World) -> Verdict:
    """The route's ResolvedRefs condition."""
    for rule in route["spec"].get("rules") or []:
        for reference in _references(rule):
            verdict = backend_verdict(route, reference, world)
            if not verdict.ok:
                return verdict
    return Verdict(True, "ResolvedRefs")


def backend_verdict(route: Obj, reference: Obj, world: World) -> Verdict:
    """Whether one backendRef names an existing Service port that the route may use."""
    own = route["metadata"]["namespace"]
    namespace, name, port = reference.get("namespace") or own, reference["name"], reference.get("port")
    if (reference.get("kind") or "Service") != "Service" or reference.get("group"):
        return Verdict(False, "InvalidKind", f"{reference.get('kind')} is not a kind of backend this gateway knows")
    if namespace != own and not _granted(own, namespace, name, world):
        return Verdict(False, "RefNotPermitted", f"no ReferenceGrant in {namespace} allows Service {name}")
    if port is None or world.service_port(namespace, name, port) is None:
        return Verdict(False, "BackendNotFound", f"Service {namespace}/{name} with port {port} not found")
    return Verdict(True, "ResolvedRefs")


def listener_allows(listener: Obj, gateway: Obj, kind: str, namespace: str, world: World) -> bool:
    """The listener's allowedRoutes: kinds, and namespaces Same (default), All or Selector."""
    allowed = listener.get("allowedRoutes") or {}
    kinds = allowed.get("kinds") or [{"kind": "HTTPRoute"}]
    if listener["protocol"] != "HTTP" or all(entry["kind"] != kind for entry in kinds):
        return False
    namespaces = allowed.get("namespaces") or {}
    scope = namespaces.get("from") or "Same"
    if scope == "Selector":
        labels = world["namespaces"].get(("", namespace), {"metadata": {}})["metadata"].get("labels") or {}
        return _selects(namespaces.get("selector") or {}, labels)
    return scope == "All" or (scope == "Same" and namespace == gateway["metadata"]["namespace"])


def _attach_to(route: Obj, parent: Obj, key: tuple[str, str], gateway: Obj, world: World) -> Attachment:
    def refused(reason: str, message: str) -> Attachment:
        return Attachment(parent, Verdict(False, reason, message), (), key, ())

    for rule in route["spec"].get("rules") or []:
        kinds = [entry["type"] for entry in [*(rule.get("filters") or []), *_backend_filters(rule)]]
        unknown = sorted(set(kinds) - SUPPORTED)
        if unknown:
            return refused("UnsupportedValue", f"filters {', '.join(unknown)} are not supported")
    named = [
        listener
        for listener in gateway["spec"]["listeners"]
        if parent.get("sectionName") in {None, listener["name"]} and parent.get("port") in {None, listener["port"]}
    ]
    if not named:
        return refused("NoMatchingParent", "no listener has this name and port")
    namespace = route["metadata"]["namespace"]
    allowed = [entry for entry in named if listener_allows(entry, gateway, "HTTPRoute", namespace, world)]
    if not allowed:
        return refused("NotAllowedByListeners", "no listener allows this route's kind and namespace")
    hostnames: dict[str, list[str | None]] = {
        entry["name"]: intersect_hostnames(entry.get("hostname"), route["spec"].get("hostnames") or [])
        for entry in allowed
    }
    listeners = tuple(name for name, hosts in hostnames.items() if hosts)
    if not listeners:
        return refused("NoMatchingListenerHostname", "no listener shares a hostname with this route")
    every = dict.fromkeys(host for hosts in hostnames.values() for host in hosts)
    return Attachment(parent, Verdict(True, "Accepted"), tuple(every), key, listeners)


def _references(rule: Obj) -> Iterator[Obj]:
    yield from rule.get("backendRefs") or []
    for entry in [*(rule.get("filters") or []), *_backend_filters(rule)]:
        if entry["type"] == "RequestMirror":
            yield entry["requestMirror"]["backendRef"]


def _backend_filters(rule: Obj) -> Iterator[Obj]:
    for reference in rule.get("backendRefs") or []:
        yield from reference.get("filters") or []


def _granted(source: str, target: str, service: str, world: World) -> bool:
    for grant in world["referencegrants"].values():
        if object_key(grant)[0] != target:
            continue
        sources = [(entry["group"], entry["kind"], entry["namespace"]) for entry in grant["spec"]["from"]]
        targets = [(entry["kind"], entry.get("name") or service) for entry in grant["spec"]["to"]]
        if (_GROUP, "HTTPRoute", source) in sources and ("Service", service) in targets:
            return True
    return False


def _selects(selector: Obj, labels: dict[str, str]) -> bool:
    if any(labels.get(key) != value for key, value in (selector.get("matchLabels") or {}).items()):
        return False
    for expression in selector.get("matchExpressions") or []:
        value, values = labels.get(expression["key"]), expression.get("values") or []
        verdicts = {
            "In": value in values,
            "NotIn": value not in values,
            "Exists": value is not None,
            "DoesNotExist": value is None,
        }
        if not verdicts[expression["operator"]]:
            return False
    return True
