"""A Git server over plain HTTP and an empty cache, new for every test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agent.adapters.git import GitMirrors
from testbed.git import GitHTTPServer


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[GitHTTPServer]:
    """Anonymous access."""
    async with GitHTTPServer(tmp_path / "served") as running:
        yield running


@pytest.fixture
def mirrors(tmp_path: Path) -> GitMirrors:
    """Mirrors in a folder of the test."""
    return GitMirrors(tmp_path / "cache")
