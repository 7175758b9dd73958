"""References that a ChangePolicy of the repository names."""

from __future__ import annotations

import json

import pytest

from tests.plan.plan_repository import PlanRepository, flux, service

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


ONE, TWO, MAIN = (f"hf://org/m:{revision}" for revision in ("1" * 40, "2" * 40, "main"))


def governed(model: str, *policies: dict[str, object], labels: str = "{team: ml}") -> dict[str, str]:
    """An application, and policies of its Kustomization's namespace."""
    head = {"apiVersion": "weir.dev/v1alpha1", "kind": "ChangePolicy"}
    written = [
        {**head, "metadata": {"name": f"p{number}", "namespace": "flux-system"}, "spec": spec}
        for number, spec in enumerate(policies)
    ]
    labelled = flux("app", "./app").replace("namespace: flux-system}", f"namespace: flux-system, labels: {labels}}}")
    return {
        "cluster/app.yaml": labelled,
        "cluster/policies.yaml": "\n---\n".join(json.dumps(one) for one in written),
        "app/service.yaml": service(model),
    }


def rule(action: str, **more: object) -> dict[str, object]:
    return {"rules": [{"action": action, "kinds": ["model"], **more}]}


@pytest.mark.parametrize(
    ("policies", "model", "action", "code"),
    [
        ([], TWO, "rollout", "content"),
        ([rule("hold")], TWO, "gate", "policy"),
        ([rule("alert")], TWO, "alert", "policy"),
        ([rule("alert"), rule("hold")], TWO, "gate", "policy"),
        ([rule("apply")], TWO, "rollout", "content"),
        ([rule("canary")], TWO, "gate", "policy"),
        ([rule("hold", operations=["removed"])], TWO, "rollout", "content"),
        ([{**rule("hold"), "suspend": True}], TWO, "rollout", "content"),
        ([{**rule("hold"), "selector": {"matchLabels": {"team": "other"}}}], TWO, "rollout", "content"),
        ([{**rule("hold"), "selector": {"matchLabels": {"team": "ml"}}}], TWO, "gate", "policy"),
        ([{"requirePinned": ["model"]}], TWO, "rollout", "content"),
        ([{"requirePinned": ["model"]}], MAIN, "gate", "require-pinned"),
        ([rule("job", trigger={"name": "evaluate"})], TWO, "job", "policy"),
    ],
)
def test_actions_are_those_of_the_policies_in_the_tree(
    repository: PlanRepository, policies: list[dict[str, object]], model: str, action: str, code: str
) -> None:
    repository.history(governed(ONE, *policies), governed(model, *policies))
    found = repository.plan()
    change = found.the("model")
    assert (change["action"], change["reason"]["code"]) == (action, code), change["reason"]
    assert found.errors == []
    assert repository.plan("--fail-on", "gate").status == (3 if action == "gate" else 0)


def test_policies_of_a_name_that_several_clusters_use_say_nothing(repository: PlanRepository) -> None:
    def clusters(model: str) -> dict[str, str]:
        files = governed(model, rule("hold"))
        return {**files, "other/app.yaml": files["cluster/app.yaml"]}

    repository.history(clusters(ONE), clusters(TWO))
    assert {change["action"] for change in repository.plan().changes} == {"rollout"}
