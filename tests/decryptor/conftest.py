"""Real renderer and decryptor processes, compiled from this checkout, and texts encrypted by the real `sops`."""

import importlib.util
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from agent.adapters.decryptor import Decryptor, Keys
from agent.adapters.renderer import BuildRequest, RendererPool
from testbed.sops import AgeKey, Sops
from tests.decryptor.identities import Nobody
from tests.renderer.sources import tree

PROJECT = Path(__file__).parents[2]
Decrypting = Callable[..., Awaitable[list[dict[str, Any]]]]


@pytest.fixture(scope="session")
def programs() -> Mapping[str, Path]:
    """The agent's programs, compiled if their sources changed."""
    spec = importlib.util.spec_from_file_location("hatch_build", PROJECT / "hatch_build.py")
    assert spec is not None
    assert spec.loader is not None
    hook: ModuleType = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(hook)
    return {name: hook.ensure(PROJECT, name) for name in ("renderer", "decryptor")}


@pytest.fixture(scope="session")
async def sops() -> Sops:
    return await Sops.ready()


@pytest.fixture(scope="session")
async def key(sops: Sops) -> AgeKey:
    """The key that most texts are encrypted for."""
    return await sops.age_key()


@pytest.fixture(scope="session")
async def other(sops: Sops) -> AgeKey:
    """A key that nothing is encrypted for."""
    return await sops.age_key()


@pytest.fixture(scope="session")
def keys(key: AgeKey) -> Keys:
    """What a Secret with that key holds."""
    return Keys({"identity.agekey": key.identity.encode()}, "Secret 'apps/sops-age'")


@pytest.fixture(scope="session")
def decryptor(programs: Mapping[str, Path]) -> Decryptor:
    return Decryptor(binary=programs["decryptor"])


@pytest.fixture(scope="session")
async def renderer(programs: Mapping[str, Path]) -> AsyncIterator[RendererPool]:
    pool = RendererPool(size=1, binary=programs["renderer"], timeout=60)
    await pool.start()
    yield pool
    await pool.stop()


@pytest.fixture
def build(renderer: RendererPool, decryptor: Decryptor, keys: Keys) -> Decrypting:
    """Builds files given by path, decrypting with the usual key or with `using`."""

    async def run(files: Mapping[str, str | bytes], using: Keys = keys, **options: Any) -> list[dict[str, Any]]:
        request = BuildRequest(**options)
        rendered = await renderer.build(request, tree(files), decryptor.session(using, Nobody()))
        return [json.loads(document) for document in rendered.objects]

    return run
