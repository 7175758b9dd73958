"""Chooses by the type of a provider who is asked."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping

from agent.adapters.identity.aws import AWS
from agent.adapters.kube.client import KubeClient
from agent.adapters.kube.serviceaccounts import ClusterServiceAccounts
from agent.adapters.metricservers.cloudwatch import CloudWatch
from agent.adapters.metricservers.cluster import ExternalMetrics, Keptn
from agent.adapters.metricservers.source import MetricSource, ask, refusal
from agent.adapters.metricservers.stackdriver import Stackdriver
from agent.core.rollout.exchanges import Dialect, UnusableError, dialect
from agent.core.rollout.judgement import Sample, Source
from agent.core.rollout.signalflow import SIGNALFLOW


class MetricServers:
    """Implements MetricSource for all provider types. `prometheus` answers for its own type."""

    def __init__(self, client: KubeClient, prometheus: MetricSource, *, now: Callable[[], float] = time.time) -> None:
        aws = AWS(ClusterServiceAccounts(client), os.environ)
        self._others: Mapping[str, MetricSource] = {
            "prometheus": prometheus,
            "cloudwatch": CloudWatch(aws, now),
            "stackdriver": Stackdriver(os.environ, now),
            "keptn": Keptn(client),
            "externalmetrics": ExternalMetrics(client),
        }
        self._now = now

    async def query(self, source: Source, query: str, credentials: Mapping[str, str] | None = None) -> Sample:
        """See MetricSource."""
        return await self._of(source).query(source, query, credentials)

    async def online(self, source: Source, credentials: Mapping[str, str] | None = None) -> str:
        """See MetricSource."""
        return await self._of(source).online(source, credentials)

    def _of(self, source: Source) -> MetricSource:
        spoken = SIGNALFLOW if source.kind == "splunk" else dialect(source.kind)
        return _Spoken(spoken, self._now) if spoken is not None else self._others.get(source.kind, _UNKNOWN)


class _Spoken:
    """A system that is spoken to over plain HTTP."""

    def __init__(self, spoken: Dialect, now: Callable[[], float]) -> None:
        self._spoken = spoken
        self._now = now

    async def query(self, source: Source, query: str, credentials: Mapping[str, str] | None = None) -> Sample:
        known = credentials or {}
        try:
            status, body = await ask(source, self._spoken.query(source, query, known, self._now()), known)
            if status != 200:
                raise refusal(status, body, known)
            return Sample(self._spoken.value(body))
        except UnusableError as error:
            return Sample(error=str(error))

    async def online(self, source: Source, credentials: Mapping[str, str] | None = None) -> str:
        known = credentials or {}
        try:
            status, body = await ask(source, self._spoken.probe(source, known, self._now()), known)
        except UnusableError as error:
            return str(error)
        return "" if status == 200 else str(refusal(status, body, known))


class _Unknown:
    """A system that nobody here can talk to."""

    async def query(
        self,
        source: Source,
        query: str,  # noqa: ARG002 - the protocol's parameter
        credentials: Mapping[str, str] | None = None,
    ) -> Sample:
        return Sample(error=await self.online(source, credentials))

    async def online(self, source: Source, credentials: Mapping[str, str] | None = None) -> str:  # noqa: ARG002
        return f"provider {source.kind} is not supported"


_UNKNOWN = _Unknown()
