"""Tells of changes once registries have said what they know of them. Nobody who applies waits for that."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import structlog

from agent.api.changepolicy import ChangePolicy
from agent.api.gitrepository import GitRepository
from agent.api.kustomization import Kustomization
from agent.controllers.changelog import ChangeEntry, ChangeLog
from agent.controllers.resolution import Resolution, interval_of
from agent.controllers.telling import EVENTS_PER_PASS, Teller, is_sight, worth_an_event
from agent.core.models import ChangeRecord, Ref
from agent.core.policy import judging
from agent.telemetry.events import Involved, reference_to

Key = tuple[str, str]

Whom = Callable[[ChangeEntry], Kustomization | GitRepository | None]
"""The object by which an entry came, if it is still there."""
_LAST: Final = 5.0
_TURNS: Final = 32
"""Questions about changes that are asked at once; the patience with registries begins when one is."""


class Subject(NamedTuple):
    """Who is told of changes, and by which revision of which source (`Kind/namespace/name`) they come.

    Changed files come by no Kustomization. `policies` say whom to ask, and what is told especially. `first` if nothing
    had been applied before.
    """

    involved: Involved
    source: str
    revision: str
    kustomization: Kustomization | None = None
    policies: Sequence[ChangePolicy] = ()
    first: bool = False


class Question(NamedTuple):
    """References that registries may know more about, and how the records read with their answers.

    `url` is the address of the repository that the references are from.
    """

    refs: Sequence[Ref]
    records: Callable[[Mapping[str, Ref]], Awaitable[Sequence[ChangeRecord]]]
    url: str = ""


@dataclass(slots=True, eq=False)
class _Asked:
    """Entries of which nobody has heard yet. `applied` by whom, once their objects are."""

    fresh: tuple[ChangeEntry, ...]
    applied: Kustomization | None = None


class Announcer:
    """Records are in the log at once, as their text has them; those that registries know more of are replaced.

    `policies` are all that there are. `learned` is called when registries have had their time for the changes of a
    Kustomization.
    """

    def __init__(
        self,
        log: ChangeLog,
        teller: Teller,
        resolution: Resolution,
        whom: Whom,
        *,
        policies: Callable[[], Iterable[ChangePolicy]] = tuple,
        learned: Callable[[Key], None] = lambda _key: None,
        turns: int = _TURNS,
    ) -> None:
        self._log = log
        self._teller = teller
        self._whom = whom
        self._policies = policies
        self._learned = learned
        self._turns = asyncio.Semaphore(turns)
        self._resolution = resolution
        self._unannounced: dict[Key, tuple[ChangeEntry, ...]] = {}
        self._asked: dict[Key, list[_Asked]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._ended = asyncio.Event()

    def forget(self, key: Key) -> None:
        """The Kustomization is gone."""
        self._teller.pass_over(self._unannounced.pop(key, ()))
        self._asked.pop(key, None)

    def _take_left(self) -> None:
        """What objects have not heard from a process that was killed, they hear once they are applied by this one."""
        for entry in self._log.left_for_objects():
            namespace, _, name = entry.kustomization.partition("/")
            self._leave_for_objects((namespace, name), [entry])

    async def run(self) -> None:
        """A service that has to end before those that deliver events: what is still asked about is told at its end.

        First it tells what another process has kept and did not live to tell. That may have been on its way already:
        who hears of a change twice knows it by its id.
        """
        try:
            await self._log.restored.wait()
            await self._tell_left()
            await self._ended.wait()
        finally:
            await self.stop()

    async def stop(self) -> None:
        """Wait for no registry any more: what they are still asked about is told as its text has it."""
        self._ended.set()
        while tasks := tuple(self._tasks):
            await asyncio.wait(tasks)
        await self._teller.settled(_LAST)

    async def _tell_left(self) -> None:
        groups: dict[tuple[str, str, str], list[ChangeEntry]] = {}
        for entry in self._log.left():
            groups.setdefault((entry.kustomization, entry.source, entry.revision), []).append(entry)
        for (_, source, revision), entries in groups.items():
            about = self._whom(entries[0])
            if about is None:  # it is gone, and so is who wants to hear of it
                await self._log.told(entries)
                continue
            kustomization = about if isinstance(about, Kustomization) else None
            first = entries[0].record.commit.old is None
            policies = self._about(kustomization) if kustomization is not None else ()
            subject = Subject(reference_to(about), source, revision, kustomization, policies, first)
            await self._tell(subject, tuple(entries), ())

    def _about(self, kustomization: Kustomization) -> Sequence[ChangePolicy]:
        found = judging.about(self._policies(), kustomization.namespace, kustomization.metadata.labels)
        return [policy for policy in found if not judging.fault(policy)]

    async def announce(
        self, subject: Subject, records: Sequence[ChangeRecord], question: Question | None = None
    ) -> None:
        """Take note of the records, and tell of those that are new: at once, if nobody is to be asked about them."""
        fresh = self._teller.add(records, subject.kustomization, subject.source, subject.revision)
        if not fresh or question is None or not question.refs or interval_of(subject.policies) is None:
            await self._tell(subject, fresh, self._left_for_objects(subject, fresh))
            return
        asked = _Asked(fresh)
        self._log.ask(fresh, _for_objects(subject, fresh))
        if subject.kustomization is not None:
            self._asked.setdefault(_key(subject.kustomization), []).append(asked)
        task = asyncio.create_task(self._answered(subject, asked, question), name="answers of registries")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def applied(self, kustomization: Kustomization) -> None:
        """The objects are applied: say on each of them what changed, as soon as that is known."""
        self._take_left()
        key = _key(kustomization)
        for asked in self._asked.get(key, ()):
            asked.applied = kustomization
        self._teller.on_objects(kustomization, self._unannounced.pop(key, ()))

    async def _answered(self, subject: Subject, asked: _Asked, question: Question) -> None:
        # here and not where it is asked: a pass that is cancelled meanwhile must leave nothing untold
        await self._teller.keep(asked.fresh, _for_objects(subject, asked.fresh))
        fresh = asked.fresh
        try:
            records = await self._answers(subject, question)
            if records is not None:
                fresh = self._teller.complete(
                    asked.fresh, records, subject.kustomization, subject.source, subject.revision
                )
        except Exception:  # noqa: BLE001 - what the text says is told all the same
            structlog.get_logger().exception("answers of registries cannot be told", revision=subject.revision)
        self._log.answered(asked.fresh)
        if subject.kustomization is not None:
            key = _key(subject.kustomization)
            if asked in (waiting := self._asked.get(key, [])):
                waiting.remove(asked)
                self._learned(key)
        if asked.applied is None:
            await self._tell(subject, fresh, self._left_for_objects(subject, fresh))
            return
        await self._tell(subject, fresh, objects := _for_objects(subject, fresh))
        self._teller.on_objects(asked.applied, objects)

    async def _answers(self, subject: Subject, question: Question) -> Sequence[ChangeRecord] | None:
        """The records with what registries say; None if they say nothing, or the agent ends before they do."""
        asking = asyncio.create_task(self._asked_in_turn(subject, question))
        ended = asyncio.create_task(self._ended.wait())
        try:
            await asyncio.wait({asking, ended}, return_when=asyncio.FIRST_COMPLETED)
            return asking.result() if asking.done() else None
        finally:
            asking.cancel()
            ended.cancel()

    async def _asked_in_turn(self, subject: Subject, question: Question) -> Sequence[ChangeRecord] | None:
        async with self._turns:
            found = await self._resolution.resolved(question.refs, subject.policies, source=question.url)
            return await question.records(found) if found else None

    def _left_for_objects(self, subject: Subject, fresh: tuple[ChangeEntry, ...]) -> Sequence[ChangeEntry]:
        objects = _for_objects(subject, fresh)
        if subject.kustomization is not None:
            self._leave_for_objects(_key(subject.kustomization), objects)
        return objects

    def _leave_for_objects(self, key: Key, entries: Sequence[ChangeEntry]) -> None:
        waiting = (*self._unannounced.get(key, ()), *entries)
        self._teller.pass_over(waiting[:-EVENTS_PER_PASS])
        self._unannounced[key] = waiting[-EVENTS_PER_PASS:]

    async def _tell(self, subject: Subject, fresh: tuple[ChangeEntry, ...], for_objects: Sequence[ChangeEntry]) -> None:
        if subject.first:
            self._teller.sights(subject.involved, fresh)
        for entry in worth_an_event(_changes(subject, fresh)):
            self._teller.event(subject.involved, entry)
        if subject.kustomization is not None:
            self._teller.alert(subject.involved, fresh, subject.policies)
        await self._teller.tell(fresh, for_objects)


def _changes(subject: Subject, entries: tuple[ChangeEntry, ...]) -> tuple[ChangeEntry, ...]:
    """What is told one by one, and on objects: those of a first sync are as new as what they refer to."""
    return tuple(entry for entry in entries if not is_sight(entry)) if subject.first else entries


def _for_objects(subject: Subject, entries: tuple[ChangeEntry, ...]) -> Sequence[ChangeEntry]:
    """What is told on the objects once they are applied. Objects on another cluster, and files, hear of nothing."""
    if subject.kustomization is None or subject.kustomization.spec.kube_config is not None:
        return ()
    return worth_an_event(_changes(subject, entries))


def _key(kustomization: Kustomization) -> Key:
    return kustomization.namespace, kustomization.name
