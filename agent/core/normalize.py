"""What is done to a rendered object before it is sent: owner labels, common metadata, and Flux's normalisation."""

from __future__ import annotations

import base64
from collections.abc import Mapping

from agent.core.objects import Manifest

GROUP = "kustomize.toolkit.fluxcd.io"
OWNER_NAME = f"{GROUP}/name"
OWNER_NAMESPACE = f"{GROUP}/namespace"


def owner_labels(name: str, namespace: str) -> dict[str, str]:
    """The two labels by which an object names the Kustomization that owns it."""
    return {OWNER_NAME: name, OWNER_NAMESPACE: namespace}


def normalized(manifest: Manifest, owner: Mapping[str, str]) -> Manifest:
    """The manifest as it is applied: owner labels set, server-owned parts dropped.

    The input is not changed. Follows `fluxcd/pkg/ssa/normalize`: status dropped (but for CustomResourceDefinitions,
    whose conversion may carry an unusable caBundle), null creationTimestamp dropped, Secret stringData moved to data,
    port protocol defaulted so that list merging has its key, and in workloads the empty parts that Go's types always
    write: kustomize-controller owns those fields, and to stop sending one is to ask for its removal, which for the
    labels of a Job's template is refused.
    """
    metadata = dict(manifest["metadata"])
    metadata["labels"] = {**(metadata.get("labels") or {}), **owner}
    metadata.pop("creationTimestamp", None)
    result: Manifest = {**manifest, "metadata": metadata}
    kind = manifest["kind"]
    if kind == "CustomResourceDefinition":
        return _without_bad_ca_bundle(result)
    result.pop("status", None)
    if kind == "Secret" and manifest["apiVersion"] == "v1":
        return _with_encoded_data(result)
    if kind == "Service" and manifest["apiVersion"] == "v1":
        return {**result, "spec": _with_protocols(result.get("spec") or {})}
    path = _pod_spec_path(result)
    return _completed(result, path, _STRATEGIES.get(kind, "")) if path else result


def _with_encoded_data(secret: Manifest) -> Manifest:
    plain = secret.get("stringData") or {}
    if not all(isinstance(value, str) for value in plain.values()):
        return secret  # what `true` without quotes is to mean is not ours to guess: the API server refuses it
    secret.pop("stringData", None)
    if not plain:
        return secret
    encoded = {name: base64.b64encode(value.encode()).decode() for name, value in plain.items()}
    return {**secret, "data": {**(secret.get("data") or {}), **encoded}}


def _with_protocols(holder: Manifest) -> Manifest:
    """A Service spec or a container whose ports all name their protocol."""
    ports = holder.get("ports")
    if not isinstance(ports, list):
        return holder
    return {**holder, "ports": [{"protocol": "TCP", **port} if isinstance(port, dict) else port for port in ports]}


_POD_SPECS: dict[str, tuple[str, ...]] = {
    "Pod": ("spec",),
    "Deployment": ("spec", "template", "spec"),
    "StatefulSet": ("spec", "template", "spec"),
    "DaemonSet": ("spec", "template", "spec"),
    "ReplicaSet": ("spec", "template", "spec"),
    "Job": ("spec", "template", "spec"),
    "CronJob": ("spec", "jobTemplate", "spec", "template", "spec"),
    "PodTemplate": ("template", "spec"),
}
_STRATEGIES = {"Deployment": "strategy", "StatefulSet": "updateStrategy", "DaemonSet": "updateStrategy"}
_WORKLOAD_VERSIONS = frozenset({"v1", "apps/v1", "batch/v1"})


def _pod_spec_path(manifest: Manifest) -> tuple[str, ...]:
    if manifest["apiVersion"] not in _WORKLOAD_VERSIONS:
        return ()
    return _POD_SPECS.get(manifest["kind"], ())


def _completed(value: Manifest, path: tuple[str, ...], strategy: str = "") -> Manifest:
    """Copies only along `path`; the rest of the manifest is shared."""
    if not path:
        result = dict(value)
        for field in ("containers", "initContainers"):
            if isinstance(value.get(field), list):
                result[field] = [_completed_container(c) if isinstance(c, dict) else c for c in value[field]]
        return result
    inner = value.get(path[0])
    if not isinstance(inner, dict):
        return value
    inner = _completed(inner, path[1:])
    if path[0] in ("template", "jobTemplate"):
        inner = {"metadata": {}, **inner}
    elif strategy and "template" in inner:
        inner = {strategy: {}, **inner}
    return {**value, path[0]: inner}


def _completed_container(container: Manifest) -> Manifest:
    return {"resources": {}, **_with_protocols(container)}


def _without_bad_ca_bundle(crd: Manifest) -> Manifest:
    webhook = (((crd.get("spec") or {}).get("conversion") or {}).get("webhook")) or {}
    config = webhook.get("clientConfig") or {}
    bundle = config.get("caBundle")
    if bundle is None or _is_pem(bundle):
        return crd
    spec = crd["spec"]
    clean = {name: value for name, value in config.items() if name != "caBundle"}
    conversion = {**spec["conversion"], "webhook": {**webhook, "clientConfig": clean}}
    return {**crd, "spec": {**spec, "conversion": conversion}}


def _is_pem(bundle: object) -> bool:
    try:
        return b"-----BEGIN CERTIFICATE-----" in base64.b64decode(str(bundle), validate=True)
    except ValueError:
        return False
