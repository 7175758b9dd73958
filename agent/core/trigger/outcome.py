"""How a run stands, as its object tells: the result contract of each kind.

A Job, a PipelineRun and a TrainJob tell by conditions, a Workflow by its phase. The report is the termination message
of a Pod of a Job or a TrainJob, the parameter `report` of a Workflow's outputs, the result `report` of a PipelineRun;
or, for all of them, a ConfigMap. Other outputs and results that are numbers are metrics, and so is what a Trainer was
told.

A Workflow's own outputs are those with a `globalName`; what its entrypoint puts out is with the node of its name.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from msgspec.structs import replace

from agent.api.datatrigger import RunState, TriggerRun
from agent.core.rollout.gatejobs import pod_report
from agent.core.rollout.reports import Answer, Report, read_report
from agent.core.trigger.template import JOB, PIPELINE_RUN, TRAIN_JOB, WORKFLOW, RunKind

Object = Mapping[str, Any]
REPORT_KEY = "report.json"
_LONGEST = 500
_METRICS = 50
"""How many numbers of a report a status keeps."""
_PHASES: Mapping[str, RunState] = {"Succeeded": "Succeeded", "Failed": "Failed", "Error": "Failed"}
_TAKEN_UP_WITHIN = timedelta(minutes=1)
_WITH_PODS: Final[Mapping[RunKind, str]] = {
    JOB: "batch.kubernetes.io/controller-uid={uid}",
    TRAIN_JOB: "jobset.sigs.k8s.io/jobset-name={name}",
}
_SUCCEEDED: Mapping[str, RunState] = {"True": "Succeeded", "False": "Failed"}


class Ended(NamedTuple):
    """The end of a run, None of `state` while it goes on."""

    state: RunState | None = None
    message: str = ""
    report: Report | None = None


def ending(kind: RunKind, found: Object, pods: Iterable[Object] = ()) -> Ended:
    """How the object of a run stands; `pods` are those of a Job or a TrainJob."""
    ended = _ENDINGS[kind](found)
    # Finalizers keep what is cleared up for a while, with what it reports itself; Pods that report may be gone already.
    if "deletionTimestamp" in _mapping(found, "metadata") and (ended.state is None or kind in _WITH_PODS):
        return Ended("Lost", "somebody deleted it")
    if ended.state is None or kind not in _WITH_PODS:
        return ended
    report, fault = pod_report(pods)
    return _with_report(ended._replace(message=_joined(ended.message, fault)), report)


def pod_selector(kind: RunKind, found: Object) -> str:
    """Labels of the Pods that may tell a report, by their termination message; empty where none does."""
    metadata = _mapping(found, "metadata")
    return _WITH_PODS[kind].format(**metadata) if kind in _WITH_PODS else ""


def with_config_map(ended: Ended, name: str, data: Mapping[str, str] | None) -> Ended:
    """The end with the report that a ConfigMap holds; `data` is None where there is no such ConfigMap."""
    text = (data or {}).get(REPORT_KEY)
    if text is None:
        return ended._replace(message=_joined(ended.message, f"there is no {REPORT_KEY} in ConfigMap {name}"))
    return _reported(ended, text, f"ConfigMap {name}")


def followed(run: TriggerRun, found: Object, ended: Ended, now: datetime) -> TriggerRun:
    """The run with what was seen of its object. A report that says fail makes it a failure."""
    metadata = found.get("metadata") or {}
    created = metadata.get("creationTimestamp")
    run = replace(
        run,
        state="Running" if run.state == "Pending" else run.state,
        uid=metadata.get("uid"),
        started=run.started or (datetime.fromisoformat(created) if created else now.replace(microsecond=0)),
        message=None,
    )
    if ended.state is None:
        return replace(run, message=_cut(ended.message) or _silence(run, found, now))
    report = ended.report or Report()
    failed = ended.state == "Succeeded" and report.verdict is Answer.FAIL
    message = _joined(report.reason, ended.message)
    return replace(
        run,
        state="Failed" if failed else ended.state,
        finished=now.replace(microsecond=0),
        message=_cut(_joined("the report says fail", message) if failed else message),
        verdict=str(report.verdict) if report.verdict is not None else None,
        metrics=dict(list(report.metrics.items())[:_METRICS]) or None,
    )


def _silence(run: TriggerRun, found: Object, now: datetime) -> str | None:
    """What is said of a run without a status: its controller is away, or what that makes of it was refused."""
    if _mapping(found, "status") or run.started is None or now - run.started < _TAKEN_UP_WITHIN:
        return None
    return f"nothing has taken up the {run.kind}: see its events, and whether its controller runs for this namespace"


def is_overdue(kind: RunKind, found: Object, run: TriggerRun, timeout: float | None, now: datetime) -> bool:
    """Whether a run without a deadline of its own has gone on for too long: a TrainJob of an older Trainer."""
    if kind != TRAIN_JOB or timeout is None or run.started is None or run.state != "Running":
        return False
    if _mapping(found, "spec").get("activeDeadlineSeconds"):
        return False
    return (now - run.started).total_seconds() > timeout


def _by_conditions(found: Object) -> Ended:
    """As Jobs and TrainJobs tell it."""
    true = {str(item.get("type")): item for item in _conditions(found) if item.get("status") == "True"}
    failure = true.get("Failed")
    if failure is not None:
        return Ended("Failed", str(failure.get("message") or failure.get("reason") or ""))
    return Ended("Succeeded") if "Complete" in true else Ended()


def _workflow(found: Object) -> Ended:
    status = _mapping(found, "status")
    message = str(status.get("message") or "")
    state = _PHASES.get(str(status.get("phase")))
    if state is None:
        return Ended(message=message)
    root = _mapping(_mapping(status, "nodes"), str(_mapping(found, "metadata").get("name")))
    values = [value for one in (root, status) for value in _mappings(_mapping(one, "outputs"), "parameters")]
    return _with_values(Ended(state, message), values)


def _pipeline_run(found: Object) -> Ended:
    succeeded: Object = next((item for item in _conditions(found) if item.get("type") == "Succeeded"), {})
    message = str(succeeded.get("message") or "")
    state = _SUCCEEDED.get(str(succeeded.get("status")))
    if state is None:
        return Ended(message=message)
    ended, status = Ended(state, message if state == "Failed" else ""), _mapping(found, "status")
    return _with_values(ended, _mappings(status, "results") or _mappings(status, "pipelineResults"))  # v1, v1beta1


def _train_job(found: Object) -> Ended:
    ended = _by_conditions(found)
    told = _mappings(_mapping(_mapping(found, "status"), "trainerStatus"), "metrics")
    return _with_values(ended, told) if ended.state is not None and told else ended


def _with_values(ended: Ended, values: Iterable[Object]) -> Ended:
    """With outputs by name: `report` is the report, other numbers are metrics besides."""
    metrics: dict[str, float] = {}
    text = ""
    for entry in values:
        name, value = entry.get("name"), entry.get("value")
        if name == "report" and isinstance(value, str):
            text = value
        elif isinstance(name, str) and (number := _number(value)) is not None:
            metrics[name] = number
    ended = ended._replace(report=Report(metrics=metrics))
    return _reported(ended, text, "output report") if text else ended


def _reported(ended: Ended, text: str, where: str) -> Ended:
    try:
        report = read_report(text)
    except ValueError as error:
        return ended._replace(message=_joined(ended.message, f"{where}: {error}"))
    return _with_report(ended, report)


def _with_report(ended: Ended, report: Report | None) -> Ended:
    """With a report besides the metrics that are known already."""
    if report is None or ended.report is None:
        return ended if report is None else ended._replace(report=report)
    return ended._replace(report=replace(report, metrics={**ended.report.metrics, **report.metrics}))


def _conditions(found: Object) -> list[Object]:
    return _mappings(_mapping(found, "status"), "conditions")


def _mapping(parent: Object, field: str) -> Object:
    """The mapping in a field; anything else that a foreign controller may write there is none."""
    value = parent.get(field)
    return value if isinstance(value, Mapping) else {}


def _mappings(parent: Object, field: str) -> list[Object]:
    value = parent.get(field)
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []


def _number(value: object) -> float | None:
    try:
        number = float(value) if isinstance(value, str | int | float) else math.nan
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _joined(*parts: str) -> str:
    return "; ".join(filter(None, parts))


def _cut(text: str) -> str | None:
    line = " ".join(text.split())
    return (line if len(line) <= _LONGEST else f"{line[: _LONGEST - 1]}…") or None


_ENDINGS: Final[Mapping[RunKind, Callable[[Object], Ended]]] = {
    JOB: _by_conditions,
    WORKFLOW: _workflow,
    PIPELINE_RUN: _pipeline_run,
    TRAIN_JOB: _train_job,
}
