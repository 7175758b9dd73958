"""Flagger's own definition of Canaries drops what Weir keeps in the status: what follows from that."""

import pytest
from rollout_world import make_plan

from agent.core.rollout.definition import FENCE, JUDGE, REASON, fitting, lacking
from agent.core.rollout.judgesettings import JudgeMode, JudgeSettings


def document(*fields: str, kind: str = "Canary") -> dict:
    status = {"properties": {name: {"type": "string"} for name in ("phase", *fields)}}
    schema = {
        "properties": {"status": status},
        "x-kubernetes-group-version-kind": [{"group": "flagger.app", "kind": kind, "version": "v1beta1"}],
    }
    return {"components": {"schemas": {"app.flagger.v1beta1.Canary": schema}}}


@pytest.mark.parametrize(
    ("found", "missing"),
    [
        (document(JUDGE, FENCE), set()),
        (document(), {JUDGE, FENCE}),
        (document(JUDGE), {FENCE}),
        (document(kind="CanaryList"), None),
        ({"components": {"schemas": {"io.k8s.Pod": {}}}}, None),
        ({}, None),
    ],
)
def test_what_a_definition_lacks(found, missing):
    assert lacking(found) == missing


@pytest.mark.parametrize(
    ("asked", "missing", "mode", "refused"),
    [
        (JudgeMode.GUARDED, {JUDGE}, JudgeMode.GUARDED, True),
        (JudgeMode.COMPARATIVE, {JUDGE, FENCE}, JudgeMode.COMPARATIVE, True),
        (None, {JUDGE}, JudgeMode.COMPATIBILITY, False),
        (None, {FENCE}, None, False),
        (JudgeMode.GUARDED, set(), JudgeMode.GUARDED, False),
    ],
)
def test_no_run_is_guarded_that_could_not_be_kept(asked, missing, mode, refused):
    plan = fitting(make_plan(judging=JudgeSettings(mode=asked)), missing)
    assert plan.judging.mode is mode
    assert (plan.fault is not None and plan.fault[0] == REASON) is refused


def test_an_annotation_that_cannot_be_read_is_still_said():
    plan = make_plan(judging=JudgeSettings(mode=JudgeMode.GUARDED), fault=("AnnotationInvalid", "no"))
    assert fitting(plan, {JUDGE}).fault == ("AnnotationInvalid", "no")
