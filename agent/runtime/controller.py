"""From keys to passes: who works on what, and what follows.

A pass is one call of `reconcile` for one key. It returns `Done` or `RequeueAfter`, or raises; the error's class says
what happens next (see `agent.errors`). At most `workers` passes run at once, never two for one key.

A wait is never a held worker. A pass that needs time ends, either with a due time (`RequeueAfter`) or by leaving a
coroutine behind (`spawn_wait`) that runs outside the worker limit. When it ends, the key is queued again and the next
pass takes the outcome (`take_wait`). A pass that comes earlier, for whatever reason, stops the wait first.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Hashable
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeAlias, TypeVar

from agent.errors import Next, WaitingError, WeirError
from agent.runtime.queue import Priority, WorkQueue

K = TypeVar("K", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Done:
    """Nothing more to do until something changes."""


@dataclass(frozen=True, slots=True)
class RequeueAfter:
    """Look again in `seconds`."""

    seconds: float
    priority: Priority = Priority.RESYNC


Result: TypeAlias = Done | RequeueAfter


@dataclass(frozen=True, slots=True)
class WaitOutcome:
    """How a wait ended: with a result, with an error, or interrupted by the pass that reads this."""

    result: Any = None
    error: WeirError | None = None
    interrupted: bool = False


@dataclass(frozen=True, slots=True)
class Pass(Generic[K]):
    """What is reported of a pass: `outcome` is done, requeue, retry, wait, stall or crash; `seconds` is its length.

    `error` is what the pass raised, where that is of the error tree.
    """

    controller: str
    key: K
    priority: Priority
    outcome: str
    seconds: float
    error: WeirError | None = None


OnCrash: TypeAlias = Callable[[str, Hashable, Exception], None]


class Controller(Generic[K]):
    """See the module. `run` works until `stop` is called or it is cancelled.

    `on_crash(name, key, error)` is told of exceptions outside the error tree, which are bugs: it should log them with
    their traceback. `on_pass` is told of every finished pass.
    """

    def __init__(
        self,
        name: str,
        reconcile: Callable[[K], Awaitable[Result]],
        queue: WorkQueue[K],
        workers: int = 4,
        *,
        on_crash: OnCrash,
        on_pass: Callable[[Pass[K]], None] | None = None,
    ) -> None:
        self.name = name
        self.queue = queue
        self.workers = workers
        self._reconcile = reconcile
        self._on_crash = on_crash
        self._on_pass = on_pass
        self._waits: dict[K, asyncio.Task[None]] = {}
        self._outcomes: dict[K, WaitOutcome] = {}
        self._current: dict[K, WaitOutcome] = {}
        self._passes: dict[K, asyncio.Task[None]] = {}
        self._stopping = asyncio.Event()
        self._drain = 0.0
        self._group: asyncio.TaskGroup | None = None

    @property
    def waiting(self) -> frozenset[K]:
        """Keys with a wait in progress."""
        return frozenset(self._waits)

    def stop(self, within: float) -> None:
        """Hand out nothing more; passes in progress have `within` seconds to finish before they are cancelled."""
        self._drain = within
        self._stopping.set()

    async def run(self) -> None:
        """Work through the queue. Returns when stopped and nothing of it runs any more."""
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                feeder = group.create_task(self._feed(group), name=f"{self.name}: feed")
                await self._stopping.wait()
                feeder.cancel()
                if self._passes:
                    await asyncio.wait(set(self._passes.values()), timeout=self._drain)
                for task in (*self._passes.values(), *self._waits.values()):
                    task.cancel()
        finally:
            self._group = None
            self._waits.clear()

    def spawn_wait(self, key: K, wait: Coroutine[Any, Any, Any], *, priority: Priority = Priority.REVISION) -> None:
        """Run the coroutine outside the worker limit; when it ends, the key is queued and `take_wait` has the outcome.

        To be called from the key's own pass, at most once in it.
        """
        if key in self._waits:
            wait.close()
            raise RuntimeError(f"{self.name}: {key} is already waiting")
        if self._group is None or self._stopping.is_set():
            wait.close()
            return
        task = self._group.create_task(self._wait(key, wait, priority), name=f"{self.name}: wait {key}")
        # A task that is cancelled before its first step leaves its coroutine unstarted, and unclosed.
        task.add_done_callback(lambda _: wait.close())
        self._waits[key] = task

    def take_wait(self, key: K) -> WaitOutcome | None:
        """How the key's last wait ended, once and only in the pass that follows it; None if there was none."""
        return self._current.pop(key, None)

    async def cancel_wait(self, key: K) -> bool:
        """Stop the key's wait, if there is one, and wait until it has stopped. The key is not queued."""
        task = self._waits.pop(key, None)
        if task is None:
            return False
        task.cancel()
        await asyncio.wait({task})
        return True

    async def _feed(self, group: asyncio.TaskGroup) -> None:
        slots = asyncio.Semaphore(self.workers)
        while True:
            await slots.acquire()
            key, priority = await self.queue.get()
            task = group.create_task(self._pass(key, priority), name=f"{self.name}: {key}")
            self._passes[key] = task
            task.add_done_callback(partial(self._finished, key, slots))

    def _finished(self, key: K, slots: asyncio.Semaphore, _: asyncio.Task[None]) -> None:
        # In a callback, because a task that is cancelled before its first step never runs its own clean-up.
        del self._passes[key]
        self.queue.done(key)
        slots.release()

    async def _pass(self, key: K, priority: Priority) -> None:
        started = time.monotonic()
        interrupted = await self.cancel_wait(key)
        ended = WaitOutcome(interrupted=True) if interrupted else self._outcomes.pop(key, None)
        if ended is not None:
            self._current[key] = ended
        raised: WeirError | None = None
        try:
            outcome = self._follow(key, await self._reconcile(key))
        except WeirError as error:
            outcome, raised = self._failed(key, error), error
        except Exception as error:  # noqa: BLE001 - one key's bug must not stop the others
            self._on_crash(self.name, key, error)
            self.queue.retry(key)
            outcome = "crash"
        finally:
            self._current.pop(key, None)
        if self._on_pass is not None:
            self._on_pass(Pass(self.name, key, priority, outcome, time.monotonic() - started, raised))

    def _follow(self, key: K, result: Result) -> str:
        if key not in self._waits:
            # With a wait in progress it is not yet known whether the failures are over.
            self.queue.forget(key)
        if isinstance(result, RequeueAfter):
            self.queue.add(key, result.priority, result.seconds)
            return "requeue"
        return "done"

    def _failed(self, key: K, error: WeirError) -> str:
        if error.next is Next.RETRY:
            self.queue.retry(key)
        else:
            self.queue.forget(key)
            if isinstance(error, WaitingError):
                self.queue.add(key, Priority.RESYNC, error.after)
        return error.next.value

    async def _wait(self, key: K, wait: Coroutine[Any, Any, Any], priority: Priority) -> None:
        outcome: WaitOutcome | None = None
        try:
            outcome = WaitOutcome(result=await wait)
        except WeirError as error:
            outcome = WaitOutcome(error=error)
        except Exception as error:  # noqa: BLE001 - a bug: reported, and the key is tried again
            self._on_crash(self.name, key, error)
        if self._waits.get(key) is not asyncio.current_task():
            # Stopped by a pass, which has already taken over.
            return
        del self._waits[key]
        if outcome is None:
            self.queue.retry(key)
        else:
            self._outcomes[key] = outcome
            self.queue.add(key, priority)
