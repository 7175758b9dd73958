"""Asking the metrics servers: templates and credentials looked up, one query after the other, judged by the core."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime

import msgspec

from agent.adapters.kube.client import KubeClient
from agent.adapters.kube.errors import ApiError
from agent.adapters.metricservers import MetricServers
from agent.adapters.prometheus import Prometheus
from agent.api.metrictemplate import MetricTemplate
from agent.controllers.canary.credentials import MissingCredentialsError, credentials_of
from agent.controllers.canary.kinds import METRIC_TEMPLATES
from agent.controllers.canary.settings import CanarySettings
from agent.core.judge.packs import HTTP, PACKS
from agent.core.judge.queries import Pods
from agent.core.rollout.evidence import (
    Answer,
    Wanted,
    Window,
    evidence_for,
    is_counted,
    period_of,
    queries_of,
    timed_queries,
    wanted,
)
from agent.core.rollout.judgement import Check, Judgement, Sample, Source, Verdict, judge
from agent.core.rollout.judgestate import JudgeState
from agent.core.rollout.metrics import Found, checks_of, wanted_templates
from agent.core.rollout.plan import Plan
from agent.core.rollout.settling import cold_seconds, is_settled
from agent.core.rollout.weighing import Weighed, weigh


class Analyst:
    """Reads MetricTemplates when they are needed, so that one that is mended counts at the next check."""

    def __init__(
        self, client: KubeClient, prometheus: Prometheus, settings: CanarySettings, now: Callable[[], datetime]
    ) -> None:
        self._client = client
        self._prometheus = prometheus
        self._servers = MetricServers(client, prometheus)
        self._settings = settings
        self._now = now

    async def judge(self, plan: Plan, pods: Pods, *, weight: int, iteration: int) -> tuple[Judgement, ...]:
        """The judgements up to the first that is not a pass."""
        judgements: list[Judgement] = []
        for check in await self._checks(plan, pods):
            sample = Sample() if check.error else await self._sample(check)
            judgement = judge(plan, check, sample, self._now(), weight=weight, iteration=iteration)
            judgements.append(judgement)
            if judgement.verdict is not Verdict.PASS:
                break
        return tuple(judgements)

    async def weigh(self, plan: Plan, state: JudgeState, pods: Pods, *, weight: int) -> Weighed:
        """The verdict over all that happened since the step's warm-up. Raises nothing for what a server does."""
        now = self._now()
        items = wanted(plan, PACKS.get(state.pack, HTTP))
        since = state.since or now
        seconds = (now - since).total_seconds()
        window = Window(pods=pods, seconds=seconds, period=period_of(seconds))
        queries = dict.fromkeys(query for item in items for query in queries_of(item, pods, seconds))
        source = Source(address=plan.metrics_server or self._settings.metrics_server)
        found, timed = await asyncio.gather(
            asyncio.gather(*(self._prometheus.series(source, query) for query in queries)),
            self._timed(source, items, window, since, now),
        )
        answers = dict(zip(queries, found, strict=True))
        settings = plan.judging
        window = msgspec.structs.replace(window, timed=timed)
        window = msgspec.structs.replace(window, settled=is_settled(items, window, state, settings))
        evidence = evidence_for(items, answers, window, state=state, settings=settings, weight=weight)
        numbers = tuple(metric for metric in plan.metrics if not is_counted(plan, metric))
        checks = [
            judge(plan, check, Sample() if check.error else await self._sample(check), now)
            for check in await self._checks(msgspec.structs.replace(plan, metrics=numbers), pods)
        ]
        return weigh(evidence, checks, state, plan, now, cold=cold_seconds(items, window, state, settings))

    async def _timed(
        self, source: Source, items: Sequence[Wanted], window: Window, since: datetime, now: datetime
    ) -> dict[str, Answer]:
        """What the counts of each period are; a server that cannot tell leaves them out."""
        queries = timed_queries(items, window)
        span = {"start": since.timestamp(), "end": now.timestamp(), "step": window.period}
        found = await asyncio.gather(*(self._prometheus.periods(source, query, **span) for query in queries))
        return dict(zip(queries, found, strict=True))

    async def unavailable(self, plan: Plan, pods: Pods) -> str:
        """Why the metrics of a plan could not be judged now; empty if its providers answer."""
        for check in await self._checks(plan, pods):
            if check.error:
                return _lower(check.error)
            try:
                credentials = await self._credentials(check.source)
            except MissingCredentialsError as error:
                return f"metric template {check.origin} {error}"
            fault = await self._servers.online(check.source, credentials)
            if fault:
                where = f" in metric template {check.origin}" if check.template else ""
                return f"{check.source.kind}{where} not avaiable: {fault}"
        return ""

    async def _checks(self, plan: Plan, pods: Pods) -> tuple[Check, ...]:
        templates = {key: await self._template(plan, *key) for key in wanted_templates(plan)}
        return checks_of(plan, templates, pods, metrics_server=self._settings.metrics_server)

    async def _template(self, plan: Plan, namespace: str, name: str) -> Found:
        if self._settings.no_cross_namespace_refs and namespace != plan.namespace:
            return Found(error="references to other namespaces are not allowed")
        try:
            found = await self._client.find(METRIC_TEMPLATES, namespace, name)
            if found is None:
                return Found(error=f'metrictemplates.flagger.app "{name}" not found')
            return Found(MetricTemplate.from_object(found))
        except ApiError as error:
            return Found(error=error.message)
        except msgspec.ValidationError as error:
            return Found(error=str(error))

    async def _sample(self, check: Check) -> Sample:
        try:
            credentials = await self._credentials(check.source)
        except MissingCredentialsError as error:
            return Sample(error=str(error))
        return await self._servers.query(check.source, check.query, credentials)

    async def _credentials(self, source: Source) -> dict[str, str] | None:
        if source.secret is None:
            return None
        return await credentials_of(self._client, *source.secret)


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]
