"""Who leads: one holder of a Lease (coordination.k8s.io/v1), as client-go's leader election.

Clocks of different machines are never compared. A holder is taken for dead when its record has not changed for the
lease's duration, measured on our own monotonic clock from when we saw the change. We lead until the renewal deadline
has passed since the moment before our last successful write; that deadline is shorter than the duration by the time
that stopping may take.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Protocol

from agent.errors import OperationError


@dataclass(frozen=True, slots=True)
class LeaseRecord:
    """The spec of a Lease. `holder` is "" when it was released; `version` is for optimistic locking ("" when new)."""

    holder: str
    duration: float
    acquired: dt.datetime
    renewed: dt.datetime
    transitions: int = 0
    version: str = ""


class LeaseTaken(OperationError):  # noqa: N818 - it reports a state, not a fault
    """Somebody else wrote the lease first."""


class LeaseRefused(OperationError):  # noqa: N818 - it reports a state, not a fault
    """We may not read or write the lease: nobody of us can lead until somebody allows it."""


class LeaseStore(Protocol):
    """Where the lease is. All raise OperationError, LeaseRefused among them."""

    async def get(self) -> LeaseRecord | None:
        """The record with its version, or None."""

    async def create(self, record: LeaseRecord) -> LeaseRecord:
        """Create it. Returns it with its version. Raises LeaseTaken."""

    async def update(self, record: LeaseRecord) -> LeaseRecord:
        """Replace the record of that version. Returns it with its new version. Raises LeaseTaken."""


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds, with the defaults of Flux's controllers. `call` is the deadline of a single request."""

    duration: float = 35.0
    renew: float = 30.0
    retry: float = 5.0
    call: float = 5.0

    def __post_init__(self) -> None:
        if not self.duration > self.renew > self.retry > 0 or self.call <= 0:
            raise ValueError("lease timing: duration > renew > retry > 0 must hold")


class Elector:
    """Takes part in the election while `run` runs.

    `leading` is set while we hold the lease. `run` returns when leadership is lost, after clearing `leading`; it
    does not try again, since what led has to be stopped first and the caller decides how. `release`, to be called
    after `run` has ended and what led has stopped, frees the lease for others at once; without `release_on_cancel`
    it does nothing, and they wait until it expires.
    """

    def __init__(
        self,
        store: LeaseStore,
        identity: str,
        timing: Timing = Timing(),
        *,
        on_problem: Callable[[str, OperationError], None],
        release_on_cancel: bool = True,
        clock: Callable[[], float] = time.monotonic,
        rand: Callable[[], float] = random.random,
    ) -> None:
        self.identity = identity
        self.timing = timing
        self.leading = asyncio.Event()
        self.refused = ""
        """Why the last answer about the lease was a refusal; empty if it was none."""
        self._store = store
        self._on_problem = on_problem
        self._release_on_cancel = release_on_cancel
        self._clock = clock
        self._rand = rand
        self._seen: LeaseRecord | None = None
        self._in_doubt = False
        self._seen_at = clock()
        self._renewed_at = clock()

    @property
    def leader(self) -> str:
        """The holder last seen, or ""."""
        return "" if self._seen is None else self._seen.holder

    def holds(self) -> bool:
        """True while the last renewal is fresh by our own clock, which goes on while we are frozen.

        Also after an orderly stop, so that what is told at the end still is.
        """
        return self._left() > 0

    def remaining(self) -> float:
        """Seconds for which nobody else may lead, counted from our last renewal."""
        return self._renewed_at + self.timing.duration - self._clock()

    async def run(self) -> None:
        """Stand until elected, then lead until lost."""
        while True:
            if await self._attempt(self.timing.call):
                break
            # Some irregularity keeps candidates that were started together from colliding for ever.
            await asyncio.sleep(self.timing.retry * (1.0 + 0.2 * self._rand()))
        self.leading.set()
        try:
            await self._keep()
        finally:
            self.leading.clear()

    async def release(self) -> None:
        """Give the lease up if we hold it; failing to is no harm, as it expires."""
        if not self._release_on_cancel:
            return
        try:
            async with asyncio.timeout(self.timing.call):
                await self._free()
        except TimeoutError:
            self._on_problem(self.identity, OperationError("releasing the lease took too long"))
        except OperationError as error:
            self._on_problem(self.identity, error)

    async def _free(self) -> None:
        seen = self._seen
        if self._in_doubt:  # the end came in the middle of a write, which may have been done
            seen = await self._store.get()
        elif self.remaining() <= 0:
            return
        if seen is not None and seen.holder == self.identity and seen.version:
            now = _now()
            self._see(await self._store.update(replace(seen, holder="", duration=1.0, acquired=now, renewed=now)))

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(self.timing.retry)
            while not await self._attempt(min(self.timing.call, max(self._left(), 0.0))):
                if self._seen is not None and self._seen.holder not in {"", self.identity}:
                    return
                await asyncio.sleep(min(1.0, self.timing.retry, max(self._left(), 0.0)))
                if self._left() <= 0:
                    return

    def _left(self) -> float:
        """Seconds until leadership is given up unless it is renewed."""
        return self._renewed_at + self.timing.renew - self._clock()

    async def _attempt(self, deadline: float) -> bool:
        """Try to take or renew the lease. True if we hold it afterwards."""
        before = self._clock()
        try:
            async with asyncio.timeout(deadline):
                held = await self._take()
        except TimeoutError:
            self._on_problem(self.identity, OperationError(f"no answer about the lease within {deadline:.1f} s"))
            return False
        except LeaseTaken:
            # Seen at the next attempt.
            self._seen_version_is_old()
            self.refused = ""
            return False
        except OperationError as error:
            self.refused = error.message if isinstance(error, LeaseRefused) else self.refused
            self._on_problem(self.identity, error)
            return False
        self.refused = ""
        if held:
            self._renewed_at = before
        return held

    async def _take(self) -> bool:
        now = _now()
        mine = self._seen
        if mine is not None and mine.holder == self.identity and mine.version:
            # The usual case: renewing needs no reading first.
            await self._write(self._store.update, replace(mine, renewed=now))
            return True
        current = await self._store.get()
        if current is None:
            fresh = LeaseRecord(self.identity, self.timing.duration, acquired=now, renewed=now)
            await self._write(self._store.create, fresh)
            return True
        self._see(current)
        if current.holder not in {"", self.identity} and self._clock() < self._seen_at + current.duration:
            return False
        again = current.holder == self.identity
        record = LeaseRecord(
            self.identity,
            self.timing.duration,
            acquired=current.acquired if again else now,
            renewed=now,
            transitions=current.transitions if again else current.transitions + 1,
            version=current.version,
        )
        await self._write(self._store.update, record)
        return True

    async def _write(self, write: Callable[[LeaseRecord], Awaitable[LeaseRecord]], record: LeaseRecord) -> None:
        self._in_doubt = True
        self._see(await write(record))
        self._in_doubt = False

    def _see(self, record: LeaseRecord) -> None:
        if self._seen is None or self._seen.version != record.version:
            self._seen_at = self._clock()
        self._seen = record

    def _seen_version_is_old(self) -> None:
        if self._seen is not None and self._seen.holder == self.identity:
            self._seen = replace(self._seen, version="")


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)
