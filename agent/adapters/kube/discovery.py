"""Which kinds the API server has, and where: asked for one group version at a time, remembered."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import msgspec

from agent.adapters.kube.client import KubeClient
from agent.adapters.kube.errors import NoMatch, NotFound, decoded
from agent.adapters.kube.resource import Resource, group_path

REFRESH = 2.0
"""Seconds for which a miss is believed: a definition may be applied at any time, and its kind asked for at once."""


class _ApiResource(msgspec.Struct):
    name: str
    kind: str
    namespaced: bool


class _ResourceList(msgspec.Struct):
    resources: list[_ApiResource] | None = None


class _GroupVersion(msgspec.Struct):
    version: str


class _Group(msgspec.Struct, rename="camel"):
    versions: list[_GroupVersion]
    preferred_version: _GroupVersion | None = None


class Discovery:
    """Kinds to resources. Safe to share between concurrent passes: each group version is asked for once."""

    def __init__(self, client: KubeClient, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._client = client
        self._clock = clock
        self._known: dict[tuple[str, str], dict[str, Resource]] = {}
        self._groups: dict[str, tuple[str, ...]] = {}
        self._asked: dict[str, float] = {}
        self._locks: dict[str, asyncio.Lock] = {}

    async def resource(self, api_version: str, kind: str) -> Resource:
        """The resource of a kind. Raises NoMatch where the server does not have it, and ApiError."""
        group, _, version = api_version.rpartition("/")
        found = self._known.get((group, version), {}).get(kind)
        if found is not None:
            return found
        path = group_path(group, version)
        async with self._locks.setdefault(path, asyncio.Lock()):
            if self._may_ask(path):
                self._known[group, version] = await self._fetch(group, version)
                self._asked[path] = self._clock()
        found = self._known.get((group, version), {}).get(kind)
        if found is None:
            raise NoMatch(kind, api_version)
        return found

    async def preferred(self, group: str, kind: str) -> Resource:
        """The resource of a kind in the version that the server prefers, or else the first that has it."""
        for version in await self._versions(group):
            try:
                return await self.resource(f"{group}/{version}" if group else version, kind)
            except NoMatch:
                continue
        raise NoMatch(kind, group)

    def invalidate(self, group: str) -> None:
        """Forget what is known of a group, because its definitions have changed."""
        self._groups.pop(group, None)
        for key in [key for key in self._known if key[0] == group]:
            del self._known[key]
            self._asked.pop(group_path(*key), None)
        self._asked.pop(group, None)

    def _may_ask(self, what: str) -> bool:
        asked = self._asked.get(what)
        return asked is None or self._clock() - asked >= REFRESH

    async def _versions(self, group: str) -> tuple[str, ...]:
        if not group:
            return ("v1",)
        async with self._locks.setdefault(group, asyncio.Lock()):
            if not self._groups.get(group) and self._may_ask(group):
                self._groups[group] = await self._fetch_group(group)
                self._asked[group] = self._clock()
            return self._groups.get(group, ())

    async def _fetch(self, group: str, version: str) -> dict[str, Resource]:
        try:
            body = await self._client.raw("GET", group_path(group, version), resource="discovery")
        except NotFound:
            return {}
        listing = decoded(body, _ResourceList, "discovery")
        return {
            entry.kind: Resource(group, version, entry.name, entry.kind, entry.namespaced)
            for entry in listing.resources or ()
            if "/" not in entry.name
        }

    async def _fetch_group(self, group: str) -> tuple[str, ...]:
        try:
            body = await self._client.raw("GET", f"/apis/{group}", resource="discovery")
        except NotFound:
            return ()
        listing = decoded(body, _Group, "discovery")
        first = [listing.preferred_version.version] if listing.preferred_version else []
        return tuple(dict.fromkeys([*first, *(entry.version for entry in listing.versions)]))
