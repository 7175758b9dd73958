"""An API server's side of a watch, as a script: what each listing and each stream does, in turn."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from agent.errors import OperationError
from agent.runtime.watch import Changed, Deleted, Frame, Item, ObjectKey, Page


def item(name: str, version: int, value: str = "") -> Item[str]:
    return Item(ObjectKey("ns", name), str(version), value or f"{name}@{version}")


def changed(name: str, version: int) -> Changed[str]:
    return Changed(item(name, version))


def deleted(name: str, version: int) -> Deleted:
    return Deleted(ObjectKey("ns", name), str(version))


Step = float | Frame[str] | OperationError


class Script:
    """A `ListWatch[str]`. A stream is a list of frames, pauses (seconds) and errors; past the end it stays silent."""

    def __init__(self, pages: Sequence[Page[str] | OperationError], streams: Sequence[Sequence[Step]] = ()) -> None:
        self.pages = list(pages)
        self.streams = list(streams)
        self.asked: list[str] = []
        self.asked_at: list[float] = []

    async def list(self, token: str) -> Page[str]:
        self._note(f"list {token}".strip())
        answer = self.pages.pop(0)
        if isinstance(answer, OperationError):
            raise answer
        return answer

    @asynccontextmanager
    async def watch(self, resource_version: str) -> AsyncIterator[AsyncIterator[Frame[str]]]:
        self._note(f"watch {resource_version}")
        yield self._frames(self.streams.pop(0) if self.streams else None)

    async def _frames(self, steps: Sequence[Step] | None) -> AsyncIterator[Frame[str]]:
        if steps is None:
            await asyncio.sleep(1e9)
            return
        for step in steps:
            if isinstance(step, float):
                await asyncio.sleep(step)
            elif isinstance(step, OperationError):
                raise step
            else:
                yield step

    def _note(self, what: str) -> None:
        self.asked.append(what)
        self.asked_at.append(asyncio.get_running_loop().time())
