"""Words for stories about DataTriggers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from testbed.kube import Object
from tests.scenarios.conftest import Story

TRIGGER = ("weir.dev/v1alpha1", "DataTrigger")
REPORT = '{"metrics": {"accuracy": 0.91}, "verdict": "pass", "reason": "1,200 questions"}'


def serving(reference: str, **annotations: str) -> str:
    """A Deployment without Pods that says which data its model was made from."""
    notes = {"weir.dev/data-ref.train": reference, **annotations}
    return f"""
apiVersion: apps/v1
kind: Deployment
metadata:
  name: chat
  annotations: {notes}
spec:
  replicas: 0
  selector: {{matchLabels: {{app: chat}}}}
  template:
    metadata: {{labels: {{app: chat}}}}
    spec: {{containers: [{{name: server, image: "registry.example/server:1"}}]}}
"""


def job(script: str, **spec: Any) -> Object:
    container = {"name": "train", "image": "shell:1", "args": [script]}
    pod = {"restartPolicy": "Never", "containers": [container], "terminationGracePeriodSeconds": 1}
    return {"apiVersion": "batch/v1", "kind": "Job", "spec": {"backoffLimit": 0, "template": {"spec": pod}, **spec}}


def trains(report: str = REPORT) -> Object:
    """A Job that says what it was given, and reports."""
    given = 'echo "$WEIR_DATA_URI $WEIR_COMMIT" > /dev/termination-log'
    return job(f"printf '%s' '{report}' > /dev/termination-log" if report else given)


async def declare(story: Story, template: Object, name: str = "retrain", **spec: Any) -> None:
    metadata = {"name": name, "namespace": story.namespace, "labels": story.labels}
    body = {"settleFor": "0s", "template": template, **spec}
    await story.admin.apply({"apiVersion": TRIGGER[0], "kind": TRIGGER[1], "metadata": metadata, "spec": body})


async def trigger(story: Story, check: Callable[[Object], bool], name: str = "retrain") -> Object:
    """Wait for the trigger."""
    return await story.until(TRIGGER, name, lambda found: found is not None and check(found))


def runs(found: Object) -> list[Object]:
    return list(found.get("status", {}).get("runs", ()))


def slots(found: Object) -> list[Object]:
    return list(found.get("status", {}).get("slots", ()))


def watches(found: Object) -> bool:
    """Whether it has looked at the data for the first time."""
    return bool(slots(found))


async def jobs(story: Story) -> list[Object]:
    return list(await story.admin.list("batch/v1", "Job", story.namespace))


async def commit(story: Story, reference: str) -> str:
    made = story.git.commit({"chat.yaml": serving(reference)})
    await story.pull(made)
    await story.ready(revision=made)
    return made
