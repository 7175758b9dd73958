"""Fields that a kind does not have, and manifests without them.

kustomize-controller reads Kubernetes' own kinds into Go's types before it applies them (`fluxcd/pkg/ssa/normalize`),
which drops such fields. The API server refuses them, and names them; manifests that have had one for years are to go on
being applied. A custom resource with such a field is refused, as with Flux.
"""

from __future__ import annotations

import re
from typing import Any

from agent.core.objects import Manifest, split_api_version

_REFUSED = re.compile(r"(?:^ *|: )(\.[^\n]*?): field not declared in schema$", re.MULTILINE)
_SELECTOR = re.compile(r'\[(?:"(?:[^"\\]|\\.)*"|[^\]"])*\]')
_CIPHER_TEXT = ".sops"
"""Without this field, what SOPS has encrypted would look like what was meant."""
_TYPED_GROUPS = frozenset(
    {
        "",
        "admissionregistration.k8s.io",
        "apps",
        "authentication.k8s.io",
        "authorization.k8s.io",
        "autoscaling",
        "batch",
        "certificates.k8s.io",
        "coordination.k8s.io",
        "discovery.k8s.io",
        "events.k8s.io",
        "flowcontrol.apiserver.k8s.io",
        "networking.k8s.io",
        "node.k8s.io",
        "policy",
        "rbac.authorization.k8s.io",
        "resource.k8s.io",
        "scheduling.k8s.io",
        "storage.k8s.io",
        "storagemigration.k8s.io",
    }
)
_UNTYPED_KINDS = frozenset({"Role", "ClusterRole"})


def undeclared(manifest: Manifest, refusal: str) -> tuple[str, ...]:
    """The fields that a refusal of the API server calls undeclared, if they may be left out of this manifest.

    Each is a path as the API server writes it, such as `.spec.template.spec.containers[name="main"].imagePolicy`.
    """
    group, _ = split_api_version(manifest["apiVersion"])
    if group not in _TYPED_GROUPS or manifest["kind"] in _UNTYPED_KINDS:
        return ()
    found = tuple(sorted(_REFUSED.findall(refusal)))
    return () if _CIPHER_TEXT in found else found


def without_fields(manifest: Manifest, paths: tuple[str, ...]) -> Manifest:
    """A copy without the fields at these paths. Of a list, all items lose the field: they are of one form."""
    for path in paths:
        manifest = _without(manifest, path)
    return manifest


def _without(node: Any, path: str) -> Any:
    if isinstance(node, list):
        rest = _SELECTOR.sub("", path, count=1)
        return [_without(item, rest) for item in node]
    name = path.removeprefix(".")
    if not isinstance(node, dict) or name == path:
        return node
    kept = {key: value for key, value in node.items() if key != name}
    inner = {key for key in kept if name.startswith((f"{key}.", f"{key}["))}
    return {key: _without(value, name[len(key) :]) if key in inner else value for key, value in kept.items()}
