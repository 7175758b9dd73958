"""A gate that waits for the run of the data that a target names."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec
import pytest
from trigger_world import NOON, data, place, trigger

from agent.api.datatrigger import DataTrigger, DataTriggerStatus, PendingData, TriggerRun, TriggerSlot
from agent.core.models.ref import Ref
from agent.core.rollout.gates import Gate
from agent.core.trigger.gate import awaited, data_places

GATE = Gate(name="quality", kind="trigger", source="retrain")
EARLIER = NOON - timedelta(hours=1)
B = data("b", "b" * 64)
DATA_B = f"sha256:{'b' * 64}"


def having(*, runs: tuple[TriggerRun, ...] = (), slots: tuple[TriggerSlot, ...] = (), **spec: Any) -> DataTrigger:
    return msgspec.structs.replace(trigger(**spec), status=DataTriggerStatus(runs=runs, slots=slots))


def run(state: str, data: str = DATA_B, reference: str = "s3://data/b", **more: Any) -> TriggerRun:
    return TriggerRun(name="retrain-1", kind="Job", data=data, reference=reference, state=state, **more)


def seen(reference: str, digest: str | None = None, pending: str | None = None) -> TriggerSlot:
    newer = PendingData(reference=reference, digest=pending, since=NOON) if pending else None
    return TriggerSlot(
        source="Kustomization/app",
        object="Deployment/ml/chat",
        slot="s",
        reference=reference,
        digest=digest,
        pending=newer,
    )


@pytest.mark.parametrize(
    ("subject", "ref", "answer", "note"),
    [
        (None, B, "unknown", "there is no DataTrigger retrain in namespace ml"),
        (
            having(selector={"schemes": ["hf"]}),
            B,
            "unknown",
            "names no data that DataTrigger retrain watches",
        ),
        (having(), B, "running", "has not run s3://data/b yet"),
        (having(suspend=True), B, "running", "yet: it is suspended"),
        (having(runs=(run("Pending"),)), B, "running", "Job retrain-1 is running"),
        (having(runs=(run("Running"),)), B, "running", "Job retrain-1 is running"),
        (having(runs=(run("Failed"),)), B, "failed", "Job retrain-1 failed"),
        (having(runs=(run("Lost", message="somebody deleted it"),)), B, "unknown", "is gone: somebody deleted it"),
        (having(runs=(run("Succeeded"),)), B, "completed", ""),
        (having(runs=(run("Succeeded", data="sha256:other"),)), B, "running", "has not run"),
        (having(runs=(run("Succeeded", data="s3://data/b"),)), B, "completed", ""),
        (having(runs=(run("Succeeded"),)), data("b"), "completed", ""),
        (having(runs=(run("Failed"), run("Succeeded"))), B, "completed", ""),
        (having(slots=(seen("s3://data/b", DATA_B),)), B, "completed", ""),
        (
            having(runs=(run("Succeeded"),), slots=(seen("s3://data/b", DATA_B, pending="sha256:c"),)),
            data("b"),
            "running",
            "has not run",
        ),
    ],
)
def test_a_gate_goes_as_the_run_of_its_data_goes(subject: DataTrigger | None, ref: Ref, answer: str, note: str) -> None:
    found = awaited(GATE, subject, "ml", [place(ref)])
    said = {"running": found.running, "failed": found.failed, "completed": found.completed}
    assert [name for name, holds in said.items() if holds] == ([] if answer == "unknown" else [answer])
    assert note in found.note


def test_all_data_of_a_target_counts_and_its_metrics_are_put_together() -> None:
    subject = having(
        runs=(
            run("Succeeded", metrics={"accuracy": 0.9}, verdict="pass", finished=NOON),
            run(
                "Succeeded",
                finished=EARLIER,
                data="s3://data/c",
                reference="s3://data/c",
                metrics={"recall": 0.8},
                verdict="unknown",
            ),
        )
    )
    found = awaited(GATE, subject, "ml", [place(B, "one"), place(data("c"), "two")])
    assert found.report is not None
    assert (found.report.metrics, found.report.verdict) == ({"accuracy": 0.9, "recall": 0.8}, "unknown")
    assert found.report.at == EARLIER
    waiting = awaited(GATE, subject, "ml", [place(B, "one"), place(data("d"), "two")])
    assert waiting.running


def test_the_data_of_a_target_stands_in_it_or_in_its_annotations() -> None:
    notes = {"weir.dev/data-digest": DATA_B, "weir.dev/data-ref.train": "s3://data/a"}
    target = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "chat", "namespace": "ml"},
        "spec": {"template": {"metadata": {"annotations": notes}, "spec": {"containers": []}}},
    }
    found = [place for place in data_places([target]) if place.kind == "data"]
    assert {(place.object, place.slot) for place in found} == {
        ("Deployment/ml/chat", "data-digest"),
        ("Deployment/ml/chat", "train"),
    }
    assert data_places([]) == []
