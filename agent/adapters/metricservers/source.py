"""What every metrics system can do, and the one way in which all are asked over HTTP."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import aiohttp

from agent.adapters.bodies import whole
from agent.adapters.failures import reason
from agent.core.rollout.exchanges import Ask, Credentials, UnusableError
from agent.core.rollout.judgement import Sample, Source

TIMEOUT = 5.0
_QUOTED = 300
"""Characters of a server's complaint that are passed on."""
_LIMIT = 4 * 1024 * 1024


class MetricSource(Protocol):
    """Answers queries. Neither method raises for what a server does."""

    async def query(self, source: Source, query: str, credentials: Mapping[str, str] | None = None) -> Sample:
        """One number, none, or why there is none. `credentials`: the decoded Secret of the source."""
        ...

    async def online(self, source: Source, credentials: Mapping[str, str] | None = None) -> str:
        """Empty if queries are answered, else why not."""
        ...


async def ask(source: Source, request: Ask, credentials: Credentials) -> tuple[int, bytes]:
    """Status and body of one request. Raises UnusableError if there is no answer; no text holds a credential."""
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TIMEOUT)) as session,
            session.request(
                request.method,
                request.url,
                params=request.params,
                data=request.body or None,
                headers=[*source.headers, *request.headers, *_basic(request)],
                ssl=source.verify_tls,
                allow_redirects=False,
            ) as response,
        ):
            return response.status, await whole(response.content, _LIMIT)
    except TimeoutError:
        raise UnusableError(f"request failed: no answer within {TIMEOUT:g} seconds") from None
    except (aiohttp.ClientError, ValueError, OSError) as error:
        raise UnusableError(f"request failed: {hidden(reason(error), credentials)}") from None


def refusal(status: int, body: bytes, credentials: Credentials) -> UnusableError:
    """A server's refusal, without what is secret in it."""
    text = body[:_QUOTED].decode("utf-8", "replace").strip()
    return UnusableError(f"error response: {status}: {hidden(text, credentials)}")


def hidden(text: str, credentials: Credentials) -> str:
    """The text without the values of a Secret."""
    for value in credentials.values():
        if len(value) > 3:
            text = text.replace(value, "***")
    return text


def _basic(request: Ask) -> list[tuple[str, str]]:
    if request.basic is None:
        return []
    return [("Authorization", aiohttp.encode_basic_auth(*request.basic))]
