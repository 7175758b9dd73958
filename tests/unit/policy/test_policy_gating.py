"""Which changes the gate of a rule lets pass."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from agent.api.datatrigger import DataTrigger, DataTriggerStatus, TriggerRun
from agent.core.policy.gating import is_same, unmet
from tests.unit.models.manifests import A, B, compare, only, vllm

RECORD = only(compare([vllm("org/m", "--revision", A)], [vllm("org/m", "--revision", B)]))
CANONICAL = f"hf://org/m@{B}"


def trigger(*runs: dict[str, Any]) -> DataTrigger:
    found = DataTrigger.from_object({"metadata": {"namespace": "ml", "name": "evaluate"}, "spec": {"template": {}}})
    base = {"name": "r1", "kind": "Job", "data": CANONICAL}
    listed = tuple(TriggerRun(**{**base, "reference": run.get("data", CANONICAL), **run}) for run in runs)
    return replace(found, status=DataTriggerStatus(runs=listed))


@pytest.mark.parametrize(
    ("runs", "why"),
    [
        ([], "DataTrigger evaluate has no run for it yet"),
        ([{"state": "Succeeded", "data": "hf://org/other@main"}], "DataTrigger evaluate has no run for it yet"),
        ([{"state": "Running"}], "run r1 of DataTrigger evaluate is going on"),
        ([{"state": "Failed", "message": "out of memory"}], "run r1 of DataTrigger evaluate has failed: out of memory"),
        ([{"state": "Succeeded"}], ""),
        ([{"state": "Succeeded", "data": f"sha256:{'1' * 64}", "reference": CANONICAL}], ""),  # known by now
        ([{"state": "Succeeded", "verdict": "pass"}], ""),
        ([{"state": "Succeeded", "verdict": "fail"}], "the report of run r1 of DataTrigger evaluate says fail"),
        ([{"state": "Succeeded", "verdict": "unknown"}], "the report of run r1 of DataTrigger evaluate says unknown"),
        ([{"state": "Failed"}, {"state": "Succeeded", "name": "r2"}], ""),  # the last one counts
        ([{"state": "Succeeded"}, {"state": "Lost", "name": "r2"}], "run r2 of DataTrigger evaluate was deleted by"),
    ],
)
def test_the_last_run_for_this_very_content_decides(runs: list[dict[str, Any]], why: str) -> None:
    found = unmet(trigger(*runs), "evaluate", RECORD)
    assert found.startswith(why) if why else found == ""


def test_without_a_trigger_nothing_passes_but_what_leaves() -> None:
    assert unmet(None, "evaluate", RECORD) == "DataTrigger evaluate is not there"
    gone = only([record for record in compare([vllm("org/m")], []) if record.kind == "model"])
    assert unmet(trigger(), "evaluate", gone) == ""


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({"message": "Tasks Completed: 2 (Failed: 0, Cancelled 0), Incomplete: 3"}, True),
        ({"state": "Failed"}, False),
        ({"verdict": "fail"}, False),
        ({"data": "hf://org/other@main"}, False),
    ],
)
def test_the_progress_of_a_run_moves_no_gate(change: dict[str, Any], same: bool) -> None:
    assert is_same(trigger({"state": "Running"}), trigger({"state": "Running", **change})) is same
