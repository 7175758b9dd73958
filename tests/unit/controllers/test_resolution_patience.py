"""For how long an apply waits for registries that do not answer."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from msgspec.structs import replace

from agent.api.changepolicy import ChangePolicy
from agent.controllers.resolution import Resolution
from agent.core.models import Digest, Ref, parse

POLICY = ChangePolicy.from_object(
    {
        "metadata": {"namespace": "ml", "name": "p"},
        "spec": {"resolution": {"interval": "1m", "registries": [{"scheme": "hf"}]}},
    }
)
PINNED, FLOATING = parse(f"hf://org/m@{'a' * 40}"), parse("hf://org/m@main")


class Silent:
    """A registry, and a login to it, that answer once they are told to."""

    def __init__(self) -> None:
        self.answers = asyncio.Event()
        self.logs_in = asyncio.Event()
        self.logs_in.set()

    async def prepared(self, *_: Any) -> Any:
        """How to reach it."""
        await self.logs_in.wait()
        return lambda _ref: None

    async def resolve(self, ref: Ref, *_: Any, **_options: Any) -> Ref:
        """What it knows."""
        await self.answers.wait()
        return replace(ref, digest=Digest("sha256", "a" * 64, "files", "sha256"))


def resolution(registry: Any, *, patience: float, hurry: float) -> Resolution:
    return Resolution(registry, registry, patience=patience, hurry=hurry)


@pytest.mark.parametrize("silent", ["answers", "logs_in"])
async def test_a_registry_that_is_silent_holds_no_pinned_change_up(silent: str) -> None:
    registry = Silent()
    registry.answers.set()
    getattr(registry, silent).clear()
    asking = resolution(registry, patience=3600.0, hurry=0.05)
    async with asyncio.timeout(60):
        assert await asking.resolved([PINNED], [POLICY], hurry=True) == {}


async def test_what_floats_is_waited_for_and_so_is_everything_where_there_is_no_hurry() -> None:
    registry = Silent()
    asking = resolution(registry, patience=3600.0, hurry=0.0)
    for refs, hurry in (([PINNED, FLOATING], True), ([PINNED], False)):
        registry.answers.clear()
        waiting = asyncio.create_task(asking.resolved(refs, [POLICY], hurry=hurry))
        _, pending = await asyncio.wait({waiting}, timeout=0.2)
        assert pending
        registry.answers.set()
        async with asyncio.timeout(60):
            assert set(await waiting) == {ref.canonical for ref in refs}


async def test_patience_ends() -> None:
    asking = resolution(Silent(), patience=0.05, hurry=0.0)
    async with asyncio.timeout(60):
        assert await asking.resolved([FLOATING], [POLICY], hurry=True) == {}
