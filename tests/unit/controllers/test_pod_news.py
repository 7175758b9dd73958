"""Who hears of which Pods, and for how long they are watched."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from agent.adapters.kube.errors import Forbidden
from agent.adapters.kube.podnews import PodNews
from agent.core.objects import ObjectKey

CHAT = ObjectKey("apps", "Deployment", "team", "chat")
OTHER = ObjectKey("apps", "Deployment", "team", "other")


def pod(owner: str) -> dict[str, Any]:
    references = [{"kind": "ReplicaSet", "uid": owner}]
    return {
        "metadata": {"name": f"of-{owner}", "namespace": "team", "resourceVersion": "3", "ownerReferences": references}
    }


class Pods:
    """An API server's Pods: those that are listed, and what is told later."""

    def __init__(self, *, refused: bool = False, unwatchable: bool = False) -> None:
        self.refused = refused
        self.unwatchable = unwatchable
        self.answers = asyncio.Event()
        self.frames: asyncio.Queue[bytes] = asyncio.Queue()
        self.watched: list[str] = []
        self.open = 0

    async def list_bytes(self, _resource: Any, namespace: str, **_options: Any) -> bytes:
        """One page."""
        if self.refused:
            raise Forbidden("no", status=403)
        self.watched.append(namespace)
        return msgspec.json.encode({"metadata": {"resourceVersion": "5"}, "items": [pod("early")]})

    @asynccontextmanager
    async def watch_bytes(self, *_args: Any, **_options: Any) -> AsyncIterator[AsyncIterator[bytes]]:
        """What a test puts into `frames`; if they are `unwatchable`, a refusal as soon as the server `answers`."""
        if self.unwatchable:
            await self.answers.wait()
            raise Forbidden("no", status=403)

        async def told() -> AsyncIterator[bytes]:
            while True:
                yield await self.frames.get()

        self.open += 1
        try:
            yield told()
        finally:
            self.open -= 1

    def tell(self, owner: str) -> None:
        """A Pod has changed."""
        self.frames.put_nowait(msgspec.json.encode({"type": "MODIFIED", "object": pod(owner)}) + b"\n")


@asynccontextmanager
async def running(pods: Pods, linger: float = 60.0) -> AsyncIterator[PodNews]:
    news = PodNews(pods, on_problem=lambda *_: None, linger=linger)  # type: ignore[arg-type]  # duck-typed
    task = asyncio.create_task(news.run())
    await asyncio.sleep(0)
    try:
        yield news
    finally:
        task.cancel()
        await asyncio.wait({task})


async def test_a_pod_that_moves_is_news_of_the_workload_that_it_belongs_to() -> None:
    pods, queue = Pods(), asyncio.Queue[ObjectKey]()
    async with running(pods) as news:
        with news.hearing(queue) as hearing:
            await hearing.follow(CHAT, "team", "set-1")
            await hearing.follow(OTHER, "team", "set-2")
            assert not hearing.misses(CHAT)
            assert queue.empty()
            pods.tell("nobody")
            pods.tell("set-1")
            async with asyncio.timeout(30):
                assert await queue.get() == CHAT
            await hearing.follow(
                CHAT, "team", "set-3"
            )  # a new ReplicaSet: the Pods of the old one are on their way out
            pods.tell("set-1")
            pods.tell("set-2")
            async with asyncio.timeout(30):
                assert await queue.get() == OTHER
        pods.tell("set-3")
        assert pods.watched == ["team"]
    assert queue.empty()


async def test_where_pods_may_not_be_watched_that_is_known() -> None:
    async with running(Pods(refused=True)) as news:
        with news.hearing(asyncio.Queue()) as hearing:
            async with asyncio.timeout(30):
                await hearing.follow(CHAT, "team", "set-1")
            assert hearing.misses(CHAT)
            assert not hearing.misses(OTHER)
            hearing.forget(CHAT)
            assert not hearing.misses(CHAT)
            hearing.forget(OTHER, unknown=True)
            assert hearing.misses(OTHER)


async def test_pods_that_are_listed_move_unheard_until_their_watch_is_open() -> None:
    pods = Pods(unwatchable=True)
    async with running(pods) as news:
        with news.hearing(asyncio.Queue()) as hearing:
            following = asyncio.create_task(hearing.follow(CHAT, "team", "set-1"))
            for _ in range(20):
                await asyncio.sleep(0)
            assert pods.watched == ["team"]
            assert hearing.misses(CHAT)
            pods.answers.set()
            async with asyncio.timeout(30):
                await following
            assert hearing.misses(CHAT)


async def test_a_namespace_is_watched_until_nobody_waits_any_more() -> None:
    pods = Pods()
    async with running(pods, linger=0.0) as news:
        with news.hearing(asyncio.Queue()) as first, news.hearing(asyncio.Queue()) as second:
            await first.follow(CHAT, "team", "set-1")
            await second.follow(OTHER, "team", "set-2")
            first.end()
            assert await _closes(news) is False
        assert await _closes(news)
    assert pods.watched == ["team"]


async def _closes(news: PodNews) -> bool:
    """Whether the watch ends in the next moments."""
    for _ in range(20):
        await asyncio.sleep(0)
    return not news.reliable("team")
