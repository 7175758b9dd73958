"""CEL in a Kustomization: what says that a model of an own kind is loaded, and that a dependency is far enough."""

from __future__ import annotations

import json

import pytest

from testbed.kube import Admin, condition
from tests.scenarios.conftest import KS, Story, message

GROUP = "expressions.example.dev"
MODEL = (f"{GROUP}/v1", "Model")
PREFIX = "Reconciliation failed terminally due to configuration error: "
LOADED = {
    "apiVersion": MODEL[0],
    "kind": MODEL[1],
    "inProgress": "status.phase == 'Loading'",
    "failed": "status.phase == 'Broken'",
    "current": "status.phase == 'Loaded'",
}
MANIFEST = f"""
apiVersion: {MODEL[0]}
kind: Model
metadata: {{name: chat}}
spec: {{weights: "hf://org/m"}}
"""
CONFIG = """
apiVersion: v1
kind: ConfigMap
metadata: {name: %s}
"""


@pytest.fixture(scope="module")
async def models(admin: Admin, crds: None, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A kind that says how it is in a word of its own."""
    anything = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": anything}}
    names = {"plural": "models", "singular": "model", "kind": "Model", "listKind": "ModelList"}
    definition = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"models.{GROUP}"},
        "spec": {"group": GROUP, "scope": "Namespaced", "names": names, "versions": [version]},
    }
    path = tmp_path_factory.mktemp("crd") / "models.yaml"
    path.write_text(json.dumps(definition))
    await admin.apply_files([path])


async def _model(story: Story, **spec: object) -> None:
    story.git.commit({"m.yaml": MANIFEST})
    await story.source()
    await story.kustomization(**{"wait": True, "timeout": "5m", "healthCheckExprs": [LOADED], **spec})


async def _phase(story: Story, **status: object) -> None:
    await story.until(MODEL, "chat", lambda found: found is not None)
    await story.admin.patch(*MODEL, story.namespace, "chat", {"status": status})


async def test_a_kind_with_words_of_its_own_is_waited_for(models: None, story: Story) -> None:
    await _model(story)
    await _phase(story, phase="Loading")
    await story.until(KS, "app", lambda found: "Running health checks" in message(found, "Reconciling"))
    await _phase(story, phase="Loaded")
    ready = await story.ready()
    assert message(ready, "Healthy").startswith("Health check passed in")


async def test_a_broken_model_fails_early_and_an_unsaid_state_is_unknown(models: None, story: Story) -> None:
    await _model(story, timeout="30s")
    late = await story.failed(text="timeout waiting for")
    assert (
        f"timeout waiting for: [Model/{story.namespace}/chat status: 'Unknown': failed to evaluate the CEL "
        "expression 'status.phase == 'Loading'': no such attribute(s): status.phase]"
    ) in message(late)
    assert condition(late, "Healthy") == "False"

    await _phase(story, phase="Broken")
    early = await story.failed(text="failed early")
    assert f"failed early due to stalled resources: [Model/{story.namespace}/chat status: 'Failed']" in message(early)


async def test_an_observed_generation_that_is_behind_comes_before_every_expression(models: None, story: Story) -> None:
    await _model(story)
    await _phase(story, phase="Loaded", observedGeneration=99)
    await story.until(KS, "app", lambda found: "Running health checks" in message(found, "Reconciling"))
    seen = await story.admin.get(*MODEL, story.namespace, "chat")
    assert condition(await story.admin.get(*KS, story.namespace, "app"), "Ready") == "Unknown"
    # the kind has no status subresource: the next write makes the generation one more
    await _phase(story, phase="Loaded", observedGeneration=seen["metadata"]["generation"] + 1)
    await story.ready()


async def test_other_expressions_judge_anew_what_did_not_change(models: None, story: Story) -> None:
    await _model(story, healthCheckExprs=[{**LOADED, "current": "status.phase == 'Loading'", "inProgress": "false"}])
    await _phase(story, phase="Loading")
    await story.ready()
    await story.kustomization(wait=True, timeout="5m", healthCheckExprs=[LOADED])
    await story.until(KS, "app", lambda found: condition(found, "Ready") == "Unknown")
    await _phase(story, phase="Loaded")
    await story.ready()


@pytest.mark.parametrize(
    ("checks", "error"),
    [
        (
            [{**LOADED, "current": "status."}],
            (
                "failed to create custom status evaluator for healthchecks[0]: failed to parse the expression Current: "
                "failed to parse the CEL expression 'status.': ERROR: <input>:1:8: Syntax error"
            ),
        ),
        (
            [LOADED, {**LOADED, "apiVersion": f"{GROUP}/v2"}],
            f"duplicate custom health check for GroupKind Model.{GROUP} at healthchecks[1]",
        ),
    ],
)
async def test_checks_that_can_never_work_stall(
    models: None, story: Story, checks: list[dict[str, str]], error: str
) -> None:
    await _model(story, healthCheckExprs=checks)
    stalled = await story.failed(text=PREFIX + error)
    assert condition(stalled, "Stalled") == "True"
    assert {entry["reason"] for entry in stalled["status"]["conditions"]} == {"InvalidCELExpression"}
    assert stalled["status"]["observedGeneration"] == stalled["metadata"]["generation"]
    assert await story.admin.find(*MODEL, story.namespace, "chat") is None

    await story.kustomization(wait=True, healthCheckExprs=[LOADED])
    await _phase(story, phase="Loaded")
    ready = await story.ready()
    assert condition(ready, "Stalled") == ""


async def test_a_ready_expression_takes_the_place_of_the_usual_checks(story: Story) -> None:
    story.git.commit({"base/c.yaml": "kind: Nothing", "top/c.yaml": CONFIG % "top"})
    await story.source()
    await story.kustomization("base", path="./base")
    await story.failed("base")
    expression = "dep.metadata.?labels.?stage.orValue('') == self.metadata.name + '-may-go'"
    await story.kustomization("top", path="./top", dependsOn=[{"name": "base", "readyExpr": expression}])
    waiting = await story.failed("top", "readyExpr")
    assert message(waiting) == f"dependency '{story.namespace}/base' is not ready according to readyExpr eval"
    assert await story.admin.find("v1", "ConfigMap", story.namespace, "top") is None

    await story.admin.patch(*KS, story.namespace, "base", {"metadata": {"labels": {"stage": "top-may-go"}}})
    await story.ready("top")
    assert condition(await story.admin.get(*KS, story.namespace, "base"), "Ready") == "False"


async def test_a_ready_expression_over_what_is_not_there_waits(story: Story) -> None:
    story.git.commit({"base/c.yaml": CONFIG % "base", "top/c.yaml": CONFIG % "top"})
    await story.source()
    await story.kustomization("base", path="./base")
    await story.ready("base")
    expression = "dep.metadata.labels.stage == 'done'"
    await story.kustomization("top", path="./top", dependsOn=[{"name": "base", "readyExpr": expression}])
    waiting = await story.failed("top", "evaluate")
    assert message(waiting) == f"failed to evaluate the CEL expression '{expression}': no such key: labels"
    assert {entry["reason"] for entry in waiting["status"]["conditions"]} == {"DependencyNotReady"}
    await story.admin.patch(*KS, story.namespace, "base", {"metadata": {"labels": {"stage": "done"}}})
    await story.ready("top")


@pytest.mark.parametrize(
    ("expression", "error"),
    [
        ("dep.metadata.", "failed to parse the CEL expression 'dep.metadata.': ERROR: <input>:1:14: Syntax error"),
        ("that.ready", "failed to parse the CEL expression 'that.ready': ERROR: <input>:1:1: undeclared reference"),
        ("1 + 1", "CEL expression output type mismatch: expected bool, got int"),
        ("dep.status", "CEL expression output type mismatch: expected bool, got dyn"),
    ],
)
async def test_a_ready_expression_that_can_never_work_stalls(story: Story, expression: str, error: str) -> None:
    story.git.commit({"base/c.yaml": CONFIG % "base", "top/c.yaml": CONFIG % "top"})
    await story.source()
    await story.kustomization("base", path="./base")
    await story.ready("base")
    await story.kustomization("top", path="./top", dependsOn=[{"name": "base", "readyExpr": expression}])
    stalled = await story.failed("top", f"{PREFIX}terminal error: failed to evaluate dependency base: {error}")
    assert condition(stalled, "Stalled") == "True"
    assert {entry["reason"] for entry in stalled["status"]["conditions"]} == {"InvalidCELExpression"}

    await story.kustomization("top", path="./top", dependsOn=[{"name": "base", "readyExpr": "dep.spec.prune"}])
    stalled = await story.failed("top", "got dyn")
    await story.kustomization("top", path="./top", dependsOn=[{"name": "base", "readyExpr": "dep.spec.prune == true"}])
    await story.ready("top")
