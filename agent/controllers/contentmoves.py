"""Content that moved although no commit did: told, held until somebody lets it through, or rolled out."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import structlog
from msgspec.structs import replace

from agent.adapters.kube.target import Target
from agent.api.changepolicy import ChangePolicy
from agent.api.kustomization import Kustomization
from agent.controllers.changelog import ChangeLog
from agent.controllers.floats import Floats, Followed
from agent.controllers.kustomization.reporter import COMPONENT
from agent.controllers.resolution import Resolution
from agent.controllers.telling import Teller, source_name, worth_an_event
from agent.core.concealment import concealed_record
from agent.core.models import ChangeRecord, Reason, RenderedSet
from agent.core.models.awaiting import awaiting, referred
from agent.core.models.floating import Floated, floated
from agent.core.models.restarting import MANAGER, restart_patch
from agent.core.models.running import Move
from agent.core.policy import windows
from agent.core.policy.judging import overruled
from agent.errors import WeirError
from agent.telemetry.events import EventRecorder, reference_to

Key = tuple[str, str]
APPROVED: Final = "approved"


class ContentMoves:
    """Hears of what floats. `wake` queues a Kustomization whose status has to say that something is held."""

    def __init__(
        self,
        log: ChangeLog,
        teller: Teller,
        events: EventRecorder,
        resolution: Resolution,
        *,
        canaries: Callable[[], Iterable[Mapping[str, Any]]],
        learned: Callable[[Key], None],
        suspended: Callable[[Key], bool] = lambda _key: False,
    ) -> None:
        self._log = log
        self._teller = teller
        self._events = events
        self._canaries = canaries
        self.floats = Floats(
            resolution,
            self._floated,
            remembered=log.known,
            learned=learned,
            looked=self._roll_out,
            suspended=suspended,
        )
        self.wake: Callable[[Key], None] = lambda _key: None
        self._rolled: dict[Key, set[str]] = {}
        self._held: dict[Key, set[str]] = {}

    def forget(self, key: Key) -> None:
        """The Kustomization is gone."""
        self.floats.forget(key)
        self._rolled.pop(key, None)
        self._held.pop(key, None)

    async def awaiting(self, key: Key, rendered: tuple[bytes, ...]) -> tuple[ChangeRecord, ...]:
        """What moved, is still referred to by these objects, and was let through by nobody."""
        found = awaiting(self._records(key)).values()
        if not found:
            return ()
        return tuple(await asyncio.to_thread(lambda: referred(found, RenderedSet.from_json(rendered))))

    async def release(self, kustomization: Kustomization, records: Sequence[ChangeRecord], note: str) -> None:
        """Somebody has approved these moves: they are rolled out."""
        reason = Reason(APPROVED, f"approved: {note}")
        fresh = self._teller.add(
            [replace(record, action="rollout", reason=reason) for record in records],
            kustomization,
            source_name(kustomization),
            kustomization.status.last_applied_revision or "",
        )
        await self._teller.tell(fresh)
        self.floats.hasten((kustomization.namespace, kustomization.name))

    async def _floated(self, followed: Followed, moved: Sequence[Floated], rendered: RenderedSet) -> None:
        """References mean other content than before, with no commit."""
        kustomization = followed.kustomization
        key = (kustomization.namespace, kustomization.name)
        canaries = list(self._canaries()) if kustomization.spec.kube_config is None else []
        found = floated(moved, rendered, "/".join(key), followed.revision, canaries)
        told = (concealed_record(record, followed.exposed) for record in found)
        records = [overruled(followed.policies, record) for record in told if record is not None]
        fresh = self._teller.add(records, kustomization, source_name(kustomization), followed.revision)
        shown = worth_an_event(fresh)
        for entry in shown:
            self._teller.event(reference_to(kustomization), entry)
        await self._teller.tell(fresh, shown)
        self._teller.on_objects(kustomization, shown)
        if any(entry.record.action == "gate" for entry in fresh):
            self.wake(key)

    async def _roll_out(self, followed: Followed, rendered: RenderedSet) -> None:
        """Have pods started anew for what is to be rolled out; done again where an agent ended before it could."""
        kustomization = followed.kustomization
        key = (kustomization.namespace, kustomization.name)
        last: dict[tuple[object, str], ChangeRecord] = {}
        for record in self._records(key):
            if record.op == "floated":
                last.setdefault((record.object, record.slot), record)
        done = self._rolled.setdefault(key, set())
        due = [record for record in last.values() if record.id not in done and _rolls_out(followed.policies, record)]
        for record in self.permitted(kustomization, followed.policies, referred(due, rendered)):
            if await self.restart(kustomization, followed.target, record):
                done.add(record.id)
        done &= {record.id for record in last.values()}

    def permitted(
        self, kustomization: Kustomization, policies: Sequence[ChangePolicy], due: Sequence[ChangeRecord]
    ) -> Sequence[ChangeRecord]:
        """What sync windows let through now, and what somebody has approved; what has to wait is told once."""
        now, spans = datetime.now(UTC), [window for policy in policies for window in policy.spec.windows]
        key = (kustomization.namespace, kustomization.name)
        told = self._held.setdefault(key, set())
        if windows.permitted(spans, now):
            told -= {record.id for record in due}
            return due
        opening = windows.opens(spans, now)
        until = f"until {opening:%Y-%m-%d %H:%M} UTC" if opening else "for at least a week"
        for record in due:
            if record.reason.code != APPROVED and record.id not in told:
                told.add(record.id)
                message = f"{record.describe()}: no pod is started anew outside of the sync windows, {until}"
                structlog.get_logger().info(message, changeId=record.id)
                involved = reference_to(kustomization)
                self._events.event(involved, "Normal", "RolloutHeld", message, component=COMPONENT)
        return [record for record in due if record.reason.code == APPROVED]

    def opens(self, policies: Sequence[ChangePolicy]) -> float | None:
        """Seconds until sync windows let the next change through, None if that is not within a week."""
        now = datetime.now(UTC)
        opening = windows.opens([window for policy in policies for window in policy.spec.windows], now)
        return (opening - now).total_seconds() + 1.0 if opening is not None else None

    async def restart(self, kustomization: Kustomization, cluster: Target, record: ChangeRecord) -> bool:
        """Have pods started anew, with the rights of whoever applies. False if it has to be tried again."""
        target, involved = record.object, reference_to(kustomization)
        shown = f"{target.kind} {target.name}"
        try:
            version = f"{target.group}/{target.version}" if target.group else target.version
            resource = await cluster.discovery.resource(version, target.kind)
            live = await cluster.client.get(resource, target.namespace or None, target.name)
            patch = restart_patch(record, live)
            if patch is None:
                message = f"{record.describe()}: nobody knows how to have the pods of a {target.kind} started anew"
                self._events.event(involved, "Warning", "RolloutNotSupported", message, component=COMPONENT)
                return True
            await cluster.client.merge_patch(
                resource, target.namespace or None, target.name, patch, field_manager=MANAGER
            )
        except WeirError as error:
            message = f"pods of {shown} are not started anew for other content: {error.message}"
            structlog.get_logger().warning(message, changeId=record.id)
            self._events.event(involved, "Warning", "RolloutFailed", message, component=COMPONENT)
            return False
        message = f"pods of {shown} are started anew: {record.describe()}"
        structlog.get_logger().info(message, changeId=record.id)
        self._events.event(involved, "Normal", "ContentRollout", message, component=COMPONENT)
        return True

    def moved(self, key: Key) -> dict[str, list[Move]]:
        """What references of a Kustomization came to mean with no commit, by canonical text, newest first."""
        found: dict[str, list[Move]] = {}
        for record in self._records(key):
            if record.op == "floated" and record.old is not None and record.new is not None:
                found.setdefault(record.new.canonical, []).append(Move(record.old, record.new))
        return found

    def _records(self, key: Key) -> list[ChangeRecord]:
        """The records of a Kustomization, newest first."""
        name = "/".join(key)
        return [entry.record for entry in self._log.entries() if entry.kustomization == name]


def _rolls_out(policies: Sequence[ChangePolicy], record: ChangeRecord) -> bool:
    """Whether pods are to be started anew, as policies have it now: they may have been edited since the record was
    told, while it waited for a sync window. What somebody has approved, they do not take back."""
    if record.action != "rollout" or record.reason.code == APPROVED:
        return record.action == "rollout"
    return overruled(policies, replace(record, action="alert")).action == "rollout"
