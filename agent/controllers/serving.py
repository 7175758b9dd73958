"""Looks now and then at what pods run: what differs from Git for long is told as `stale-serving`, until it is over."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final, NamedTuple

import structlog
from msgspec.structs import replace

from agent.adapters.kube.errors import ApiError
from agent.adapters.kube.resource import PODS
from agent.adapters.kube.target import Target
from agent.api.canary import Canary, CanaryPhase
from agent.api.changepolicy import ChangePolicy
from agent.api.duration import parse_duration
from agent.api.kustomization import Kustomization
from agent.controllers.contentmoves import ContentMoves
from agent.controllers.kustomization.reporter import COMPONENT
from agent.controllers.telling import Teller, source_name, worth_an_event
from agent.core.concealment import concealed_record
from agent.core.models import ChangeRecord, Ref, RenderedSet
from agent.core.models.meanings import Meanings, Pods
from agent.core.models.references import Reference, references
from agent.core.models.rendered import Object
from agent.core.models.running import Stale, pods_of, serving, stale, stale_records, started
from agent.core.objects import ObjectKey
from agent.core.policy.judging import overruled
from agent.core.policy.referencing import rules_of
from agent.core.rollout.objects import primary_name
from agent.runtime.rounds import Rounds
from agent.telemetry.events import EventRecorder, reference_to
from agent.telemetry.metrics import Metrics

Key = tuple[str, str]
Place = tuple[ObjectKey, str]
_INTERVAL: Final = 300.0
_AFTER: Final = 600.0
_SETTLED: Final = frozenset({CanaryPhase.INITIALIZED, CanaryPhase.SUCCEEDED})
"""Phases in which a Canary's primary serves what Git asks for; in the others the rollout tells what serves."""


class StaleReference(NamedTuple):
    """A reference of which pods run something else, as it is shown."""

    object: str
    slot: str
    text: str
    pods: tuple[str, ...]
    since: datetime


@dataclass(slots=True)
class _Watched:
    """What is applied, since when (monotonic) each difference is seen, and the records that wait for a window.

    Those are as they were before policies had their say, which may be edited while they wait.
    """

    kustomization: Kustomization
    revision: str
    rendered: tuple[bytes, ...]
    policies: Sequence[ChangePolicy]
    target: Target
    exposed: frozenset[str]
    due: float
    serves: bool = True
    differing: dict[Place, float] = field(default_factory=dict)
    told: dict[Place, StaleReference] | None = None
    waiting: dict[Place, ChangeRecord] = field(default_factory=dict)


class Serving:
    """Follows Kustomizations whose objects serve models. `run` is the service that looks.

    Pods are read with the rights of whoever applies; where those do not suffice, nothing is claimed. Who is `suspended`
    is left alone.
    """

    def __init__(
        self,
        teller: Teller,
        events: EventRecorder,
        metrics: Metrics,
        moves: ContentMoves,
        *,
        canaries: Callable[[], Iterable[Canary]],
        loaded: Callable[[ObjectKey], bool],
        meanings: Callable[[ObjectKey, Pods], Meanings] = lambda _key, _pods: {},
        suspended: Callable[[Key], bool] = lambda _key: False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._teller = teller
        self._events = events
        self._metrics = metrics
        self._moves = moves
        self._canaries = canaries
        self._loaded = loaded
        self._meanings = meanings
        self._suspended = suspended
        self._clock = clock
        self._watched: dict[Key, _Watched] = {}
        self._rounds = Rounds(self._watched, self._look, idle=_INTERVAL, clock=clock)
        self.wake: Callable[[Key], None] = lambda _key: None

    def follow(
        self,
        kustomization: Kustomization,
        revision: str,
        rendered: tuple[bytes, ...],
        policies: Sequence[ChangePolicy],
        *,
        target: Target,
        exposed: frozenset[str],
    ) -> None:
        """These objects are applied now, to this cluster. `exposed` is what must not be shown of them."""
        key = (kustomization.namespace, kustomization.name)
        known = self._watched.get(key)
        due = self._clock() + min(intervals(policies))
        if known is not None:
            due = min(due, known.due)
        fresh = _Watched(kustomization, revision, rendered, policies, target, exposed, due)
        if known is not None:
            same = known.rendered is rendered
            fresh.serves, fresh.differing, fresh.told = known.serves or not same, known.differing, known.told
            fresh.waiting = known.waiting
        self._watched[key] = fresh
        self._rounds.news()

    def forget(self, key: Key) -> None:
        """The Kustomization is gone."""
        watched = self._watched.pop(key, None)
        if watched is not None and watched.told is not None:
            self._metrics.stale_serving.remove(*key)

    def stale(self, key: Key) -> tuple[StaleReference, ...] | None:
        """What of a Kustomization is stale now; None if nobody has looked yet."""
        watched = self._watched.get(key)
        if watched is None or watched.told is None:
            return None
        return tuple(watched.told.values())

    async def run(self) -> None:
        """Looks at whatever is due, for ever."""
        await self._rounds.run()

    async def look(self) -> float:
        """Look once at whatever is due. Returns for how many seconds nothing is."""
        return await self._rounds.look()

    async def _look(self, key: Key, watched: _Watched) -> None:
        watched.due = self._clock() + intervals(watched.policies)[0]
        if not watched.serves or self._suspended(key):
            return
        try:
            rendered = await asyncio.to_thread(RenderedSet.from_json, watched.rendered)
            rules = rules_of(watched.policies)
            workloads = await asyncio.to_thread(lambda: serving(references(rendered, rules)))
            watched.serves = bool(workloads)
            found: list[Stale] = []
            for one, listed in workloads.items():
                found += await self._stale(key, watched, rendered.entries[one].object, one, listed)
        except ApiError as error:
            structlog.get_logger().debug("pods cannot be looked at", kustomization="/".join(key), error=error.message)
            return
        except Exception:  # noqa: BLE001 - looking at one Kustomization must not end the looking at the others
            structlog.get_logger().exception("pods cannot be compared with Git", kustomization="/".join(key))
            return
        if self._watched.get(key) is watched and not self._suspended(key):
            await self._settle(key, watched, rendered, found)

    async def _stale(
        self, key: Key, watched: _Watched, obj: Object, at: ObjectKey, listed: Sequence[Reference]
    ) -> list[Stale]:
        """What pods of one object run besides what Git asks for. Raises ApiError."""
        canary = self._canary(at) if watched.kustomization.spec.kube_config is None else None
        client = watched.target.client
        if canary is not None:
            if canary.status.phase not in _SETTLED or at.group != "apps":
                return []
            resource = await watched.target.discovery.preferred(at.group, at.kind)
            primary = await client.find(resource, at.namespace, primary_name(at.name))
            if primary is None:
                return []
            obj = primary
        selector = pods_of(obj)
        if not selector:
            return []
        pods = await client.list(PODS, at.namespace, label_selector=selector)
        known = self._moves.floats.known(key)
        if self._loaded(at):  # which adapters its pods have, their words do not tell
            listed = [reference for reference in listed if reference.slot.kind != "adapter"]
        wanted = [_with(reference, known.get(reference.slot.ref.canonical)) for reference in listed]
        meanings = self._meanings(at, started(pods.items))
        return await asyncio.to_thread(stale, wanted, self._moves.moved(key), pods.items, meanings)

    def _canary(self, at: ObjectKey) -> Canary | None:
        for canary in self._canaries():
            if (canary.spec.target_ref.kind, canary.namespace, canary.target_name) == (at.kind, at.namespace, at.name):
                return canary
        return None

    async def _settle(self, key: Key, watched: _Watched, rendered: RenderedSet, found: Sequence[Stale]) -> None:
        """Take note of what differs; tell what has differed for long, and what does not any more."""
        now, after = self._clock(), intervals(watched.policies)[1]
        places = {(one.reference.key, one.reference.slot.name): one for one in found}
        watched.differing = {place: watched.differing.get(place, now) for place in places}
        due = {place: one for place, one in places.items() if now - watched.differing[place] >= after}
        before = watched.told or {}
        fresh = [one for place, one in due.items() if place not in before]
        texts = await self._tell(key, watched, rendered, fresh)
        watched.waiting = {place: record for place, record in watched.waiting.items() if place in due}
        await self._restart(watched)
        watched.told = {
            place: _shown(one, now - watched.differing[place], texts.get(place) or before[place].text)
            for place, one in due.items()
            if place in texts or place in before
        }
        waiting = [after - (now - since) for place, since in watched.differing.items() if place not in due]
        if watched.waiting and (opening := self._moves.opens(watched.policies)) is not None:
            waiting.append(opening)
        watched.due = min([watched.due, *(now + max(seconds, 0.05) for seconds in waiting)])
        self._metrics.stale_serving.labels(*key).set(len(watched.told))
        if over := [before[place] for place in before if place not in watched.told]:
            message = f"pods run what Git asks for again: {', '.join(f'{one.slot} of {one.object}' for one in over)}"
            involved = reference_to(watched.kustomization)
            structlog.get_logger().info(message, kustomization="/".join(key))
            self._events.event(involved, "Normal", "ServingCurrent", message, component=COMPONENT)
        if fresh or over:
            self.wake(key)

    async def _tell(
        self, key: Key, watched: _Watched, rendered: RenderedSet, fresh: Sequence[Stale]
    ) -> Mapping[Place, str]:
        """Record and announce what is stale; returns the lines about it, with nothing in them that is secret."""
        kustomization = watched.kustomization
        canaries = [canary.to_object() for canary in self._canaries()] if kustomization.spec.kube_config is None else []
        made = stale_records(fresh, rendered, "/".join(key), watched.revision, canaries)
        told = [concealed_record(record, watched.exposed) for record in made]
        records = [overruled(watched.policies, record) for record in told if record is not None]
        entries = self._teller.add(records, kustomization, source_name(kustomization), watched.revision)
        shown = worth_an_event(entries)
        for entry in shown:
            self._teller.event(reference_to(kustomization), entry)
        await self._teller.tell(entries, shown)
        self._teller.on_objects(kustomization, shown)
        rolled = {entry.record.id for entry in entries if entry.record.action == "rollout"}
        for one, record in zip(fresh, told, strict=True):
            if record is not None and record.id in rolled:
                watched.waiting[one.reference.key, one.reference.slot.name] = record
        return {
            (one.reference.key, one.reference.slot.name): record.describe()
            for one, record in zip(fresh, told, strict=True)
            if record is not None
        }

    async def _restart(self, watched: _Watched) -> None:
        """Have pods started anew where policies ask for it, still, and sync windows let it happen now."""
        kustomization, places = watched.kustomization, {record.id: place for place, record in watched.waiting.items()}
        ruled = (overruled(watched.policies, record) for record in watched.waiting.values())
        due = [record for record in ruled if record.action == "rollout"]
        for record in self._moves.permitted(kustomization, watched.policies, due):
            if await self._moves.restart(kustomization, watched.target, record):
                del watched.waiting[places[record.id]]


def intervals(policies: Iterable[ChangePolicy]) -> tuple[float, float]:
    """Seconds between two looks at pods, and for how long a difference is nobody's business: a rollout takes time."""
    asked = [policy.spec.serving for policy in policies if policy.spec.serving is not None]
    return (
        max(min((parse_duration(one.interval) for one in asked), default=_INTERVAL), 1.0),
        max(min((parse_duration(one.after) for one in asked), default=_AFTER), 0.0),
    )


def _with(reference: Reference, known: Ref | None) -> Reference:
    """The reference with what registries say about it."""
    if known is None:
        return reference
    slot = reference.slot
    return reference._replace(slot=slot._replace(ref=replace(known, spelling=slot.ref.spelling)))


def _shown(one: Stale, seconds: float, text: str) -> StaleReference:
    key = one.reference.key
    since = datetime.fromtimestamp(time.time() - seconds, UTC).replace(microsecond=0)
    return StaleReference(f"{key.kind}/{key.namespace}/{key.name}", one.reference.slot.name, text, one.pods, since)
