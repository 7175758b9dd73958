"""Metrics that the cluster itself serves: Keptn's objects, and the external metrics API."""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

from agent.adapters.kube.client import KubeClient
from agent.adapters.kube.errors import ApiError
from agent.adapters.kube.resource import Object, Resource
from agent.adapters.metricservers.source import ask, refusal
from agent.core.quantity import quantity
from agent.core.rollout.exchanges import Ask, UnusableError, number, parsed, within
from agent.core.rollout.judgement import Sample, Source

_METRICS = Resource("metrics.keptn.sh", "v1beta1", "keptnmetrics", "KeptnMetric", namespaced=True)
_ANALYSES = Resource("metrics.keptn.sh", "v1beta1", "analyses", "Analysis", namespaced=True)
_EXTERNAL = "/apis/external.metrics.k8s.io/v1beta1"
_PATIENCE = 10.0
"""Seconds in which Keptn has to finish an analysis."""
_FORMAT = "<keptnmetric|analysis>/<namespace>/<resourceName>/<duration>/<arguments>"


class Keptn:
    """A KeptnMetric's value, or an Analysis made for the question: 1 if it passes, 0 if not."""

    def __init__(self, client: KubeClient) -> None:
        self._client = client

    async def query(
        self,
        source: Source,  # noqa: ARG002 - protocol
        query: str,
        credentials: Mapping[str, str] | None = None,  # noqa: ARG002 - protocol
    ) -> Sample:
        """Asked for as `<keptnmetric|analysis>/<namespace>/<name>[/<duration>[/<key>=<value>;…]]`."""
        parts = query.strip().lower().split("/")
        if len(parts) < 3:
            return Sample(error=f"unexpected query format. query must be in the format {_FORMAT}")
        try:
            if parts[0] in {"keptnmetric", "keptnmetrics"}:
                return Sample(await self._metric(parts[1], parts[2]))
            if parts[0] in {"analysis", "analyses"}:
                return Sample(await self._analysis(parts))
        except UnusableError as error:
            return Sample(error=str(error))
        return Sample(error="unexpected resource kind provided in the query: use keptnmetric or analysis")

    async def online(self, source: Source, credentials: Mapping[str, str] | None = None) -> str:  # noqa: ARG002
        """The cluster is there, or nothing would be asked."""
        return ""

    async def _metric(self, namespace: str, name: str) -> float | None:
        try:
            found = await self._client.get(_METRICS, namespace, name)
        except ApiError as error:
            raise UnusableError(f"could not retrieve KeptnMetric {namespace}/{name}: {error.message}") from None
        value = number(within(found, "status", "value") or None)
        if value is None:
            raise UnusableError(f"could not retrieve KeptnMetric - no value found in resource {namespace}/{name}")
        return value

    async def _analysis(self, parts: list[str]) -> float:
        namespace, name = parts[1], parts[2]
        where = f"{namespace}/{name}"
        spec: dict[str, Any] = {
            "analysisDefinition": {"name": name},
            "timeframe": {"recent": parts[3] if len(parts) > 3 and parts[3] else "1m"},
        }
        if len(parts) > 4:
            spec["args"] = dict(pair.split("=", 1) for pair in parts[4].split(";") if "=" in pair)
        body = {
            "apiVersion": _ANALYSES.api_version,
            "kind": _ANALYSES.kind,
            "metadata": {"name": f"{name}-{uuid.uuid4().hex[:6]}", "namespace": namespace},
            "spec": spec,
        }
        try:
            made = await self._client.create(_ANALYSES, namespace, body)
        except ApiError as error:
            raise UnusableError(f"could not create Keptn Analysis {where}: {error.message}") from None
        try:
            return await self._finished(made, where)
        finally:
            with contextlib.suppress(ApiError):  # the answer is there, or why there is none
                await self._client.delete(_ANALYSES, namespace, made["metadata"]["name"])

    async def _finished(self, made: Object, where: str) -> float:
        metadata = made["metadata"]
        end = time.monotonic() + _PATIENCE
        while time.monotonic() < end:
            try:
                found = await self._client.get(_ANALYSES, metadata["namespace"], metadata["name"])
            except ApiError as error:
                text = f"could not check status of created Keptn Analysis {where}: {error.message}"
                raise UnusableError(text) from None
            if within(found, "status", "state") == "Completed":
                return 1.0 if within(found, "status", "pass") else 0.0
            await asyncio.sleep(1)
        raise UnusableError(f"encountered timeout while waiting for Keptn Analysis {where} to be finished")


class ExternalMetrics:
    """The external metrics API of this cluster, or of another address with a token."""

    def __init__(self, client: KubeClient) -> None:
        self._client = client

    async def query(self, source: Source, query: str, credentials: Mapping[str, str] | None = None) -> Sample:
        """The first value of `[<namespace>/]<metric>[?labelSelector=<selector>]`."""
        try:
            path, params = _external(query.strip())
            body = await self._get(source, path, params, credentials or {})
            text = within(parsed(body), "items", 0, "value")
            return Sample(None if text is None else quantity(str(text)))
        except (UnusableError, ValueError) as error:
            return Sample(error=f"error querying external metrics API: {error}")

    async def online(self, source: Source, credentials: Mapping[str, str] | None = None) -> str:
        """Whether a metric that need not exist is answered for."""
        try:
            await self._get(source, f"{_EXTERNAL}/namespaces/kube-system/dummy-metric", (), credentials or {})
        except UnusableError as error:
            return f"external metrics service unavailable: {error}"
        return ""

    async def _get(
        self, source: Source, path: str, params: tuple[tuple[str, str], ...], credentials: Mapping[str, str]
    ) -> bytes:
        if source.address:
            token = credentials.get("token", "")
            headers = (("Authorization", f"Bearer {token}"),) if token else ()
            url = f"{source.address.rstrip('/')}{path}"
            status, body = await ask(source, Ask(url=url, params=params, headers=headers), credentials)
            if status != 200:
                raise refusal(status, body, credentials)
            return body
        try:
            return await self._client.raw("GET", path, params=params, resource="externalmetrics")
        except ApiError as error:
            raise UnusableError(error.message) from None


def _external(query: str) -> tuple[str, tuple[tuple[str, str], ...]]:
    parts = urlsplit(query)
    names = parts.path.lstrip("/").split("/")
    if len(names) > 2 or not names[-1]:
        expected = "<namespace>/<metricName>?labelSelector=<urlencoded label selectors>"
        raise UnusableError(f"malformed query string, expected {expected}, got {query}")
    namespace = names[0] if len(names) == 2 and names[0] else "default"
    selector = parse_qs(parts.query).get("labelSelector", [""])[0]
    path = f"{_EXTERNAL}/namespaces/{quote(namespace, safe='')}/{quote(names[-1], safe='')}"
    return path, (("labelSelector", selector),) if selector else ()
