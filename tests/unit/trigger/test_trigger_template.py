"""Templates: what is filled in, what is set, and what is refused with a word about the remedy."""

from __future__ import annotations

import copy
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from trigger_world import JOB, trigger

from agent.api.datatrigger import TriggerRun
from agent.core.trigger.selection import duration_fault, selector_fault
from agent.core.trigger.template import (
    PIPELINE_RUN,
    TRAIN_JOB,
    WORKFLOW,
    RunKind,
    TemplateError,
    check,
    is_run_of,
    run_object,
)

RUN = TriggerRun(
    name="retrain-0a1b",
    kind="Job",
    data="sha256:" + "b" * 64,
    state="Pending",
    slots=("File/data/train.dvc out[train]", "Deployment/ml/chat data"),
    reference="dvc:train",
    spelling="train",
    old_reference="dvc:train",
    old_digest="sha256:" + "a" * 64,
    revision="main@sha1:" + "2" * 40,
    old_revision="main@sha1:" + "1" * 40,
)


def test_a_job_is_filled_in_named_owned_and_told_by_variables() -> None:
    template = copy.deepcopy(JOB)
    template["metadata"] = {"labels": {"team": "ml"}, "annotations": {"commit": "$(weir.commit)"}}
    template["spec"]["ttlSecondsAfterFinished"] = 1
    container = template["spec"]["template"]["spec"]["containers"][0]
    container["env"] = [{"name": "WEIR_RUN", "value": "mine"}]
    container["args"] = ["$(weir.uri) $(weir.path) $(weir.digest) $(weir.old.digest) $(weir.old.commit) $(HOME)"]
    subject = trigger(template, timeout="1h30m")
    check(subject)
    made = run_object(subject, RUN)
    assert made["metadata"] == {
        "name": "retrain-0a1b",
        "namespace": "ml",
        "labels": {"team": "ml", "weir.dev/data-trigger": "retrain"},
        "annotations": {"commit": "2" * 40, "weir.dev/data": RUN.data},
        "ownerReferences": [
            {
                "apiVersion": "weir.dev/v1alpha1",
                "kind": "DataTrigger",
                "name": "retrain",
                "uid": "7d9e",
                "controller": True,
                "blockOwnerDeletion": False,
            }
        ],
    }
    assert made["spec"]["activeDeadlineSeconds"] == 5400
    assert "ttlSecondsAfterFinished" not in made["spec"]
    (filled,) = made["spec"]["template"]["spec"]["containers"]
    assert filled["args"] == [f"train data/train.dvc {RUN.data} {RUN.old_digest} {'1' * 40} $(HOME)"]
    assert {entry["name"]: entry["value"] for entry in filled["env"]} == {
        "WEIR_RUN": "mine",
        "WEIR_DATA_URI": "train",
        "WEIR_DATA_PATH": "data/train.dvc",
        "WEIR_DATA_NEW_DIGEST": RUN.data,
        "WEIR_DATA_OLD_DIGEST": RUN.old_digest,
        "WEIR_COMMIT": "2" * 40,
    }
    assert subject.spec.template == template, "the template itself stays as it is"


@pytest.mark.parametrize(
    ("api_version", "kind", "spec", "wanted"),
    [
        (
            "argoproj.io/v1alpha1",
            "Workflow",
            {"ttlStrategy": {"secondsAfterSuccess": 5}},
            {
                "activeDeadlineSeconds": 60,
                "ttlStrategy": {
                    "secondsAfterCompletion": 31_536_000,
                    "secondsAfterSuccess": 31_536_000,
                    "secondsAfterFailure": 31_536_000,
                },
            },
        ),
        ("tekton.dev/v1", "PipelineRun", {}, {"timeouts": {"pipeline": "60s"}}),
        ("tekton.dev/v1beta1", "PipelineRun", {"timeout": "5m"}, {"timeout": "5m"}),
        ("batch/v1", "Job", {"activeDeadlineSeconds": 5}, {"activeDeadlineSeconds": 5}),
    ],
)
def test_a_timeout_is_said_in_the_words_of_each_kind(
    api_version: str, kind: str, spec: dict[str, Any], wanted: dict[str, Any]
) -> None:
    subject = trigger({"apiVersion": api_version, "kind": kind, "spec": spec}, timeout="1m")
    check(subject)
    assert run_object(subject, RUN)["spec"] == wanted


def test_a_train_job_gets_its_variables_in_the_trainer() -> None:
    template = {
        "apiVersion": "trainer.kubeflow.org/v1alpha1",
        "kind": "TrainJob",
        "spec": {"runtimeRef": {"name": "torch"}, "initializer": {"dataset": {"storageUri": "$(weir.uri)"}}},
    }
    made = run_object(trigger(template), RUN)["spec"]
    assert made["initializer"]["dataset"]["storageUri"] == "train"
    assert {"name": "WEIR_DATA_URI", "value": "train"} in made["trainer"]["env"]


@pytest.mark.parametrize(
    ("kind", "text", "refused"),
    [
        (WORKFLOW, "s3://data/{{workflow.name}}", True),
        (WORKFLOW, "s3://data/$(x)", False),
        (PIPELINE_RUN, "s3://data/$(context.pipelineRun.name)", True),
        (PIPELINE_RUN, "s3://data/{{x}}", False),
        (TRAIN_JOB, "s3://data/{{x}}$(y)", False),
    ],
)
def test_data_whose_text_would_be_evaluated_by_others_is_refused(kind: RunKind, text: str, refused: bool) -> None:
    subject = trigger({"apiVersion": kind.api_version, "kind": kind.kind, "spec": {"data": ["at $(weir.uri)"]}})
    run = msgspec.structs.replace(RUN, spelling=text)
    if not refused:
        assert run_object(subject, run)["spec"]["data"] == [f"at {text}"]
        return
    with pytest.raises(TemplateError, match=r"\$\(weir\.uri\) is 's3://data/.* would be evaluated: rename the data"):
        run_object(subject, run)
    harmless = trigger({"apiVersion": kind.api_version, "kind": kind.kind, "spec": {"data": "$(weir.digest)"}})
    assert run_object(harmless, run)["spec"]["data"] == RUN.data


def _changed(**changes: Any) -> dict[str, Any]:
    made = {**copy.deepcopy(JOB), **changes}
    return {key: value for key, value in made.items() if value is not None}


@pytest.mark.parametrize(
    ("template", "told"),
    [
        ({}, "needs apiVersion and kind: use Job (batch/v1), Workflow (argoproj.io/v1alpha1), PipelineRun"),
        (_changed(kind="Deployment", apiVersion="apps/v1"), "is a Deployment (apps/v1), which is no run: use Job"),
        (_changed(apiVersion="v1"), "is a Job (v1), which is no run"),
        (_changed(apiVersion=7), "needs apiVersion and kind"),
        (_changed(spec=None), "spec.template.spec is missing: it is the spec of the Job"),
        (_changed(spec=[]), "spec.template.spec is missing"),
        (_changed(status={}), "spec.template.status has no place in a template"),
        (_changed(metadata={"name": "x"}), "metadata.name cannot be set: the name is made from the trigger and"),
        (_changed(metadata={"namespace": "x"}), "metadata.namespace cannot be set"),
        (_changed(metadata={"generateName": "x-"}), "metadata.generateName cannot be set"),
        (_changed(metadata={"finalizers": ["x"]}), "metadata.finalizers cannot be set: it is set by the trigger"),
        (_changed(metadata="x"), "spec.template.metadata has to be a mapping"),
        (_changed(metadata={"labels": {"a": 1}}), "spec.template.metadata.labels has to be a mapping of texts"),
        (_changed(spec={"a": ["$(weir.urll)"]}), "$(weir.urll) is unknown: after weir. there can be run, uri"),
    ],
)
def test_what_is_no_template_is_refused(template: dict[str, Any], told: str) -> None:
    with pytest.raises(TemplateError) as refused:
        check(trigger(template))
    assert told in str(refused.value)
    assert str(refused.value).startswith("spec.template")


def test_a_parameter_of_the_report_is_checked_as_well() -> None:
    with pytest.raises(TemplateError, match="nonsense"):
        check(trigger(reportConfigMap="results-$(weir.nonsense)"))


def test_expressions_and_durations_are_checked() -> None:
    assert "spec.selector.pattern: '('" in selector_fault(trigger(selector={"pattern": "("}))
    wanted = {"objects": [{"name": "ok"}, {"name": "["}]}
    assert "spec.selector.objects[1].name" in selector_fault(trigger(selector=wanted))
    assert duration_fault(trigger(settleFor="soon")).startswith("spec.settleFor: 'soon' is not a duration")
    assert duration_fault(trigger(timeout="1 h")).startswith("spec.timeout")


def test_an_object_is_taken_for_the_run_only_if_the_trigger_made_it_for_the_data() -> None:
    subject = trigger()
    made = run_object(subject, RUN)
    assert is_run_of(subject, RUN, made)
    other = copy.deepcopy(made)
    other["metadata"]["ownerReferences"][0]["uid"] = "another"
    assert not is_run_of(subject, RUN, other)
    made["metadata"]["annotations"]["weir.dev/data"] = "sha256:other"
    assert not is_run_of(subject, RUN, made)
    assert not is_run_of(subject, RUN, {"metadata": {}})


TREES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20) | st.sampled_from(["$(weir.uri)", "$(weir.x)"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=12), inner, max_size=3),
    max_leaves=12,
)
FIELDS = st.sampled_from(["apiVersion", "kind", "metadata", "spec", "template", "containers", "labels", "trainer", "x"])


@given(st.dictionaries(FIELDS, TREES, max_size=5), st.sampled_from(["Job", "TrainJob", "Workflow", None]))
def test_whatever_stands_in_a_template_it_is_refused_or_made(template: dict[str, Any], kind: str | None) -> None:
    groups = {"Job": "batch/v1", "TrainJob": "trainer.kubeflow.org/v1alpha1", "Workflow": "argoproj.io/v1alpha1"}
    if kind is not None:
        template |= {"apiVersion": groups[kind], "kind": kind}
        if not isinstance(template.get("spec"), dict):
            template["spec"] = {"template": {"spec": template.get("spec")}, "trainer": template.get("spec")}
    subject = trigger(template, timeout="1m")
    try:
        check(subject)
    except TemplateError:
        return
    assert run_object(subject, RUN)["metadata"]["name"] == RUN.name
