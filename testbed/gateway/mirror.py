"""Copies of requests for RequestMirror filters; their answers are thrown away and not counted."""

import contextlib
from collections.abc import Callable, Coroutine, Mapping

import aiohttp

from testbed.gateway.balance import Rotation
from testbed.gateway.proxy import target
from testbed.gateway.world import World
from testbed.node.kubeapi import Obj

Spawn = Callable[[Coroutine[None, None, None]], object]
_SECONDS = 30


class MirrorSender:
    """Sends copies in the background, for exactly the share of requests that a filter asks for."""

    def __init__(self, world: World, session: aiohttp.ClientSession, spawn: Spawn) -> None:
        self._world = world
        self._session = session
        self._spawn = spawn
        self._counts: dict[tuple[str, str], int] = {}
        self._rotations: dict[tuple[str, str], Rotation] = {}

    def send(
        self, mirror: Obj, namespace: str, line: tuple[str, str, str], headers: Mapping[str, str], body: bytes
    ) -> None:
        """Send a copy of (method, path, query) to the filter's Service unless it is not this request's turn."""
        reference = mirror["backendRef"]
        key = (reference.get("namespace") or namespace, reference["name"])
        count = self._counts[key] = self._counts.get(key, 0) + 1
        share = mirror_share(mirror)
        if int(count * share) == int((count - 1) * share):
            return
        rotation = self._rotations.setdefault(key, Rotation())
        endpoints = rotation.order(self._world.endpoints(*key, reference.get("port")))
        if endpoints:
            self._spawn(self._send(line, endpoints[0].port, headers, body))

    async def _send(self, line: tuple[str, str, str], port: int, headers: Mapping[str, str], body: bytes) -> None:
        method, path, query = line
        timeout = aiohttp.ClientTimeout(total=_SECONDS)
        with contextlib.suppress(aiohttp.ClientError, TimeoutError):
            async with self._session.request(
                method, target(port, path, query), headers=headers, data=body, timeout=timeout
            ) as answer:
                await answer.read()


def mirror_share(mirror: Obj) -> float:
    """The share of requests to copy, 0 to 1: ``percent``, ``fraction``, or all of them."""
    if mirror.get("percent") is not None:
        return float(mirror["percent"]) / 100
    fraction = mirror.get("fraction")
    return 1.0 if fraction is None else float(fraction["numerator"]) / float(fraction.get("denominator") or 100)
