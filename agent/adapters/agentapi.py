"""The agent's own `/api/v1`, asked from outside: through the API server's proxy to its Service, or at an address."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import aiohttp
import msgspec

from agent.adapters.kube.client import KubeClient
from agent.adapters.kube.errors import ApiError, Forbidden, NotFound
from agent.errors import ConfigurationError, OperationError

PREFIX = "/api/v1"
TIMEOUT = 5.0
"""Seconds for an answer."""
_PAGE = 1000


class NoAnswerError(OperationError):
    """The agent could not be asked, or did not understand."""

    default_reason = "AgentUnreachable"


class Door(Protocol):
    """A way to the agent."""

    async def fetch(self, path: str, params: Mapping[str, str]) -> bytes:
        """The body of the answer to a GET. Raises NoAnswerError."""
        ...


class ServiceDoor:
    """Through the API server, with the rights of the kubeconfig: `get` on `services/proxy`.

    `service` is `namespace/name:port`, the port by name or number.
    """

    def __init__(self, client: KubeClient, service: str) -> None:
        namespace, slash, rest = service.partition("/")
        name, colon, port = rest.partition(":")
        if not (namespace and slash and name) or (colon and not port) or "/" in rest:
            raise ConfigurationError(f"{service!r} is not a Service: write NAMESPACE/NAME:PORT")
        self._client = client
        self._service = service
        self._path = f"/api/v1/namespaces/{namespace}/services/{name}{f':{port}' if port else ''}/proxy"

    async def fetch(self, path: str, params: Mapping[str, str]) -> bytes:
        try:
            return await self._client.raw(
                "GET", f"{self._path}{path}", params=tuple(params.items()), resource="services", timeout=TIMEOUT
            )
        except NotFound as error:
            raise NoAnswerError(f"Service {self._service}: {error.message}; name the agent's with --agent") from None
        except Forbidden:
            raise NoAnswerError(f"no right to get services/proxy for Service {self._service}") from None
        except ApiError as error:
            raise NoAnswerError(f"Service {self._service} does not answer: {error.message}") from None


class AddressDoor:
    """At an address such as `http://localhost:9980`, as of a port-forward."""

    def __init__(self, address: str) -> None:
        if not address.startswith(("http://", "https://")):
            raise ConfigurationError(f"{address!r} is not an address: write http://HOST:PORT")
        self._address = address.rstrip("/")

    async def fetch(self, path: str, params: Mapping[str, str]) -> bytes:
        timeout = aiohttp.ClientTimeout(total=TIMEOUT)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout) as session,
                session.get(f"{self._address}{path}", params=dict(params)) as answer,
            ):
                body = await answer.read()
                if answer.status == 200:
                    return body
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            why = str(error) or type(error).__name__
            raise NoAnswerError(f"the agent at {self._address} does not answer: {why}") from None
        raise NoAnswerError(f"the agent at {self._address} answered with {answer.status}")


class AgentApi:
    """Lists of the agent's API."""

    def __init__(self, door: Door) -> None:
        self._door = door

    async def list(self, collection: str, **filters: str) -> list[dict[str, Any]]:
        """All items of a collection that match; filters that are empty do not count. Raises NoAnswerError."""
        params = {name: value for name, value in filters.items() if value}
        items: list[dict[str, Any]] = []
        token = ""
        while True:
            asked = {**params, "limit": str(_PAGE), **({"continue": token} if token else {})}
            body = await self._door.fetch(f"{PREFIX}/{collection}", asked)
            try:
                page = msgspec.json.decode(body, type=dict[str, Any])
                items += page["items"]
                token = str(page.get("continue") or "")
            except (msgspec.DecodeError, KeyError, TypeError):
                raise NoAnswerError(f"what answers for {PREFIX}/{collection} is not Weir's API") from None
            if not token:
                return items
