"""The canary Ingress of a Canary (ingress-nginx): a copy of the clients' Ingress that takes a share of its requests.

The clients' own Ingress is never changed. What the copy takes is said in annotations under a prefix.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from agent.api.analysis import Strategy
from agent.api.canary import Canary
from agent.core.digits import whole
from agent.core.objects import Manifest, annotations_of, labels_of
from agent.core.rollout.actions import HOME, Weights
from agent.core.rollout.hashing import FLUX_MARKER
from agent.core.rollout.objects import RECONCILE_DISABLED, owner_reference

API_VERSION = "networking.k8s.io/v1"
PREFIX = "nginx.ingress.kubernetes.io"
_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
_BY_REQUEST = ("canary-by-cookie", "canary-by-header", "canary-by-header-value", "canary-by-header-pattern")


class IngressError(ValueError):
    """The Canary asks for something that the Ingress does not have or ingress-nginx cannot do."""


def source_name(canary: Canary) -> str:
    """The clients' Ingress. Raises IngressError."""
    reference = canary.spec.ingress_ref
    if reference is None or not reference.name:
        raise IngressError("ingress selector is empty: name the clients' Ingress in spec.ingressRef")
    return reference.name


def canary_name(canary: Canary) -> str:
    """The copy. Raises IngressError."""
    return f"{source_name(canary)}-canary"


def new_ingress(canary: Canary, source: Mapping[str, Any], prefix: str) -> Manifest:
    """A copy that does not exist yet, and takes nothing. Raises IngressError."""
    given = {
        key: value
        for key, value in annotations_of(source).items()
        if not key.startswith(f"{prefix}/canary") and key != _LAST_APPLIED and FLUX_MARKER not in key
    }
    return {
        "apiVersion": API_VERSION,
        "kind": "Ingress",
        "metadata": {
            "name": canary_name(canary),
            "namespace": canary.namespace,
            "labels": {key: value for key, value in labels_of(source).items() if FLUX_MARKER not in key},
            "annotations": {**given, **RECONCILE_DISABLED, **taking(canary, HOME, prefix)},
            "ownerReferences": [owner_reference(canary)],
        },
        "spec": copied_spec(canary, source),
    }


def copied_spec(canary: Canary, source: Mapping[str, Any]) -> dict[str, Any]:
    """The spec of the copy: the clients' Service replaced by the canary's. Raises IngressError."""
    spec: dict[str, Any] = copy.deepcopy(source["spec"])
    paths = [path for rule in spec.get("rules") or () for path in (rule.get("http") or {}).get("paths") or ()]
    backends = [path["backend"]["service"] for path in paths if path.get("backend", {}).get("service")]
    own = [backend for backend in backends if backend["name"] == canary.service_name]
    if not own:
        raise IngressError(f"backend {canary.service_name} not found in ingress {source_name(canary)}")
    for backend in own:
        backend["name"] = canary.canary_service_name
    return spec


def taking(canary: Canary, weights: Weights, prefix: str) -> dict[str, str]:
    """The annotations that make the copy take this share. Raises IngressError."""
    by_request = _by_request(canary) if _matches(canary) and weights.canary > 0 else {}
    weight = 0 if _matches(canary) else weights.canary
    wanted = {"canary": "true", "canary-weight": str(weight), **by_request}
    return {f"{prefix}/{name}": value for name, value in wanted.items()}


def annotations_patch(canary: Canary, live: Mapping[str, Any], weights: Weights, prefix: str) -> dict[str, str | None]:
    """JSON merge patch of the annotations; empty if the copy takes this share already. Raises IngressError."""
    have, want = annotations_of(live), taking(canary, weights, prefix)
    gone = [name for name in (f"{prefix}/{word}" for word in _BY_REQUEST) if name in have and name not in want]
    return {**dict.fromkeys(gone), **{key: value for key, value in want.items() if have.get(key) != value}}


def weights_of(canary: Canary, live: Mapping[str, Any], prefix: str) -> Weights:
    """Which share the copy takes. Raises IngressError."""
    annotations = annotations_of(live)
    if _matches(canary):
        taken = any(f"{prefix}/{name}" in annotations for name in ("canary-by-cookie", "canary-by-header"))
        return Weights(0, 100) if taken else HOME
    text = annotations.get(f"{prefix}/canary-weight", "0")
    weight = whole(text)
    if weight is None or weight > 100:
        name = f"{canary_name(canary)}.{canary.namespace}"
        raise IngressError(f"ingress {name} annotation {prefix}/canary-weight: {text!r} is not a percentage")
    return Weights(100 - weight, weight)


def _matches(canary: Canary) -> bool:
    return canary.spec.analysis.strategy is Strategy.AB_TESTING


def _by_request(canary: Canary) -> dict[str, str]:
    """ingress-nginx looks at one header and one cookie, whose value is `always`."""
    wanted: dict[str, str] = {}
    for match in canary.spec.analysis.match:
        if match.source_labels or match.query_params or not match.headers:
            raise IngressError("Invalid request matching selectors: nginx matches one header and one cookie only")
        for name, value in match.headers.items():
            found = _of_header(name, value.exact, value.regex)
            if set(found) & set(wanted):
                raise IngressError("Invalid request matching selectors: nginx matches one header and one cookie only")
            wanted |= found
    return wanted


def _of_header(name: str, exact: str | None, regex: str | None) -> dict[str, str]:
    if name.lower() == "cookie" and exact:
        return {"canary-by-cookie": exact}
    if name.lower() != "cookie" and exact:
        return {"canary-by-header": name, "canary-by-header-value": exact}
    if name.lower() != "cookie" and regex:
        return {"canary-by-header": name, "canary-by-header-pattern": regex}
    raise IngressError(f"Invalid request matching selectors: nginx cannot match {name} in this way, use exact")
