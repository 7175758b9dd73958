"""Faults found by reading: what people see of them, and that nothing is stuck afterwards."""

from __future__ import annotations

from testbed.kube import condition
from tests.scenarios.conformance.flux_source import stored
from tests.scenarios.conftest import KS, REPO, Object, RunningAgent, Story, message

CONFIG = """
apiVersion: v1
kind: ConfigMap
metadata: {name: %s}
data: {greeting: "%s"}
"""


def reason(found: Object | None, kind: str = "Ready") -> str:
    """The reason of a condition."""
    entries = (found or {}).get("status", {}).get("conditions", ())
    return next((str(entry["reason"]) for entry in entries if entry["type"] == kind), "")


async def test_an_object_without_a_namespace_fails_and_leaves_nothing_behind_that_stalls(story: Story) -> None:
    extra = f"{story.namespace}-extra"
    namespace = f"apiVersion: v1\nkind: Namespace\nmetadata: {{name: {extra}}}\n"
    story.git.commit({"ns.yaml": namespace, "c.yaml": CONFIG % ("lost", "x")})
    await story.source()
    source = {"kind": "GitRepository", "name": "repo"}
    spec = {"interval": "10m", "retryInterval": "1s", "prune": True, "sourceRef": source}
    await story.admin.apply(
        {"apiVersion": KS[0], "kind": KS[1], "metadata": {"name": "app", "namespace": story.namespace}, "spec": spec}
    )
    await story.failed(text="namespace not specified")

    where = CONFIG.replace("{name: %s}", "{name: %s, namespace: " + extra + "}")
    mended = story.git.commit({"c.yaml": where % ("lost", "x")})
    await story.pull("mended")
    ready = await story.ready(revision=mended)
    assert condition(ready, "Stalled") == ""
    assert {entry["id"] for entry in ready["status"]["inventory"]["entries"]} == {
        f"_{extra}__Namespace",
        f"{extra}_lost__ConfigMap",
    }


async def test_a_service_account_that_cannot_exist_is_told_and_does_not_stop_the_deletion(story: Story) -> None:
    story.git.commit({"c.yaml": CONFIG % ("c", "x")})
    await story.source()
    await story.kustomization()
    await story.ready()
    await story.kustomization(serviceAccountName="not a name\nX-Header: 1")
    stalled = await story.until(KS, "app", lambda found: condition(found, "Stalled") == "True")
    assert "not a name" in message(stalled)
    await story.admin.delete(*KS, story.namespace, "app")
    await story.until(KS, "app", lambda found: found is None)
    assert await story.admin.find("v1", "ConfigMap", story.namespace, "c") is not None


async def test_an_inventory_that_somebody_spoiled_is_told_and_mended(story: Story) -> None:
    story.git.commit({"c.yaml": CONFIG % ("c", "x")})
    await story.source()
    await story.kustomization()
    ready = await story.ready()
    good = ready["status"]["inventory"]["entries"]

    async def write(entries: list[Object]) -> None:
        patch = {"status": {"inventory": {"entries": entries}}}
        await story.admin.patch(*KS, story.namespace, "app", patch, subresource="status")

    await write([*good, {"id": "nonsense", "v": "v1"}])
    await story.request(KS, "app", "look")
    failed = await story.failed(text="nonsense")
    assert reason(failed) == "ReconciliationFailed"
    assert failed["status"]["lastHandledReconcileAt"] == "look"
    await write(good)
    await story.ready()


async def test_a_spec_edited_during_a_pass_is_not_reported_as_observed_before_it_is_applied(story: Story) -> None:
    """Many quick edits: whenever Ready is True for a generation, the objects are those of that generation."""
    story.git.commit({"c.yaml": CONFIG % ("c", "${word}")})
    await story.source()
    for number in range(12):
        edited = await story.kustomization(postBuild={"substitute": {"word": f"w{number}"}})
        generation = edited["metadata"]["generation"]
        if number % 3:
            continue

        def settled(found: Object | None, wanted: int = generation) -> bool:
            status = (found or {}).get("status", {})
            return condition(found, "Ready") == "True" and status.get("observedGeneration", 0) >= wanted

        await story.until(KS, "app", settled)
        live = await story.admin.get("v1", "ConfigMap", story.namespace, "c")
        assert live["data"] == {"greeting": f"w{number}"}


async def test_a_suspended_source_keeps_serving_and_says_nothing(story: Story, weir: RunningAgent) -> None:
    story.git.commit({"c.yaml": CONFIG % ("c", "x")})
    await story.source()
    await story.kustomization()
    await story.ready()
    await stored(story)  # builds begin before the source's own status is written
    await story.source(suspend=True)
    before = await story.admin.get(*REPO, story.namespace, "repo")
    await story.request(KS, "app", "again")
    await story.until(KS, "app", lambda found: (found or {})["status"].get("lastHandledReconcileAt") == "again")
    after = await story.admin.get(*REPO, story.namespace, "repo")
    assert after["status"] == before["status"]
