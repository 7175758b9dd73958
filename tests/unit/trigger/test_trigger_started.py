"""Which run a change has started."""

from __future__ import annotations

import msgspec
import pytest
from trigger_world import data, trigger

from agent.api.datatrigger import DataTriggerStatus, TriggerRun
from agent.core.models import ChangeRecord, Commit, Impact, Location, ObjectId, Reason, Ref
from agent.core.trigger.started import StartedRuns

B = data("b", "b" * 64)
PLACE = "Deployment/ml/chat data-ref.train"
RUN = TriggerRun(
    name="retrain-1",
    kind="Job",
    data=f"sha256:{'b' * 64}",
    reference="s3://data/b",
    state="Succeeded",
    slots=("Deployment/ml/other x", PLACE),
    verdict="pass",
)


def record(new: Ref | None, op: str = "changed", slot: str = "data-ref.train") -> ChangeRecord:
    return ChangeRecord(
        id="1",
        kind="data",
        op=op,  # type: ignore[arg-type]
        object=ObjectId("apps", "v1", "Deployment", "ml", "chat"),
        slot=slot,
        location=Location("$"),
        old=None,
        new=new,
        cause="commit",
        commit=Commit(None, None),
        direction="forward",
        impact=Impact(),
        action="job",
        reason=Reason("data", ""),
    )


@pytest.mark.parametrize(
    ("change", "namespace", "found"),
    [
        (record(B), "ml", True),
        (record(data("b-by-another-name", "b" * 64)), "ml", True),
        (record(data("b")), "ml", True),
        (record(data("b", "c" * 64)), "ml", False),
        (record(data("c")), "ml", False),
        (record(B, op="floated"), "ml", True),
        (record(B, op="respelled"), "ml", False),
        (record(B, slot="other"), "ml", False),
        (record(None, op="removed"), "ml", False),
        (record(B), "other", False),
    ],
)
def test_a_change_is_found_by_place_and_content(change: ChangeRecord, namespace: str, *, found: bool) -> None:
    subject = msgspec.structs.replace(trigger(), status=DataTriggerStatus(runs=(RUN,)))
    started = StartedRuns([subject]).by(change, namespace)
    assert [(run.trigger, run.name, run.state, run.verdict) for run in started] == (
        [("ml/retrain", "retrain-1", "Succeeded", "pass")] if found else []
    )
