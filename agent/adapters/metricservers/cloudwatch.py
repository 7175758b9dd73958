"""AWS CloudWatch: GetMetricData in AWS' JSON protocol, signed with the agent's own identity, as with Flagger."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping

import msgspec

from agent.adapters.identity.aws import AWS
from agent.adapters.identity.errors import IdentityError
from agent.adapters.identity.sigv4 import Signer
from agent.adapters.metricservers.source import ask, refusal
from agent.core.rollout.exchanges import Ask, UnusableError, address, cloudwatch_input, cloudwatch_value
from agent.core.rollout.judgement import Sample, Source

_TARGET = "GraniteServiceVersion20100801.GetMetricData"


class CloudWatch:
    """See the module. The address stands in for the region's own endpoint."""

    def __init__(self, aws: AWS, now: Callable[[], float]) -> None:
        self._aws = aws
        self._now = now

    async def query(self, source: Source, query: str, credentials: Mapping[str, str] | None = None) -> Sample:
        """The first value of the first result."""
        try:
            body = msgspec.json.encode(cloudwatch_input(source, query, self._now()))
            status, answer = await self._send(source, body, credentials or {})
            if status != 200:
                raise refusal(status, answer, credentials or {})
            return Sample(cloudwatch_value(answer))
        except UnusableError as error:
            return Sample(error=f"error requesting cloudwatch: {error}")

    async def online(self, source: Source, credentials: Mapping[str, str] | None = None) -> str:
        """An empty question is refused as such (400) by a service that would answer a real one."""
        try:
            body = msgspec.json.encode(cloudwatch_input(source, "[]", self._now()))
            status, answer = await self._send(source, body, credentials or {})
        except UnusableError as error:
            return str(error)
        return "" if status in {200, 400} else str(refusal(status, answer, credentials or {}))

    async def _send(self, source: Source, body: bytes, credentials: Mapping[str, str]) -> tuple[int, bytes]:
        if not source.region:
            raise UnusableError("region not specified")
        china = ".cn" if source.region.startswith("cn-") else ""
        url = f"{address(source, f'https://monitoring.{source.region}.amazonaws.com{china}')}/"
        try:
            keys = await self._aws.keys(None, source.region, proxy="")
        except IdentityError as error:
            raise UnusableError(str(error)) from None
        at = dt.datetime.fromtimestamp(self._now(), dt.UTC)
        given = {"Content-Type": "application/x-amz-json-1.0", "X-Amz-Target": _TARGET}
        signed = Signer(keys, "monitoring", source.region, at).headers("POST", url, given, body)
        return await ask(source, Ask(url=url, method="POST", headers=tuple(signed.items()), body=body), credentials)
