"""References that only a policy knows of count like all others."""

from __future__ import annotations

import pytest

from testbed.kube import ApiError
from tests.scenarios.conftest import RunningAgent, Story, conditions
from tests.scenarios.test_change_policy import policy


def scorer(weights: str) -> str:
    return f"""
apiVersion: apps/v1
kind: Deployment
metadata: {{name: scorer}}
spec:
  replicas: 0
  selector: {{matchLabels: {{app: scorer}}}}
  template:
    metadata: {{labels: {{app: scorer}}}}
    spec:
      containers:
      - {{name: run, image: "registry.example/run@sha256:{"c" * 64}", args: [--weights, "{weights}"]}}
"""


NAMED = {"containers": [{"container": "run", "flag": "--weights", "slot": "weights"}]}


async def test_a_flag_that_a_policy_names(story: Story, weir: RunningAgent) -> None:
    await policy(story, requirePinned=["model"], references=NAMED)
    story.git.commit({"scorer.yaml": scorer(f"hf://org/m@{'a' * 40}")})
    await story.source()
    await story.kustomization()
    await story.ready()
    pinned = story.git.commit({"scorer.yaml": scorer(f"hf://org/m@{'b' * 40}")})
    await story.pull("pinned")
    await story.ready(revision=pinned)
    found = await weir.get(f"/api/v1/changes?namespace={story.namespace}&name=scorer")
    told = {
        item["record"]["op"]: item["record"]["slot"] for item in found["items"] if item["record"]["kind"] == "model"
    }
    assert told["changed"] == "container[run].weights"
    story.git.commit({"scorer.yaml": scorer("hf://org/m")})
    await story.pull("floating")
    assert conditions(await story.failed(text="container[run].weights"))["Ready"][1] == "DeniedByPolicy"


async def test_a_path_that_cannot_be_read_stops_its_kustomizations_and_says_where(story: Story) -> None:
    field = {"kind": "Scorer", "path": "$.spec[?(@.a)]", "slot": "model"}
    await policy(story, references={"objects": [field]})
    story.git.commit({"scorer.yaml": scorer("hf://org/m")})
    await story.source()
    await story.kustomization()
    found = await story.failed(text="spec.references.objects[0].path")
    assert conditions(found)["Ready"][1] == "InvalidPolicy"
    with pytest.raises(ApiError, match="flag or env has to be set"):
        await policy(story, "other", references={"containers": [{"container": "*", "slot": "m"}]})
