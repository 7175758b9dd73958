"""Model servers that load adapters while they run, asked pod by pod: vLLM's API, which is SGLang's without prefix."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import aiohttp
import msgspec

from agent.adapters.bodies import whole
from agent.adapters.session import SessionOwner
from agent.errors import OperationError

TIMEOUT: Final = 60.0
"""Seconds for one request: a server fetches an adapter before it answers."""
_QUICK: Final = 5.0
"""Seconds for the question what it serves."""
_LARGEST: Final = 1 << 20
_QUOTED: Final = 200
_REFUSED: Final = frozenset({400, 401, 403, 404, 422})


class LoraError(OperationError):
    """A server does not load, or does not answer. `refused`: it has answered that it never will."""

    def __init__(self, message: str, *, refused: bool = False) -> None:
        super().__init__(message)
        self.refused = refused


class _Model(msgspec.Struct):
    id: str = ""
    root: str | None = None


class _Models(msgspec.Struct):
    data: list[_Model] = []


class LoraServers(SessionOwner):
    """Owns a session: `async with LoraServers() as servers:`."""

    async def bring(self, url: str, prefix: str, wanted: Mapping[str, str], gone: Iterable[str]) -> list[str]:
        """Have the server at `url` serve the `wanted` adapters (name to path) and none of those that are `gone`.

        What it serves already is left alone, and so are adapters that nobody named. Returns the names that were loaded
        or unloaded. Raises LoraError.
        """
        served = await self.served(url)
        moved = [name for name, path in wanted.items() if name in served and served[name] not in {None, path}]
        for name in (*moved, *(name for name in gone if name in served)):
            await self._post(f"{url}{prefix}/unload_lora_adapter", {"lora_name": name})
        loaded = [name for name in wanted if name not in served or name in moved]
        for name in loaded:
            await self._load(url, prefix, name, wanted[name])
        return [*loaded, *(name for name in gone if name in served)]

    async def _load(self, url: str, prefix: str, name: str, path: str) -> None:
        """A server that was asked before, by somebody who did not wait for the answer, has it meanwhile."""
        try:
            await self._post(f"{url}{prefix}/load_lora_adapter", {"lora_name": name, "lora_path": path})
        except LoraError as error:
            if not error.refused or (await self.served(url)).get(name) != path:
                raise

    async def served(self, url: str) -> dict[str, str | None]:
        """What the server says that it serves, by name, with the path of each where it tells. Raises LoraError."""
        status, body = await self._ask("GET", f"{url}/v1/models", None, _QUICK)
        if status != 200:
            raise LoraError(_refusal("which adapters it serves", status, body))
        try:
            return {model.id: model.root for model in msgspec.json.decode(body, type=_Models).data}
        except msgspec.MsgspecError:
            raise LoraError("the server does not tell which adapters it serves") from None

    async def _post(self, url: str, body: Mapping[str, Any]) -> None:
        status, answer = await self._ask("POST", url, body, TIMEOUT)
        if status != 200:
            refused = status in _REFUSED
            raise LoraError(_refusal(f"adapter {body['lora_name']}", status, answer), refused=refused)

    async def _ask(self, method: str, url: str, body: Mapping[str, Any] | None, seconds: float) -> tuple[int, bytes]:
        limit = aiohttp.ClientTimeout(total=seconds)
        try:
            async with self._session.request(method, url, json=body, allow_redirects=False, timeout=limit) as answer:
                return answer.status, await whole(answer.content, _LARGEST)
        except TimeoutError:
            raise LoraError(f"the server does not answer within {seconds:g}s") from None
        except (aiohttp.ClientError, ValueError) as error:
            raise LoraError(f"the server cannot be reached ({type(error).__name__})") from None


def _refusal(what: str, status: int, body: bytes) -> str:
    if status in {401, 403}:
        return "the server asks for an API key"
    said = " ".join(body[:_QUOTED].decode("utf-8", "replace").split())
    if status == 404 and "Not Found" in said:  # no such path, rather than no such adapter
        return "the server does not let adapters be loaded while it runs"
    return f"{what}: status {status}{f', {said}' if said else ''}"
