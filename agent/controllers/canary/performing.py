"""Doing what the machine asks for, one action at a time."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TypeAlias

import msgspec

from agent.adapters.kube.client import KubeClient
from agent.adapters.traffic import KnativeRouter, KServeRouter
from agent.adapters.webhooks import Webhooks
from agent.api.analysis import HookType
from agent.api.canary import FINALIZER, Canary
from agent.controllers.canary.alerts import AlertSink
from agent.controllers.canary.analysing import Analyst
from agent.controllers.canary.baselines import Baselines
from agent.controllers.canary.gatekeeping import Gatekeeper
from agent.controllers.canary.kinds import CANARIES
from agent.controllers.canary.metrics import FlaggerMetrics
from agent.controllers.canary.obstacles import Obstacles
from agent.controllers.canary.quarantining import quarantine, release
from agent.controllers.canary.servicetargets import ServiceTargets
from agent.controllers.canary.settings import CanarySettings
from agent.controllers.canary.tick import Tick
from agent.controllers.canary.workloads import Workloads
from agent.core.rollout import actions as act
from agent.core.rollout import manualgate
from agent.core.rollout.affinity import cookies_of
from agent.core.rollout.commands import HANDLED, OUTCOME
from agent.core.rollout.hooks import announcements, event_payload, payload
from agent.core.rollout.judgement import Judgement
from agent.core.rollout.knative import latest_name
from agent.core.rollout.ownership import ANALYSING, FIELD_MANAGER
from agent.core.rollout.plan import Hook
from agent.core.rollout.snapshot import HookResult
from agent.core.rollout.status import decode_status, status_patch
from agent.core.rollout.view import Told
from agent.core.rollout.weighing import judgements_of
from agent.telemetry.events import EventRecorder, reference_to
from agent.telemetry.logging import named, object_context

COMPONENT = "flagger"
"""Who Flagger's users expect the events to come from."""
REASON = "Synced"
_FRESH_INTERVALS = 3
"""For how many of the shortest intervals a lack of room is believed; half a minute, unless that was set."""

OnTheWay: TypeAlias = act.SeekRoom | act.AskGates | act.ClearGates | act.KeepResults
OnCanary: TypeAlias = act.WriteStatus | act.AddFinalizer | act.RemoveFinalizer | act.Remember | act.Acknowledge


class Performer:
    """`perform` may raise ApiError and ConfigurationError; the tick is then over and begins again later."""

    def __init__(
        self,
        *,
        client: KubeClient,
        settings: CanarySettings,
        workloads: Workloads,
        analyst: Analyst,
        webhooks: Webhooks,
        events: EventRecorder,
        metrics: FlaggerMetrics,
        alerts: AlertSink,
        now: Callable[[], datetime],
    ) -> None:
        self._client = client
        self._settings = settings
        self._workloads = workloads
        self._services = ServiceTargets(client)
        self._analyst = analyst
        self._webhooks = webhooks
        self._events = events
        self._metrics = metrics
        self._alerts = alerts
        self._baselines = Baselines(client, workloads)
        self._gates = Gatekeeper(client, webhooks)
        self._obstacles = Obstacles(client, _FRESH_INTERVALS * settings.minimum_interval)
        self._now = now

    async def perform(self, tick: Tick, action: act.Action) -> None:
        """Do one action and keep its result in the tick."""
        match action:
            case act.Quarantine(verdict=verdict):
                await quarantine(self._client, tick, tick.verdict or verdict, self._now())
            case act.WriteStatus() | act.AddFinalizer() | act.RemoveFinalizer() | act.Remember() | act.Acknowledge():
                await self._on_canary(tick, action)
            case act.Emit() | act.SendAlert():
                self._tell(tick, action)
            case act.AskHooks():
                await self._ask(tick, action)
            case act.QueryMetrics() | act.CheckProviders():
                await self._measure(tick, action)
            case act.WeighEvidence():
                await self._weigh(tick, action)
            case act.EnsureBaseline() | act.DropBaseline():
                await self._baselines.perform(tick, action)
            case act.SetRoutes() | act.EnsureRoutes() | act.RestoreApex():
                await self._on_routes(tick, action)
            case act.Count(success=success, skipped=skipped):
                self._metrics.finished(tick.plan, success=success, skipped=skipped)
            case act.SeekRoom() | act.AskGates() | act.ClearGates() | act.KeepResults():
                await self._at_gates(tick, action)
            case act.Look():
                return
            case _:
                await self._on_workloads(tick, action)

    def _tell(self, tick: Tick, action: act.Emit | act.SendAlert) -> None:
        if isinstance(action, act.SendAlert):
            self._alerts.send(tick.plan, action)
        else:
            self.emit(tick, action)

    def emit(self, tick: Tick, event: act.Emit) -> None:
        """An event, in the log, on the Canary and to whoever subscribed by hooks."""
        plan = tick.plan
        if event.type == "Warning":
            tick.warnings.append(Told(self._now(), event.text))
        log = named("canary").bind(**object_context("Canary", "flagger.app", plan.namespace, plan.name))
        log.info(event.text, type=event.type)
        self._events.event(
            reference_to(tick.canary),
            event.type,
            REASON,
            event.text,
            component=COMPONENT,
            annotations=event.annotations,
        )
        hooks = plan.hooks_of(HookType.EVENT)
        if not hooks and self._settings.event_webhook:
            hooks = (Hook(type=HookType.EVENT, name="events", url=self._settings.event_webhook),)
        for hook in hooks:
            self._webhooks.notify(hook, event_payload(plan, tick.status, hook, event, self._now()))

    async def _on_workloads(self, tick: Tick, action: act.Action) -> None:
        if isinstance(tick.router, KServeRouter):
            await _in_place(tick.canary, tick.router, action)
            return
        canary, plan, world, workloads = tick.canary, tick.plan, tick.world, self._workloads
        if isinstance(tick.router, KnativeRouter):
            await _on_revisions(tick, tick.router, action)
            return
        if world.copied_service is not None:
            await self._services.perform(canary, world.copied_service, action)
            return
        match action:
            case act.EnsureServices():
                await workloads.ensure_services(canary, world)
            case act.EnsurePrimary(identity=identity):
                await workloads.ensure_primary(canary, world, identity)
            case act.EnsureScaler(promote=promote):
                await workloads.ensure_scaler(canary, promote=promote)
            case act.EnsureApex():
                await workloads.ensure_apex(canary, world)
            case act.Scale(replicas=replicas):
                await workloads.scale_target(canary, replicas)
            case act.ScalePrimary(replicas=replicas):
                await workloads.scale_primary(plan, replicas)
            case act.Exchange():
                await workloads.exchange(canary, plan, world, action)
            case act.Promote(identity=identity):
                await workloads.promote(canary, plan, world, identity)
                await release(self._client, tick)
            case _:
                raise AssertionError(f"unknown action {action!r}")

    async def _on_routes(self, tick: Tick, action: act.SetRoutes | act.EnsureRoutes | act.RestoreApex) -> None:
        router = tick.router
        assert router is not None
        match action:
            case act.SetRoutes(weights=weights):
                await router.set_routes(tick.canary, weights, cookies_of(tick.plan, tick.status))
                tick.routes = weights
                tick.world = dataclasses.replace(tick.world, routes=weights)
                self._metrics.weights(tick.plan, weights)
            case act.EnsureRoutes():
                await router.reconcile(tick.canary, cookies_of(tick.plan, tick.status))
            case act.RestoreApex():
                await router.finalize(tick.canary)
                if tick.world.selector is not None:
                    await self._workloads.release_apex(tick.canary, tick.world)

    async def _on_canary(self, tick: Tick, action: OnCanary) -> None:
        canary = tick.canary
        match action:
            case act.WriteStatus(status=status):
                patch = status_patch(tick.stored, status)
                if patch:
                    written = await self._client.merge_patch(
                        CANARIES,
                        canary.namespace,
                        canary.name,
                        patch,
                        subresource="status",
                        field_manager=FIELD_MANAGER,
                    )
                    tick.stored = written.get("status") or {}
                tick.status = decode_status(tick.stored)
                self._metrics.status(tick.plan, tick.status.phase)
            case act.AddFinalizer():
                await self._set_finalizers(tick, (*canary.metadata.finalizers, FINALIZER))
            case act.RemoveFinalizer():
                left = tuple(name for name in canary.metadata.finalizers if name != FINALIZER)
                await self._set_finalizers(tick, left)
            case act.Acknowledge(command=command, outcome=outcome, text=text):
                annotations = {HANDLED: command, OUTCOME: f"{outcome}: {text}"}
                await self._patch(canary, {"metadata": {"annotations": annotations}})
            case act.Remember(changes=changes):
                text = "\n".join(changes)
                if canary.metadata.annotations.get(ANALYSING, "") != text:
                    patch = {"metadata": {"annotations": {ANALYSING: text or None}}}
                    await self._patch(canary, patch)

    async def _set_finalizers(self, tick: Tick, finalizers: tuple[str, ...]) -> None:
        canary = tick.canary
        await self._patch(canary, {"metadata": {"finalizers": list(finalizers)}})
        metadata = msgspec.structs.replace(canary.metadata, finalizers=finalizers)
        tick.canary = msgspec.structs.replace(canary, metadata=metadata)

    async def _patch(self, canary: Canary, patch: dict[str, object]) -> None:
        await self._client.merge_patch(CANARIES, canary.namespace, canary.name, patch, field_manager=FIELD_MANAGER)

    async def _ask(self, tick: Tick, action: act.AskHooks) -> None:
        results: list[HookResult] = []
        for hook in action.hooks:
            refusal = await self._answer(tick, action, hook)
            results.append(
                HookResult(
                    kind=action.kind,
                    name=hook.name,
                    passed=not refusal,
                    error=refusal,
                    mute_alert=hook.mute_alert,
                )
            )
            if action.stop is not bool(refusal):
                break
        for event in announcements(action.kind, results):
            self.emit(tick, event)
        tick.answers = msgspec.structs.replace(tick.answers, hooks={**tick.answers.hooks, action.kind: tuple(results)})

    async def _answer(self, tick: Tick, action: act.AskHooks, hook: Hook) -> str:
        """Empty for a yes, else why not."""
        if manualgate.is_manual(hook):
            return manualgate.refusal(hook, tick.canary.metadata.annotations)
        return await self._webhooks.call(hook, payload(tick.plan, tick.status, action.phase, hook.metadata))

    async def _at_gates(self, tick: Tick, action: OnTheWay) -> None:
        match action:
            case act.SeekRoom():
                obstacles = await self._obstacles.to_run(tick.canary, tick.plan, tick.world)
                tick.answers = msgspec.structs.replace(tick.answers, obstacles=obstacles)
            case act.AskGates():
                found = await self._gates.ask(tick, action)
                tick.answers = msgspec.structs.replace(tick.answers, gates=found)
            case act.ClearGates():
                await self._gates.clear(tick, action)
            case act.KeepResults():
                await self._gates.keep(tick, action)

    async def _measure(self, tick: Tick, action: act.QueryMetrics | act.CheckProviders) -> None:
        if isinstance(action, act.CheckProviders):
            fault = await self._analyst.unavailable(tick.plan, action.pods)
            text = f"Error checking metric providers: {fault}"
            self.emit(
                tick, act.Emit(text, "Warning") if fault else act.Emit("all the metrics providers are available!")
            )
            return
        plan, pods = tick.plan, action.pods
        judgements = await self._analyst.judge(plan, pods, weight=action.weight, iteration=action.iteration)
        self._keep(tick, judgements)
        tick.answers = msgspec.structs.replace(tick.answers, judgements=judgements)

    async def _weigh(self, tick: Tick, action: act.WeighEvidence) -> None:
        weighed = await self._analyst.weigh(tick.plan, action.state, action.pods, weight=action.weight)
        self._keep(tick, judgements_of(weighed, self._now(), weight=action.weight, iteration=action.iteration))
        tick.answers = msgspec.structs.replace(tick.answers, weighed=weighed)

    def _keep(self, tick: Tick, judgements: Sequence[Judgement]) -> None:
        for judgement in judgements:
            if judgement.value is not None:
                self._metrics.measured(tick.plan, judgement.metric, judgement.value)
        tick.judgements += judgements


async def _in_place(canary: Canary, router: KServeRouter, action: act.Action) -> None:
    """The target serves by itself: there are no Services, no copy and no replicas to look after."""
    match action:
        case act.EnsurePrimary():
            await router.take_over(canary)
        case act.Scale(replicas=0):
            await router.take_down(canary)
        case act.Scale():
            await router.bring_up(canary)
        case act.Promote(identity=identity):
            await router.promote(canary, identity)
        case _:
            return


async def _on_revisions(tick: Tick, router: KnativeRouter, action: act.Action) -> None:
    """A Knative Service has revisions: there are no Services, no copies and no replicas to look after."""
    assert tick.world.revisions is not None
    latest = latest_name(tick.world.revisions.service)
    match action:
        case act.EnsurePrimary():
            await router.take_over(tick.canary, latest)
        case act.Promote():
            await router.promote(tick.canary, latest)
        case _:
            return
