"""The live index when its watch does not come, breaks, or its kind is gone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import msgspec
from controller_cluster import CONFIG_MAPS, DEPLOYMENTS

from agent.adapters.kube.errors import Forbidden, NotFound
from agent.adapters.kube.live import LiveIndex
from agent.api.kustomization import Kustomization
from agent.controllers.changelog import ChangeEntry, ChangeLog
from agent.controllers.telling import Teller
from agent.core.models import Commit, RenderedSet, changes
from agent.core.objects import ObjectKey
from agent.telemetry.events import Involved
from agent.telemetry.metrics import Metrics
from tests.unit.models.manifests import vllm

KEY = ObjectKey("", "ConfigMap", "team", "a")
METADATA = {
    "name": "a",
    "namespace": "team",
    "uid": "u",
    "resourceVersion": "3",
    "labels": {"kustomize.toolkit.fluxcd.io/name": "app", "kustomize.toolkit.fluxcd.io/namespace": "team"},
}


class Lister:
    """Answers listings; once `broken` is set its streams fail with what is `refused`, or send `frame`."""

    def __init__(self, *, refused: Exception | None = None) -> None:
        self.refused = refused
        self.items: list[dict[str, Any]] = [{"metadata": METADATA}]
        self.broken = asyncio.Event()
        self.frame = b""

    async def list_bytes(self, *_args: Any, **_options: Any) -> bytes:
        """One page."""
        if self.refused is not None:
            raise self.refused
        return msgspec.json.encode({"metadata": {"resourceVersion": "5"}, "items": self.items})

    @asynccontextmanager
    async def watch_bytes(self, *_args: Any, **_options: Any) -> AsyncIterator[AsyncIterator[bytes]]:
        """A stream that is silent at first."""

        async def silence() -> AsyncIterator[bytes]:
            await self.broken.wait()
            if self.refused is not None:
                raise self.refused
            yield self.frame
            await asyncio.Event().wait()

        yield silence()


@asynccontextmanager
async def running(lister: Lister) -> AsyncIterator[LiveIndex]:
    index = LiveIndex(lister, on_problem=lambda _name, _error: None)  # type: ignore[arg-type]  # duck-typed
    task = asyncio.create_task(index.run())
    try:
        yield index
    finally:
        task.cancel()
        await asyncio.wait({task})


async def test_a_kind_that_may_not_be_listed_holds_nobody_up() -> None:
    async with running(Lister(refused=Forbidden("no", status=403))) as index:
        async with asyncio.timeout(30):
            await index.follow(CONFIG_MAPS)
            await index.follow(CONFIG_MAPS)
        assert index.fingerprint(KEY) is None


async def test_a_listed_kind_is_relied_upon_until_its_watch_breaks() -> None:
    lister = Lister()
    async with running(lister) as index:
        async with asyncio.timeout(30):
            await index.follow(CONFIG_MAPS)
        assert index.fingerprint(KEY) is not None
        lister.refused = Forbidden("taken away", status=403)
        lister.broken.set()
        async with asyncio.timeout(30):
            while index.fingerprint(KEY) is not None:  # noqa: ASYNC110 - what is polled is under test
                await asyncio.sleep(0.01)


async def test_objects_of_a_kind_that_is_gone_are_gone() -> None:
    lister = Lister()
    async with running(lister) as index:
        await index.follow(CONFIG_MAPS)
        dropped: list[ObjectKey] = []
        index.subscribe(lambda key, _old, new: dropped.append(key) if new is None else None)
        lister.refused = NotFound("the server could not find the requested resource", status=404)
        lister.broken.set()
        async with asyncio.timeout(30):
            while not dropped:  # noqa: ASYNC110 - what is polled is under test
                await asyncio.sleep(0.05)
        assert dropped == [KEY]
        assert index.fingerprint(KEY) is None


async def test_an_answer_from_before_a_deletion_does_not_bring_an_object_back() -> None:
    """A pass reads an object, somebody deletes it, and the pass takes note of it after the watch has."""
    lister = Lister()
    async with running(lister) as index:
        await index.follow(CONFIG_MAPS)
        gone = asyncio.Event()
        index.subscribe(lambda _key, _old, new: gone.set() if new is None else None)
        lister.frame = msgspec.json.encode({"type": "DELETED", "object": {"metadata": METADATA}}) + b"\n"
        lister.broken.set()
        async with asyncio.timeout(30):
            await gone.wait()
        index.observe(KEY, {"metadata": METADATA})
        assert index.fingerprint(KEY) is None

        another = index.observe(KEY, {"metadata": {**METADATA, "uid": "another", "resourceVersion": "9"}})
        assert index.fingerprint(KEY) == another


async def test_an_event_on_an_object_that_was_just_made_waits_for_no_watch() -> None:
    """Whoever has applied it knows its uid, also where its kind may not be listed."""
    told: list[tuple[str, str]] = []

    class Events:
        def event(self, involved: Involved, *_: Any, **_options: Any) -> None:
            told.append((involved.reference.kind, involved.reference.uid))

        async def delivered(self) -> None:
            """At once."""

    (record, *_) = changes(None, RenderedSet([vllm("org/m")]), (), Commit(old=None, new="1"))
    entry = ChangeEntry(
        at=datetime.now(UTC), kustomization="ml/app", source="", revision="1", text=record.describe(), record=record
    )
    async with running(Lister(refused=Forbidden("no", status=403))) as index:
        await index.follow(DEPLOYMENTS)
        teller = Teller(ChangeLog(), index, Events(), Metrics(), triggers=tuple)  # type: ignore[arg-type]  # duck-typed
        made = record.object
        index.observe(ObjectKey(made.group, made.kind, made.namespace, made.name), {"metadata": METADATA})
        source = {"kind": "GitRepository", "name": "repo"}
        spec = {"interval": "10m", "prune": True, "sourceRef": source}
        applied = {"metadata": {"namespace": "ml", "name": "app"}, "spec": spec}
        teller.on_objects(Kustomization.from_object(applied), [entry])
        await teller.settled(30)
    assert told == [("Deployment", "u")]
