"""From the metrics of an analysis to queries: the two built-in ones, inline queries and MetricTemplates."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from agent.api.duration import parse_duration
from agent.api.metrictemplate import PROVIDER_TYPES, MetricTemplate
from agent.core.judge.queries import Pods
from agent.core.rollout.builtinqueries import builtin_queries
from agent.core.rollout.judgement import Check, Source
from agent.core.rollout.plan import BUILT_IN, MetricSpec, Plan
from agent.core.rollout.querytemplate import TemplateError, render

PROMETHEUS = "prometheus"


class Found(msgspec.Struct, frozen=True):
    """A MetricTemplate that was looked up: there, or the reason why not."""

    template: MetricTemplate | None = None
    error: str = ""


Templates = Mapping[tuple[str, str], Found]
"""By (namespace, name)."""


def wanted_templates(plan: Plan) -> tuple[tuple[str, str], ...]:
    """The MetricTemplates of the plan, each once."""
    return tuple(dict.fromkeys(metric.template for metric in plan.metrics if metric.template is not None))


def checks_of(plan: Plan, templates: Templates, pods: Pods, *, metrics_server: str) -> tuple[Check, ...]:
    """What to ask, in Flagger's order: built-in metrics and inline queries first, then templates.

    `metrics_server`: address of the Prometheus for all that have no template, unless the plan names another.
    """
    source = Source(address=plan.metrics_server or metrics_server)
    direct = (check for metric in plan.metrics for check in _direct(plan, pods, metric, source))
    custom = (_custom(plan, pods, metric, templates) for metric in plan.metrics if _is_custom(metric))
    return (*direct, *custom)


def _direct(plan: Plan, pods: Pods, metric: MetricSpec, source: Source) -> tuple[Check, ...]:
    built_in = builtin_queries(plan.metrics_provider)
    queries = [built_in[metric.name]] if metric.name in BUILT_IN and metric.template is None else []
    if metric.query:
        queries.append(metric.query)
    return tuple(_check(plan, pods, metric, query, source) for query in queries)


def _check(plan: Plan, pods: Pods, metric: MetricSpec, query: str, source: Source) -> Check:
    built_in = query in builtin_queries(plan.metrics_provider).values()
    name = metric.name if metric.name not in BUILT_IN or built_in else f"{metric.name} (query)"
    try:
        rendered = render(query, _fields(plan, pods, metric), metric.variables)
    except TemplateError as error:
        return Check(metric=name, bounds=metric.bounds, error=f"Prometheus query failed for {name}: {error}")
    return Check(metric=name, bounds=metric.bounds, query=_one_line(rendered), source=source)


def _is_custom(metric: MetricSpec) -> bool:
    return metric.template is not None or (metric.name not in BUILT_IN and not metric.query)


def _custom(plan: Plan, pods: Pods, metric: MetricSpec, templates: Templates) -> Check:
    if metric.template is None:
        text = "Metric query failed for no usable metrics template and query were configured"
        return Check(metric=metric.name, bounds=metric.bounds, template=True, error=text)
    namespace, name = metric.template
    found = templates.get(metric.template, Found(error="not found"))
    where = f"Metric template {name}.{namespace}"
    if found.template is None:
        return Check(metric=metric.name, bounds=metric.bounds, template=True, error=f"{where} error: {found.error}")
    provider = found.template.spec.provider
    if provider.type not in PROVIDER_TYPES:
        text = (
            f"{where} provider {provider.type} error: this provider is not supported, use {', '.join(PROVIDER_TYPES)}"
        )
        return Check(metric=metric.name, bounds=metric.bounds, template=True, error=text)
    if not provider.address and provider.type == PROMETHEUS:
        text = f"{where} provider {provider.type} error: {provider.type} address  is not a valid URL"
        return Check(metric=metric.name, bounds=metric.bounds, template=True, error=text)
    try:
        query = render(found.template.spec.query, _fields(plan, pods, metric), metric.variables)
    except TemplateError as error:
        text = f"{where} query render error: {error}"
        return Check(metric=metric.name, bounds=metric.bounds, template=True, error=text)
    try:
        interval = parse_duration(metric.interval)
    except ValueError as error:
        text = f"{where} provider {provider.type} error: error parsing metric interval: {error}"
        return Check(metric=metric.name, bounds=metric.bounds, template=True, error=text)
    source = Source(
        kind=provider.type,
        address=provider.address or "",
        headers=tuple((key, value) for key, values in (provider.headers or {}).items() for value in values),
        secret=(namespace, provider.secret_ref.name) if provider.secret_ref is not None else None,
        verify_tls=not provider.insecure_skip_verify,
        region=provider.region or "",
        interval=interval,
    )
    asked = _one_line(query) if provider.type == PROMETHEUS else query.strip()
    origin = f"{name}.{namespace}"
    return Check(metric=metric.name, bounds=metric.bounds, query=asked, source=source, template=True, origin=origin)


def _fields(plan: Plan, pods: Pods, metric: MetricSpec) -> dict[str, str]:
    """What a query can name. Without an Ingress or route of its own the target's name stands for both; the pods of
    both sides are regular expressions, for targets whose pods have other names in each run."""
    return {
        "name": plan.name,
        "namespace": plan.namespace,
        "target": plan.target,
        "service": plan.service,
        "ingress": plan.ingress or plan.target,
        "route": plan.route or plan.target,
        "interval": metric.interval,
        "canaryPods": pods.canary.pattern,
        "primaryPods": pods.primary.pattern,
    }


def _one_line(query: str) -> str:
    return " ".join(query.split())
