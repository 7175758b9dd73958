"""References that a ChangePolicy of the repository names."""

from __future__ import annotations

import json

from tests.plan.plan_repository import PlanRepository

FIELD = {"group": "ml.example", "kind": "Scorer", "path": "$.spec.uri", "slot": "model"}


def policy(**spec: object) -> str:
    head = {"apiVersion": "weir.dev/v1alpha1", "kind": "ChangePolicy", "metadata": {"name": "p", "namespace": "ml"}}
    return json.dumps({**head, "spec": spec})


def scorer(uri: str) -> str:
    return f"apiVersion: ml.example/v1\nkind: Scorer\nmetadata: {{name: s, namespace: ml}}\nspec: {{uri: '{uri}'}}\n"


def test_fields_that_a_policy_names_are_references(repository: PlanRepository) -> None:
    named = policy(references={"objects": [FIELD]})
    repository.history({"app/p.yaml": named, "app/s.yaml": scorer("s3://b/one")}, {"app/s.yaml": scorer("s3://b/two")})
    assert repository.plan().told == {("model", "changed", "model")}
    repository.commit({"app/p.yaml": policy(suspend=True, references={"objects": [FIELD]})})
    repository.commit({"app/s.yaml": scorer("s3://b/three")})
    assert repository.plan().changes == []


def test_a_policy_that_cannot_be_followed_is_named(repository: PlanRepository) -> None:
    broken = policy(references={"objects": [{**FIELD, "path": "spec.uri"}]})
    repository.history({"app/s.yaml": scorer("s3://b/one")}, {"app/p.yaml": broken, "app/s.yaml": scorer("s3://b/two")})
    found = repository.plan()
    assert found.status == 0
    (error,) = found.errors
    assert error["file"] == "app/p.yaml"
    assert "spec.references.objects[0].path" in error["message"]
