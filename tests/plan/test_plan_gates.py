"""Gates that read reports out of Git say before the merge what they will say of the rollout."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.plan.plan_repository import PlanRepository, deployment, kustomization

OLD, NEW = "a" * 40, "b" * 40


def canary(**metadata: str) -> str:
    """A Canary with a gate that reads the ConfigMap `evaluations`."""
    gate = {"name": "quality", "type": "pre-rollout", "url": "report://evaluations/{digest}.json", "metadata": metadata}
    spec: dict[str, Any] = {
        "targetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "chat"},
        "service": {"port": 80},
        "analysis": {"interval": "1m", "threshold": 1, "webhooks": [gate]},
    }
    metadata_ = {"name": "chat", "namespace": "ml"}
    return json.dumps({"apiVersion": "flagger.app/v1beta1", "kind": "Canary", "metadata": metadata_, "spec": spec})


def served(revision: str) -> str:
    return deployment("--model", "org/m", "--revision", revision)


def evaluations(**reports: object) -> str:
    data = {f"{revision}.json": json.dumps(report) for revision, report in reports.items()}
    metadata = {"name": "evaluations", "namespace": "ml"}
    return json.dumps({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data})


def repository_with(repository: PlanRepository, gate: str, before: str, after: str) -> None:
    listed = kustomization("server.yaml", "canary.yaml", "evaluations.yaml")
    files = {"app/kustomization.yaml": listed, "app/canary.yaml": gate}
    repository.commit({**files, "app/server.yaml": served(OLD), "app/evaluations.yaml": before})
    repository.commit({"app/server.yaml": served(NEW), "app/evaluations.yaml": after})


@pytest.mark.parametrize(
    ("limits", "report", "action", "code", "said"),
    [
        ({"min.accuracy": "0.9"}, {"metrics": {"accuracy": 0.95}}, "rollout", "", ""),
        ({"min.accuracy": "0.9"}, {"metrics": {"accuracy": 0.85}}, "gate", "gate-failed", "accuracy"),
        ({"maxDrop.accuracy": "0.01"}, {"metrics": {"accuracy": 0.8}}, "gate", "gate-failed", "accuracy"),
        ({}, {"verdict": "fail", "reason": "refuses too much"}, "gate", "gate-failed", "refuses too much"),
        ({}, {"success": False, "statistics": {"evaluated_expectations": 3}}, "gate", "gate-failed", ""),
        ({"min.accuracy": "0.9"}, None, "gate", "gate-unknown", "there is no ConfigMap evaluations"),
        ({"min.accuracy": "0.9", "onUnknown": "pass"}, None, "rollout", "", ""),
        ({"min.accurcy": "0.9"}, {"metrics": {"accuracy": 0.95}}, "gate", "gate-unknown", "no accurcy in the report"),
        ({"mni.accuracy": "0.9"}, {"metrics": {"accuracy": 0.95}}, "gate", "gate-unknown", "is unknown"),
        ({}, {"subject": f"hf://org/other@{NEW}"}, "gate", "gate-unknown", "is about hf://org/other"),
        ({}, [], "gate", "gate-unknown", "no JSON object"),
    ],
)
def test_what_a_report_in_git_will_say(
    repository: PlanRepository, limits: dict[str, str], report: object, action: str, code: str, said: str
) -> None:
    before = {OLD: {"metrics": {"accuracy": 0.94}}}
    after = before if report is None else {**before, NEW: report}
    repository_with(repository, canary(**limits), evaluations(**before), evaluations(**after))
    found = repository.plan()
    assert found.status == 0, found.err
    model = found.the("model")
    assert model["action"] == action
    if code:
        assert model["reason"]["code"] == code
        assert model["reason"]["message"].startswith("gate quality of Canary/ml/chat: ")
        assert said in model["reason"]["message"]
        assert repository.plan("--fail-on", "gate").status == 3
    elif report is not None:
        assert model["new"]["provenance"] == {"evalReport": f"ConfigMap/ml/evaluations#{NEW}.json"}


def test_an_evaluation_that_is_added_later_says_nothing_of_a_model_that_stays(repository: PlanRepository) -> None:
    repository_with(repository, canary(), evaluations(), evaluations())
    repository.commit({"app/evaluations.yaml": evaluations(**{NEW: {"verdict": "fail"}})})
    assert {change["kind"] for change in repository.plan().changes} == {"config"}


def test_gates_that_cannot_be_asked_offline_change_nothing(repository: PlanRepository) -> None:
    for address in (
        "job://evaluate",
        "gate+https://judge.example/chat",
        "trigger://retrain",
        "report://elsewhere/r.json",
    ):
        gate = canary().replace("report://evaluations/{digest}.json", address)
        repository_with(repository, gate, evaluations(), evaluations())
        assert repository.plan().the("model")["action"] == "rollout"
        repository.commit({"app/server.yaml": served(OLD)})
