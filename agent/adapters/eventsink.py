"""Events to a notification-controller: one JSON POST each, by the protocol of Flux's controllers."""

from __future__ import annotations

import socket
from typing import Any, Final

import aiohttp
import msgspec
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt, wait_exponential

from agent import __version__
from agent.adapters.session import SessionOwner
from agent.errors import OperationError
from agent.telemetry.events import Event

MESSAGE_LIMIT: Final = 39_000
"""Characters; a notification-controller refuses longer messages."""
_SEVERITIES: Final = {"Normal": "info", "Warning": "error", "Trace": "trace"}
_SECONDS: Final = 5.0
_ATTEMPTS: Final = 5
_DUPLICATE: Final = 429


class SinkError(OperationError):
    """The event was not taken."""


class _UnreachableError(SinkError):
    """It may be in a moment."""


class NotificationSink(SessionOwner):
    """Owns a session. `async with NotificationSink(url) as sink:`.

    Each attempt has five seconds. Connection failures and answers of 5xx are repeated, `pause` seconds later at first
    and each time twice as long; while the other side does not answer at all, further events are tried only once. An
    answer of 429 means that it knows the event already.
    """

    def __init__(self, url: str, *, pause: float = 1.0) -> None:
        super().__init__(
            timeout=_SECONDS,
            headers={"User-Agent": f"weir/{__version__}", "Content-Type": "application/json"},
            trust_env=True,
        )
        self._url = url
        self._pause = pause
        self._instance = socket.gethostname()
        self._down = False

    async def post(self, event: Event) -> None:
        """Deliver one event. Raises SinkError."""
        body = msgspec.json.encode(payload(event, self._instance))
        attempts = AsyncRetrying(
            retry=retry_if_exception_type(_UnreachableError),
            stop=stop_after_attempt(1 if self._down else _ATTEMPTS),
            wait=wait_exponential(multiplier=self._pause, max=30 * self._pause),
            reraise=True,
        )
        try:
            async for attempt in attempts:
                with attempt:
                    await self._attempt(body)
        except _UnreachableError:
            self._down = True
            raise
        self._down = False

    async def _attempt(self, body: bytes) -> None:
        if not self.is_open:
            raise SinkError("the event sink is closed")
        try:
            async with self._session.post(self._url, data=body, allow_redirects=False) as answer:
                status = answer.status
        except TimeoutError:
            raise _UnreachableError(f"no answer within {_SECONDS:g} s") from None
        except (aiohttp.ClientError, OSError) as error:
            raise _UnreachableError(f"cannot be reached: {type(error).__name__}") from None
        if status >= 500:
            raise _UnreachableError(f"answered with status {status}")
        if status >= 300 and status != _DUPLICATE:
            raise SinkError(f"answered with status {status}")


def payload(event: Event, instance: str) -> dict[str, Any]:
    """The body of the POST; `instance` is the host that reports."""
    body: dict[str, Any] = {
        "involvedObject": msgspec.to_builtins(event.involved),
        "severity": _SEVERITIES[event.event_type],
        "timestamp": event.at.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "message": event.message[:MESSAGE_LIMIT],
        "reason": event.reason,
        "reportingController": event.component,
        "reportingInstance": instance,
    }
    if event.metadata:
        body["metadata"] = dict(event.metadata)
    return body
