"""Starting and stopping everything in the right order.

    services ─> watches ─> (synced) ─> election ─> (leading) ─> led services, controllers

and back: passes drain, led services stop, the lease is released, watches stop, services stop. A replica stands for
election only once its watches are synced, so that a leader never has to wait for them.
"""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from agent.runtime.leadership import Elector
from agent.runtime.watch import Watcher

Service: TypeAlias = Callable[[], Coroutine[Any, Any, None]]
"""Runs until cancelled."""


class Runnable(Protocol):
    """What the manager needs of a controller."""

    name: str

    async def run(self) -> None:
        """Work until stopped or cancelled."""

    def stop(self, within: float) -> None:
        """Finish within so many seconds."""


class Phase(enum.Enum):
    """Where the manager is."""

    STARTING = "starting"
    STANDBY = "standby"
    LEADING = "leading"
    STOPPING = "stopping"


class Ended(enum.Enum):
    """Why `run` returned."""

    STOPPED = "stopped"
    LEADERSHIP_LOST = "leadership lost"


@dataclass(frozen=True, slots=True)
class Verdict:
    """Answer to a probe; `problems` says why not."""

    ok: bool
    problems: tuple[str, ...] = ()


class Manager:
    """See the module.

    `watchers` have to be synced before anything leads. `optional` ones, whose kinds may not be installed, have to be
    answered: what acts without the Canaries and policies that are there would undo what they hold.
    `services` run as long as the manager, `led_services` only while leading. Without an `elector`, it always leads.
    `drain` is how many seconds passes may take to finish at a stop; `stale` how long a watch may be silent.
    """

    def __init__(
        self,
        *,
        watchers: Sequence[Watcher[Any]],
        controllers: Sequence[Runnable],
        optional: Sequence[Watcher[Any]] = (),
        services: Sequence[Service] = (),
        led_services: Sequence[Service] = (),
        elector: Elector | None = None,
        drain: float = 25.0,
        stale: float = 240.0,
    ) -> None:
        self.phase = Phase.STARTING
        self._watchers = tuple(watchers)
        self._optional = tuple(optional)
        self._controllers = tuple(controllers)
        self._services = tuple(services)
        self._led_services = tuple(led_services)
        self._elector = elector
        self._drain = drain
        self._stale = stale

    def health(self) -> Verdict:
        """Whether restarting the process could help: a watch is silent without knowing why.

        That the loop turns is proven by the answer itself. A watch that reports failures is alive; the API server's
        absence is no reason to restart the agent.
        """
        silent = [
            f"watch {watcher.name}: nothing heard for {watcher.age():.0f} s"
            for watcher in (*self._watchers, *self._optional)
            if watcher.problem is None and watcher.age() > self._stale
        ]
        return Verdict(not silent, tuple(silent))

    def ready(self) -> Verdict:
        """Whether this replica does its part: it leads, or stands by with synced watches and may have the lease."""
        if self.phase is Phase.STANDBY and self._elector is not None and self._elector.refused:
            return Verdict(ok=False, problems=(f"cannot lead: {self._elector.refused}",))
        if self.phase in {Phase.LEADING, Phase.STANDBY}:
            return Verdict(ok=True)
        if self.phase is Phase.STOPPING:
            return Verdict(ok=False, problems=("stopping",))
        waiting = [
            f"watch {watcher.name} is not synced" + (f": {watcher.problem}" if watcher.problem else "")
            for watcher in self._watchers
            if not watcher.synced.is_set()
        ]
        waiting += [
            f"watch {watcher.name} has no answer" + (f": {watcher.problem}" if watcher.problem else "")
            for watcher in self._optional
            if not watcher.answered.is_set()
        ]
        return Verdict(ok=False, problems=tuple(waiting) or ("starting",))

    async def run(self, stop: asyncio.Event) -> Ended:
        """Run until `stop` is set or leadership is lost. Nothing of it runs any more when it returns.

        A bug in any part (an exception that the part does not handle) stops everything and is raised in a group.
        """
        following = [watcher.run for watcher in (*self._watchers, *self._optional)]
        try:
            async with running(self._services), running(following):
                if await first(stop.wait(), self._synced()) == 0:
                    return Ended.STOPPED
                self.phase = Phase.STANDBY
                return await self._elected(stop)
        finally:
            self.phase = Phase.STOPPING

    async def _synced(self) -> None:
        for watcher in self._watchers:
            await watcher.synced.wait()
        for watcher in self._optional:
            await watcher.answered.wait()

    async def _elected(self, stop: asyncio.Event) -> Ended:
        elector = self._elector
        if elector is None:
            return await self._lead(stop, asyncio.Event())
        lost = asyncio.Event()

        async def stand() -> None:
            await elector.run()
            lost.set()

        try:
            # The lease is renewed until what leads has stopped.
            async with running([stand]):
                if await first(stop.wait(), lost.wait(), elector.leading.wait()) < 2:
                    return Ended.LEADERSHIP_LOST if lost.is_set() else Ended.STOPPED
                return await self._lead(stop, lost)
        finally:
            await elector.release()

    async def _lead(self, stop: asyncio.Event, lost: asyncio.Event) -> Ended:
        self.phase = Phase.LEADING
        async with running(self._led_services), asyncio.TaskGroup() as group:
            for controller in self._controllers:
                group.create_task(controller.run(), name=controller.name)
            await first(stop.wait(), lost.wait())
            self.phase = Phase.STOPPING
            within = 0.0 if lost.is_set() else self._drain
            for controller in reversed(self._controllers):
                controller.stop(within)
        return Ended.LEADERSHIP_LOST if lost.is_set() else Ended.STOPPED


def running(services: Sequence[Service]) -> AbstractAsyncContextManager[None]:
    """Services that run as long as the block; one that fails ends the block with its error."""

    @asynccontextmanager
    async def block() -> Any:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(service()) for service in services]
            try:
                yield
            finally:
                for task in reversed(tasks):
                    task.cancel()

    return block()


async def first(*waits: Awaitable[Any]) -> int:
    """Wait until one of them is done, and stop the others. Returns its position (the lowest, if several are).

    Raises what that one raised.
    """
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        position = next(position for position, task in enumerate(tasks) if task.done())
        tasks[position].result()
        return position
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
