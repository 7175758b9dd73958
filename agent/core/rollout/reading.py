"""From the Canary API object to a `Plan`."""

from __future__ import annotations

import msgspec

from agent.api.analysis import AlertSeverity, CanaryAlert, CanaryMetric, CanaryWebhook, Strategy
from agent.api.canary import DEFAULT_PROGRESS_DEADLINE, Canary
from agent.api.duration import parse_duration
from agent.core.rollout.gatereading import gates_of, is_gate
from agent.core.rollout.judgesettings import BASELINE, Baseline, InvalidAnnotationError, JudgeSettings, judge_settings
from agent.core.rollout.loads import deadline
from agent.core.rollout.plan import (
    DEFAULT_INTERVAL,
    DEFAULT_METRIC_INTERVAL,
    MIRRORING,
    SUCCESS_RATE,
    Alert,
    Bounds,
    Hook,
    MetricSpec,
    Plan,
    Provider,
)
from agent.core.rollout.status import Load
from agent.core.rollout.surge import SURGE, Surge, surge_of

_NO_MATCH = "A/B testing is not supported when using the kubernetes provider"
_NO_WEIGHTS = (
    "Progressive traffic is not supported when using the kubernetes provider",
    "Setting canaryAnalysis.iterations: 10",
)


def plan_of(canary: Canary, *, default_provider: str, minimum_interval: float) -> Plan:
    """What the Canary asks for. `minimum_interval`: seconds below which no analysis interval goes."""
    spec, analysis = canary.spec, canary.spec.analysis
    provider = spec.provider or default_provider
    affinity = analysis.session_affinity if provider in MIRRORING else None
    plan = Plan(
        name=canary.name,
        namespace=canary.namespace,
        uid=canary.metadata.uid,
        target_kind=spec.target_ref.kind,
        target=canary.target_name,
        service=canary.service_name,
        ingress=spec.ingress_ref.name if spec.ingress_ref is not None else "",
        route=spec.route_ref.name if spec.route_ref is not None else "",
        provider=provider,
        metrics_server=spec.metrics_server or "",
        suspended=spec.suspend,
        skip_analysis=spec.skip_analysis,
        revert_on_deletion=spec.revert_on_deletion,
        interval=max(_interval(analysis.interval), minimum_interval),
        threshold=analysis.effective_threshold,
        deadline=deadline(spec.progress_deadline_seconds, DEFAULT_PROGRESS_DEADLINE, _load(canary)),
        max_weight=analysis.effective_max_weight,
        step_weight=analysis.step_weight,
        step_weights=analysis.step_weights,
        step_weight_promotion=analysis.step_weight_promotion,
        iterations=canary.iterations(provider),
        matched=canary.strategy(provider) is Strategy.AB_TESTING,
        mirror=analysis.mirror and provider in MIRRORING,
        canary_cookie=(affinity and affinity.cookie_name) or "",
        primary_cookie=(affinity and affinity.primary_cookie_name) or "",
        primary_ready=analysis.primary_ready_percent,
        canary_ready=analysis.canary_ready_percent,
        autoscaled=spec.autoscaler_ref is not None,
        metrics=tuple(_metric(canary, metric) for metric in analysis.metrics),
        hooks=tuple(_hook(webhook) for webhook in analysis.webhooks if not is_gate(webhook.url)),
        gates=gates_of(analysis.webhooks),
        alerts=tuple(_alert(canary, alert) for alert in analysis.alerts),
    )
    judging, surge, fault = _annotated(canary, plan.interval)
    plan = msgspec.structs.replace(plan, judging=judging, surge=surge, warnings=_warnings(canary, plan))
    return msgspec.structs.replace(plan, fault=fault or _no_baseline(plan, affinity is not None) or _no_places(plan))


def _load(canary: Canary) -> Load | None:
    load = canary.status.load
    return Load(bytes=load.bytes, rate=load.rate) if load is not None else None


def _annotated(canary: Canary, interval: float) -> tuple[JudgeSettings, Surge | None, tuple[str, str] | None]:
    annotations = canary.metadata.annotations
    try:
        return judge_settings(annotations, interval=interval), surge_of(annotations), None
    except InvalidAnnotationError as error:
        return JudgeSettings(), None, ("AnnotationInvalid", f"canary {canary.name}.{canary.namespace}: {error}")


def _no_baseline(plan: Plan, affinity: bool) -> tuple[str, str] | None:
    """Why there can be no fresh baseline, if one is asked for."""
    if plan.judging.baseline is Baseline.PRIMARY:
        return None
    fits = plan.provider == Provider.GATEWAY_API and plan.target_kind == "Deployment"
    if fits and not (plan.iterations or plan.mirror or affinity):
        return None
    text = (
        f"canary {plan.full_name}: annotation {BASELINE} is {Baseline.FRESH.value!r}, which needs provider "
        f"{Provider.GATEWAY_API.value}, a Deployment, and weights alone: without iterations, match, mirror and "
        "sessionAffinity"
    )
    return "AnnotationInvalid", text


def _no_places(plan: Plan) -> tuple[str, str] | None:
    """Why a canary cannot take the place of pods of the primary, if it is to."""
    if plan.surge is not Surge.IN_PLACE:
        return None
    fits = plan.target_kind == "Deployment" and plan.routed and not plan.autoscaled
    alone = plan.judging.baseline is Baseline.PRIMARY
    if fits and alone and not (plan.iterations or plan.mirror or plan.skip_analysis):
        return None
    text = (
        f"canary {plan.full_name}: annotation {SURGE} is {plan.surge.value!r}, which needs a Deployment without "
        "autoscalerRef, a provider with weights, and weights alone: without iterations, match, mirror, skipAnalysis "
        f"and a fresh baseline; use {Surge.ONE_POD.value} otherwise"
    )
    return "AnnotationInvalid", text


def _warnings(canary: Canary, plan: Plan) -> tuple[str, ...]:
    analysis, provider, plain = canary.spec.analysis, plan.provider, plan.provider == Provider.KUBERNETES
    warnings: list[str] = []
    if plan.of_service and provider in {Provider.KUBERNETES, Provider.NGINX}:
        warnings.append(
            f"Clients of Service {plan.full_target} get each change at once when using the {provider} provider"
        )
    if plain and analysis.match:
        warnings.append(_NO_MATCH)
    if plain and analysis.iterations < 1:
        warnings += _NO_WEIGHTS
    if provider not in MIRRORING and not plain:
        if analysis.session_affinity is not None:
            warnings.append(f"Session affinity is not supported when using the {provider} provider")
        if analysis.mirror:
            warnings.append(f"Traffic mirroring is not supported when using the {provider} provider")
    return tuple(warnings)


def _interval(text: str) -> float:
    try:
        return parse_duration(text)
    except ValueError:
        return DEFAULT_INTERVAL


def _metric(canary: Canary, metric: CanaryMetric) -> MetricSpec:
    template = None
    if metric.template_ref is not None:
        template = (metric.template_ref.namespace or canary.namespace, metric.template_ref.name)
    return MetricSpec(
        name=metric.name,
        bounds=_bounds(metric),
        explicit=metric.threshold_range is not None or bool(metric.threshold),
        interval=metric.interval or DEFAULT_METRIC_INTERVAL,
        query=metric.query or "",
        template=template,
        variables=metric.template_variables or {},
    )


def _bounds(metric: CanaryMetric) -> Bounds:
    """thresholdRange, or the older threshold: a least value for the success rate, a greatest one for all others."""
    if metric.threshold_range is not None:
        return Bounds(metric.threshold_range.min, metric.threshold_range.max)
    if metric.name == SUCCESS_RATE and metric.template_ref is None:
        return Bounds(minimum=metric.threshold)
    return Bounds(maximum=metric.threshold)


def _hook(webhook: CanaryWebhook) -> Hook:
    return Hook(
        type=webhook.hook,
        name=webhook.name,
        url=webhook.url,
        timeout=_interval(webhook.timeout) if webhook.timeout and len(webhook.timeout) > 1 else 10.0,
        retries=max(webhook.retries, 0),
        metadata=webhook.metadata or {},
        mute_alert=webhook.mute_alert,
        verify_tls=not webhook.disable_tls,
    )


def _alert(canary: Canary, alert: CanaryAlert) -> Alert:
    severity = AlertSeverity.INFO if alert.severity is AlertSeverity.UNSET else alert.severity
    reference = alert.provider_ref
    return Alert(
        name=alert.name, severity=severity.value, provider=(reference.namespace or canary.namespace, reference.name)
    )
