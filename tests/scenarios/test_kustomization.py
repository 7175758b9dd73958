"""What a Kustomization's fields do, each told as a person would try it."""

from __future__ import annotations

import asyncio

from testbed.kube import condition
from tests.scenarios.conftest import KS, RunningAgent, Story, message

CONFIG = """
apiVersion: v1
kind: ConfigMap
metadata: {name: %s}
data: {greeting: "%s"}
"""
DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: chat}
spec:
  replicas: %d
  progressDeadlineSeconds: 2
  selector: {matchLabels: {app: chat}}
  template:
    metadata: {labels: {app: chat}}
    spec:
      containers:
      - name: server
        image: vllm/vllm-openai:v0.9.0
        args: [--model, org/m, --revision, %s]
"""
COMMIT_A, COMMIT_B = "a" * 40, "b" * 40


async def test_images_patches_names_and_variables_are_built_in(story: Story) -> None:
    story.git.commit(
        {"apps/chat/deployment.yaml": DEPLOYMENT % (0, COMMIT_A), "apps/chat/c.yaml": CONFIG % ("c", "${word}")}
    )
    await story.source()
    await story.kustomization(
        path="./apps/chat",
        namePrefix="my-",
        images=[{"name": "vllm/vllm-openai", "newTag": "v0.10.0"}],
        patches=[{"patch": "- {op: replace, path: /spec/paused, value: true}", "target": {"kind": "Deployment"}}],
        commonMetadata={"labels": {"team": "serving"}},
        postBuild={
            "substitute": {"word": "hi"},
            "substituteFrom": [{"kind": "ConfigMap", "name": "none", "optional": True}],
        },
    )
    await story.ready()
    found = await story.admin.get("apps/v1", "Deployment", story.namespace, "my-chat")
    assert found["spec"]["template"]["spec"]["containers"][0]["image"] == "vllm/vllm-openai:v0.10.0"
    assert found["spec"]["paused"] is True
    assert found["metadata"]["labels"]["team"] == "serving"
    config = await story.admin.get("v1", "ConfigMap", story.namespace, "my-c")
    assert config["data"]["greeting"] == "hi"


async def test_a_dependent_waits_and_is_woken_at_once(story: Story) -> None:
    story.git.commit({"base/c.yaml": CONFIG % ("base", "x"), "top/c.yaml": CONFIG % ("top", "x")})
    await story.source()
    await story.kustomization("top", path="./top", dependsOn=[{"name": "base"}])
    waiting = await story.failed("top", "dependency")
    assert message(waiting).startswith(f"dependency '{story.namespace}/base' not found")
    assert await story.admin.find("v1", "ConfigMap", story.namespace, "top") is None

    await story.kustomization("base", path="./base")
    await story.ready("base")
    await story.ready("top")


async def test_health_is_waited_for_and_a_failure_is_told(story: Story) -> None:
    story.git.commit({"d.yaml": DEPLOYMENT % (1, COMMIT_A)})
    await story.source()
    await story.kustomization(wait=True, timeout="5m")
    failed = await story.failed(text="health check failed after")
    assert f"Deployment/{story.namespace}/chat status: 'Failed'" in message(failed)
    assert "failed early due to stalled resources" in message(failed, "Healthy")
    assert failed["status"]["lastAttemptedRevision"]
    assert "lastAppliedRevision" not in failed["status"]

    mended = story.git.commit({"d.yaml": DEPLOYMENT % (0, COMMIT_A)})
    await story.pull("mended")
    ready = await story.ready(revision=mended)
    assert message(ready, "Healthy").startswith("Health check passed in")


async def test_a_new_revision_ends_a_wait_that_cannot_succeed(story: Story) -> None:
    slow = DEPLOYMENT.replace("progressDeadlineSeconds: 2", "progressDeadlineSeconds: 600")
    story.git.commit({"d.yaml": slow % (1, COMMIT_A)})
    await story.source()
    await story.kustomization(wait=True, timeout="10m")
    await story.until(KS, "app", lambda found: "Running health checks" in message(found, "Reconciling"))

    fixed = story.git.commit({"d.yaml": slow % (0, COMMIT_A)})
    await story.pull("fixed")
    await story.ready(revision=fixed)


async def test_drift_is_put_right_without_waiting_for_the_interval(story: Story) -> None:
    story.git.commit({"c.yaml": CONFIG % ("c", "from git")})
    await story.source()
    await story.kustomization()
    await story.ready()

    await story.admin.patch("v1", "ConfigMap", story.namespace, "c", {"data": {"greeting": "by hand"}})
    await story.until(("v1", "ConfigMap"), "c", lambda found: (found or {}).get("data") == {"greeting": "from git"})

    await story.admin.delete("v1", "ConfigMap", story.namespace, "c")
    await story.until(("v1", "ConfigMap"), "c", lambda found: found is not None)


async def test_a_suspended_kustomization_is_left_alone_also_when_deleted(story: Story) -> None:
    story.git.commit({"c.yaml": CONFIG % ("c", "one")})
    await story.source()
    await story.kustomization()
    await story.ready()

    await story.suspend()
    story.git.commit({"c.yaml": CONFIG % ("c", "two")})
    await story.pull("while-suspended")
    await story.admin.patch("v1", "ConfigMap", story.namespace, "c", {"data": {"greeting": "by hand"}})
    await story.admin.delete(*KS, story.namespace, "app")
    await story.until(KS, "app", lambda found: found is None)
    found = await story.admin.get("v1", "ConfigMap", story.namespace, "c")
    assert found["data"] == {"greeting": "by hand"}


async def test_a_changed_model_is_told_in_events_api_and_log(story: Story, weir: RunningAgent) -> None:
    story.git.commit({"d.yaml": DEPLOYMENT % (0, COMMIT_A)})
    await story.source()
    await story.kustomization()
    await story.ready()

    second = story.git.commit({"d.yaml": DEPLOYMENT % (0, COMMIT_B)}, "try b")
    await story.pull("b")
    await story.ready(revision=second)
    text = "of Deployment chat: "
    on_kustomization = await story.event("app", text + f"hf://org/m@{COMMIT_A} -> hf://org/m@{COMMIT_B}")
    on_object = await story.event("chat", text + f"hf://org/m@{COMMIT_A} -> hf://org/m@{COMMIT_B}")
    assert on_kustomization == on_object
    assert on_object.startswith("ModelChanged: model container[server].model")

    page = await weir.get(f"/api/v1/changes?kustomization={story.namespace}/app&kind=model&op=changed")
    assert page["total"] == 1
    record = page["items"][0]["record"]
    assert (record["old"]["canonical"], record["new"]["canonical"]) == (
        f"hf://org/m@{COMMIT_A}",
        f"hf://org/m@{COMMIT_B}",
    )
    assert record["commit"]["new"] == f"main@sha1:{second}"

    back = story.git.commit({"d.yaml": DEPLOYMENT % (0, COMMIT_A)}, "back to a")
    await story.pull("a")
    await story.ready(revision=back)
    page = await weir.get(f"/api/v1/changes?kustomization={story.namespace}/app&kind=model&op=changed")
    assert page["items"][0]["record"]["direction"].startswith("revert-to:")


async def test_a_pass_that_changes_nothing_costs_nothing(story: Story, weir: RunningAgent) -> None:
    story.git.commit({"c.yaml": CONFIG % ("c", "x"), "d.yaml": DEPLOYMENT % (0, COMMIT_A)})
    await story.source()
    await story.kustomization(interval="1s")
    await story.ready()
    await weir.get(f"/api/v1/kustomizations/{story.namespace}/app", lambda page: page["ready"] == "True")

    async def asked() -> dict[str, float]:
        """What is read and written, beside lists and watches, while at least two intervals pass."""
        before = await weir.requests()
        await asyncio.sleep(3.5)  # the time itself is under test
        made = {key: count - before.get(key, 0) for key, count in (await weir.requests()).items()}
        verbs = ("apply", "patch", "create", "get")
        return {key: count for key, count in made.items() if count and key.split()[0] in verbs}

    for _ in range(30):  # what earlier tests left to do comes to an end
        seen = await story.admin.get(*KS, story.namespace, "app")
        if not (requests := await asked()):
            break
    assert requests == {}
    again = await story.admin.get(*KS, story.namespace, "app")
    assert seen["metadata"]["resourceVersion"] == again["metadata"]["resourceVersion"]


async def test_a_requested_pass_is_acknowledged_and_verifies_every_object(story: Story, weir: RunningAgent) -> None:
    story.git.commit({"c.yaml": CONFIG % ("c", "x")})
    await story.source()
    await story.kustomization()
    await story.ready()
    before = (await weir.requests()).get("apply configmaps", 0)
    await story.request(KS, "app", "please")
    await story.until(KS, "app", lambda found: (found or {})["status"].get("lastHandledReconcileAt") == "please")
    assert (await weir.requests())["apply configmaps"] == before + 1  # one dry run, no write
    found = await story.admin.get(*KS, story.namespace, "app")
    assert condition(found, "Ready") == "True"
    assert condition(found, "Reconciling") == ""
