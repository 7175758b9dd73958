"""Waits until objects are healthy, without holding a worker and without polling what does not move.

Each object that is not known to be healthy is read once; after that only those whose metadata watch, or whose Pods',
saw them change are read again. Objects that no watch follows are read every few seconds.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

from agent.adapters.kube.errors import silent
from agent.adapters.kube.memory import Memory
from agent.adapters.kube.podnews import Hearing
from agent.adapters.kube.target import Target
from agent.api.duration import format_elapsed
from agent.api.kustomization import HealthCheckExpr
from agent.controllers.kustomization.expressions import Evaluator, judge
from agent.controllers.kustomization.pods import with_pods
from agent.controllers.kustomization.shortcuts import Shortcuts
from agent.core.health import Health, Status, status_of
from agent.core.health.expressions import check_for
from agent.core.health.summary import unfinished, verdict
from agent.core.inventory import Entry
from agent.core.objects import Manifest, ObjectKey
from agent.errors import HealthError, OperationError
from agent.telemetry.tracing import traced

POLL_SECONDS = 5.0  # Flux's poll interval; here only for objects without a watch
_SETTLE_SECONDS = 0.2  # gathers a burst of changes into one round of reads
_LAST_LOOK_SECONDS = 1.0
"""So long before the end everything unfinished is read once more: a watch may be dead and not know it yet."""
_READERS = 4
"""Health checks of one cluster that read at the same time: what is applied meanwhile is not to queue behind them."""


@dataclass(frozen=True, slots=True)
class HealthPassed:
    """All objects are current, after `seconds`."""

    seconds: float


class HealthFailedError(HealthError):
    """Some object failed, or time ran out. `summary` is the Healthy condition's message."""

    def __init__(self, summary: str, seconds: float) -> None:
        super().__init__(f"health check failed after {format_elapsed(seconds)}: {summary}")
        self.summary = summary


@dataclass(frozen=True, slots=True, kw_only=True)
class _Check:
    """One wait: what for, by which rules, and what was found. `home` stands in for a namespace that is not named."""

    target: Target
    pending: dict[ObjectKey, Entry]
    rules: Sequence[HealthCheckExpr]
    home: str
    changes: asyncio.Queue[ObjectKey]
    hearing: Hearing
    verdicts: dict[ObjectKey, Health] = field(default_factory=dict)

    def open(self) -> set[ObjectKey]:
        """What is not healthy yet."""
        return {key for key in self.pending if self.verdicts[key].status is not Status.CURRENT}

    def unheard(self) -> set[ObjectKey]:
        """Of those, the ones whose health may become another one without news."""
        return {key for key in self.open() if self._unheard(key)}

    def _unheard(self, key: ObjectKey) -> bool:
        timed = (key.group, key.kind) == ("", "Pod")  # which is lost after a while without a node
        doubtful = self.verdicts[key].status is Status.UNKNOWN
        return timed or doubtful or not self.target.live.hears(key) or self.hearing.misses(key)


@contextmanager
def _checking(
    target: Target, entries: Iterable[Entry], rules: Sequence[HealthCheckExpr], home: str
) -> Iterator[_Check]:
    pending = {entry.key: entry for entry in entries}
    with target.live.changes(pending) as changes, target.live.pods.hearing(changes) as hearing:
        yield _Check(target=target, pending=pending, rules=rules, home=home, changes=changes, hearing=hearing)


class HealthWaiter:
    """Waits for sets of objects. Which version of one was last seen healthy is in the memory of its cluster."""

    def __init__(self, evaluator: Evaluator, shortcuts: Shortcuts, *, fail_fast: bool = True) -> None:
        self._evaluator = evaluator
        self._shortcuts = shortcuts
        self._fail_fast = fail_fast
        self._readers: weakref.WeakKeyDictionary[Memory, asyncio.Semaphore] = weakref.WeakKeyDictionary()

    def known_healthy(self, target: Target, entries: Iterable[Entry], rules: Sequence[HealthCheckExpr] = ()) -> bool:
        """True if every object is still the version that this identity, by the same rules, last found current."""
        return all(_is_known(target, entry.key, rules) for entry in entries)

    async def still_healthy(
        self, target: Target, entries: Sequence[Entry], rules: Sequence[HealthCheckExpr] = (), *, home: str = ""
    ) -> bool:
        """`known_healthy`, which is not taken on trust with `--verify`."""
        if not self.known_healthy(target, entries, rules):
            return False
        if not self._shortcuts.verify:
            return True
        with _checking(target, entries, rules, home) as check:
            await self._look(check, set(check.pending))
            return not check.open()

    @traced("health")
    async def wait(
        self,
        target: Target,
        entries: Iterable[Entry],
        timeout: float,
        rules: Sequence[HealthCheckExpr] = (),
        *,
        home: str = "",
        passing: frozenset[ObjectKey] = frozenset(),
        began: float | None = None,
    ) -> HealthPassed:
        """Return when all are current, by the expressions of `rules` for the kinds that have them.

        A namespaced object without a namespace is looked for in `home`. One of `passing` is done when it is gone.
        A wait that goes on with an earlier one `began` when that did (seconds of the loop's clock, the monotonic one).

        Raises HealthFailedError as soon as one has failed (without `fail_fast`: and no other can still get there), or
        after `timeout` seconds.
        """
        clock = asyncio.get_running_loop().time  # that of the pauses between the looks
        started = clock() if began is None else began
        with _checking(target, entries, rules, home) as check:
            look_at = set(check.pending)
            while True:
                await self._look(check, look_at)
                for key in passing & look_at:
                    if check.verdicts[key].status is Status.NOT_FOUND:
                        check.verdicts[key] = Health(Status.CURRENT)
                failure = verdict(check.verdicts, fail_fast=self._fail_fast)
                elapsed = clock() - started
                if failure is None:
                    return HealthPassed(elapsed)
                if failure:
                    raise HealthFailedError(failure, elapsed)
                look_at = await _next(check, timeout - elapsed)
                if not look_at:
                    raise HealthFailedError(unfinished(check.verdicts), clock() - started)

    async def _look(self, check: _Check, keys: set[ObjectKey]) -> None:
        """Find out how these objects are; those that are known to be healthy need not be asked about."""
        unheard: OperationError | None = None
        async with self._readers.setdefault(check.target.memory, asyncio.Semaphore(_READERS)):
            for key in keys:
                if not self._shortcuts.verify and _is_known(check.target, key, check.rules):
                    check.verdicts[key] = Health(Status.CURRENT)
                elif unheard is not None:  # each of the others would wait for as long
                    check.verdicts[key] = Health(Status.UNKNOWN, unheard.message)
                else:
                    try:
                        check.verdicts[key] = await self._read(check, key)
                    except OperationError as error:
                        check.verdicts[key] = Health(Status.UNKNOWN, error.message)
                        unheard = error if silent(error) else None

    async def _read(self, check: _Check, key: ObjectKey) -> Health:
        """The health of an object. Raises OperationError if it cannot be read."""
        target, rule = check.target, check_for(check.rules, key.group, key.kind)
        known = target.live.resource_version(key) if _is_known(target, key, check.rules) else None
        resource = await target.discovery.resource(check.pending[key].api_version, key.kind)
        live = await target.client.find(resource, key.namespace or check.home, key.name)
        if live is None:
            return Health(Status.NOT_FOUND)
        health = await self._judge(check, key, rule, live)
        current, version = health.status is Status.CURRENT, live["metadata"]["resourceVersion"]
        if known == version:
            self._shortcuts.compared("health", str(key), same=current)
        if current:
            target.memory.healthy(key, target.client.acting_as, version, rule)
        return health

    async def _judge(self, check: _Check, key: ObjectKey, rule: HealthCheckExpr | None, live: Manifest) -> Health:
        if rule:
            return await judge(self._evaluator, rule, live)
        health = status_of(live, datetime.now(UTC))
        if health.status is not Status.IN_PROGRESS:
            check.hearing.forget(key)
            return health
        return await with_pods(check.target.client, key, live, health, check.hearing)


def _is_known(target: Target, key: ObjectKey, rules: Sequence[HealthCheckExpr]) -> bool:
    version, rule = target.live.resource_version(key), check_for(rules, key.group, key.kind)
    return target.memory.is_healthy(key, target.client.acting_as, version, rule)


async def _next(check: _Check, remaining: float) -> set[ObjectKey]:
    """Which objects to look at next: those that have news, or those that may move without any; none if time is up."""
    if remaining <= 0:
        return set()
    unheard = check.unheard()
    last = remaining - _LAST_LOOK_SECONDS if remaining > _LAST_LOOK_SECONDS else remaining
    poll = min(POLL_SECONDS, last) if unheard else last
    changed: set[ObjectKey] = set()
    try:
        async with asyncio.timeout(poll):
            changed.add(await check.changes.get())
            await asyncio.sleep(min(_SETTLE_SECONDS, poll / 2))
    except TimeoutError:
        if not changed:
            return unheard if poll < last else check.open() if poll < remaining else set()
    while not check.changes.empty():
        changed.add(check.changes.get_nowait())
    return changed
