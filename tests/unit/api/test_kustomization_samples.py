"""Every form in which Flux's documentation uses the Kustomization, decoded and encoded again without loss."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from agent.api.kustomization import Kustomization

SAMPLES = Path(__file__).with_name("kustomization_samples.yaml")
BASE = {"interval": "5m", "prune": True, "sourceRef": {"kind": "GitRepository", "name": "models"}}


def samples() -> list[dict[str, Any]]:
    """The documents of the file, each with a name that says what it shows."""
    return list(yaml.safe_load_all(SAMPLES.read_text()))


@pytest.mark.parametrize("sample", samples(), ids=lambda sample: sample["shows"])
def test_a_documented_form_is_understood_whole(sample: dict[str, Any]) -> None:
    spec = BASE | sample.get("spec", {})
    metadata = {"name": "app", "namespace": "team"} | sample.get("metadata", {})
    status = sample.get("status", {})
    read = Kustomization.from_object({"metadata": metadata, "spec": spec, "status": status})
    written = read.to_object()
    assert written["spec"] == spec
    assert written["metadata"].items() >= metadata.items()
    assert {key: written["status"][key] for key in status} == status
