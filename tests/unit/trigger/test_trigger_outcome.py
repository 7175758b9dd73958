"""How runs of each kind tell that they have ended, and what they report."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from trigger_world import NOON

from agent.api.datatrigger import TriggerRun
from agent.core.trigger.outcome import ending, followed, is_overdue, pod_selector, with_config_map
from agent.core.trigger.template import JOB, KINDS, PIPELINE_RUN, TRAIN_JOB, WORKFLOW, RunKind

FIELDS = st.sampled_from(
    [
        *("status", "conditions", "type", "reason", "message", "phase", "outputs", "parameters"),
        *("results", "name", "value", "metadata", "x"),
    ]
)
RUN = TriggerRun(name="retrain-1", kind="Job", data="sha256:b", state="Pending")
REPORT = '{"metrics": {"accuracy": 0.9}, "verdict": "pass", "reason": "fine"}'


def having(*conditions: tuple[str, str, str], **status: Any) -> dict[str, Any]:
    listed = [{"type": kind, "status": state, "message": message} for kind, state, message in conditions]
    return {"status": {"conditions": listed, **status}}


def deleted(found: dict[str, Any]) -> dict[str, Any]:
    return {**found, "metadata": {"deletionTimestamp": "2026-11-29T12:00:00Z", "finalizers": ["example.org/kept"]}}


def pod(message: str, finished: str = "2026-11-29T12:00:00Z") -> dict[str, Any]:
    ended = {"terminated": {"finishedAt": finished, "message": message}}
    return {"status": {"containerStatuses": [{"state": ended}]}}


@pytest.mark.parametrize(
    ("kind", "found", "state", "message"),
    [
        (JOB, {}, None, ""),
        (JOB, having(("SuccessCriteriaMet", "True", "")), None, ""),
        (JOB, having(("Complete", "True", "")), "Succeeded", ""),
        (JOB, having(("Complete", "False", ""), ("Failed", "True", "deadline")), "Failed", "deadline"),
        (JOB, {"metadata": {"deletionTimestamp": "2026-11-29T12:00:00Z"}}, "Lost", "somebody deleted it"),
        (JOB, deleted(having(("Complete", "True", ""))), "Lost", "somebody deleted it"),
        (TRAIN_JOB, deleted(having(("Complete", "True", ""))), "Lost", "somebody deleted it"),
        (WORKFLOW, deleted({"status": {"phase": "Running"}}), "Lost", "somebody deleted it"),
        (WORKFLOW, deleted({"status": {"phase": "Succeeded"}}), "Succeeded", ""),
        (PIPELINE_RUN, deleted(having(("Succeeded", "False", "task failed"))), "Failed", "task failed"),
        (TRAIN_JOB, having(("Suspended", "True", "")), None, ""),
        (TRAIN_JOB, having(("Complete", "True", "")), "Succeeded", ""),
        (TRAIN_JOB, having(("Failed", "True", "out of memory")), "Failed", "out of memory"),
        (WORKFLOW, {}, None, ""),
        (WORKFLOW, {"status": {"phase": "Running"}}, None, ""),
        (WORKFLOW, {"status": {"phase": "Succeeded"}}, "Succeeded", ""),
        (WORKFLOW, {"status": {"phase": "Failed", "message": "no"}}, "Failed", "no"),
        (WORKFLOW, {"status": {"phase": "Error", "message": "exit 1"}}, "Failed", "exit 1"),
        (PIPELINE_RUN, {}, None, ""),
        (PIPELINE_RUN, having(("Succeeded", "Unknown", "Running")), None, "Running"),
        (PIPELINE_RUN, having(("Succeeded", "True", "all done")), "Succeeded", ""),
        (PIPELINE_RUN, having(("Succeeded", "False", "task failed")), "Failed", "task failed"),
        (PIPELINE_RUN, {"status": {"conditions": ["odd"], "results": ["odd"]}}, None, ""),
    ],
)
def test_each_kind_tells_its_end_in_its_own_words(
    kind: RunKind, found: dict[str, Any], state: str | None, message: str
) -> None:
    ended = ending(kind, found)
    assert (ended.state, ended.message) == (state, message)


@pytest.mark.parametrize("kind", [JOB, TRAIN_JOB])
def test_jobs_report_by_the_termination_message_of_the_pod_that_ended_last(kind: RunKind) -> None:
    complete = having(("Complete", "True", ""))
    pods = [pod('{"metrics": {"accuracy": 0.1}}', "2026-11-29T11:00:00Z"), pod(REPORT)]
    run = followed(RUN, complete, ending(kind, complete, pods), NOON)
    assert (run.state, run.verdict, run.metrics, run.message) == ("Succeeded", "pass", {"accuracy": 0.9}, "fine")


def node(phase: str, message: str, **more: Any) -> dict[str, Any]:
    """A Workflow of one Pod, which is the node of the Workflow's name."""
    only = {"id": "retrain-1", "name": "retrain-1", "type": "Pod", "phase": phase, "taskResultSynced": True, **more}
    said = {"message": message} if message else {}
    return {"phase": phase, "progress": "0/1", "nodes": {"retrain-1": only}, **said}


def reason(kind: str, status: str, why: str, message: str, **more: Any) -> dict[str, Any]:
    return {"conditions": [{"type": kind, "status": status, "reason": why, "message": message}], **more}


CHILDREN = {"jobsStatus": [{"name": "node", "ready": 0, "succeeded": 0, "failed": 0, "active": 1, "suspended": 0}]}
TASKS = "Tasks Completed: 1 (Failed: {0}, Cancelled 0), Skipped: 0"
SEEN: list[tuple[RunKind, dict[str, Any], str | None, str]] = [
    (WORKFLOW, node("Running", ""), None, ""),
    (WORKFLOW, node("Succeeded", "", outputs={"exitCode": "0"}), "Succeeded", ""),
    (WORKFLOW, node("Failed", "main: Error (exit code 1)"), "Failed", "main: Error (exit code 1)"),
    (WORKFLOW, node("Failed", "Stopped with strategy 'Terminate'"), "Failed", "Stopped with strategy 'Terminate'"),
    (
        WORKFLOW,
        {"phase": "Failed", "progress": "0/0", "message": "invalid spec: template name 'x' undefined"},
        "Failed",
        "invalid spec: template name 'x' undefined",
    ),
    (PIPELINE_RUN, reason("Succeeded", "Unknown", "Running", "Tasks Completed: 0"), None, "Tasks Completed: 0"),
    (PIPELINE_RUN, reason("Succeeded", "True", "Succeeded", TASKS.format(0)), "Succeeded", ""),
    (PIPELINE_RUN, reason("Succeeded", "False", "Failed", TASKS.format(1)), "Failed", TASKS.format(1)),
    (PIPELINE_RUN, reason("Succeeded", "False", "Cancelled", "was cancelled"), "Failed", "was cancelled"),
    (PIPELINE_RUN, reason("Succeeded", "False", "PipelineRunTimeout", "within 3s"), "Failed", "within 3s"),
    (PIPELINE_RUN, reason("Succeeded", "False", "CouldntGetPipeline", "not found"), "Failed", "not found"),
    (TRAIN_JOB, CHILDREN, None, ""),
    (TRAIN_JOB, reason("Suspended", "True", "Suspended", "TrainJob is suspended", **CHILDREN), None, ""),
    (TRAIN_JOB, reason("Complete", "True", "AllJobsCompleted", "jobset completed successfully"), "Succeeded", ""),
    (TRAIN_JOB, reason("Failed", "True", "FailedJobs", "jobset failed"), "Failed", "jobset failed"),
    (TRAIN_JOB, reason("Failed", "True", "DeadlineExceeded", "exceeded", **CHILDREN), "Failed", "exceeded"),
]
"""What Argo Workflows 3.7.2, Tekton Pipelines 1.5.0 and the Kubeflow Trainer 2.3.0 wrote, typed off and shortened."""


@pytest.mark.parametrize(("kind", "status", "state", "message"), SEEN)
def test_what_the_real_controllers_wrote_is_read(
    kind: RunKind, status: dict[str, Any], state: str | None, message: str
) -> None:
    ended = ending(kind, {"metadata": {"name": "retrain-1"}, "status": status})
    assert (ended.state, ended.message) == (state, message)


def test_a_report_that_says_fail_makes_it_a_failure() -> None:
    complete = having(("Complete", "True", ""))
    report = '{"verdict": "fail", "reason": "accuracy 0.2"}'
    run = followed(RUN, complete, ending(JOB, complete, [pod(report)]), NOON)
    assert (run.state, run.message) == ("Failed", "the report says fail; accuracy 0.2")


def test_a_report_that_cannot_be_read_is_told_and_changes_no_end() -> None:
    complete = having(("Complete", "True", ""))
    run = followed(RUN, complete, ending(JOB, complete, [pod("Traceback …")]), NOON)
    assert run.state == "Succeeded"
    assert "report" in (run.message or "")


VALUES = [
    {"name": "report", "value": REPORT},
    {"name": "model", "value": "s3://models/7"},
    {"name": "loss", "value": "0.25"},
    {"name": "rows", "value": "nan"},
    {"name": "list", "value": ["1"]},
]
OUTPUTS = {"outputs": {"exitCode": "0", "parameters": VALUES}}
SUCCEEDED = {"conditions": [{"type": "Succeeded", "status": "True"}]}


@pytest.mark.parametrize(
    ("kind", "found"),
    [
        (WORKFLOW, {"phase": "Succeeded", **OUTPUTS}),
        # without a globalName an output is that of the node of the entrypoint, which has the Workflow's name
        (WORKFLOW, {"phase": "Succeeded", "nodes": {"retrain-1": OUTPUTS, "retrain-1-7": {"outputs": {}}}}),
        (WORKFLOW, {"phase": "Succeeded", **OUTPUTS, "nodes": {"retrain-1": {"outputs": {"parameters": VALUES[2:3]}}}}),
        (PIPELINE_RUN, {**SUCCEEDED, "results": VALUES}),
        (PIPELINE_RUN, {**SUCCEEDED, "pipelineResults": VALUES}),  # v1beta1
    ],
)
def test_outputs_that_are_numbers_are_metrics_and_report_is_the_report(kind: RunKind, found: dict[str, Any]) -> None:
    ended = ending(kind, {"metadata": {"name": "retrain-1"}, "status": found})
    assert ended.report is not None
    assert ended.report.metrics == {"loss": 0.25, "accuracy": 0.9}
    assert ended.report.verdict == "pass"


def test_what_a_trainer_was_told_is_a_metric_once_the_training_has_ended() -> None:
    told = {"trainerStatus": {"progressPercentage": 100, "metrics": [{"name": "loss", "value": "0.25"}]}}
    assert ending(TRAIN_JOB, {"status": told}).report is None
    ended = ending(TRAIN_JOB, having(("Complete", "True", "jobset completed successfully"), **told))
    assert ended.report is not None
    assert ended.report.metrics == {"loss": 0.25}
    by_pod = ending(TRAIN_JOB, having(("Complete", "True", ""), **told), [pod(REPORT)])
    for one in (by_pod, with_config_map(ended, "results", {"report.json": REPORT})):
        assert one.report is not None
        assert one.report.metrics == {"loss": 0.25, "accuracy": 0.9}


def test_pods_are_looked_for_where_they_may_report() -> None:
    found = {"metadata": {"name": "retrain-1", "uid": "7d9e"}}
    assert [pod_selector(kind, found) for kind in (JOB, TRAIN_JOB, WORKFLOW, PIPELINE_RUN)] == [
        "batch.kubernetes.io/controller-uid=7d9e",
        "jobset.sigs.k8s.io/jobset-name=retrain-1",
        "",
        "",
    ]


def test_a_config_map_may_hold_the_report() -> None:
    ended = ending(TRAIN_JOB, having(("Complete", "True", "")))
    report = with_config_map(ended, "results", {"report.json": REPORT}).report
    assert report is not None
    assert report.metrics == {"accuracy": 0.9}
    for data in (None, {}, {"other": REPORT}):
        assert with_config_map(ended, "results", data).message == "there is no report.json in ConfigMap results"


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_that_nothing_takes_up_is_told_after_a_minute(kind: RunKind) -> None:
    made: dict[str, Any] = {"metadata": {"creationTimestamp": "2026-11-29T12:00:00Z"}, "spec": {}}
    run = msgspec.structs.replace(RUN, kind=kind.kind)
    for seconds, status, told in ((59, {}, False), (60, {}, True), (60, {"startTime": "2026-11-29T12:00:01Z"}, False)):
        found = {**made, "status": status}
        now = datetime(2026, 11, 29, 12, tzinfo=UTC) + timedelta(seconds=seconds)
        message = followed(run, found, ending(kind, found), now).message
        assert (message or "").startswith(f"nothing has taken up the {kind.kind}: see its events") is told


def test_only_kinds_without_a_deadline_of_their_own_are_stopped() -> None:
    started = TriggerRun(name="r", kind="TrainJob", data="d", state="Running", started=NOON)
    assert not is_overdue(TRAIN_JOB, {}, started, 60, NOON + timedelta(seconds=60))
    assert is_overdue(TRAIN_JOB, {}, started, 60, NOON + timedelta(seconds=61))
    assert not is_overdue(TRAIN_JOB, {}, started, None, NOON + timedelta(days=9))
    assert not is_overdue(TRAIN_JOB, {"spec": {"activeDeadlineSeconds": 60}}, started, 60, NOON + timedelta(days=9))
    assert not is_overdue(JOB, {}, started, 60, NOON + timedelta(days=9))


TREES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=12)
    | st.sampled_from(["True", "Failed"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(FIELDS, inner, max_size=4),
    max_leaves=15,
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(FIELDS, TREES, max_size=4), st.sampled_from(KINDS))
def test_whatever_stands_in_a_status_the_run_goes_on_or_has_ended(status: dict[str, Any], kind: RunKind) -> None:
    for found in ({"status": status}, {"status": status.get("status")}):
        run = followed(RUN, {"metadata": {"uid": "1"}}, ending(kind, found), NOON)
        assert run.state in {"Running", "Succeeded", "Failed", "Lost"}
