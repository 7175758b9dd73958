"""The objects of a rollout as they should be: the primary, its configs, the three Services, the autoscaler's copy.

Manifests in, manifests out. Nothing that is passed in is changed; what is shared between input and output is not
written to afterwards.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from agent.api.canary import API_VERSION, Canary
from agent.api.service import CanaryService, CustomMetadata
from agent.core.objects import Manifest, annotations_of, labels_of
from agent.core.rollout.hashing import FLAGGER_ID, FLUX_MARKER, without_stop
from agent.core.rollout.podspec import CONFIG_MAP, ConfigRef, with_copies

RECONCILE_DISABLED = {
    "kustomize.toolkit.fluxcd.io/reconcile": "disabled",
    "helm.toolkit.fluxcd.io/driftDetection": "disabled",
}
"""What keeps Flux's controllers off objects that a rollout writes."""

_REVISION = "deployment.kubernetes.io/revision"
_NOT_COPIED = frozenset({"kubectl.kubernetes.io/last-applied-configuration", _REVISION})
_SIDECARS = frozenset({"istio-proxy", "envoy"})
_CARRIED = ("strategy", "updateStrategy", "minReadySeconds", "revisionHistoryLimit", "progressDeadlineSeconds")


class Selector(msgspec.Struct, frozen=True):
    """The label by which target and primary are told apart, with the target's value."""

    key: str
    value: str

    @property
    def primary(self) -> str:
        return f"{self.value}-primary"

    @property
    def baseline(self) -> str:
        return f"{self.value}-baseline"


class SelectorError(ValueError):
    """The target's selector has none of the labels that could tell it from its primary."""


def selector_of(workload: Mapping[str, Any], labels: tuple[str, ...]) -> Selector:
    """The first of the configured labels that the target selects its pods by. Raises SelectorError."""
    matched = (workload.get("spec", {}).get("selector") or {}).get("matchLabels") or {}
    for label in labels:
        if label in matched:
            return Selector(label, matched[label])
    name, namespace = workload["metadata"]["name"], workload["metadata"]["namespace"]
    kind = workload.get("kind", "Deployment").lower()
    raise SelectorError(
        f"getSelectorLabel failed: {kind} {name}.{namespace} spec.selector.matchLabels must contain one of "
        f"[{' '.join(labels)}]"
    )


def primary_name(name: str) -> str:
    """The name of the primary's counterpart of an object."""
    return f"{name}-primary"


def owner_reference(canary: Canary) -> dict[str, Any]:
    """By which objects go when the Canary goes."""
    return {
        "apiVersion": API_VERSION,
        "kind": "Canary",
        "name": canary.name,
        "uid": canary.metadata.uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }


def is_owned(obj: Mapping[str, Any], canary: Canary) -> bool:
    """True if the Canary made the object."""
    owners = obj.get("metadata", {}).get("ownerReferences") or ()
    return any(
        owner.get("controller") and owner.get("kind") == "Canary" and owner.get("name") == canary.name
        for owner in owners
    )


def primary_template(
    target: Mapping[str, Any], selector: Selector, copied: frozenset[str], *, selector_labels: tuple[str, ...]
) -> dict[str, Any]:
    """The target's pod template as the primary runs it, without the identity of a promotion.

    `copied`: keys of the ConfigMaps and Secrets of which the primary has its own copies.
    """
    source = target["spec"]["template"]
    metadata = source.get("metadata") or {}
    pod = without_stop(msgspec.json.decode(msgspec.json.encode(source["spec"])))
    with_copies(pod, copied, primary_name)
    for terms in _label_selectors(pod):
        _renamed(terms, target["metadata"]["name"], selector_labels)
    labels = unmarked(metadata.get("labels"))
    annotations = {key: value for key, value in unmarked(metadata.get("annotations")).items() if key != FLAGGER_ID}
    return {"metadata": {"labels": {**labels, selector.key: selector.primary}, "annotations": annotations}, "spec": pod}


def with_identity(template: Mapping[str, Any], identity: str) -> dict[str, Any]:
    """The template with the identity of a promotion, under the annotation that Flagger uses for it."""
    metadata = template["metadata"]
    annotations = {**(metadata.get("annotations") or {}), FLAGGER_ID: identity}
    return {**template, "metadata": {**metadata, "annotations": annotations}}


def identity_in(deployment: Mapping[str, Any]) -> str:
    """The identity that the last promotion left."""
    return str(annotations_of(deployment["spec"]["template"]).get(FLAGGER_ID, ""))


def fence_of(workload: Mapping[str, Any]) -> str:
    """`<uid>/<generation>`, and the revision of a Deployment: another one whenever somebody has written the spec."""
    metadata = workload["metadata"]
    parts = (metadata["uid"], str(metadata.get("generation", 0)), annotations_of(workload).get(_REVISION, ""))
    return "/".join(filter(None, parts))


def matches_template(primary: Mapping[str, Any], template: Mapping[str, Any]) -> bool:
    """True if the primary runs this template already, whatever the identity on it."""
    return template_of(primary) == {name: template[name] for name in ("metadata", "spec")}


def template_of(primary: Mapping[str, Any]) -> dict[str, Any]:
    """The pod template of a primary in the form of `primary_template`: without the identity of a promotion."""
    live = primary["spec"]["template"]
    metadata = live.get("metadata") or {}
    annotations = {key: value for key, value in (metadata.get("annotations") or {}).items() if key != FLAGGER_ID}
    return {"metadata": {"labels": metadata.get("labels") or {}, "annotations": annotations}, "spec": live["spec"]}


def primary_workload(
    canary: Canary,
    target: Mapping[str, Any],
    selector: Selector,
    template: Mapping[str, Any],
    *,
    replicas: int | None,
    label_prefixes: tuple[str, ...],
) -> Manifest:
    """A primary that does not exist yet. `replicas` None is for kinds that have none."""
    annotations = {key: value for key, value in annotations_of(target).items() if key not in _NOT_COPIED}
    spec = {name: target["spec"][name] for name in _CARRIED if name in target["spec"]}
    return {
        "apiVersion": target["apiVersion"],
        "kind": target["kind"],
        "metadata": {
            "name": primary_name(target["metadata"]["name"]),
            "namespace": canary.namespace,
            "labels": {**with_prefix(labels_of(target), label_prefixes), selector.key: selector.primary},
            "annotations": unmarked(annotations),
            "ownerReferences": [owner_reference(canary)],
        },
        "spec": {
            **spec,
            **({"replicas": replicas} if replicas is not None else {}),
            "selector": {"matchLabels": {selector.key: selector.primary}},
            "template": template,
        },
    }


def promotion_patch(
    primary: Mapping[str, Any],
    target: Mapping[str, Any],
    selector: Selector,
    template: Mapping[str, Any],
    *,
    replicas: int | None,
    label_prefixes: tuple[str, ...],
) -> list[dict[str, Any]]:
    """JSON patch that makes the primary run what the target was judged with. `replicas` None leaves them alone."""
    spec, wanted = primary["spec"], target["spec"]
    patch: list[dict[str, Any]] = [
        {"op": "test", "path": "/metadata/resourceVersion", "value": primary["metadata"]["resourceVersion"]},
        {"op": "add", "path": "/spec/template", "value": template},
    ]
    patch += [
        {"op": "add", "path": f"/spec/{name}", "value": wanted[name]}
        for name in _CARRIED
        if name in wanted and spec.get(name) != wanted[name]
    ]
    if replicas is not None and spec.get("replicas") != replicas:
        patch.append({"op": "add", "path": "/spec/replicas", "value": replicas})
    labels = {**labels_of(primary), **with_prefix(labels_of(target), label_prefixes), selector.key: selector.primary}
    if labels != labels_of(primary):
        patch.append({"op": "add", "path": "/metadata/labels", "value": labels})
    return patch


def config_copy(canary: Canary, ref: ConfigRef, source: Mapping[str, Any], old: Mapping[str, Any] | None) -> Manifest:
    """The primary's copy of a ConfigMap or Secret. `old`: the copy as it is, whose other owners stay."""
    others = ((old or {}).get("metadata") or {}).get("ownerReferences") or ()
    owners = [
        owner_reference(canary),
        *(
            {**owner, "controller": False}
            for owner in others
            if owner.get("kind") != "Canary" or owner.get("name") != canary.name
        ),
    ]
    copy: Manifest = {
        "apiVersion": "v1",
        "kind": "ConfigMap" if ref.kind == CONFIG_MAP else "Secret",
        "metadata": {
            "name": primary_name(ref.name),
            "namespace": canary.namespace,
            "ownerReferences": owners,
        },
        **{name: source[name] for name in ("data", "binaryData", "type") if name in source},
    }
    if old is not None:
        copy["metadata"]["resourceVersion"] = old["metadata"]["resourceVersion"]
        copy["metadata"]["labels"] = dict(labels_of(old))
        copy["metadata"]["annotations"] = dict(annotations_of(old))
    return copy


def told_by_config(obj: Mapping[str, Any], name: str) -> Manifest:
    """What a ConfigMap or Secret says, under a name that its copy may have as well."""
    said = {key: obj[key] for key in ("data", "binaryData") if obj.get(key)}
    metadata = {"name": name, "namespace": obj["metadata"].get("namespace", "")}
    return {"apiVersion": "v1", "kind": obj["kind"], "metadata": metadata, **said}


def same_config(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """True if two ConfigMaps or Secrets hold the same."""
    return all((one.get(name) or {}) == (other.get(name) or {}) for name in ("data", "binaryData"))


def service(
    canary: Canary,
    name: str,
    selector: Selector,
    *,
    to: str,
    metadata: CustomMetadata | None,
    containers: list[dict[str, Any]],
) -> Manifest:
    """One of the Services, sending to the pods whose label has the value `to`."""
    wanted = canary.spec.service
    assert wanted is not None
    spec: dict[str, Any] = {
        "type": "ClusterIP",
        "selector": {selector.key: to},
        "ports": [_main_port(wanted), *(_more_ports(wanted, containers) if wanted.port_discovery else ())],
    }
    if wanted.headless:
        spec["clusterIP"] = "None"
    if wanted.traffic_distribution:
        spec["trafficDistribution"] = wanted.traffic_distribution
    given = metadata or CustomMetadata()
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": name,
            "namespace": canary.namespace,
            "labels": {**(given.labels or {}), selector.key: name},
            "annotations": {**(given.annotations or {}), **RECONCILE_DISABLED},
            "ownerReferences": [owner_reference(canary)],
        },
        "spec": spec,
    }


def service_patch(canary: Canary, live: Mapping[str, Any], wanted: Manifest) -> dict[str, Any]:
    """JSON merge patch for a Service that exists; empty if it is as it should be.

    Selector and ports always follow the Canary. Labels and annotations do so only on Services it made, except for
    the keys that it declares unmanaged.
    """
    patch: dict[str, Any] = {}
    ports = [_with_node_port(port, live["spec"].get("ports") or ()) for port in wanted["spec"]["ports"]]
    if not _same_ports(ports, live["spec"].get("ports") or []):
        patch["ports"] = ports
    if (live["spec"].get("selector") or {}) != wanted["spec"]["selector"]:
        gone = dict.fromkeys(live["spec"].get("selector") or {})
        patch["selector"] = {**gone, **wanted["spec"]["selector"]}
    result: dict[str, Any] = {"spec": patch} if patch else {}
    if is_owned(live, canary):
        metadata = _metadata_patch(canary, live, wanted)
        if metadata:
            result["metadata"] = metadata
    return result


def _metadata_patch(canary: Canary, live: Mapping[str, Any], wanted: Manifest) -> dict[str, Any]:
    service = canary.spec.service
    unmanaged = service.unmanaged_metadata if service is not None else None
    patch: dict[str, Any] = {}
    for field, have, keep in (
        ("labels", labels_of(live), unmanaged.labels if unmanaged else ()),
        ("annotations", annotations_of(live), unmanaged.annotations if unmanaged else ()),
    ):
        want = wanted["metadata"][field]
        change = {key: value for key, value in want.items() if have.get(key) != value and key not in keep}
        change |= {key: None for key in have if key not in want and key not in keep}
        if change:
            patch[field] = change
    return patch


def with_prefix(labels: Mapping[str, str], prefixes: tuple[str, ...]) -> dict[str, str]:
    """The labels that are carried over: those with one of the prefixes (`*`: all), never Flux's."""
    return {
        key: value
        for key, value in labels.items()
        if FLUX_MARKER not in key and any(prefix == "*" or (prefix and key.startswith(prefix)) for prefix in prefixes)
    }


def unmarked(values: Mapping[str, str] | None) -> dict[str, str]:
    """Labels or annotations without Flux's."""
    return {key: value for key, value in (values or {}).items() if FLUX_MARKER not in key}


def _label_selectors(pod: Mapping[str, Any]) -> list[dict[str, Any]]:
    spread = [item.get("labelSelector") for item in pod.get("topologySpreadConstraints") or ()]
    apart = (pod.get("affinity") or {}).get("podAntiAffinity") or {}
    preferred = [
        (item.get("podAffinityTerm") or {}).get("labelSelector")
        for item in apart.get("preferredDuringSchedulingIgnoredDuringExecution") or ()
    ]
    required = [item.get("labelSelector") for item in apart.get("requiredDuringSchedulingIgnoredDuringExecution") or ()]
    return [item for item in (*spread, *preferred, *required) if item]


def _renamed(terms: dict[str, Any], name: str, labels: tuple[str, ...]) -> None:
    """Let a selector that speaks of the target's pods (in place) speak of the primary's."""
    for expression in terms.get("matchExpressions") or ():
        if expression.get("key") in labels:
            values = expression.get("values") or ()
            expression["values"] = [primary_name(value) if value == name else value for value in values]
    for key, value in (terms.get("matchLabels") or {}).items():
        if key in labels and value == name:
            terms["matchLabels"][key] = primary_name(value)


def _main_port(wanted: CanaryService) -> dict[str, Any]:
    port: dict[str, Any] = {
        "name": wanted.effective_port_name,
        "protocol": "TCP",
        "port": wanted.port,
        "targetPort": wanted.effective_target_port,
    }
    if wanted.app_protocol:
        port["appProtocol"] = wanted.app_protocol
    return port


def _more_ports(wanted: CanaryService, containers: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The other ports of the target's containers, for `portDiscovery`."""
    main = wanted.effective_target_port
    ports = []
    for container in containers:
        if container["name"] in _SIDECARS:
            continue
        for index, port in enumerate(container.get("ports") or ()):
            number = port["containerPort"]
            if main in {number, port.get("name") or number}:
                continue
            name = port.get("name") or f"tcp-{container['name']}-{index}"
            ports.append({"name": name, "protocol": "TCP", "port": number, "targetPort": number})
    return ports


def _with_node_port(port: dict[str, Any], live: Any) -> dict[str, Any]:
    for old in live:
        if old.get("name") == port["name"] and old.get("nodePort"):
            return {**port, "nodePort": old["nodePort"]}
    return port


def _same_ports(one: list[dict[str, Any]], other: list[dict[str, Any]]) -> bool:
    def by_port(port: dict[str, Any]) -> int:
        return int(port["port"])

    return sorted(one, key=by_port) == sorted(other, key=by_port)
