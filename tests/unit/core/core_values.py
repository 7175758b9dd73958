"""Values that the tests of the core share."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import strategies as st

from agent.api.kustomization import Kustomization
from agent.core.objects import ObjectKey

NOW = datetime(2026, 5, 6, 7, 8, 9, tzinfo=UTC)
LATER = NOW + timedelta(minutes=5)

NAMES = st.text("az09-.", min_size=1, max_size=6)
NAMESPACES = st.text("az09-", min_size=1, max_size=6)
PLAIN_KINDS = st.sampled_from(
    [
        ("", "ConfigMap"),
        ("", "Service"),
        ("", "Namespace"),
        ("apps", "Deployment"),
        ("apiextensions.k8s.io", "CustomResourceDefinition"),
        ("serving.kserve.io", "InferenceService"),
        ("node.k8s.io", "RuntimeClass"),
    ]
)
RBAC_GROUP = "rbac.authorization.k8s.io"
RBAC_KINDS = st.sampled_from(["Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding"])
RBAC_NAMES = st.lists(NAMES, min_size=1, max_size=4).map(":".join)

PLAIN_KEYS = st.builds(
    lambda kind, namespace, name: ObjectKey(*kind, namespace, name), PLAIN_KINDS, st.just("") | NAMESPACES, NAMES
)
RBAC_KEYS = st.builds(ObjectKey, st.just(RBAC_GROUP), RBAC_KINDS, st.just("") | NAMESPACES, RBAC_NAMES)
KEYS = PLAIN_KEYS | RBAC_KEYS

SCALARS = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=5)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=12,
)
OBJECTS = st.dictionaries(st.text(max_size=3), JSON, max_size=4)


def manifest(kind: str, name: str = "thing", api_version: str = "v1", **rest: Any) -> dict[str, Any]:
    """A small namespaced object; `metadata` in `rest` is merged."""
    metadata = {"name": name, "namespace": "apps", **rest.pop("metadata", {})}
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata, **rest}


def kustomization(
    name: str = "app",
    *,
    generation: int = 2,
    status: dict[str, Any] | None = None,
    requested: str | None = None,
    **spec: Any,
) -> Kustomization:
    """A Kustomization as the API server would give it."""
    annotations = {"reconcile.fluxcd.io/requestedAt": requested} if requested else {}
    return Kustomization.from_object(
        {
            "metadata": {
                "name": name,
                "namespace": "team",
                "uid": f"uid-{name}",
                "generation": generation,
                "annotations": annotations,
            },
            "spec": {
                "interval": "10m",
                "prune": True,
                "sourceRef": {"kind": "GitRepository", "name": "repo"},
                **spec,
            },
            "status": status if status is not None else {"observedGeneration": -1},
        }
    )
