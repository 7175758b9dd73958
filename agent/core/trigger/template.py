"""From a trigger's template to the object of a run."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from agent.api.datatrigger import DataTrigger, TriggerRun
from agent.core.gitref import commit_of_revision
from agent.core.objects import split_api_version

Object = dict[str, Any]

TRIGGER_LABEL: Final = "weir.dev/data-trigger"
DATA_ANNOTATION: Final = "weir.dev/data"
_LABEL_LENGTH: Final = 63
_SHOWN: Final = 100
_YEAR: Final = 365 * 24 * 3600
_PARAMETER: Final = re.compile(r"\$\(weir\.([A-Za-z.]*)\)")
_METADATA: Final = frozenset({"labels", "annotations"})


class RunKind(NamedTuple):
    """A kind of run: its API group, and the example of a version for messages."""

    group: str
    kind: str
    api_version: str
    project: str


JOB: Final = RunKind("batch", "Job", "batch/v1", "Kubernetes")
WORKFLOW: Final = RunKind("argoproj.io", "Workflow", "argoproj.io/v1alpha1", "Argo Workflows")
PIPELINE_RUN: Final = RunKind("tekton.dev", "PipelineRun", "tekton.dev/v1", "Tekton Pipelines")
TRAIN_JOB: Final = RunKind("trainer.kubeflow.org", "TrainJob", "trainer.kubeflow.org/v1alpha1", "Kubeflow Trainer")
KINDS: Final = (JOB, WORKFLOW, PIPELINE_RUN, TRAIN_JOB)
STOPPED: Final[Mapping[RunKind, Mapping[str, object]]] = {
    JOB: {"suspend": True},
    WORKFLOW: {"shutdown": "Terminate"},
    TRAIN_JOB: {"suspend": True},
}
"""What in the spec of a run that is deleted already ends its Pods; Tekton looks at no deleted runs."""
_EVALUATED: Final = {WORKFLOW: "{{", PIPELINE_RUN: "$("}
"""What the controller of a kind looks for in values of parameters too, and has no way to be told to leave alone."""
_KNOWN: Final = ", ".join(f"{kind.kind} ({kind.api_version})" for kind in KINDS)


class TemplateError(ValueError):
    """The template cannot be used; the message names the field and the remedy."""


def kind_of(trigger: DataTrigger) -> RunKind:
    """The kind of run that the template describes. Raises TemplateError."""
    template = trigger.spec.template
    api_version, kind = template.get("apiVersion"), template.get("kind")
    if not isinstance(api_version, str) or not isinstance(kind, str):
        raise TemplateError(f"spec.template needs apiVersion and kind: use {_KNOWN}")
    group, _ = split_api_version(api_version)
    found = next((known for known in KINDS if (known.group, known.kind) == (group, kind)), None)
    if found is None:
        raise TemplateError(f"spec.template is a {kind} ({api_version}), which is no run: use {_KNOWN}")
    return found


def check(trigger: DataTrigger) -> None:
    """Raises TemplateError for a template that no run can be made of, whatever the data is."""
    kind, template = kind_of(trigger), trigger.spec.template
    if extra := sorted(template.keys() - {"apiVersion", "kind", "metadata", "spec"}):
        raise TemplateError(f"spec.template.{extra[0]} has no place in a template: it has metadata and spec")
    if not isinstance(template.get("spec"), Mapping):
        raise TemplateError(f"spec.template.spec is missing: it is the spec of the {kind.kind}")
    metadata = template.get("metadata") or {}
    if not isinstance(metadata, Mapping):
        raise TemplateError("spec.template.metadata has to be a mapping with labels and annotations")
    if extra := sorted(metadata.keys() - _METADATA):
        why = "the name is made from the trigger and the data" if "ame" in extra[0] else "it is set by the trigger"
        raise TemplateError(f"spec.template.metadata.{extra[0]} cannot be set: {why}; only labels and annotations can")
    for field in sorted(metadata):
        texts = metadata[field] or {}
        if not isinstance(texts, Mapping) or not all(isinstance(value, str) for value in texts.values()):
            raise TemplateError(f"spec.template.metadata.{field} has to be a mapping of texts")
    example = parameters(TriggerRun(name="example", kind=kind.kind, data="example", state="Pending"))
    _within([template, trigger.spec.report_config_map], lambda text: filled(text, example))


def run_object(trigger: DataTrigger, run: TriggerRun) -> Object:
    """The object of a run: the template filled in, named, owned by the trigger.

    Raises TemplateError, also for data whose text the run's controller would evaluate, which makes it other data.
    """
    kind = kind_of(trigger)
    values = parameters(run)
    mark = _EVALUATED.get(kind, "")
    made: Object = _within(copy.deepcopy(dict(trigger.spec.template)), lambda text: filled(text, values, mark))
    metadata, spec = dict(made.get("metadata") or {}), dict(made["spec"])
    _KIND_RULES[kind](spec, trigger.timeout, _environment(values))
    owner = {
        "apiVersion": trigger.API_VERSION,
        "kind": trigger.KIND,
        "name": trigger.name,
        "uid": trigger.metadata.uid,
        "controller": True,
        "blockOwnerDeletion": False,
    }
    return {
        "apiVersion": made["apiVersion"],
        "kind": kind.kind,
        "metadata": {
            "name": run.name,
            "namespace": trigger.namespace,
            "labels": {**(metadata.get("labels") or {}), TRIGGER_LABEL: trigger.name[:_LABEL_LENGTH].strip("-.")},
            "annotations": {**(metadata.get("annotations") or {}), DATA_ANNOTATION: run.data},
            "ownerReferences": [owner],
        },
        "spec": spec,
    }


def is_run_of(trigger: DataTrigger, run: TriggerRun, found: Mapping[str, Any]) -> bool:
    """Whether an object of the run's name is that run, and nothing that somebody else has made."""
    metadata = found.get("metadata") or {}
    owners = [owner.get("uid") for owner in metadata.get("ownerReferences") or ()]
    return trigger.metadata.uid in owners and (metadata.get("annotations") or {}).get(DATA_ANNOTATION) == run.data


def parameters(run: TriggerRun) -> dict[str, str]:
    """What `$(weir.NAME)` stands for. What is not known is empty."""
    place = run.slots[0] if run.slots else ""
    shown, _, slot = place.partition(" ")
    reference = run.reference or ""
    return {
        "run": run.name,
        "uri": run.spelling or reference,
        "reference": reference,
        "digest": run.data if run.data != reference else "",
        "data": run.data,
        "object": shown,
        "slot": slot,
        "path": shown.removeprefix("File/") if shown.startswith("File/") else "",
        "revision": run.revision or "",
        "commit": _commit(run.revision),
        "old.reference": run.old_reference or "",
        "old.digest": run.old_digest or "",
        "old.commit": _commit(run.old_revision),
    }


def filled(text: str, values: Mapping[str, str], mark: str = "") -> str:
    """The text with its parameters filled in. Raises TemplateError for one that does not exist, or has the mark."""

    def value(found: re.Match[str]) -> str:
        if found[1] not in values:
            known = ", ".join(values)
            raise TemplateError(f"spec.template: {found[0]} is unknown: after weir. there can be {known}")
        if mark and mark in values[found[1]]:
            why = f"is {values[found[1]][:_SHOWN]!r}, where {mark} would be evaluated: rename the data"
            raise TemplateError(f"spec.template: {found[0]} {why}")
        return values[found[1]]

    return _PARAMETER.sub(value, text)


def _within(value: Any, change: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, Mapping):
        return {key: _within(inner, change) for key, inner in value.items()}
    return [_within(inner, change) for inner in value] if isinstance(value, list) else value


def _environment(values: Mapping[str, str]) -> dict[str, str]:
    """For those who read it from a shell: what a variable holds is never taken for a part of a script."""
    named = {
        "WEIR_RUN": values["run"],
        "WEIR_DATA_URI": values["uri"],
        "WEIR_DATA_PATH": values["path"],
        "WEIR_DATA_NEW_DIGEST": values["digest"],
        "WEIR_DATA_OLD_DIGEST": values["old.digest"],
        "WEIR_COMMIT": values["commit"],
    }
    # Kubernetes would put other variables of the container in the place of $(NAME).
    return {name: value.replace("$(", "$$(") for name, value in named.items()}


def _commit(revision: str | None) -> str:
    return (commit_of_revision(revision) or revision) if revision else ""


def _job(spec: Object, timeout: float | None, environment: Mapping[str, str]) -> None:
    if timeout is not None:
        spec.setdefault("activeDeadlineSeconds", max(int(timeout), 1))
    spec.pop("ttlSecondsAfterFinished", None)  # gone before its end was seen, it would be made once more
    pod = (spec.get("template") or {}).get("spec") if isinstance(spec.get("template"), Mapping) else None
    for field in ("initContainers", "containers"):
        for container in (pod.get(field) or ()) if isinstance(pod, Mapping) else ():
            if isinstance(container, dict):
                _add_environment(container, environment)


def _workflow(spec: Object, timeout: float | None, _: Mapping[str, str]) -> None:
    if timeout is not None:
        spec.setdefault("activeDeadlineSeconds", max(int(timeout), 1))
    # What is left out comes from a WorkflowTemplate or the defaults of Argo's controller, where clearing up is usual.
    spec["ttlStrategy"] = {f"secondsAfter{end}": _YEAR for end in ("Completion", "Success", "Failure")}


def _pipeline_run(spec: Object, timeout: float | None, _: Mapping[str, str]) -> None:
    if timeout is not None and "timeout" not in spec:
        spec.setdefault("timeouts", {"pipeline": f"{max(int(timeout), 1)}s"})


def _train_job(spec: Object, timeout: float | None, environment: Mapping[str, str]) -> None:
    if timeout is not None:
        spec.setdefault("activeDeadlineSeconds", max(int(timeout), 1))  # before Trainer 2.2 it is dropped
    trainer = spec.setdefault("trainer", {})
    if isinstance(trainer, dict):
        _add_environment(trainer, environment)


def _add_environment(container: Object, environment: Mapping[str, str]) -> None:
    own = container.get("env") or []
    names = {entry.get("name") for entry in own if isinstance(entry, Mapping)}
    added = [{"name": name, "value": value} for name, value in environment.items() if name not in names]
    container["env"] = [*added, *own]


_KIND_RULES: Final[dict[RunKind, Callable[[Object, float | None, Mapping[str, str]], None]]] = {
    JOB: _job,
    WORKFLOW: _workflow,
    PIPELINE_RUN: _pipeline_run,
    TRAIN_JOB: _train_job,
}
