"""A repository for every test."""

from pathlib import Path

import pytest

from tests.plan.plan_repository import PlanRepository


@pytest.fixture
def repository(tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> PlanRepository:
    """An empty repository."""
    return PlanRepository(tmp_path / "repository", capfdbinary)
