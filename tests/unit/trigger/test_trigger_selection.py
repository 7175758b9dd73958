"""Which references a selector fits."""

from __future__ import annotations

from typing import Any

import pytest
from trigger_world import data, place, trigger

from agent.core.trigger.selection import listens_to, selected


@pytest.mark.parametrize(
    ("selector", "fits"),
    [
        ({}, True),
        ({"kinds": ["model"]}, False),
        ({"kinds": ["model", "data"]}, True),
        ({"kinds": []}, True),
        ({"schemes": ["hf"]}, False),
        ({"schemes": ["s3"]}, True),
        ({"pattern": "s3://data/.*"}, True),
        ({"pattern": "s3://data"}, False),
        ({"objects": [{"kind": "File"}]}, False),
        ({"objects": [{"kind": "File"}, {"kind": "Deployment", "name": "ch.t"}]}, True),
        ({"objects": [{"name": "other"}]}, False),
    ],
)
def test_what_is_left_out_fits_everything(selector: dict[str, Any], *, fits: bool) -> None:
    assert bool(selected(trigger(selector=selector), [place(data("train"))])) is fits


def test_files_are_selected_by_their_whole_path() -> None:
    files = trigger(selector={"objects": [{"kind": "File", "name": "sets/.*[.]dvc"}]})
    inside, outside = place(data("a"), obj="File/sets/a.dvc"), place(data("a"), obj="File/old/sets/a.dvc")
    assert selected(files, [inside, outside]) == [inside]
    gone = place(None, obj="File/sets/a.dvc", old=data("a"))
    assert selected(files, [gone]) == [gone], "what goes is told as well"


@pytest.mark.parametrize(
    ("sources", "kind", "name", "labels", "heard"),
    [
        ([], "GitRepository", "repo", {}, True),
        ([{"kind": "Kustomization"}], "Kustomization", "app", {}, True),
        ([{"kind": "Kustomization"}], "GitRepository", "app", {}, False),
        ([{"kind": "Kustomization", "name": "app"}], "Kustomization", "app", {}, True),
        ([{"kind": "Kustomization", "name": "app"}], "Kustomization", "other", {}, False),
        ([{"kind": "Kustomization", "matchLabels": {"a": "b"}}], "Kustomization", "app", {"a": "b", "c": "d"}, True),
        ([{"kind": "Kustomization", "matchLabels": {"a": "b"}}], "Kustomization", "app", {"a": "c"}, False),
    ],
)
def test_sources_are_chosen_by_kind_name_and_labels(
    sources: list[Any], kind: str, name: str, labels: dict[str, str], *, heard: bool
) -> None:
    assert listens_to(trigger(selector={"sources": sources}), kind, name, labels) is heard
