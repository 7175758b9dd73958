"""The HTTPRoute of a Canary (Gateway API v1): rules from the Canary, weights, and what of others is kept.

Rules are ours if all they send to are the Canary's own Services; others are kept as they are, where they are. A rule
carries every default explicitly, so that what is wanted and what is stored compare as equal.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from agent.api.canary import Canary
from agent.api.service import CanaryService
from agent.api.traffic import AnalysisMatch, GatewayReference, HeaderOperations, RequestMatch, StringMatch
from agent.core.digits import whole
from agent.core.objects import Manifest, annotations_of, labels_of
from agent.core.rollout.actions import HOME, Weights
from agent.core.rollout.affinity import COOKIE, NO_COOKIES, SET_COOKIE, Cookies, expired, pattern, sticking
from agent.core.rollout.objects import RECONCILE_DISABLED, is_owned, owner_reference

API_VERSION = "gateway.networking.k8s.io/v1"
KIND = "HTTPRoute"

_Rule = dict[str, Any]


class RouteError(ValueError):
    """The Canary asks for something that Gateway API cannot do."""


def new_route(canary: Canary) -> Manifest:
    """A route that does not exist yet: all traffic to the primary."""
    metadata = _service(canary).apex
    given = metadata.annotations if metadata is not None and metadata.annotations else {}
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {
            "name": canary.service_name,
            "namespace": canary.namespace,
            "labels": dict((metadata.labels if metadata is not None else None) or {}),
            "annotations": {**given, **RECONCILE_DISABLED},
            "ownerReferences": [owner_reference(canary)],
        },
        "spec": {**_frame(canary), "rules": own_rules(canary, HOME)},
    }


def with_weights(
    canary: Canary, live: Mapping[str, Any], weights: Weights, cookies: Cookies = NO_COOKIES
) -> dict[str, Any]:
    """The spec that a route gets for these weights: our rules anew in the place of the old ones, the rest as it is."""
    names = _names(canary)
    rules: list[_Rule] = []
    placed = False
    for rule in live["spec"].get("rules") or ():
        if not _is_ours(rule, names):
            rules.append(rule)
        elif not placed:
            rules += own_rules(canary, weights, cookies)
            placed = True
    if not placed:
        rules = [*own_rules(canary, weights, cookies), *rules]
    kept = {name: value for name, value in live["spec"].items() if name != "hostnames" or not is_owned(live, canary)}
    return {**kept, **_frame(canary), "rules": rules}


def metadata_patch(canary: Canary, live: Mapping[str, Any]) -> dict[str, Any]:
    """What of the labels and annotations asked for is missing. Those of others stay."""
    metadata = _service(canary).apex
    labels = dict((metadata.labels if metadata is not None else None) or {})
    annotations = dict((metadata.annotations if metadata is not None else None) or {})
    if is_owned(live, canary):
        annotations |= RECONCILE_DISABLED
    patch: dict[str, Any] = {}
    for field, want, have in (
        ("labels", labels, labels_of(live)),
        ("annotations", annotations, annotations_of(live)),
    ):
        change = {key: value for key, value in want.items() if have.get(key) != value}
        if change:
            patch[field] = change
    return patch


def weights_of(canary: Canary, live: Mapping[str, Any]) -> Weights | None:
    """Where the route sends traffic; None if no rule of ours is in it."""
    names = _names(canary)
    primary, shadow = canary.primary_service_name, canary.canary_service_name
    found: Weights | None = None
    mirrored = False
    for rule in live["spec"].get("rules") or ():
        if not _is_ours(rule, names):
            continue
        by_name = {ref["name"]: ref.get("weight", 1) for ref in rule.get("backendRefs") or ()}
        if primary in by_name and shadow in by_name:  # the last one: rules of cookies come before the one that weighs
            found = Weights(by_name[primary], by_name[shadow], baseline=by_name.get(canary.baseline_service_name, 0))
        mirrors = [item.get("requestMirror") for item in rule.get("filters") or ()]
        mirrored = mirrored or any(item and item["backendRef"]["name"] == shadow for item in mirrors)
    return found and msgspec.structs.replace(found, mirrored=mirrored)


def not_accepted(live: Mapping[str, Any]) -> str:
    """Why the gateways do not serve the route as it is stored; empty if they do, or have not said anything yet."""
    metadata = live["metadata"]
    generation = metadata.get("generation", 0)
    for parent in (live.get("status") or {}).get("parents") or ():
        if parent.get("parentRef") not in (live["spec"].get("parentRefs") or ()):
            continue
        for condition in parent.get("conditions") or ():
            observed = condition.get("observedGeneration", 0)
            if condition["type"] == "Accepted" and (condition["status"] != "True" or observed < generation):
                return (
                    f"HTTPRoute {metadata['name']}.{metadata['namespace']} parent {parent['parentRef']['name']} "
                    f"is not ready (status: {condition['status']}, observed generation: {observed}, "
                    f"current generation: {generation})"
                )
    return ""


def restored(canary: Canary, live: Mapping[str, Any]) -> dict[str, Any]:
    """The spec that a route is left with when its Canary goes: our rules send to the clients' Service again."""
    spec = with_weights(canary, live, HOME)
    names = _names(canary)
    apex = [_backend(canary, canary.service_name, 1)]
    rules = [{**rule, "backendRefs": apex} if _is_ours(rule, names) else rule for rule in spec["rules"]]
    return {**spec, "rules": rules}


def own_rules(canary: Canary, weights: Weights, cookies: Cookies = NO_COOKIES) -> list[_Rule]:
    """Our rules: one with both backends; for A/B testing, that one for the matched requests and one for the rest; for
    session affinity, before it those for the callers that a cookie keeps where they are."""
    matches = [_request_match(item) for item in _service(canary).match]
    matches = [item for item in matches if item] or [{"path": {"type": "PathPrefix", "value": "/"}}]
    split = [
        _backend(canary, canary.primary_service_name, weights.primary),
        _backend(canary, canary.canary_service_name, weights.canary),
    ]
    if weights.baseline:
        split.append(_backend(canary, canary.baseline_service_name, weights.baseline))
    rule = _rule(canary, matches, split, mirrored=weights.mirrored)
    tested = [_analysis_match(item) for item in canary.spec.analysis.match]
    if not tested or canary.spec.analysis.iterations < 1:
        return _with_cookies(canary, rule, weights, cookies)
    rest = _rule(canary, matches, [_backend(canary, canary.primary_service_name, 100)], mirrored=False)
    return [{**rule, "matches": [_merged(one, other) for one in tested for other in matches]}, rest]


def _with_cookies(canary: Canary, rule: _Rule, weights: Weights, cookies: Cookies) -> list[_Rule]:
    """The rule that weighs, hands out cookies in a run, and the rules for those who have one before it."""
    names = (canary.primary_service_name, canary.canary_service_name)
    kept = sticking(canary, weights, cookies)
    rules: list[_Rule] = []
    for stay in kept:
        shares = [_backend(canary, name, weight) for name, weight in zip(names, stay.weights, strict=True)]
        sticky = {**rule, "matches": [_merged(_cookie_match(stay.cookie), match) for match in rule["matches"]]}
        if stay.expires:
            sticky["filters"] = _adding_header(rule.get("filters") or [], SET_COOKIE, expired(stay.cookie))
        else:
            sticky["backendRefs"] = shares
        rules.append(sticky)
    handed = {stay.service: stay.hands_out for stay in kept if stay.hands_out}
    backends = [
        {**ref, "filters": _adding_header([], SET_COOKIE, handed[ref["name"]])} if ref["name"] in handed else ref
        for ref in rule["backendRefs"]
    ]
    return [*rules, {**rule, "backendRefs": backends}]


def _cookie_match(cookie: str) -> dict[str, Any]:
    return {"headers": [{"type": "RegularExpression", "name": COOKIE, "value": pattern(cookie)}]}


def _adding_header(filters: Sequence[Mapping[str, Any]], name: str, value: str) -> list[dict[str, Any]]:
    """The filters with one more response header; a rule may have only one filter of that type."""
    kind, field = "ResponseHeaderModifier", "responseHeaderModifier"
    changes: dict[str, Any] = next((item[field] for item in filters if item["type"] == kind), {})
    changes = {**changes, "add": [*(changes.get("add") or ()), {"name": name, "value": value}]}
    rest = [dict(item) for item in filters if item["type"] != kind]
    return [*rest, {"type": kind, field: changes}]


def _rule(canary: Canary, matches: list[Any], backends: list[Any], *, mirrored: bool) -> _Rule:
    service = _service(canary)
    filters = _filters(service)
    if mirrored:
        backend = _backend(canary, canary.canary_service_name, 0)
        del backend["weight"]
        filters.append({"type": "RequestMirror", "requestMirror": {"backendRef": backend}})
    rule: _Rule = {"matches": copy.deepcopy(matches), "backendRefs": backends}
    if filters:
        rule["filters"] = filters
    timeouts = {"request": service.timeout, "backendRequest": service.backend_timeout}
    if given := {name: value for name, value in timeouts.items() if value}:
        rule["timeouts"] = given
    return rule


def _frame(canary: Canary) -> dict[str, Any]:
    service = _service(canary)
    if not service.gateway_refs:
        raise RouteError("GatewayRefs must be specified when using Gateway API as a provider.")
    parents = [_parent(reference) for reference in service.gateway_refs]
    frame: dict[str, Any] = {"parentRefs": parents}
    if service.hosts:
        frame["hostnames"] = list(service.hosts)
    return frame


def _parent(reference: GatewayReference) -> dict[str, Any]:
    more = {"namespace": reference.namespace, "sectionName": reference.section_name, "port": reference.port}
    return {
        "group": reference.group,
        "kind": reference.kind,
        "name": reference.name,
        **{name: value for name, value in more.items() if value is not None},
    }


def _backend(canary: Canary, name: str, weight: int) -> dict[str, Any]:
    return {"group": "", "kind": "Service", "name": name, "port": _service(canary).port, "weight": weight}


def _filters(service: CanaryService) -> list[dict[str, Any]]:
    filters: list[dict[str, Any]] = []
    headers = service.headers
    if headers is not None and headers.request is not None:
        filters.append({"type": "RequestHeaderModifier", "requestHeaderModifier": _header_changes(headers.request)})
    if headers is not None and headers.response is not None:
        filters.append({"type": "ResponseHeaderModifier", "responseHeaderModifier": _header_changes(headers.response)})
    if service.rewrite is not None:
        rewrite: dict[str, Any] = {}
        if service.rewrite.authority:
            rewrite["hostname"] = service.rewrite.authority
        if service.rewrite.uri:
            kind = service.rewrite.type or "ReplaceFullPath"
            field = "replacePrefixMatch" if kind == "ReplacePrefixMatch" else "replaceFullPath"
            rewrite["path"] = {"type": kind, field: service.rewrite.uri}
        filters.append({"type": "URLRewrite", "urlRewrite": rewrite})
    for mirror in service.mirror:
        backend = mirror.backend_ref
        reference: dict[str, Any] = {"group": backend.group, "kind": backend.kind, "name": backend.name}
        more = {"namespace": backend.namespace, "port": backend.port}
        reference |= {name: value for name, value in more.items() if value is not None}
        filters.append({"type": "RequestMirror", "requestMirror": {"backendRef": reference}})
    if service.cors_policy is not None:
        filters.append({"type": "CORS", "cors": _cors(service)})
    return filters


def _cors(service: CanaryService) -> dict[str, Any]:
    policy = service.cors_policy
    assert policy is not None
    cors: dict[str, Any] = {
        "allowOrigins": list(policy.allow_origin),
        "allowMethods": list(policy.allow_methods),
        "allowHeaders": list(policy.allow_headers),
        "exposeHeaders": list(policy.expose_headers),
    }
    cors = {name: value for name, value in cors.items() if value}
    if policy.allow_credentials is not None:
        cors["allowCredentials"] = policy.allow_credentials
    if policy.max_age and (seconds := whole(policy.max_age.removesuffix("s"))) is not None:
        cors["maxAge"] = seconds
    return cors


def _header_changes(operations: HeaderOperations) -> dict[str, Any]:
    def pairs(values: Mapping[str, str] | None) -> list[dict[str, str]]:
        return [{"name": name, "value": value} for name, value in sorted((values or {}).items())]

    changes = {"add": pairs(operations.add), "set": pairs(operations.set), "remove": list(operations.remove)}
    return {name: value for name, value in changes.items() if value}


def _request_match(match: RequestMatch) -> dict[str, Any]:
    result: dict[str, Any] = {}
    if match.uri is not None:
        result["path"] = _path(match.uri)
    if match.method is not None:
        if not match.method.exact:
            raise RouteError("Invalid request matching selectors: Gateway API matches methods exactly only")
        result["method"] = match.method.exact
    if match.headers:
        result["headers"] = _named_matches(match.headers)
    if match.query_params:
        result["queryParams"] = _named_matches(match.query_params)
    if result and "path" not in result:
        result["path"] = {"type": "PathPrefix", "value": "/"}
    return result


def _analysis_match(match: AnalysisMatch) -> dict[str, Any]:
    result: dict[str, Any] = {}
    if match.headers:
        result["headers"] = _named_matches(match.headers)
    if match.query_params:
        result["queryParams"] = _named_matches(match.query_params)
    if not result:
        raise RouteError("Invalid request matching selectors: Gateway API matches headers and query parameters only")
    return result


def _merged(tested: Mapping[str, Any], served: Mapping[str, Any]) -> dict[str, Any]:
    return {**copy.deepcopy(dict(served)), **tested}


def _path(uri: StringMatch) -> dict[str, str]:
    for kind, value in (("RegularExpression", uri.regex), ("Exact", uri.exact), ("PathPrefix", uri.prefix)):
        if value:
            return {"type": kind, "value": value}
    raise RouteError("Invalid request matching selectors: a uri needs exact, prefix or regex")


def _named_matches(matches: Mapping[str, Any]) -> list[dict[str, str]]:
    result = []
    for name, match in sorted(matches.items()):
        if match.exact:
            result.append({"type": "Exact", "name": name, "value": match.exact})
        elif match.regex:
            result.append({"type": "RegularExpression", "name": name, "value": match.regex})
        else:
            raise RouteError(f"Invalid request matching selectors: Gateway API matches {name} by exact or regex only")
    return result


def _is_ours(rule: Mapping[str, Any], names: frozenset[str]) -> bool:
    backends: Sequence[Mapping[str, Any]] = rule.get("backendRefs") or ()
    return bool(backends) and all(
        ref.get("name") in names and ref.get("kind", "Service") == "Service" and not ref.get("namespace")
        for ref in backends
    )


def _names(canary: Canary) -> frozenset[str]:
    return frozenset(
        {
            canary.service_name,
            canary.primary_service_name,
            canary.canary_service_name,
            canary.baseline_service_name,
        }
    )


def _service(canary: Canary) -> CanaryService:
    if canary.spec.service is None:
        raise RouteError("spec.service must be specified when using Gateway API as a provider.")
    return canary.spec.service
