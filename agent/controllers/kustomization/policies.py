"""ChangePolicies at work: holds what a policy holds, tells of it, and lets through what somebody approved."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial

import structlog

from agent.adapters.kube.client import KubeClient
from agent.adapters.kube.errors import NotFound
from agent.api.changepolicy import ChangePolicy
from agent.api.datatrigger import DataTrigger
from agent.api.kustomization import Kustomization
from agent.controllers.applied import Applied, AppliedObjects
from agent.controllers.changes import Detected
from agent.controllers.kustomization.build import Built
from agent.controllers.kustomization.reporter import COMPONENT
from agent.controllers.statuses import resource_of
from agent.core.concealment import concealed
from agent.core.models import ChangeRecord, RenderedSet, Rules
from agent.core.models.references import Reference, references
from agent.core.policy import judging
from agent.core.policy.gating import is_same, unmet
from agent.core.policy.referencing import rules_of
from agent.errors import ConfigurationError, WaitingError
from agent.runtime.queue import Priority, WorkQueue
from agent.runtime.store import Store
from agent.telemetry.events import EventRecorder, EventType, reference_to

Key = tuple[str, str]
APPROVE = "weir.dev/approve"
HELD, DENIED, APPROVED = "HeldByPolicy", "DeniedByPolicy", "ChangeApproved"
_LONGEST_WAIT = 3600.0


class HeldError(WaitingError):
    """A policy holds something back."""

    def __init__(self, message: str, *, after: float, denied: bool = False) -> None:
        super().__init__(message, after=after, reason=DENIED if denied else HELD)


class Policies:
    """Asks the policies of a Kustomization's namespace.

    `client` is asked for them until the `store` is filled, so that a start never slips past a policy.
    """

    def __init__(
        self,
        store: Store[ChangePolicy],
        triggers: Store[DataTrigger],
        applied: AppliedObjects,
        client: KubeClient,
        events: EventRecorder,
    ) -> None:
        self._store = store
        self._triggers = triggers
        self._applied = applied
        self._client = client
        self._events = events
        self._absent = False
        self._references: dict[Key, tuple[str, Rules, tuple[Reference, ...]]] = {}
        self._told: dict[Key, dict[str, str]] = {}

    def forget(self, key: Key) -> None:
        """The Kustomization is gone."""
        self._references.pop(key, None)
        self._told.pop(key, None)

    async def about(self, kustomization: Kustomization) -> Sequence[ChangePolicy]:
        """The policies for a Kustomization. Raises ConfigurationError for one that nobody can follow."""
        known = await self._known(kustomization.namespace)
        found = judging.about(known, kustomization.namespace, kustomization.metadata.labels)
        if fault := judging.faults(found):
            raise ConfigurationError(fault, reason="InvalidPolicy")
        return found

    async def check(
        self, kustomization: Kustomization, policies: Sequence[ChangePolicy], detected: Detected, built: Built
    ) -> Sequence[ChangeRecord]:
        """Raises HeldError if what was built may not be applied now.

        Returns the content that moved with no commit and is approved.
        """
        if not policies:
            self.forget(_key(kustomization))
            return ()
        now = datetime.now(UTC)
        found = await self._referenced(kustomization, policies, built)
        shown = Applied(detected.revision, built.digest, built.rendered, built.exposed, rules_of(policies))
        gates = partial(self._unmet, kustomization, shown)
        verdict = judging.before_apply(policies, detected.records, found, now, new=detected.new, unmet=gates)
        if verdict.refused:
            message = concealed(f"nothing is applied: {judging.listed(verdict.refused)}", built.exposed)
            self._tell(kustomization, "Warning", DENIED, message, detected.revision)
            raise HeldError(message, after=_LONGEST_WAIT, denied=True)
        if verdict.held and not self._approved(kustomization, detected.revision, verdict.held):
            message = f"{detected.revision} is held: {judging.listed(verdict.held)}. {_remedy(detected.revision)}"
            self._tell(kustomization, "Warning", HELD, message, detected.revision)
            wait = (verdict.opens - now).total_seconds() + 1 if verdict.opens else _LONGEST_WAIT
            raise HeldError(message, after=min(wait, _LONGEST_WAIT))
        approved = self._approved_moves(kustomization, detected)
        if detected.new:
            self.check_moves(kustomization, policies, detected, approved)
        return approved

    def check_moves(
        self,
        kustomization: Kustomization,
        policies: Sequence[ChangePolicy],
        detected: Detected,
        approved: Sequence[ChangeRecord],
    ) -> None:
        """Raises HeldError if content moved with no commit and nobody has approved it."""
        held = [
            record
            for record in detected.moved
            if record not in approved
            and (found := judging.ruling(policies, record)) is not None
            and found.action in {"hold", "gate"}
        ]
        if not held:
            return
        digest = str(held[0].new.digest) if held[0].new else ""
        message = f"{judging.listed([record.describe() for record in held])} is held. {_remedy(digest)}"
        self._tell(kustomization, "Warning", HELD, message, detected.revision)
        raise HeldError(message, after=_LONGEST_WAIT)

    def _unmet(self, kustomization: Kustomization, shown: Applied, trigger: str, record: ChangeRecord) -> str:
        """Why a gate does not let a change pass. Triggers get to see what waits: otherwise nothing would ever run."""
        why = unmet(self._triggers.get(kustomization.namespace, trigger), trigger, record)
        if why:
            self._applied.put(_key(kustomization), shown)
        return why

    def _approved_moves(self, kustomization: Kustomization, detected: Detected) -> list[ChangeRecord]:
        note = kustomization.metadata.annotations.get(APPROVE, "")
        return (
            [
                record
                for record in detected.moved
                if record.new is not None
                and self._approved(kustomization, str(record.new.digest), (record.describe(),))
            ]
            if note
            else []
        )

    def check_prune(
        self, kustomization: Kustomization, policies: Sequence[ChangePolicy], *, stale: int, total: int, revision: str
    ) -> None:
        """Raises HeldError if so many deletions have to be approved first."""
        why = judging.before_prune(policies, stale, total)
        if why and not self._approved(kustomization, revision, (why,)):
            message = f"nothing is pruned: {why}. {_remedy(revision)}"
            self._tell(kustomization, "Warning", HELD, message, revision)
            raise HeldError(message, after=_LONGEST_WAIT)

    async def _known(self, namespace: str) -> Sequence[ChangePolicy]:
        if self._store.synced.is_set() or self._absent:
            return self._store.list(namespace)
        try:
            page = await self._client.list(resource_of(ChangePolicy), namespace)
        except NotFound:
            self._absent = True  # the kind is not installed; once it is, the watch finds it
            return ()
        return [ChangePolicy.from_object(item) for item in page.items]

    async def _referenced(
        self, kustomization: Kustomization, policies: Sequence[ChangePolicy], built: Built
    ) -> Sequence[Reference]:
        """All references of the build, if a policy asks about them; kept for as long as the build is the same."""
        if not any(policy.spec.require_pinned for policy in policies):
            return ()
        key = _key(kustomization)
        known, rules = self._references.get(key), rules_of(policies)
        if known is None or known[:2] != (built.digest, rules):
            known = (built.digest, rules, await asyncio.to_thread(_read, built.rendered, rules))
            self._references[key] = known
        return known[2]

    def _approved(self, kustomization: Kustomization, revision: str, held: Sequence[str]) -> bool:
        note = kustomization.metadata.annotations.get(APPROVE, "")
        if not judging.approves(note, revision):
            return False
        told = f"{revision} was approved ({note}): {judging.listed(held)}"
        self._tell(kustomization, "Normal", APPROVED, told, revision)
        return True

    def _tell(self, kustomization: Kustomization, kind: EventType, reason: str, message: str, revision: str) -> None:
        """In log and event, once; passes that find the same again are silent."""
        told = self._told.setdefault(_key(kustomization), {})
        if told.get(reason) == message:
            return
        told[reason] = message
        structlog.get_logger().info(message, reason=reason, revision=revision)
        annotations = {f"{Kustomization.GROUP}/revision": revision}
        self._events.event(
            reference_to(kustomization), kind, reason, message, component=COMPONENT, annotations=annotations
        )


def watch_policies(
    policies: Store[ChangePolicy],
    triggers: Store[DataTrigger],
    kustomizations: Store[Kustomization],
    queue: WorkQueue[Key],
) -> None:
    """Queue the Kustomizations of a policy that changes, or whose gates do, and those whose approval or labels do."""

    def policy_changed(old: ChangePolicy | None, new: ChangePolicy | None) -> None:
        some = new or old
        if some is None or not policies.synced.is_set() or (old and new and _same(old, new)):
            return
        for kustomization in kustomizations.list(some.namespace):
            queue.add(_key(kustomization), Priority.SPEC)

    def kustomization_changed(old: Kustomization | None, new: Kustomization | None) -> None:
        if old is None or new is None:
            return
        approval = old.metadata.annotations.get(APPROVE) != new.metadata.annotations.get(APPROVE)
        if approval or old.metadata.labels != new.metadata.labels:
            queue.add(_key(new), Priority.REQUESTED if approval else Priority.SPEC)

    def trigger_changed(old: DataTrigger | None, new: DataTrigger | None) -> None:
        some = new or old
        if some is None or (old and new and is_same(old, new)):
            return
        for policy in policies.list(some.namespace):
            if any(rule.trigger is not None and rule.trigger.name == some.name for rule in policy.spec.rules):
                for kustomization in kustomizations.list(some.namespace):
                    queue.add(_key(kustomization), Priority.SPEC)

    policies.subscribe(policy_changed)
    triggers.subscribe(trigger_changed)
    kustomizations.subscribe(kustomization_changed)


def _same(old: ChangePolicy, new: ChangePolicy) -> bool:
    """Whether both ask for the same. One that cannot be read is like no other."""
    return old.spec == new.spec and type(old) is type(new) is ChangePolicy


def _remedy(revision: str) -> str:
    return f"To let it through, annotate the Kustomization with {APPROVE}: {revision.rpartition(':')[2] or revision}"


def _read(rendered: tuple[bytes, ...], rules: Rules) -> tuple[Reference, ...]:
    return tuple(references(RenderedSet.from_json(rendered), rules))


def _key(kustomization: Kustomization) -> Key:
    return kustomization.namespace, kustomization.name
