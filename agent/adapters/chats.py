"""Posting to chat systems: one JSON POST, five seconds, no repeats. Addresses and tokens appear nowhere else."""

from __future__ import annotations

import aiohttp
import msgspec

from agent.adapters.failures import reason
from agent.adapters.session import SessionOwner
from agent.core.rollout.alerting import Chat, Message, address_of, body

TIMEOUT = 5.0
_QUOTED = 300


class Chats(SessionOwner):
    """Owns a session. `async with Chats() as chats:`."""

    def __init__(self) -> None:
        super().__init__(timeout=TIMEOUT)

    async def post(self, chat: Chat, said: Message) -> str:
        """Empty if the chat took the message, else why not; never raises for what a chat system does."""
        headers = {"Content-Type": "application/json"}
        if chat.token and chat.kind == "slack":
            headers["Authorization"] = f"Bearer {chat.token}"
        try:
            async with self._session.post(
                address_of(chat),
                data=msgspec.json.encode(body(chat, said)),
                headers=headers,
                proxy=chat.proxy or None,
            ) as response:
                if 200 <= response.status < 300:
                    return ""
                text = (await response.content.read(_QUOTED)).decode("utf-8", "replace").strip()
                return f"sending notification bad response {response.status}: {_hidden(text, chat)}"
        except aiohttp.InvalidURL:
            return "the address is not a valid URL"
        except TimeoutError:
            return f"sending notification failed to send: no answer within {TIMEOUT:g} seconds"
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return f"sending notification failed to send: {_hidden(reason(error), chat)}"


def _hidden(text: str, chat: Chat) -> str:
    """The text without the secrets of the chat, which an answer may repeat."""
    for secret in (chat.address, address_of(chat), chat.token):
        if secret:
            text = text.replace(secret, "***")
    return text
