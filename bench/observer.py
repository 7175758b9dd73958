"""Watches of the harness itself: when did what become true, as anybody sees it at the API server."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from types import MappingProxyType

import aiohttp
import msgspec

from testbed.controlplane import ControlPlane

_LONGEST_LINE = 8 << 20


class _Metadata(msgspec.Struct, rename="camel"):
    name: str = ""
    namespace: str = ""
    resource_version: str = ""
    generation: int = 0


class _Condition(msgspec.Struct):
    type: str
    status: str


class _Artifact(msgspec.Struct):
    revision: str = ""


class _Status(msgspec.Struct, rename="camel"):
    conditions: list[_Condition] = []
    last_applied_revision: str = ""
    observed_generation: int = 0
    artifact: _Artifact | None = None


class Seen(msgspec.Struct):
    """The parts of an object that a scenario may wait for."""

    metadata: _Metadata
    status: _Status = msgspec.field(default_factory=_Status)
    data: dict[str, str] = {}

    def is_ready(self, revision: str = "") -> bool:
        """Whether it is Ready at its newest generation, and at a revision that ends so."""
        ready = any(one.type == "Ready" and one.status == "True" for one in self.status.conditions)
        busy = any(one.type == "Reconciling" and one.status == "True" for one in self.status.conditions)
        current = self.status.observed_generation == self.metadata.generation
        return ready and current and not busy and self.status.last_applied_revision.endswith(revision)


class _List(msgspec.Struct):
    metadata: _Metadata
    items: list[Seen] | None = None


class _Frame(msgspec.Struct):
    type: str
    object: Seen


class Watched:
    """All objects of one kind in one namespace, and the moment (monotonic) of the last change of each."""

    def __init__(self) -> None:
        self.objects: dict[str, Seen] = {}
        self.changed: dict[str, float] = {}
        self._news = asyncio.Event()

    async def until(self, holds: Callable[[], bool], timeout: float) -> float:
        """Wait until something is true of the objects; the moment at which it became so.

        Raises TimeoutError.
        """
        async with asyncio.timeout(timeout):
            while not holds():
                self._news.clear()
                await self._news.wait()
        return time.monotonic()

    def take(self, body: bytes) -> None:
        """One frame of the watch."""
        frame = _frame.decode(body)
        name = frame.object.metadata.name
        if frame.type == "DELETED":
            self.objects.pop(name, None)
        elif frame.type in {"ADDED", "MODIFIED"}:
            self.objects[name] = frame.object
            self.changed[name] = time.monotonic()
        elif frame.type == "ERROR":
            raise RuntimeError("the watch of the harness has ended")
        self._news.set()


_frame = msgspec.json.Decoder(_Frame)
_list = msgspec.json.Decoder(_List)


@asynccontextmanager
async def watching(plane: ControlPlane, path: str) -> AsyncIterator[Watched]:
    """A watch of the collection at `path`, complete when the block begins."""
    watched = Watched()
    connector = aiohttp.TCPConnector(ssl=ssl.create_default_context(cafile=str(plane.ca_file)), limit=0)
    headers = MappingProxyType({"Authorization": f"Bearer {plane.admin_token}"})
    timeout = aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(
        plane.url, connector=connector, headers=headers, timeout=timeout, read_bufsize=_LONGEST_LINE
    ) as http:
        async with http.get(path) as answer:
            listed = _list.decode(await answer.read())
        watched.objects = {item.metadata.name: item for item in listed.items or ()}
        version = listed.metadata.resource_version

        async def follow() -> None:
            since = version
            while True:
                params = {"watch": "true", "resourceVersion": since, "timeoutSeconds": "86000"}
                async with http.get(path, params=params) as stream:
                    async for line in stream.content:
                        watched.take(line)

        async with asyncio.TaskGroup() as group:
            following = group.create_task(follow())
            try:
                yield watched
            finally:
                following.cancel()
