"""Tells which model or data a commit changes: compares builds, keeps the log, and says it where people look."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import msgspec
import structlog

from agent.adapters.kube.client import KubeClient
from agent.adapters.kube.live import LiveIndex
from agent.adapters.kube.target import Target
from agent.api.changepolicy import ChangePolicy
from agent.api.datatrigger import DataTrigger
from agent.api.kustomization import Kustomization
from agent.controllers.announcing import Announcer, Question, Subject, Whom
from agent.controllers.applied import Applied, AppliedObjects
from agent.controllers.changelog import ChangeLog
from agent.controllers.contentmoves import ContentMoves
from agent.controllers.kustomization.build import Builder, Built
from agent.controllers.resolution import Resolution
from agent.controllers.sources import SourceSnapshot
from agent.controllers.tagregistries import TagRegistries
from agent.controllers.telling import Teller, source_name
from agent.core.concealment import concealed_record
from agent.core.models import ChangeRecord, Commit, History, Ref, RenderedSet, Resolve, Rules, changes, changes_since
from agent.core.models.belonging import with_kustomizations
from agent.core.models.elsewhere import AppliedBuilds, Elsewhere
from agent.core.objects import ObjectKey
from agent.core.policy.judging import fault, hinging_on_content, overruled
from agent.core.policy.referencing import rules_of
from agent.errors import WeirError
from agent.telemetry.events import EventRecorder, Involved, reference_to
from agent.telemetry.metrics import Metrics

Key = tuple[str, str]


class Detected(NamedTuple):
    """What the objects of a revision change against those that are applied.

    *records* is None if that cannot be told; *new* is False if the very same objects are applied already. *moved* is
    content that moved with no commit, and waits to be let through.
    """

    revision: str
    records: tuple[ChangeRecord, ...] | None
    new: bool
    moved: tuple[ChangeRecord, ...] = ()


class ChangeRecorder:
    """Detects before the apply, announces on the objects after it.

    The objects that were applied are remembered, so that a revision that is held, or fails, is compared with them.
    """

    def __init__(
        self,
        log: ChangeLog,
        builder: Builder,
        live: LiveIndex,
        events: EventRecorder,
        metrics: Metrics,
        *,
        canaries: Callable[[], Iterable[Mapping[str, Any]]],
        policies: Callable[[], Iterable[ChangePolicy]],
        resolution: Resolution,
        triggers: Callable[[], Iterable[DataTrigger]] = tuple,
        whom: Whom = lambda _entry: None,
        suspended: Callable[[Key], bool] = lambda _key: False,
        belonging: Callable[[str, Collection[str]], Mapping[str, Sequence[str]]] = lambda _source, _paths: {},
    ) -> None:
        self._log = log
        self._builder = builder
        self._canaries = canaries
        self._belonging = belonging
        self._policies = policies
        self._resolution = resolution
        self.teller = Teller(log, live, events, metrics, triggers=triggers)
        self.applied = AppliedObjects()
        self.announcer = Announcer(log, self.teller, resolution, whom, policies=policies, learned=self.applied.moved)
        self.tags = TagRegistries(log, self.announcer, policies=policies, belonging=belonging)
        self.moves = ContentMoves(
            log,
            self.teller,
            events,
            resolution,
            canaries=canaries,
            learned=self.applied.moved,
            suspended=suspended,
        )
        self._applied: dict[Key, Applied] = {}
        self._waiting: dict[Key, tuple[str, Detected]] = {}
        self._home = AppliedBuilds()

    def forget(self, key: Key) -> None:
        """The Kustomization is gone."""
        for kept in (self._applied, self._waiting):
            kept.pop(key, None)
        self._home.forget("/".join(key))
        self.announcer.forget(key)
        self.moves.forget(key)
        self.applied.forget(key)

    def base(self, key: Key) -> tuple[bytes, ...] | None:
        """The objects with which a Kustomization's new ones were compared; None if nobody knows what is applied."""
        applied = self._applied.get(key)
        return applied.objects if applied is not None else None

    async def detect(
        self,
        kustomization: Kustomization,
        source: SourceSnapshot,
        built: Built,
        home: KubeClient,
        policies: Sequence[ChangePolicy] = (),
    ) -> Detected:
        """Compare with what was applied last; log and record the differences. Never raises for odd manifests.

        `home` is the agent's own cluster, where an earlier revision finds its variables. `policies` say what is done.
        """
        key = (kustomization.namespace, kustomization.name)
        await self._log.restored.wait()
        moved = await self.moves.awaiting(key, built.rendered) if policies else ()
        waiting = self._waiting.get(key)
        if waiting is not None and waiting[0] == built.digest:
            return waiting[1]._replace(revision=source.revision, moved=moved)
        found = await self._detect(kustomization, source, built, home, policies)
        if found.new:
            self._waiting[key] = (built.digest, found)
        else:
            self._waiting.pop(key, None)
        return found._replace(moved=moved)

    async def _detect(
        self,
        kustomization: Kustomization,
        source: SourceSnapshot,
        built: Built,
        home: KubeClient,
        policies: Sequence[ChangePolicy],
    ) -> Detected:
        key = (kustomization.namespace, kustomization.name)
        old_revision = kustomization.status.last_applied_revision
        base = self._applied.get(key)
        if base is None and old_revision:
            if old_revision == source.revision:
                return Detected(source.revision, (), new=False)
            base = await self._earlier_build(kustomization, source, old_revision, home)
            if base is None:  # nothing to compare with: a first look after a restart is not a change
                return Detected(source.revision, None, new=True)
            self._applied[key] = base
        if base is not None and base.digest == built.digest:
            return Detected(source.revision, (), new=False)
        exposed = built.exposed | base.exposed if base else built.exposed
        commit = Commit(old=old_revision, new=source.revision, author=source.author or None)
        records_with = self._comparing(kustomization, base.objects if base else None, built.rendered, commit, policies)

        async def shown_with(later_answers: Mapping[str, Ref]) -> list[ChangeRecord]:
            return _shown(await records_with({**answers, **later_answers}), exposed, policies)

        try:
            records = await records_with({})
            awaited, later = _asked_about(records, policies)
            answers = await self._resolution.resolved(awaited, policies)
            if answers:
                records = await records_with(answers)
        except Exception:  # noqa: BLE001 - a bug in telling of a change must not keep the change from the cluster
            structlog.get_logger().exception("changes of models and data cannot be told", revision=source.revision)
            return Detected(source.revision, None, new=True)
        involved, name = reference_to(kustomization), source_name(kustomization)
        subject = Subject(involved, name, source.revision, kustomization, policies, first=base is None)
        told = _shown(records, exposed, policies)
        await self.announcer.announce(subject, told, Question(later, shown_with))
        return Detected(source.revision, tuple(told), new=True)

    def _comparing(
        self,
        kustomization: Kustomization,
        old: tuple[bytes, ...] | None,
        new: tuple[bytes, ...],
        commit: Commit,
        policies: Sequence[ChangePolicy],
    ) -> Callable[[Mapping[str, Ref]], Awaitable[list[ChangeRecord]]]:
        """Compares two builds, in a thread, with what registries have answered by canonical reference.

        What belongs to the loop, as stores do, is read here already.
        """
        # Canaries of this cluster say nothing of another one
        canaries = list(self._canaries()) if kustomization.spec.kube_config is None else []
        before = self.moves.floats.known((kustomization.namespace, kustomization.name))
        compare = partial(
            self._compare,
            old,
            new,
            commit,
            f"{kustomization.namespace}/{kustomization.name}",
            canaries=canaries,
            rules=rules_of(policies),
            elsewhere=self._others(kustomization),
            history=_asked_once(self._log.earlier),
        )

        async def records_with(answers: Mapping[str, Ref]) -> list[ChangeRecord]:
            resolve = _resolve(before, answers) if before or answers else None
            return await asyncio.to_thread(compare, resolve=resolve)

        return records_with

    async def announce(
        self,
        kustomization: Kustomization,
        built: Built,
        revision: str,
        policies: Sequence[ChangePolicy],
        target: Target,
    ) -> None:
        """The objects are applied: say on each of them what changed."""
        key = (kustomization.namespace, kustomization.name)
        build = None
        if kustomization.spec.kube_config is None:  # in a thread, and before anything is noted: a pass may end here
            build = await asyncio.to_thread(self._home.read, "/".join(key), built.rendered)
        self.moves.floats.follow(
            kustomization, revision, built.rendered, policies, target=target, exposed=built.exposed
        )
        self._waiting.pop(key, None)
        if build is not None:
            self._home.put("/".join(key), build)
        else:
            self._home.forget("/".join(key))
        self._applied[key] = Applied(revision, built.digest, built.rendered, built.exposed, rules_of(policies))
        self.applied.put(key, self._applied[key])
        self.announcer.applied(kustomization)

    async def record_files(
        self,
        source: str,
        involved: Involved,
        snapshot: SourceSnapshot,
        old: str,
        *,
        url: str,
    ) -> None:
        """Data files that a new revision of a source changes (DVC, LFS, submodules), told on the source.

        Where the old revision cannot be had any more, after a force-push, they are compared with what was last told of
        them. Policies of the namespace say whom to ask whether the content is there; `url` is the repository's address.
        Raises WeirError if the files cannot be read.
        """
        commit = Commit(old=old, new=snapshot.revision, author=snapshot.author or None)
        namespace = involved.reference.namespace
        policies = [policy for policy in self._policies() if policy.namespace == namespace and not policy.spec.suspend]
        rules = rules_of(policy for policy in policies if not fault(policy))
        compare = await self._comparison(snapshot, source, old, commit, rules)

        async def records_with(answers: Mapping[str, Ref]) -> list[ChangeRecord]:
            found = await asyncio.to_thread(compare, resolve=_resolve({}, answers) if answers else None)
            if answers:
                found = await self._resolution.with_files(found, policies, source=url)
            return with_kustomizations(found, self._belonging(source, {record.object.name for record in found}))

        records = await records_with({})
        refs = [record.new for record in records if record.new is not None]
        subject = Subject(involved, source, snapshot.revision, policies=policies)
        await self.announcer.announce(subject, records, Question(refs, records_with, url))

    async def _comparison(
        self, snapshot: SourceSnapshot, source: str, old: str, commit: Commit, rules: Rules
    ) -> Callable[..., list[ChangeRecord]]:
        """Compares the files of a revision with those of an old one, or with what was told of them."""
        history = snapshot.history
        assert history is not None
        earlier = _asked_once(self._log.earlier)
        files = await history.files_changed(old)
        if files is not None:
            return partial(changes, None, RenderedSet(()), files, commit, history=earlier, rules=rules)
        structlog.get_logger().info("the earlier revision is gone: files are compared with what is known", revision=old)
        known = self._log.files(source)
        return partial(changes_since, known, await history.files(), commit, history=earlier, rules=rules)

    def _others(self, kustomization: Kustomization) -> Elsewhere:
        """What other Kustomizations have applied to this cluster; nothing is known of what is on another one."""
        builds = self._home if kustomization.spec.kube_config is None else AppliedBuilds()
        return Elsewhere(builds, f"{kustomization.namespace}/{kustomization.name}")

    async def _earlier_build(
        self, kustomization: Kustomization, source: SourceSnapshot, revision: str, home: KubeClient
    ) -> Applied | None:
        if source.history is None:
            return None
        try:
            tree = await source.history.tree_at(revision)
            if tree is None:
                return None
            earlier = await self._builder.rebuild(kustomization, tree, home)
        except WeirError:
            return None  # the old revision cannot be read, or built with today's spec: nothing to compare with
        return Applied(revision, earlier.digest, earlier.objects, earlier.exposed)

    def _compare(
        self,
        old: tuple[bytes, ...] | None,
        new: tuple[bytes, ...],
        commit: Commit,
        kustomization: str,
        *,
        canaries: Sequence[Mapping[str, Any]],
        rules: Rules,
        elsewhere: Elsewhere,
        history: History,
        resolve: Resolve | None = None,
    ) -> list[ChangeRecord]:
        """Runs in a thread: decoding two builds of a large application takes a while."""
        before = RenderedSet.from_json(old) if old is not None else None
        after = RenderedSet.from_json(new)
        return changes(
            before,
            after,
            (),
            commit,
            kustomization,
            history=history,
            resolve=resolve,
            canaries=canaries,
            rules=rules,
            elsewhere=elsewhere.users_of,
        )


def _asked_about(records: Sequence[ChangeRecord], policies: Sequence[ChangePolicy]) -> tuple[list[Ref], list[Ref]]:
    """The references that registries may know more about: those that the apply waits for, and the others.

    It waits for what floats, since nothing else says what it is about to become; for what decides whether policies let
    a change through; and for what a Canary tries, since the time for loading it is settled when its run begins. What
    floats on the old side is what it was when it was last looked at: by now it may mean the new content.
    """
    awaited: list[Ref] = []
    later: list[Ref] = []
    deciding = {record.id for record in hinging_on_content(policies, records)}
    for record in records:
        decides = record.id in deciding or bool(record.impact.canaries)
        for ref in (record.new, record.old if record.old and record.old.pinned is True else None):
            if ref is not None:
                (awaited if decides or ref.pinned is not True else later).append(ref)
    return awaited, later


def _shown(
    records: Sequence[ChangeRecord], exposed: frozenset[str], policies: Sequence[ChangePolicy]
) -> list[ChangeRecord]:
    """What may be told of the records, with what the policies have done about each."""
    told = (concealed_record(record, exposed) for record in records)
    return [overruled(policies, record) for record in told if record is not None]


def _asked_once(history: History) -> History:
    """What it says when it is first asked: compared again later, a revision must not know of those after it."""
    known: dict[tuple[ObjectKey, str, str], str | None] = {}

    def earlier(key: ObjectKey, slot: str, reference: Ref | None) -> str | None:
        place = key, slot, reference.canonical if reference is not None else ""
        if place not in known:
            known[place] = history(key, slot, reference)
        return known[place]

    return earlier


def _resolve(before: Mapping[str, Ref], now: Mapping[str, Ref]) -> Resolve:
    """Adds what is known: `now`, and `before` of what floats on the old side."""

    def resolve(side: str, _key: ObjectKey, _slot: str, ref: Ref) -> Ref:
        current = now.get(ref.canonical) if side == "new" or ref.pinned is True else None
        known = current or (before.get(ref.canonical) if side == "old" else None)
        return msgspec.structs.replace(known, spelling=ref.spelling) if known is not None else ref

    return resolve
