"""Flux reference 4.3: dependsOn. What readyExpr can say is told in test_expressions."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from agent.gates import FeatureGates
from testbed.kube import condition
from tests.scenarios.conftest import KS, RunningAgent, Story, conditions, message

CONFIG = """
apiVersion: v1
kind: ConfigMap
metadata: {name: %s}
data: {greeting: "%s"}
"""
OwnAgent = Callable[..., AbstractAsyncContextManager[RunningAgent]]
WAITING = "Dependencies do not meet ready condition, retrying in "


async def _two_folders(story: Story, base: str = CONFIG % ("base", "x")) -> str:
    commit = story.git.commit({"base/c.yaml": base, "top/c.yaml": CONFIG % ("top", "x")})
    await story.source()
    return commit


async def test_a_dependency_that_does_not_exist(story: Story) -> None:
    await _two_folders(story)
    await story.kustomization("top", path="./top", dependsOn=[{"name": "base"}])
    waiting = await story.failed("top", f"dependency '{story.namespace}/base' not found: ")
    assert list(conditions(waiting)) == ["Ready"]
    assert conditions(waiting)["Ready"][1] == "DependencyNotReady"
    assert "lastAttemptedRevision" not in waiting["status"]
    assert await story.event("top", WAITING) == f"DependencyNotReady: {WAITING}1s"
    assert await story.admin.find("v1", "ConfigMap", story.namespace, "top") is None


async def test_a_dependency_that_failed(story: Story) -> None:
    await _two_folders(story, base="kind: [broken")
    await story.kustomization("base", path="./base")
    await story.failed("base", "c.yaml")
    await story.kustomization("top", path="./top", dependsOn=[{"name": "base"}])
    waiting = await story.failed("top", "is not ready")
    assert message(waiting) == f"dependency '{story.namespace}/base' is not ready"


async def test_a_dependency_whose_spec_has_changed_since_it_was_ready(story: Story) -> None:
    await _two_folders(story)
    await story.kustomization("base", path="./base")
    await story.ready("base")
    await story.kustomization("base", path="./nowhere")
    await story.failed("base", "nowhere")
    await story.kustomization("top", path="./top", dependsOn=[{"name": "base"}])
    await story.failed("top", f"dependency '{story.namespace}/base' is not ready")


async def test_a_dependency_of_the_same_source_that_is_behind(story: Story) -> None:
    await _two_folders(story)
    await story.kustomization("base", path="./base")
    await story.kustomization("top", path="./top", dependsOn=[{"name": "base"}])
    await story.ready("top")

    await story.suspend("base", path="./base")
    second = story.git.commit({"top/c.yaml": CONFIG % ("top", "y")})
    await story.pull("second")
    waiting = await story.failed("top", "revision is not up to date")
    assert message(waiting) == f"dependency '{story.namespace}/base' revision is not up to date"
    await story.kustomization("base", path="./base")
    await story.ready("base", second)
    await story.ready("top", second)


async def test_the_first_dependency_in_the_list_that_is_not_met_is_told(story: Story) -> None:
    await _two_folders(story)
    await story.kustomization("base", path="./base")
    await story.ready("base")
    names = ["base", "one", "two"]
    await story.kustomization("top", path="./top", dependsOn=[{"name": name} for name in names])
    waiting = await story.failed("top", "not found")
    assert message(waiting).startswith(f"dependency '{story.namespace}/one' not found")


async def test_dependents_are_woken_at_once_and_not_at_their_next_look(story: Story, own_agent: OwnAgent) -> None:
    await _two_folders(story, base="kind: [broken")
    await story.kustomization("base", path="./base")
    await story.kustomization("middle", path="./top", namePrefix="middle-", dependsOn=[{"name": "base"}])
    await story.kustomization("top", path="./top", dependsOn=[{"name": "middle"}])
    async with own_agent(requeue_dependency=600.0):
        await story.failed("middle", "is not ready")
        await story.failed("top", "is not ready")
        assert await story.event("top", WAITING) == f"DependencyNotReady: {WAITING}10m0s"
        fixed = story.git.commit({"base/c.yaml": CONFIG % ("base", "x")})
        await story.pull("fixed")
        await story.ready("top", fixed)

        # all of them are queued by the new revision; whoever comes too early is woken again
        third = story.git.commit({"base/c.yaml": CONFIG % ("base", "y"), "top/c.yaml": CONFIG % ("top", "y")})
        await story.pull("third")
        await story.ready("top", third)


async def test_who_waits_with_an_expression_is_woken_by_what_it_waits_for(story: Story, own_agent: OwnAgent) -> None:
    await _two_folders(story)
    await story.kustomization("base", path="./base")
    expression = "dep.metadata.?labels.?stage.orValue('') == 'open'"
    await story.kustomization("top", path="./top", dependsOn=[{"name": "base", "readyExpr": expression}])
    async with own_agent(requeue_dependency=600.0):
        await story.ready("base")
        await story.failed("top", "is not ready according to readyExpr eval")
        await story.admin.patch(*KS, story.namespace, "base", {"metadata": {"labels": {"stage": "open"}}})
        await story.ready("top")


async def test_with_the_gate_an_expression_comes_before_the_usual_checks(story: Story, own_agent: OwnAgent) -> None:
    await _two_folders(story, base="kind: [broken")
    await story.kustomization("base", path="./base")
    await story.kustomization(
        "top", path="./top", dependsOn=[{"name": "base", "readyExpr": "dep.spec.prune == self.spec.prune"}]
    )
    async with own_agent(gates=FeatureGates(additive_cel_dependency_check=True)):
        waiting = await story.failed("top", "is not ready")
        assert message(waiting) == f"dependency '{story.namespace}/base' is not ready"
        fixed = story.git.commit({"base/c.yaml": CONFIG % ("base", "x")})
        await story.pull("fixed")
        await story.ready("top", fixed)


async def test_a_dependency_in_a_namespace_that_the_agent_does_not_watch(story: Story, own_agent: OwnAgent) -> None:
    await _two_folders(story)
    elsewhere = f"{story.namespace}-infra"
    await story.admin.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": elsewhere}})
    metadata = {"name": "base", "namespace": elsewhere, "labels": {"weir.dev/own-agent": "true"}}
    spec = {"interval": "10m", "prune": True, "sourceRef": {"kind": "GitRepository", "name": "none"}}
    await story.admin.create({"apiVersion": KS[0], "kind": KS[1], "metadata": metadata, "spec": spec})
    await story.kustomization("top", path="./top", dependsOn=[{"name": "base", "namespace": elsewhere}])
    try:
        async with own_agent(no_cross_namespace_refs=True):
            waiting = await story.failed("top", "dependency")
            assert message(waiting) == f"dependency '{elsewhere}/base' is not ready"
            ready = {"type": "Ready", "status": "True", "reason": "ReconciliationSucceeded", "message": ""}
            status = {"observedGeneration": 1, "conditions": [{**ready, "lastTransitionTime": "2026-01-02T03:04:05Z"}]}
            await story.admin.patch(*KS, elsewhere, "base", {"status": status}, subresource="status")
            await story.ready("top")
    finally:
        await story.admin.delete("v1", "Namespace", None, elsewhere)


async def test_a_circle_is_named(story: Story) -> None:
    await _two_folders(story)
    await story.kustomization("a", path="./base", dependsOn=[{"name": "b"}])
    await story.kustomization("b", path="./top", dependsOn=[{"name": "c"}])
    await story.kustomization("c", path="./top", namePrefix="c-", dependsOn=[{"name": "a"}])
    here = story.namespace
    circle = f"spec.dependsOn goes round in a circle, {here}/a -> {here}/b -> {here}/c -> {here}/a: remove one of these"
    waiting = await story.failed("a", f"dependency '{here}/b' is not ready: {circle}")
    assert conditions(waiting)["Ready"][1] == "DependencyNotReady"
    assert await story.event("a", "circle") == f"DependencyNotReady: {WAITING}1s: {circle} dependencies"
    for name in ("b", "c"):
        await story.failed(name, "goes round in a circle")

    await story.kustomization("c", path="./top", namePrefix="c-")
    for name in ("c", "b", "a"):
        await story.ready(name)


async def test_one_that_waits_for_itself(story: Story) -> None:
    await _two_folders(story)
    await story.kustomization("top", path="./top", dependsOn=[{"name": "top"}])
    here = story.namespace
    await story.failed("top", f"goes round in a circle, {here}/top -> {here}/top: remove one")


async def test_a_deletion_does_not_wait_for_dependencies(story: Story) -> None:
    await _two_folders(story)
    await story.kustomization("base", path="./base")
    await story.kustomization("top", path="./top", dependsOn=[{"name": "base"}])
    await story.ready("top")
    await story.admin.delete(*KS, story.namespace, "base")
    await story.until(KS, "base", lambda found: found is None)
    await story.admin.delete(*KS, story.namespace, "top")
    await story.until(KS, "top", lambda found: found is None)
    assert await story.admin.find("v1", "ConfigMap", story.namespace, "top") is None


async def test_a_dependency_that_is_lost_later_holds_the_next_pass_only(story: Story) -> None:
    await _two_folders(story)
    await story.kustomization("base", path="./base")
    await story.kustomization("top", path="./top", dependsOn=[{"name": "base"}])
    before = await story.ready("top")
    await story.admin.delete(*KS, story.namespace, "base")
    await story.until(KS, "base", lambda found: found is None)
    await story.request(KS, "top", "again")
    waiting = await story.failed("top", "not found")
    assert condition(waiting, "Ready") == "False"
    assert waiting["status"]["lastAppliedRevision"] == before["status"]["lastAppliedRevision"]
    assert await story.admin.find("v1", "ConfigMap", story.namespace, "top") is not None
