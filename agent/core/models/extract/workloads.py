"""Workloads: every kind that holds pod templates, and where.

A root is a label and the fields that lead to a pod spec; ``field[]`` goes through a list and ``field{}`` through the
values of a mapping, naming each by its own name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

from agent.core.models.extract import fields
from agent.core.models.extract.podspec import pod_slots
from agent.core.models.extract.slot import Context, Extractor, Slot, at, mapping, mappings, text
from agent.core.models.rendered import Object


class Root(NamedTuple):
    """A place of a pod spec. *label* starts the slot names (empty for the only or main pod)."""

    label: str
    fields: tuple[str, ...]


_TEMPLATE: Final = ("template", "spec")


def _root(label: str, dotted: str) -> Root:
    return Root(label, tuple(dotted.split(".")))


def _ray(*under: str) -> tuple[Root, ...]:
    return (
        Root("head", (*under, "headGroupSpec", *_TEMPLATE)),
        Root("worker", (*under, "workerGroupSpecs[]", *_TEMPLATE)),
    )


_PLAIN: Final = (_root("", "spec.template.spec"),)

ROOTS: Final[Mapping[tuple[str, str], tuple[Root, ...]]] = {
    ("", "Pod"): (_root("", "spec"),),
    ("", "ReplicationController"): _PLAIN,
    ("", "PodTemplate"): (_root("", "template.spec"),),
    **{("apps", kind): _PLAIN for kind in ("Deployment", "StatefulSet", "DaemonSet", "ReplicaSet")},
    ("batch", "Job"): _PLAIN,
    ("batch", "CronJob"): (_root("", "spec.jobTemplate.spec.template.spec"),),
    ("argoproj.io", "Rollout"): _PLAIN,
    ("serving.knative.dev", "Service"): _PLAIN,
    ("serving.knative.dev", "Configuration"): _PLAIN,
    ("leaderworkerset.x-k8s.io", "LeaderWorkerSet"): (
        _root("leader", "spec.leaderWorkerTemplate.leaderTemplate.spec"),
        _root("worker", "spec.leaderWorkerTemplate.workerTemplate.spec"),
    ),
    **{
        ("trainer.kubeflow.org", kind): (
            _root("job", "spec.template.spec.replicatedJobs[].template.spec.template.spec"),
        )
        for kind in ("TrainingRuntime", "ClusterTrainingRuntime")
    },
    ("jobset.x-k8s.io", "JobSet"): (_root("job", "spec.replicatedJobs[].template.spec.template.spec"),),
    ("ray.io", "RayCluster"): _ray("spec"),
    ("ray.io", "RayService"): _ray("spec", "rayClusterConfig"),
    ("ray.io", "RayJob"): _ray("spec", "rayClusterSpec"),
    ("machinelearning.seldon.io", "SeldonDeployment"): (_root("predictor", "spec.predictors[].componentSpecs[].spec"),),
    ("mlops.seldon.io", "Server"): (_root("", "spec.podSpec"),),
    ("mlops.seldon.io", "ServerConfig"): (_root("", "spec.podSpec"),),
    ("orchestration.aibrix.ai", "StormService"): (_root("role", "spec.template.spec.roles[].template.spec"),),
    ("orchestration.aibrix.ai", "RoleSet"): (_root("role", "spec.roles[].template.spec"),),
    **{
        ("kubeflow.org", kind): (_root("replica", f"spec.{field}{{}}.template.spec"),)
        for kind, field in (
            ("PyTorchJob", "pytorchReplicaSpecs"),
            ("TFJob", "tfReplicaSpecs"),
            ("MPIJob", "mpiReplicaSpecs"),
            ("XGBoostJob", "xgbReplicaSpecs"),
            ("PaddleJob", "paddleReplicaSpecs"),
            ("JAXJob", "jaxReplicaSpecs"),
        )
    },
}
"""Pod specs by (group, kind)."""

_GUESSES: Final = (
    *_PLAIN,
    _root("", "spec.podTemplate.spec"),
    _root("", "spec.podSpec"),
    _root("", "spec.jobTemplate.spec.template.spec"),
)
"""Where kinds that are not in the table usually keep a pod spec."""

_IMMUTABLE: Final = frozenset({("batch", "Job"), ("jobset.x-k8s.io", "JobSet")})


def pods(obj: Object, roots: tuple[Root, ...]) -> Iterator[tuple[Mapping[str, Any], str, str]]:
    """(pod spec, JSONPath, slot prefix) for each place that *roots* reach in *obj*."""
    for root in roots:
        for pod, path, names in _reach(obj, root.fields, "$", ()):
            named = f"{root.label}[{'/'.join(names)}]" if names else root.label
            yield pod, path, f"{named}." if named else ""


def _reach(
    value: Mapping[str, Any], fields: tuple[str, ...], path: str, names: tuple[str, ...]
) -> Iterator[tuple[Mapping[str, Any], str, tuple[str, ...]]]:
    if not fields:
        if value:
            yield value, path, names
        return
    field, rest = fields[0], fields[1:]
    if field.endswith("[]"):
        for item, here in mappings(value, field[:-2], path):
            name = text(item, "name", here) or text(item, "groupName", here)
            yield from _reach(item, rest, here, (*names, name) if name else names)
    elif field.endswith("{}"):
        children = mapping(value, field[:-2], path)
        for name in sorted(children, key=str):
            here = f"{path}.{field[:-2]}.{name}"
            yield from _reach(mapping(children, name, f"{path}.{field[:-2]}"), rest, here, (*names, str(name)))
    else:
        yield from _reach(mapping(value, field, path), rest, f"{path}.{field}", names)


def walker(roots: tuple[Root, ...]) -> Extractor:
    """An extractor of all slots in the pod specs at *roots*."""

    def extract(obj: Object, context: Context) -> Iterator[Slot]:
        for pod, path, prefix in pods(obj, roots):
            yield from pod_slots(pod, path, context, prefix)

    return extract


def counter(roots: tuple[Root, ...]) -> Extractor:
    """An extractor of how often pods run: ``spec.replicas``, and that of every named group of them."""

    def extract(obj: Object, _: Context) -> Iterator[Slot]:
        yield from fields.scale(at(obj, "spec"), "replicas")
        # How many pods of a LeaderWorkerSet make one server, so how its model is cut.
        yield from fields.value(at(obj, "spec", "leaderWorkerTemplate"), "size", "size", "scale", fields.ACCELERATOR)
        for label, steps in roots:
            group = max((index for index, step in enumerate(steps) if step[-1] in "]}"), default=-1) + 1
            for item, path, names in _reach(obj, steps[:group], "$", ()) if group else ():
                prefix = f"{label}[{'/'.join(names)}]." if names else f"{label}."
                yield from fields.scale((item, path), "replicas", "minReplicas", "maxReplicas", prefix=prefix)

    return extract


def unknown(obj: Object, context: Context) -> Iterator[Slot]:
    """Pod specs of kinds that are not in the table, at the usual places."""
    for root in _GUESSES:
        if _has_containers(obj, root.fields):
            for pod, path, prefix in pods(obj, (root,)):
                yield from pod_slots(pod, path, context, prefix)


def _has_containers(obj: Object, fields: tuple[str, ...]) -> bool:
    value: Any = obj
    for field in (*fields, "containers"):
        value = value.get(field) if isinstance(value, Mapping) else None
    return isinstance(value, list)


def frozen(key: tuple[str, str], slot: Slot) -> bool:
    """Whether the API refuses to edit what *slot* stands for; of a Pod it takes other images."""
    of_pod = key == ("", "Pod") and not slot.name.endswith(".image")
    return "pod-template" in slot.traits and (of_pod or key in _IMMUTABLE)
