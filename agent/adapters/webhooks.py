"""Calls of a Canary's webhooks: a JSON POST whose answer of 200 to 202 is a yes.

Retries follow Flagger's: connection failures, 429 and 5xx are repeated with a growing pause, other answers count at
once. The text of a refusal is the body of the last answer, which Flagger loses when retries are exhausted.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import aiohttp
import msgspec
from yarl import URL

from agent.adapters.authorization import authorization
from agent.adapters.failures import reason
from agent.adapters.session import SessionOwner
from agent.core.rollout.plan import Hook
from agent.core.rollout.reports import LONGEST
from agent.telemetry.logging import named

_QUOTED = 1000
_BACKLOG = 1000
_DRAIN = 2.0
"""Seconds that waiting notices have when everything ends."""
_PAUSES = (1.0, 30.0)
"""The first pause and the longest one, in seconds; each is twice the one before."""
_YES = 202
_SHORTEST = 6
"""Characters of a secret from which on it is masked."""
_SECRET = ("token", "password")


class Webhooks(SessionOwner):
    """Owns a session and one task. `async with Webhooks() as webhooks:`.

    `sleep` is for tests that do not want to wait.
    """

    def __init__(self, *, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        super().__init__()
        self._sleep = sleep
        self._notices: asyncio.Queue[tuple[Hook, dict[str, Any]]] = asyncio.Queue(_BACKLOG)
        self._notifying: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        self._notifying = asyncio.create_task(self._notify(), name="webhooks: notices")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._notifying is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_DRAIN):
                    await self._notices.join()
            self._notifying.cancel()
            await asyncio.wait({self._notifying})
        await super().__aexit__(kind, error, traceback)

    def notify(self, hook: Hook, payload: dict[str, Any]) -> None:
        """Tell the hook something whose answer does not matter; delivered in order, later, once.

        A notice that is refused is logged. If far too many wait already, it is dropped and logged.
        """
        try:
            self._notices.put_nowait((hook, payload))
        except asyncio.QueueFull:
            named("webhooks").error("notice dropped: too many are waiting", hook=hook.name)

    async def _notify(self) -> None:
        while True:
            hook, payload = await self._notices.get()
            try:
                refusal = await self.call(hook, payload)
                if refusal:
                    named("webhooks").error("notice was not taken", hook=hook.name, error=refusal)
            finally:
                self._notices.task_done()

    async def call(self, hook: Hook, payload: dict[str, Any]) -> str:
        """Empty if the hook said yes, else what it said or why it could not be asked. Never raises for that."""
        body = msgspec.json.encode(payload)
        pause, text = _PAUSES[0], ""
        for attempt in range(hook.retries + 1):
            if attempt:
                await self._sleep(pause)
                pause = min(pause * 2, _PAUSES[1])
            text, final = await self._try(hook, body)
            if final:
                return text
        if hook.retries:
            return f"giving up after {hook.retries + 1} attempt(s): {text}"
        return text

    async def evaluate(
        self,
        url: str,
        payload: dict[str, Any],
        *,
        timeout: float,
        verify_tls: bool,
        credentials: Mapping[str, str] | None = None,
    ) -> tuple[int, str]:
        """The status and the body of the answer, asked for once; 0 and why, if there is none.

        `credentials`: a Secret with `token`, or `username` and `password`; None for nobody's. They go to `url` only,
        wherever it redirects to, and are masked in an answer that repeats them. Raises UnusableCredentialsError.
        """
        assert self._session is not None
        headers = authorization(credentials)
        status, text = await self._answer(url, payload, headers, timeout=timeout, verify_tls=verify_tls)
        secrets = [value for key, value in (credentials or {}).items() if key in _SECRET]
        return status, _masked(text, [*secrets, *(value.split()[-1] for _, value in headers)])

    async def _answer(
        self,
        url: str,
        payload: dict[str, Any],
        headers: Sequence[tuple[str, str]],
        *,
        timeout: float,
        verify_tls: bool,
    ) -> tuple[int, str]:
        try:
            async with self._session.post(
                url,
                json=payload,
                headers=headers,
                timeout=aiohttp.ClientTimeout(total=timeout),
                ssl=verify_tls,
                allow_redirects=not headers,
            ) as response:
                body = bytearray()
                async for chunk in response.content.iter_any():
                    body += chunk
                    if len(body) > LONGEST:
                        break
                return response.status, body.decode("utf-8", "replace")
        except (aiohttp.InvalidURL, ValueError):
            return 0, "it is not a valid URL"
        except TimeoutError:
            return 0, f"no answer within {timeout:g} seconds"
        except (aiohttp.ClientError, OSError) as error:
            return 0, reason(error)

    async def _try(self, hook: Hook, body: bytes) -> tuple[str, bool]:
        """The refusal ("" for a yes) and whether it stands."""
        try:
            async with self._session.post(
                hook.url,
                data=body,
                headers={"Content-Type": "application/json"},
                timeout=aiohttp.ClientTimeout(total=hook.timeout),
                ssl=hook.verify_tls,
            ) as response:
                text = (await response.content.read(_QUOTED)).decode("utf-8", "replace").strip()
                if response.status <= _YES:
                    return "", True
                again = response.status == 429 or response.status >= 500
                return text or f"status {response.status} {response.reason}", not again
        except aiohttp.InvalidURL:
            return "the hook's url is not a valid URL", True
        except TimeoutError:
            return f'Post "{_shown(hook.url)}": no answer within {hook.timeout:g} seconds', False
        except (aiohttp.ClientError, OSError) as error:
            return f'Post "{_shown(hook.url)}": {reason(error)}', False


def _masked(text: str, secrets: Iterable[str]) -> str:
    """Without the secrets that are long enough to be no word of a report."""
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) >= _SHORTEST:
            text = text.replace(secret, "*****")
    return text


def _shown(url: str) -> str:
    """The address without what may be a secret in it."""
    return str(URL(url).with_query(None).with_user(None).with_fragment(None))
