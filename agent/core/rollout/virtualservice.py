"""Istio's VirtualService and DestinationRules of a Canary: our routes from the Canary, and what of others is kept.

Routes are ours if all they send to are the Canary's three Services; others are kept as they are, where they are.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import msgspec

from agent.api.canary import Canary
from agent.api.service import CanaryService
from agent.core.objects import Manifest, annotations_of, labels_of
from agent.core.rollout.actions import HOME, Weights
from agent.core.rollout.affinity import COOKIE, NO_COOKIES, SET_COOKIE, Cookies, expired, pattern, sticking
from agent.core.rollout.objects import RECONCILE_DISABLED, is_owned, owner_reference

API_VERSION = "networking.istio.io/v1beta1"
ORIGINAL = "flagger.kubernetes.app/original-configuration"
"""Annotation with the spec that a VirtualService had before it was taken over."""
_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"

_Route = dict[str, Any]


class MeshRouteError(ValueError):
    """The Canary asks for something that a VirtualService cannot be."""


def new_virtual_service(canary: Canary) -> Manifest:
    """A VirtualService that does not exist yet: all traffic to the primary."""
    metadata = _service(canary).apex
    return {
        "apiVersion": API_VERSION,
        "kind": "VirtualService",
        "metadata": {
            "name": canary.service_name,
            "namespace": canary.namespace,
            "labels": dict((metadata.labels if metadata is not None else None) or {}),
            "annotations": {
                **((metadata.annotations if metadata is not None else None) or {}),
                **RECONCILE_DISABLED,
            },
            "ownerReferences": [owner_reference(canary)],
        },
        "spec": routed(canary, {"spec": {}}, HOME),
    }


def routed(canary: Canary, live: Mapping[str, Any], weights: Weights, cookies: Cookies = NO_COOKIES) -> dict[str, Any]:
    """The spec for these weights: our routes anew in the place of the old ones, the rest as it is.

    Raises MeshRouteError.
    """
    spec = {**(live.get("spec") or {}), **_frame(canary)}
    protocol = "tcp" if _is_tcp(canary) else "http"
    for section in ("http", "tcp"):
        own = own_routes(canary, weights, cookies) if section == protocol else []
        spec[section] = _placed(canary, spec.get(section) or (), own)
    return {name: value for name, value in spec.items() if value}


def weights_of(canary: Canary, live: Mapping[str, Any]) -> Weights | None:
    """Where the VirtualService sends traffic; None if no route of ours is in it."""
    spec = live.get("spec") or {}
    found: Weights | None = None
    mirrored = False
    for route in (*(spec.get("http") or ()), *(spec.get("tcp") or ())):
        if not _is_ours(canary, route):
            continue
        shares = {_short(canary, item): item.get("weight", 0) for item in route["route"]}
        primary, shadow = canary.primary_service_name, canary.canary_service_name
        if primary in shares and shadow in shares:  # the last one: those of cookies come before the one that weighs
            found = Weights(shares[primary], shares[shadow])
        mirrored = mirrored or bool(route.get("mirror"))
    return found and Weights(found.primary, found.canary, mirrored)


def metadata_patch(canary: Canary, live: Mapping[str, Any], spec: Mapping[str, Any]) -> dict[str, Any]:
    """What of labels and annotations is missing, with the original spec of one that is being taken over."""
    metadata = _service(canary).apex
    have = annotations_of(live)
    annotations = dict((metadata.annotations if metadata is not None else None) or {})
    if is_owned(live, canary):
        annotations |= RECONCILE_DISABLED
    elif weights_of(canary, live) is None and spec != live["spec"] and not {_LAST_APPLIED, ORIGINAL} & set(have):
        annotations[ORIGINAL] = json.dumps(live["spec"], separators=(",", ":"), sort_keys=True)
    labels = dict((metadata.labels if metadata is not None else None) or {})
    patch: dict[str, Any] = {}
    for field, want, known in (("labels", labels, labels_of(live)), ("annotations", annotations, have)):
        change = {key: value for key, value in want.items() if known.get(key) != value}
        if change:
            patch[field] = change
    return patch


def restored(canary: Canary, live: Mapping[str, Any]) -> dict[str, Any]:
    """The spec that is left when the Canary goes: the one from before, else our routes to the clients' Service."""
    before = _original(live)
    if before and not is_owned(live, canary):
        return before
    spec = routed(canary, live, HOME)
    home = [{"destination": {"host": canary.service_name}}]
    for section in ("http", "tcp"):
        if section in spec:
            spec[section] = [{**route, "route": home} if _is_ours(canary, route) else route for route in spec[section]]
    return spec


def destination_rule(canary: Canary, name: str) -> Manifest:
    """The DestinationRule of one of the two Services that does not exist yet."""
    return {
        "apiVersion": API_VERSION,
        "kind": "DestinationRule",
        "metadata": {"name": name, "namespace": canary.namespace, "ownerReferences": [owner_reference(canary)]},
        "spec": _rule_spec(canary, name),
    }


def destination_rule_patch(canary: Canary, live: Mapping[str, Any], name: str) -> dict[str, Any]:
    """JSON merge patch for a DestinationRule; empty if it is as it should be. Subsets of others stay."""
    want, have = _rule_spec(canary, name), live.get("spec") or {}
    change: dict[str, Any] = {}
    if have.get("host") != want["host"]:
        change["host"] = want["host"]
    wanted, present = want.get("trafficPolicy"), have.get("trafficPolicy")
    if wanted is not None and present != wanted:
        change["trafficPolicy"] = {**dict.fromkeys(present or ()), **wanted}
    elif wanted is None and present is not None and is_owned(live, canary):
        change["trafficPolicy"] = None
    return {"spec": change} if change else {}


def own_routes(canary: Canary, weights: Weights, cookies: Cookies) -> list[_Route]:
    """Our routes: one with both destinations; for A/B testing, that one for the matched requests and one for the rest;
    for session affinity, before it those for the callers that a cookie keeps where they are."""
    split = _split(canary, weights.primary, weights.canary)
    if _is_tcp(canary):
        ports = [{"port": match.port} for match in _service(canary).match if match.port is not None]
        return [{"match": ports, "route": split}] if ports else [{"route": split}]
    served = [_plain(match) for match in _service(canary).match]
    common = _common(_service(canary))
    route: _Route = {**({"match": served} if served else {}), **common, "route": split}
    if weights.mirrored:
        route["mirror"] = {"host": canary.canary_service_name}
        if canary.spec.analysis.mirror_weight > 0:
            route["mirrorPercentage"] = {"value": canary.spec.analysis.mirror_weight}
    tested = [_plain(match) for match in canary.spec.analysis.match]
    if not tested or canary.spec.analysis.iterations < 1:
        return _with_cookies(canary, route, served, weights, cookies)
    rest = {**({"match": served} if served else {}), **common, "route": _split(canary, 100, None)}
    return [{**route, "match": _merged(tested, served)}, rest]


def _with_cookies(canary: Canary, route: _Route, served: list[Any], weights: Weights, cookies: Cookies) -> list[_Route]:
    routes: list[_Route] = []
    kept = sticking(canary, weights, cookies)
    for stay in kept:
        match = {"headers": {COOKIE: {"regex": pattern(stay.cookie)}}}
        sticky = {**route, "match": _merged([match], served)}
        if stay.expires:
            headers = route.get("headers") or {}
            response = headers.get("response") or {}
            added = {**(response.get("add") or {}), SET_COOKIE: expired(stay.cookie)}
            sticky["headers"] = {**headers, "response": {**response, "add": added}}
        else:
            sticky["route"] = _split(canary, *stay.weights)
        routes.append(sticky)
    handed = {stay.service: stay.hands_out for stay in kept if stay.hands_out}
    split = [
        {**item, "headers": {"response": {"add": {SET_COOKIE: handed[item["destination"]["host"]]}}}}
        if item["destination"]["host"] in handed
        else item
        for item in route["route"]
    ]
    return [*routes, {**route, "route": split}]


def _common(service: CanaryService) -> _Route:
    rewrite = service.rewrite
    parts: _Route = {
        "rewrite": {"uri": rewrite.uri, "authority": rewrite.authority} if rewrite is not None else None,
        "timeout": service.timeout,
        "retries": _plain(service.retries),
        "corsPolicy": _plain(service.cors_policy),
        "headers": _plain(service.headers),
    }
    if parts["rewrite"]:
        parts["rewrite"] = {name: value for name, value in parts["rewrite"].items() if value}
    return {name: value for name, value in parts.items() if value}


def _split(canary: Canary, primary: int, shadow: int | None) -> list[dict[str, Any]]:
    shares = [(canary.primary_service_name, primary)]
    if shadow is not None:
        shares.append((canary.canary_service_name, shadow))
    return [{"destination": _destination(canary, name), "weight": weight} for name, weight in shares]


def _destination(canary: Canary, host: str) -> dict[str, Any]:
    """With several ports of a Service, a gateway has to be told which one is meant."""
    service = _service(canary)
    gateway = bool(service.gateways) and service.gateways[0] != "mesh"
    if service.port_discovery and (gateway or service.delegation):
        return {"host": host, "port": {"number": service.port}}
    return {"host": host}


def _merged(tested: list[Any], served: list[Any]) -> list[dict[str, Any]]:
    return [{**base, **match} for match in tested for base in (served or [{}])]


def _frame(canary: Canary) -> dict[str, Any]:
    service = _service(canary)
    if service.delegation:
        if service.hosts or service.gateways:
            raise MeshRouteError(
                f"VirtualService {canary.service_name}.{canary.namespace} cannot have hosts and gateways when "
                "delegation enabled"
            )
        return {"hosts": [], "gateways": []}
    hosts = list(service.hosts)
    if not {canary.service_name, "*"} & set(hosts):
        hosts.append(canary.service_name)
    return {"hosts": hosts, "gateways": list(service.gateways) or ["mesh"]}


def _rule_spec(canary: Canary, name: str) -> dict[str, Any]:
    policy = _service(canary).traffic_policy
    return {"host": name, **({"trafficPolicy": _plain(policy)} if policy is not None else {})}


def _placed(canary: Canary, routes: Any, own: list[_Route]) -> list[_Route]:
    result: list[_Route] = []
    waiting = list(own)
    for route in routes:
        if _is_ours(canary, route):
            result += waiting
            waiting = []
        else:
            result.append(route)
    return [*waiting, *result]


def _is_ours(canary: Canary, route: Mapping[str, Any]) -> bool:
    names = {canary.service_name, canary.primary_service_name, canary.canary_service_name}
    destinations = route.get("route") or ()
    return bool(destinations) and all(_short(canary, item) in names for item in destinations)


def _short(canary: Canary, item: Mapping[str, Any]) -> str:
    """The name of a Service of this namespace, however long it was written."""
    host = str((item.get("destination") or {}).get("host", ""))
    name, _, rest = host.partition(".")
    here = canary.namespace
    return name if rest in {"", here, f"{here}.svc", f"{here}.svc.cluster.local"} else host


def _original(live: Mapping[str, Any]) -> dict[str, Any]:
    annotations = annotations_of(live)
    try:
        applied = json.loads(annotations.get(_LAST_APPLIED) or "{}").get("spec")
        found = applied or json.loads(annotations.get(ORIGINAL) or "{}")
    except (ValueError, AttributeError):
        return {}
    return found if isinstance(found, dict) else {}


def _is_tcp(canary: Canary) -> bool:
    return (_service(canary).app_protocol or "").lower() == "tcp"


def _service(canary: Canary) -> CanaryService:
    assert canary.spec.service is not None
    return canary.spec.service


def _plain(value: Any) -> Any:
    """The value as the API server would give it back: lists, not tuples."""
    return msgspec.json.decode(msgspec.json.encode(value))
