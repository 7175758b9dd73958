"""Startup, readiness and liveness probes, really probed (Kubernetes' container probe semantics).

While a startup or readiness probe has not passed yet it is also tried between its periods: the API allows
that for readiness, and it keeps a test bed quick. Such extra tries can only pass, they never count as a
failure. A grpc probe is answered by a TCP connect alone.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Self

import aiohttp

from testbed.node.kubeapi import Obj

_EAGER_SECONDS = 0.2

Exec = Callable[[tuple[str, ...], float], Awaitable[str | None]]
"""Runs a command in the container within a time limit in seconds; None for exit status 0, else what went wrong."""

PortOf = Callable[[int | str], int]
"""The local port behind a container port number or name."""


@dataclass(frozen=True, slots=True)
class ProbeTiming:
    """When to probe, in seconds, and how many results in a row decide."""

    initial_delay: float
    period: float
    timeout: float
    successes: int
    failures: int

    @classmethod
    def of(cls, probe: Obj) -> Self:
        """The timing fields of a probe with the API's defaults."""
        return cls(
            initial_delay=probe.get("initialDelaySeconds") or 0,
            period=probe.get("periodSeconds") or 10,
            timeout=probe.get("timeoutSeconds") or 1,
            successes=probe.get("successThreshold") or 1,
            failures=probe.get("failureThreshold") or 3,
        )


class Streak:
    """Turns single results into verdicts: a verdict falls when enough equal results came in a row."""

    def __init__(self, timing: ProbeTiming) -> None:
        self._timing = timing
        self._last: bool | None = None
        self._length = 0

    def add(self, passed: bool) -> bool | None:
        """Count one result; True or False once its threshold is reached, None before."""
        self._length = self._length + 1 if passed == self._last else 1
        self._last = passed
        needed = self._timing.successes if passed else self._timing.failures
        return passed if self._length >= needed else None


async def run_probe(
    probe: Obj,
    check: Callable[[], Awaitable[str | None]],
    on_verdict: Callable[[bool, str], bool],
    *,
    eager: bool,
) -> None:
    """Probe until ``on_verdict(passed, message)`` returns True (enough); ``eager`` also tries between periods.

    ``check`` returns None when it passed, else what went wrong.
    """
    timing = ProbeTiming.of(probe)
    streak = Streak(timing)
    await asyncio.sleep(timing.initial_delay)
    due = time.monotonic()
    while True:
        counted = time.monotonic() >= due
        if counted:
            due = time.monotonic() + timing.period
        failure = await check()
        if failure is None or counted:
            verdict = streak.add(failure is None)
            if verdict is not None:
                eager = eager and not verdict
                if on_verdict(verdict, failure or ""):
                    return
        pause = max(0.0, due - time.monotonic())
        await asyncio.sleep(min(pause, _EAGER_SECONDS) if eager else pause)


def checker(probe: Obj, port_of: PortOf, execute: Exec) -> Callable[[], Awaitable[str | None]]:
    """The check a probe or an httpGet/tcpSocket/exec lifecycle hook describes."""
    seconds = float(probe.get("timeoutSeconds") or 1)

    async def check() -> str | None:
        try:
            if "exec" in probe:
                return await execute(tuple(probe["exec"]["command"]), seconds)
            if "httpGet" in probe:
                return await http_get(probe["httpGet"], port_of, seconds)
            action: dict[str, Any] = probe.get("tcpSocket") or probe["grpc"]
            return await _connect(port_of(action["port"]), seconds)
        except TimeoutError:
            return "context deadline exceeded"
        except (aiohttp.ClientError, OSError) as error:
            return str(error) or type(error).__name__

    return check


async def http_get(action: Obj, port_of: PortOf, seconds: float) -> str | None:
    """One HTTP GET as the kubelet sends it: 200-399 passes, certificates are not verified."""
    scheme = str(action.get("scheme") or "HTTP").lower()
    url = f"{scheme}://127.0.0.1:{port_of(action['port'])}/{str(action.get('path') or '/').lstrip('/')}"
    headers = {header["name"]: header["value"] for header in action.get("httpHeaders") or []}
    headers.setdefault("User-Agent", "kube-probe/process-node")
    timeout = aiohttp.ClientTimeout(total=seconds)
    async with (
        aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(ssl=False)) as session,
        session.get(url, headers=headers) as response,
    ):
        if 200 <= response.status < 400:
            return None
        return f"HTTP probe failed with statuscode: {response.status}"


async def _connect(port: int, seconds: float) -> str | None:
    async with asyncio.timeout(seconds):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.close()
    await writer.wait_closed()
    return None
