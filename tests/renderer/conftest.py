"""A pool of real renderer processes, compiled from this checkout."""

import importlib.util
import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from agent.adapters.renderer import BuildRequest, RendererPool
from tests.renderer.sources import Build, Objects, tree

PROJECT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def binary() -> Path:
    """The renderer, compiled if its sources changed."""
    spec = importlib.util.spec_from_file_location("hatch_build", PROJECT / "hatch_build.py")
    assert spec is not None
    assert spec.loader is not None
    hook = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(hook)
    path: Path = hook.ensure(PROJECT, "renderer")
    return path


@pytest.fixture(scope="session")
async def pool(binary: Path) -> AsyncIterator[RendererPool]:
    """Two processes shared by the tests; what one test does to them is visible to the next, as in the agent."""
    pool = RendererPool(size=2, binary=binary, timeout=60)
    await pool.start()
    yield pool
    await pool.stop()


@pytest.fixture
def build(pool: RendererPool) -> Build:
    """Builds a tree given as texts by path; the keywords are those of BuildRequest."""

    async def run(files: Mapping[str, str | bytes], **options: Any) -> Objects:
        rendered = await pool.build(BuildRequest(**options), tree(files))
        return [json.loads(document) for document in rendered.objects]

    return run
