"""Content that moved with no commit: what still waits for a person, and how pods get it."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from agent.core.models import ChangeRecord, Digest, RenderedSet
from agent.core.models.awaiting import awaiting, referred
from agent.core.models.extract.declared import with_digest
from agent.core.models.floating import Floated, floated
from agent.core.models.references import references
from agent.core.models.restarting import restart_patch, with_digests_before
from tests.unit.models.manifests import only, refs, vllm

RENDERED = RenderedSet([vllm("org/m")])


def move(before: str, after: str, action: Any = "gate") -> ChangeRecord:
    (found,) = [one for one in references(RENDERED) if one.slot.kind == "model"]
    sides = [with_digest(found.slot.ref, Digest("sha256", side * 64, "files", "sha256")) for side in (before, after)]
    record = only(floated([Floated(found, *sides)], RENDERED, "ml/app", "main@sha1:1"))
    return replace(record, action=action)


@pytest.mark.parametrize(
    ("moves", "expected"),
    [
        ([], None),
        ([("a", "b", "alert")], None),
        ([("a", "b", "gate")], "b"),
        ([("a", "b", "gate"), ("b", "c", "gate")], "c"),
        ([("a", "b", "gate"), ("b", "a", "gate")], None),  # back to what is served
        ([("a", "b", "gate"), ("a", "b", "rollout")], None),  # let through
        ([("a", "b", "rollout"), ("b", "a", "gate")], "a"),
    ],
)
def test_the_last_move_of_a_slot_waits_unless_it_leads_back(
    moves: list[tuple[str, str, str]], expected: str | None
) -> None:
    found = awaiting(move(*one) for one in reversed(moves))
    digests = [record.new.digest.value[0] for record in found.values() if record.new and record.new.digest]
    assert digests == ([expected] if expected else [])


def test_what_git_refers_to_no_more_waits_for_nobody() -> None:
    record = move("a", "b")
    assert referred([record], RENDERED) == [record]
    assert referred([record], RenderedSet([vllm("org/other")])) == []
    assert referred([record], RenderedSet([])) == []


def test_pods_start_anew_with_the_digest_on_their_template() -> None:
    record = move("a", "b")
    patch = restart_patch(record, vllm("org/m"))
    note = {"weir.dev/model-digest.container-vllm-model": f"sha256:{'b' * 64}"}
    before = {"weir.dev/model-digest-before.container-vllm-model": f"sha256:{'a' * 64}"}
    assert patch == {"spec": {"template": {"metadata": {"annotations": note | before}}}}
    # and whoever reads the workload from then on knows its content by it
    manifest = vllm("org/m")
    manifest["spec"]["template"]["metadata"] = {"annotations": note}
    assert str(refs(manifest)["container[vllm].model"].digest) == f"sha256:{'b' * 64}"


def test_what_was_served_before_the_first_move_stays_noted() -> None:
    manifest = vllm("org/m")
    manifest["spec"]["template"]["metadata"] = {
        "annotations": {"weir.dev/model-digest.container-vllm-model": f"sha256:{'b' * 64}"}
    }
    patch = restart_patch(move("b", "c"), manifest)
    assert patch is not None
    assert list(patch["spec"]["template"]["metadata"]["annotations"].values()) == [f"sha256:{'c' * 64}"]
    # a copy of the template from before the first move learns what it serves
    for others in ({}, {"other": "note"}):
        template: dict[str, Any] = {"metadata": {"annotations": others}}
        with_digests_before(template, {"weir.dev/model-digest-before.m": "sha256:aaaaaa", "weir.dev/x": "y"})
        assert template["metadata"]["annotations"] == {"weir.dev/model-digest.m": "sha256:aaaaaa", **others}
    promoted: dict[str, Any] = {"metadata": {"annotations": {"weir.dev/model-digest.m": "sha256:bbbbbb"}}}
    with_digests_before(promoted, {"weir.dev/model-digest-before.m": "sha256:aaaaaa"})
    assert promoted == {"metadata": {"annotations": {"weir.dev/model-digest.m": "sha256:bbbbbb"}}}


def test_kinds_of_which_nobody_knows_how_their_pods_start_are_left_alone() -> None:
    record = move("a", "b")
    known = replace(record.object, group="serving.kserve.io", kind="InferenceService")
    other = replace(record.object, group="mlops.seldon.io", kind="Model")
    assert "predictor" in (restart_patch(replace(record, object=known), {}) or {})["spec"]
    assert restart_patch(replace(record, object=other), {}) is None
