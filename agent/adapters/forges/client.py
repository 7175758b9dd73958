"""Asking the APIs: one session, bounded answers, no redirects, and no token in any text."""

from __future__ import annotations

from typing import Any

import aiohttp
import msgspec
from yarl import URL

from agent.adapters.bodies import whole
from agent.adapters.forges.dialects import (
    Call,
    ForgeError,
    Proposal,
    Where,
    asking_for_branch,
    headers,
    looking,
    opening,
    proposal_in,
)
from agent.adapters.session import SessionOwner

_TIMEOUT = 30.0
_LARGEST = 1 << 20
_QUOTED = 300
_NOT_FOUND = 404
_REFUSED = 300
_TAKEN = frozenset({409, 422})
"""Statuses by which a server says that there is such a pull request already (and other things)."""


class Forges(SessionOwner):
    """Owns a session: `async with Forges() as forges:`."""

    def __init__(self) -> None:
        super().__init__(timeout=_TIMEOUT)

    async def find(self, where: Where, token: str, *, head: str, base: str) -> Proposal | None:
        """The newest pull request from `head` to `base`, None if there never was one. Raises ForgeError."""
        status, answer = await self._ask(where, token, looking(where, head, base))
        return None if status == _NOT_FOUND else proposal_in(where, answer)

    async def propose(self, where: Where, token: str, *, head: str, base: str, title: str, text: str) -> Proposal:
        """Open a pull request, or find the one that somebody was quicker to open. Raises ForgeError."""
        status, answer = await self._ask(where, token, opening(where, head, base, title, text), allowed=_TAKEN)
        found = proposal_in(where, answer) if status not in _TAKEN else None
        found = found or await self.find(where, token, head=head, base=base)
        if found is None:
            raise ForgeError(f"{where.api} opened no pull request from {head} to {base}: {_words(answer, token)}")
        return found

    async def is_protected(self, where: Where, token: str, branch: str) -> bool:
        """Whether the server protects a branch. Raises ForgeError."""
        _, answer = await self._ask(where, token, asking_for_branch(where, branch))
        return isinstance(answer, dict) and bool(answer.get("protected"))

    async def _ask(
        self, where: Where, token: str, call: Call, *, allowed: frozenset[int] = frozenset()
    ) -> tuple[int, Any]:
        try:
            url = URL(call.url, encoded=True)  # a slash within a project's path stays quoted
            async with self._session.request(
                call.method, url, json=call.body, headers=headers(where, token), allow_redirects=False
            ) as response:
                data = await whole(response.content, _LARGEST)
                status = response.status
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise ForgeError(f"{where.api} cannot be reached: {type(error).__name__}") from None
        try:
            answer = msgspec.json.decode(data) if data else None
        except msgspec.DecodeError:
            answer = None
        if status >= _REFUSED and status not in allowed and not (status == _NOT_FOUND and call.method == "GET"):
            raise ForgeError(f"{where.api} answered {status} for {where.path}: {_words(answer, token)}")
        return status, answer


def _words(answer: Any, token: str) -> str:
    """What the server says for itself, without the token."""
    text = answer.get("message") if isinstance(answer, dict) else None
    shown = str(text)[:_QUOTED] if text else "no reason given"
    return shown.replace(token, "*****") if token else shown
