"""Policies: what may be applied when models change, and when."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from testbed.kube import condition
from tests.scenarios.conftest import KS, RunningAgent, Story, conditions, message

POLICY = ("weir.dev/v1alpha1", "ChangePolicy")
A, B = "a" * 40, "b" * 40


def server(revision: str) -> str:
    """A Deployment without Pods, so that nothing has to start."""
    return f"""
apiVersion: apps/v1
kind: Deployment
metadata: {{name: chat}}
spec:
  replicas: 0
  selector: {{matchLabels: {{app: chat}}}}
  template:
    metadata: {{labels: {{app: chat}}}}
    spec:
      containers:
      - name: vllm
        image: registry.example/vllm@sha256:{"c" * 64}
        args: [--model, org/m, --revision, "{revision}"]
"""


async def policy(story: Story, name: str = "rules", **spec: Any) -> None:
    """Create or change a policy. The shared agent goes by it when this returns; another one has to be started later."""
    applied = await story.admin.apply(
        {
            "apiVersion": POLICY[0],
            "kind": POLICY[1],
            "metadata": {"name": name, "namespace": story.namespace},
            "spec": spec,
        }
    )
    generation = applied["metadata"]["generation"]
    await story.until(
        POLICY, name, lambda found: (found or {}).get("status", {}).get("observedGeneration") == generation
    )


async def served(story: Story) -> str:
    """The revision that the cluster's Deployment names."""
    found = await story.admin.get("apps/v1", "Deployment", story.namespace, "chat")
    return str(found["spec"]["template"]["spec"]["containers"][0]["args"][-1])


async def approve(story: Story, note: str) -> None:
    await story.admin.patch(*KS, story.namespace, "app", {"metadata": {"annotations": {"weir.dev/approve": note}}})


async def test_a_new_model_waits_for_an_approval(story: Story) -> None:
    await policy(story, rules=[{"action": "hold", "kinds": ["model"], "operations": ["changed"]}])
    story.git.commit({"chat.yaml": server(A)})
    await story.source()
    await story.kustomization()
    await story.ready()

    held = story.git.commit({"chat.yaml": server(B)})
    await story.pull("b")
    found = await story.failed(text=f"{held} is held: model container[vllm].model of Deployment chat")
    assert conditions(found)["Ready"][1] == "HeldByPolicy"
    assert f"annotate the Kustomization with weir.dev/approve: {held}" in message(found)
    assert await served(story) == A

    # another commit that leaves the model alone does not slip the change through
    again = story.git.commit({"other.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: other}\n"})
    await story.pull("again")
    await story.failed(text=f"{again} is held: model")
    assert await served(story) == A

    # what Git takes back holds nothing
    back = story.git.commit({"chat.yaml": server(A)})
    await story.pull("back")
    await story.ready(revision=back)
    again = story.git.commit({"chat.yaml": server(B)})
    await story.pull("b again")
    await story.failed(text=f"{again} is held: model")

    await approve(story, f"{again[:10]} checked by jane")
    await story.ready(revision=again)
    assert await served(story) == B
    told = await story.event("app", "ChangeApproved")
    assert f"({again[:10]} checked by jane)" in told
    records = await story.events("app")
    assert any(line.startswith("HeldByPolicy") for line in records)


async def test_a_policy_that_is_taken_away_lets_go(story: Story) -> None:
    await policy(story, requirePinned=["model"])
    floating = story.git.commit({"chat.yaml": server("main")})
    await story.source()
    await story.kustomization()
    found = await story.failed(text="model container[vllm].model of Deployment chat is hf://org/m@main, which floats")
    assert conditions(found)["Ready"][1] == "DeniedByPolicy"
    assert await story.admin.list("apps/v1", "Deployment", story.namespace) == []
    # an approval is no pin
    await approve(story, floating)
    await story.event("app", "DeniedByPolicy")
    await story.admin.delete(*POLICY, story.namespace, "rules")
    await story.ready(revision=floating)


async def test_a_closed_window_keeps_the_applied_revision(story: Story) -> None:
    story.git.commit({"chat.yaml": server(A)})
    await story.source()
    await story.kustomization()
    await story.ready()
    now = datetime.now(UTC)
    start, end = (now + timedelta(hours=hours) for hours in (2, 3))
    await policy(story, windows=[{"mode": "allow", "start": f"{start:%H:%M}", "end": f"{end:%H:%M}"}])
    late = story.git.commit({"chat.yaml": server(B)})
    await story.pull("b")
    found = await story.failed(text="outside of the sync windows until")
    assert condition(found, "Ready") == "False"
    assert await served(story) == A
    await approve(story, late)
    await story.ready(revision=late)
    assert await served(story) == B


async def test_many_deletions_wait_for_an_approval(story: Story) -> None:
    await policy(story, prune={"maxPercent": 40})
    config = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s}\n"
    story.git.commit({f"{name}.yaml": config % name for name in ("one", "two", "three")})
    await story.source()
    await story.kustomization()
    await story.ready()
    fewer = story.git.commit({"one.yaml": None, "two.yaml": None, "four.yaml": config % "four"})
    await story.pull("fewer")
    await story.failed(text="nothing is pruned: 2 of 4 objects would be deleted, more than the 40 %")
    names = {found["metadata"]["name"] for found in await story.admin.list("v1", "ConfigMap", story.namespace)}
    assert names >= {"one", "two", "three", "four"}  # what is new was applied
    await approve(story, fewer)
    await story.ready(revision=fewer)
    names = {found["metadata"]["name"] for found in await story.admin.list("v1", "ConfigMap", story.namespace)}
    assert names & {"one", "two", "three", "four"} == {"three", "four"}


async def test_a_policy_that_cannot_be_followed_stops_everything_and_says_so(story: Story) -> None:
    await policy(story, windows=[{"mode": "deny", "start": "09:00", "end": "10:00", "timeZone": "Mars/Olympus"}])
    story.git.commit({"chat.yaml": server(A)})
    await story.source()
    await story.kustomization()
    found = await story.failed(text=f"ChangePolicy {story.namespace}/rules: spec.windows[0].timeZone")
    assert conditions(found)["Stalled"][1] == "InvalidPolicy"
    await policy(story, windows=[])
    await story.ready()


async def test_a_policy_says_itself_what_it_lacks(story: Story) -> None:
    registry = {"scheme": "hf", "secretRef": {"name": "hub"}}
    await policy(story, resolution={"registries": [registry]})
    found = await story.failed(
        "rules", text=f"spec.resolution.registries[0].secretRef: Secret {story.namespace}/hub is", kind=POLICY
    )
    assert conditions(found)["Ready"][1] == "SecretNotFound"
    assert f"Secret {story.namespace}/hub is not there" in await story.event("rules", "SecretNotFound")
    metadata = {"name": "hub", "namespace": story.namespace}
    await story.admin.apply({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": {"token": "x"}})
    await story.until(POLICY, "rules", lambda found: condition(found, "Ready") == "True")

    await policy(story, rules=[{"action": "gate", "trigger": {"name": "evaluate"}, "kinds": ["model"]}])
    await story.failed("rules", text="spec.rules[0].trigger: DataTrigger evaluate is not there", kind=POLICY)


async def test_an_alert_is_an_event_and_no_more(story: Story) -> None:
    await policy(story, rules=[{"action": "alert", "kinds": ["model"], "operations": ["changed"]}])
    story.git.commit({"chat.yaml": server(A)})
    await story.source()
    await story.kustomization()
    await story.ready()
    changed = story.git.commit({"chat.yaml": server(B)})
    await story.pull("b")
    await story.ready(revision=changed)
    assert "model container[vllm].model of Deployment chat" in await story.event("app", "PolicyAlert")
    assert await served(story) == B


async def test_a_change_tells_whom_it_reaches_in_other_kustomizations(story: Story, weir: RunningAgent) -> None:
    settings = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\ndata: {temperature: '%s'}\n"
    reading = server(A).replace(
        "      - name: vllm", "      - envFrom: [{configMapRef: {name: settings}}]\n        name: vllm"
    )
    story.git.commit({"apps/chat.yaml": reading, "config/settings.yaml": settings % "0.1"})
    await story.source()
    await story.kustomization(path="./apps")
    await story.kustomization("config", path="./config")
    await story.ready()
    await story.ready("config")
    hotter = story.git.commit({"config/settings.yaml": settings % "0.9"})
    await story.pull("hotter")
    await story.ready("config", revision=hotter)
    found = await weir.get(f"/api/v1/changes?namespace={story.namespace}&name=settings")
    (impact,) = [item["record"]["impact"] for item in found["items"] if item["record"]["op"] == "changed"]
    assert impact["kustomizations"] == [f"{story.namespace}/config", f"{story.namespace}/app"]
    assert [name.rpartition("/")[2] for name in impact["objects"]] == ["chat"]
