"""Which DataTriggers of the tree a commit would have start a run."""

from __future__ import annotations

import json
from typing import Any

from tests.plan.plan_repository import PlanRepository, dvc, flux, service


def trigger(name: str = "retrain", namespace: str = "flux-system", **spec: Any) -> str:
    """A trigger of a Job."""
    template = {"apiVersion": "batch/v1", "kind": "Job", "spec": {"template": {"spec": {"containers": []}}}}
    metadata = {"name": name, "namespace": namespace}
    body = {"apiVersion": "weir.dev/v1alpha1", "kind": "DataTrigger", "metadata": metadata}
    return json.dumps({**body, "spec": {"template": template, **spec}})


def cluster(*triggers: str) -> dict[str, str]:
    """One application, and triggers beside its Kustomization."""
    labelled = flux("app", "./app").replace("namespace: flux-system}", "namespace: flux-system, labels: {team: ml}}")
    return {
        "cluster/app.yaml": labelled,
        "cluster/triggers.yaml": "\n---\n".join(triggers),
        "app/service.yaml": service("s3://b/one"),
        "app/train.csv.dvc": dvc("a"),
    }


def predicted(change: dict[str, Any]) -> set[str]:
    """The names of the triggers that a record names."""
    return {name.removeprefix("DataTrigger/flux-system/") for name in change["impact"]["jobs"]}


def test_records_name_the_triggers_that_would_start_a_run(repository: PlanRepository) -> None:
    selectors: dict[str, dict[str, Any]] = {
        "data": {},
        "model": {"kinds": ["model"]},
        "both": {"kinds": []},
        "dvc": {"schemes": ["dvc"]},
        "hub": {"schemes": ["hf"]},
        "path": {"objects": [{"kind": "File", "name": "app/.*[.]dvc"}]},
        "repository": {"kinds": [], "sources": [{"kind": "GitRepository", "name": "models"}]},
        "app": {"kinds": [], "sources": [{"kind": "Kustomization", "name": "app"}]},
        "other": {"kinds": [], "sources": [{"kind": "Kustomization", "name": "other"}]},
        "labelled": {"kinds": [], "sources": [{"kind": "Kustomization", "matchLabels": {"team": "ml"}}]},
    }
    triggers = [trigger(name, selector=selector) for name, selector in selectors.items()]
    elsewhere = trigger("elsewhere", "other", selector={"kinds": ["model"]})
    files = cluster(*triggers, trigger("suspended", suspend=True), elsewhere)
    repository.history(files, {"app/train.csv.dvc": dvc("b"), "app/service.yaml": service("s3://b/two")})
    output = repository.plan("HEAD~1", "HEAD")
    assert (output.status, output.errors) == (0, [])
    assert predicted(output.the("data")) == {"data", "both", "dvc", "path", "repository"}
    assert predicted(output.the("model")) == {"model", "both", "app", "labelled"}
    assert "starts DataTrigger/flux-system/both, DataTrigger/" in repository.plan("HEAD~1", "HEAD", output="text").out


def test_triggers_that_the_agent_would_refuse_are_errors_and_no_more(repository: PlanRepository) -> None:
    broken = {
        "one": ({"selector": {"pattern": "("}}, "spec.selector.pattern: '('"),
        "two": ({"template": {"apiVersion": "v1", "kind": "Pod", "spec": {}}}, "spec.template is a Pod (v1)"),
        "three": ({"template": {}}, "spec.template needs apiVersion and kind"),
        "four": ({"settleFor": "soon"}, "spec.settleFor: 'soon' is not a duration"),
        "five": ({"selector": []}, "Expected `object`, got `array`"),
    }
    repository.history(
        cluster(*(trigger(name, **spec) for name, (spec, _) in broken.items())), {"app/train.csv.dvc": dvc("b")}
    )
    output = repository.plan("HEAD~1", "HEAD")
    assert {error["file"] for error in output.errors} == {"cluster/triggers.yaml"}
    told = [error["message"] for error in output.errors]
    for name, (_, why) in broken.items():
        assert any(line.startswith(f"DataTrigger {name}: {why}") for line in told), (name, told)
    assert len(told) == len(broken)
    assert output.the("data")["impact"]["jobs"] == []


def test_what_a_trigger_sees_first_starts_nothing_unless_it_asks_for_that(repository: PlanRepository) -> None:
    kinds = {"selector": {"kinds": []}}
    old = cluster(trigger("known", **kinds), trigger("eager", onFirstSight="Run", **kinds))
    repository.history(
        old,
        {
            "cluster/new.yaml": flux("new", "./new"),
            "cluster/fresh.yaml": trigger("fresh", **kinds),
            "new/service.yaml": service("s3://b/other", name="other"),
            "app/train.csv.dvc": dvc("b"),
        },
    )
    output = repository.plan("HEAD~1", "HEAD")
    assert predicted(output.the("model")) == {"eager"}, "of a Kustomization that is new"
    assert predicted(output.the("data")) == {"known", "eager"}
