"""One pass over one Canary: read the world, ask the machine, do what it says; again until the tick is over.

An analysis interval is a due time of the key in the queue, never a held worker. A pass that comes earlier, because
something changed, looks at what cannot wait and leaves the rest to the due time. After a restart the due time follows
from the status, so that a weight is never judged before it had its interval.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import msgspec

from agent import __version__
from agent.adapters.kube.client import KubeClient
from agent.adapters.kube.resource import DAEMON_SETS, Object
from agent.adapters.loraservers import LoraServers
from agent.adapters.prometheus import Prometheus
from agent.adapters.traffic import Router, router_for
from agent.adapters.webhooks import Webhooks
from agent.api.canary import Canary
from agent.controllers.canary.alerts import AlertSink, SilentAlerts
from agent.controllers.canary.analysing import Analyst
from agent.controllers.canary.bookkeeping import keep_books, ledger_after, missed_run, shortened
from agent.controllers.canary.definition import DefinitionWatch
from agent.controllers.canary.flagger import FlaggerWatch
from agent.controllers.canary.kinds import AUTOSCALERS, CANARIES
from agent.controllers.canary.metrics import FlaggerMetrics
from agent.controllers.canary.observing import Observer, World, snapshot_of
from agent.controllers.canary.performing import Performer
from agent.controllers.canary.quarantining import changes_content, reason_to_hold, withheld
from agent.controllers.canary.rewordings import known, rewording
from agent.controllers.canary.rollouts import RolloutLog
from agent.controllers.canary.settings import CanarySettings
from agent.controllers.canary.tick import Tick
from agent.controllers.canary.triggers import TARGET_INDEX, Key, target_key
from agent.controllers.canary.workloads import Workloads
from agent.core.rollout.actions import Decision, Emit
from agent.core.rollout.definition import FENCE, JUDGE, TEXT, fitting
from agent.core.rollout.flagger import FLAGGER_RUNNING
from agent.core.rollout.knative import is_knative, latest_name, refused_knative
from agent.core.rollout.kserve.content import KINDS
from agent.core.rollout.kserve.services import refused_in_place
from agent.core.rollout.ledger import Period, decode_ledger, last_trial
from agent.core.rollout.machine import step
from agent.core.rollout.ownership import ANALYSING
from agent.core.rollout.plan import Plan, Provider
from agent.core.rollout.preparing import TARGET_TAKEN
from agent.core.rollout.quarantine import rejected_because
from agent.core.rollout.reading import plan_of
from agent.core.rollout.servicetarget import refused_service
from agent.core.rollout.snapshot import Snapshot, Stage, stage_after
from agent.core.rollout.status import Status, decode_status, status_patch
from agent.core.rollout.view import ChangeLookup, NamedChange, News, NoChanges
from agent.errors import ConfigurationError, WeirError
from agent.runtime.controller import Done, RequeueAfter, Result
from agent.runtime.store import Store
from agent.telemetry.events import EventRecorder

__all__ = ["CanaryReconciler", "CanarySettings"]

_ROUNDS = 16
"""A tick asks the machine a handful of times; more than this is a bug in it."""
_SLACK = 0.05
_WHOLE_SECOND = 1.0
"""Times in a status are cut to the second."""
_LOOK = 5.0
"""Seconds until pods are looked at again that may come without what requests are sent to."""
_FIRST_RETRY = 1.0
_NAMED = 5
"""How many changes of one revision are named in events."""


@dataclass(slots=True)
class _Pace:
    """When a Canary was last looked at in full (monotonic seconds), and how often it failed since."""

    ticked: float | None = None
    failures: int = 0


class CanaryReconciler:
    """`reconcile` is the pass for `agent.runtime.controller.Controller`; one instance for all Canaries.

    `canaries` is the store of all Canaries, with the index of `watch_canaries`. `now` and `clock` are the wall clock
    and the monotonic one.
    """

    def __init__(
        self,
        *,
        client: KubeClient,
        canaries: Store[Canary],
        settings: CanarySettings,
        prometheus: Prometheus,
        webhooks: Webhooks,
        servers: LoraServers,
        events: EventRecorder,
        metrics: FlaggerMetrics,
        rollouts: RolloutLog,
        changes: ChangeLookup | None = None,
        alerts: AlertSink | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._servers = servers
        self._canaries = canaries
        self._settings = settings
        self._metrics = metrics
        self._rollouts = rollouts
        self._changes = changes or NoChanges()
        self._now = now
        self._clock = clock
        self._observer = Observer(client, settings)
        self._performer = Performer(
            client=client,
            settings=settings,
            workloads=Workloads(client, settings),
            analyst=Analyst(client, prometheus, settings, now),
            webhooks=webhooks,
            events=events,
            metrics=metrics,
            alerts=alerts or SilentAlerts(),
            now=now,
        )
        metrics.info(__version__, settings.mesh_provider)
        self._flagger = FlaggerWatch(client, settings.namespace, clock)
        self._definition = DefinitionWatch(client, clock)
        self._warned: set[Key] = set()
        self._paces: dict[Key, _Pace] = {}
        self._plans: dict[Key, Plan] = {}

    async def reconcile(self, key: Key) -> Result:
        """One tick of the Canary. Raises ApiError only where not even the Canary can be read or written."""
        await self._changes.ready()
        self._metrics.total(key[0], len(self._canaries.list(key[0])))
        raw = await self._client.find(CANARIES, *key)
        if raw is None:
            self._forget(key)
            return Done()
        try:
            canary = Canary.from_object(raw)
        except msgspec.ValidationError as error:
            raise ConfigurationError(f"canary {key[1]}.{key[0]} cannot be read: {error}") from error
        plan = plan_of(
            canary,
            default_provider=self._settings.mesh_provider,
            minimum_interval=self._settings.minimum_interval,
        )
        self._plans[key] = plan
        tick = self._begin(canary, plan, raw)
        pace = self._paces.setdefault(key, _Pace())
        due = self._is_due(pace, plan, tick.status)
        started = self._clock()
        try:
            tick.flagger = await self._flagger.refusal(canary)
            await self._regain(tick)
            await self._fit(tick)
            decision, snapshot = await self._run(tick, due=due)
            await self._report(tick, snapshot)
        except WeirError as error:
            return await self._failed(tick, pace, error)
        pace.failures = 0
        if decision.wait is not None:
            pace.ticked = self._clock()
        if decision.analysed:
            self._metrics.spent(plan, self._clock() - started)
        return self._next(pace, plan, shared=snapshot.target is not None and snapshot.target.shared)

    async def _regain(self, tick: Tick) -> None:
        """Keep the last run if nobody has; before the next one begins, and all that is known of it is gone."""
        run = missed_run(tick, self._rollouts) if not tick.flagger else None
        if run is not None:
            self._rollouts.add(run)
            await self._keep(tick, decode_ledger(tick.canary.metadata.annotations))

    async def _keep(self, tick: Tick, periods: Sequence[Period]) -> None:
        name = tick.plan.namespace, tick.plan.name
        await keep_books(self._client, tick, periods, self._rollouts.unkept(*name))
        self._rollouts.kept(*name)

    async def _fit(self, tick: Tick) -> None:
        """What the cluster's definition of Canaries does not keep is left out, and told once."""
        tick.lacking = await self._definition.lacking()
        tick.plan = fitting(tick.plan, tick.lacking)
        key = (tick.plan.namespace, tick.plan.name)
        if JUDGE in tick.lacking and key not in self._warned:
            self._warned.add(key)
            self._performer.emit(tick, Emit(TEXT, "Warning"))

    def _begin(self, canary: Canary, plan: Plan, raw: Object) -> Tick:
        stored = raw.get("status") or {}
        self._rollouts.recall(plan.namespace, plan.name, canary.metadata.annotations)
        return Tick(
            canary=canary,
            plan=plan,
            status=decode_status(stored),
            stored=stored,
            world=World(stage=Stage.GLANCE),
            router=router_for(
                plan.provider,
                self._client,
                servers=self._servers,
                ingress_prefix=self._settings.ingress_annotations_prefix,
            ),
            verdict=self._rollouts.last_refusal(plan.namespace, plan.name),
            resolve=known(self._changes, canary, plan),
            certain=known(self._changes, canary, plan, self._now()),
        )

    async def _run(self, tick: Tick, *, due: bool) -> tuple[Decision, Snapshot]:
        """The last decision of the tick, and the snapshot it began with."""
        stage, first, changes = Stage.GLANCE, None, self._named(tick)
        tick.world = await self._observer.observe(tick.canary, tick.plan, stage, tick.router)
        tick.plan, known = shortened(tick)
        changes = (*changes, NamedChange(known, self._now())) if known else changes
        labels = self._settings.selector_labels
        for _ in range(_ROUNDS):
            snapshot = snapshot_of(
                tick.canary,
                tick.plan,
                tick.status,
                tick.world,
                now=self._now(),
                due=due,
                refused=self._refused(tick),
                changes=changes,
                quarantined=reason_to_hold(tick.canary, tick.world),
                content_changed=await asyncio.to_thread(changes_content, tick.world, tick.status, tick.resolve),
                reworded=await asyncio.to_thread(rewording, tick.world, tick.status, labels, tick.certain),
                selector_labels=labels,
            )
            target = snapshot.target
            if target is not None and FENCE in tick.lacking:
                target = msgspec.structs.replace(target, fence="")
            snapshot = msgspec.structs.replace(snapshot, answers=tick.answers, target=target)
            first = first or snapshot
            if tick.world.revisions is not None:  # queries may name the revision that is judged
                tick.plan = msgspec.structs.replace(tick.plan, route=latest_name(tick.world.revisions.service))
            decision = step(snapshot)
            for action in decision.actions:
                await self._performer.perform(tick, action)
            if not decision.again:
                return decision, msgspec.structs.replace(snapshot, status=first.status)
            reached = stage_after(stage, decision.actions)
            if reached is not stage:
                stage = reached
                tick.world = await self._observer.observe(tick.canary, tick.plan, stage, tick.router, tick.world)
        raise AssertionError(f"a tick of {tick.plan.full_name} does not come to an end: {decision.rule}")

    async def _failed(self, tick: Tick, pace: _Pace, error: WeirError) -> Result:
        """Something could not be done: say so, and begin the tick again soon. Nothing of it is lost."""
        pace.failures += 1
        pace.ticked = None
        blocked = tick.status.blocked(error.reason, error.message, self._now())
        if blocked is not tick.status or pace.failures == 1:
            self._performer.emit(tick, Emit(error.message, "Warning"))
        patch = status_patch(tick.stored, blocked)
        if patch:
            await self._client.merge_patch(CANARIES, tick.plan.namespace, tick.plan.name, patch, subresource="status")
        return RequeueAfter(min(_FIRST_RETRY * 2 ** (pace.failures - 1), tick.plan.interval))

    def _is_due(self, pace: _Pace, plan: Plan, status: Status) -> bool:
        """Whether the interval has passed since this process looked, or, in a run, since anybody wrote the status."""
        if pace.ticked is not None and self._clock() < pace.ticked + plan.interval - _SLACK:
            return False
        if pace.failures or status.last_transition_time is None or status.phase.initializing or status.phase.resting:
            return True
        age = (self._now() - status.last_transition_time).total_seconds()
        if not 0 <= age < plan.interval - (_WHOLE_SECOND if pace.ticked is not None else 0.0):
            return True
        pace.ticked = self._clock() - age
        return False

    def _next(self, pace: _Pace, plan: Plan, *, shared: bool) -> Result:
        longest = min(plan.interval, _LOOK) if shared else plan.interval
        if pace.ticked is None:
            return RequeueAfter(longest)
        return RequeueAfter(min(max(pace.ticked + plan.interval - self._clock(), 0.0), longest))

    async def _report(self, tick: Tick, snapshot: Snapshot) -> None:
        """To whoever asks, and into the books. Whoever sees the status has to find the view."""
        routes = tick.routes or tick.world.routes
        if snapshot.stage is not Stage.ROUTED and tick.routes is None:
            known = self._rollouts.get(tick.plan.namespace, tick.plan.name)
            weight = known.weight if known is not None else tick.status.canary_weight
            routes = msgspec.structs.replace(routes, canary=weight)
        elif tick.plan.routed and not snapshot.routes_fault:
            self._metrics.weights(tick.plan, routes)
        self._metrics.status(tick.plan, tick.status.phase)
        if not snapshot.changes and tick.status.analysing:
            remembered = tick.canary.metadata.annotations.get(ANALYSING, "")
            snapshot = msgspec.structs.replace(snapshot, changes=tuple(remembered.splitlines()))
        snapshot = msgspec.structs.replace(snapshot, routes=routes)
        lacking = not snapshot.primary_matches
        held_back = await asyncio.to_thread(withheld, tick.world, tick.status, tick.resolve) if lacking else ()
        periods = ledger_after(tick, snapshot.status, self._now())
        trial = last_trial(periods)
        news = News(
            judgements=tuple(tick.judgements),
            warnings=tuple(tick.warnings),
            withheld=held_back,
            trial=trial if trial is not None and trial.revision == tick.status.last_applied_spec else None,
            rejected=rejected_because(tick.canary.metadata.annotations, tick.status.last_applied_spec),
        )
        self._rollouts.record(snapshot, tick.status, news)
        await self._keep(tick, periods)

    def _named(self, tick: Tick) -> tuple[NamedChange, ...]:
        """What changed on the target since the last run began."""
        plan = tick.plan
        known = self._rollouts.get(plan.namespace, plan.name)
        since = known.started if known is not None else None
        found = self._changes.for_target(plan.target_kind, plan.namespace, plan.target)
        fresh: dict[str, NamedChange] = {}
        for change in found:
            if since is None or change.at > since:
                fresh.setdefault(change.text, change)
        return tuple(fresh.values())[:_NAMED]

    def _refused(self, tick: Tick) -> tuple[str, str] | None:
        canary, plan = tick.canary, tick.plan
        if tick.flagger:
            return FLAGGER_RUNNING, tick.flagger
        if plan.fault is not None:
            return plan.fault
        if is_knative(canary) or plan.provider == Provider.KNATIVE:
            return refused_knative(canary, plan) or self._rival(canary)
        in_place = plan.in_place or plan.target_kind in KINDS
        unsupported = refused_in_place(canary, plan) if in_place else _unsupported(canary, plan, tick.router)
        return unsupported or self._rival(canary)

    def _rival(self, canary: Canary) -> tuple[str, str] | None:
        """Of two Canaries for one target only the older one acts."""

        def age(other: Canary) -> tuple[datetime, str]:
            return other.metadata.creation_timestamp or datetime.max.replace(tzinfo=UTC), other.name

        others = [
            other
            for other in self._canaries.by_index(TARGET_INDEX, target_key(canary))
            if other.name != canary.name and age(other) < age(canary)
        ]
        if not others:
            return None
        first = min(others, key=age)
        text = f"target {canary.target_name}.{canary.namespace} is already rolled out by canary {first.name}"
        return TARGET_TAKEN, text

    def _forget(self, key: Key) -> None:
        self._paces.pop(key, None)
        self._warned.discard(key)
        self._rollouts.forget(*key)
        plan = self._plans.pop(key, None)
        if plan is not None:
            self._metrics.forget(plan)


def _unsupported(canary: Canary, plan: Plan, router: Router | None) -> tuple[str, str] | None:
    """(reason, text) where a Canary of a workload asks for what there is not."""
    reference = canary.spec.autoscaler_ref
    if router is None:
        text = f"provider {plan.provider} is not supported: use one of {', '.join(Provider)}"
        return "ProviderNotSupported", text
    affinity = canary.spec.analysis.session_affinity
    if affinity is not None and affinity.cookie_name == affinity.primary_cookie_name:
        text = (
            "can't use the same cookie name for both primary and cookie name; please update them to be different: "
            "spec.analysis.sessionAffinity.cookieName and primaryCookieName"
        )
        return "SessionAffinityInvalid", text
    if canary.spec.service is None:
        return "ServiceMissing", f"canary {plan.full_name} has no spec.service"
    if plan.of_service:
        return refused_service(canary, plan)
    if reference is not None and (plan.target_kind == DAEMON_SETS.kind or reference.kind not in AUTOSCALERS):
        text = f"autoscalerRef kind {reference.kind} is not supported for target kind {plan.target_kind}"
        return "AutoscalerNotSupported", text
    return None
