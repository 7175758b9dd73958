"""Which entries of a policy answer for a reference."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from agent.api.changepolicy import SCHEMES

_SHARED: Final[Mapping[str, str]] = {
    "hf-model": "hf",
    "hf-dataset": "hf",
    "azure-file": "azure",
    "mlflow-version": "mlflow",
    "mlflow-alias": "mlflow",
    "mlflow-stage": "mlflow",
    "mlflow-run": "mlflow",
}


def entries_for(scheme: str) -> str:
    """The `scheme` of the entries that answer for references of a scheme; empty if there are none."""
    name = _SHARED.get(scheme, scheme)
    return name if name in SCHEMES else ""
