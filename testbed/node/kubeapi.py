"""A small Kubernetes client for the test bed: JSON requests, and a list-and-watch that never ends.

It follows the API conventions of Kubernetes (list, then watch from the list's resourceVersion; 410 means
list again). It has no cache, no rate limit and no typed objects: an object is the decoded JSON.
"""

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import aiohttp
import msgspec

Obj = dict[str, Any]
EventType = Literal["ADDED", "MODIFIED", "DELETED"]
PatchKind = Literal["merge-patch", "strategic-merge-patch"]

_log = logging.getLogger(__name__)
_WATCH_SECONDS = 290  # the server ends a watch itself; a cut connection is noticed by sock_read a little later


@dataclass(frozen=True, slots=True)
class Access:
    """How to reach an API server: base URL, bearer token (never shown by repr) and CA bundle in PEM form."""

    url: str
    token: str = field(repr=False)
    ca_file: Path


class ApiError(Exception):
    """The API server refused a request: HTTP status, the reason and message of its Status object."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(f"{status} {reason}: {message}")
        self.status = status
        self.reason = reason


class KubeApi:
    """Requests to one API server over one connection pool; use it as an async context manager."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        context = ssl.create_default_context(cafile=str(self._access.ca_file))
        self._session = aiohttp.ClientSession(
            base_url=self._access.url,
            headers={"Authorization": f"Bearer {self._access.token}", "Accept": "application/json"},
            connector=aiohttp.TCPConnector(ssl=context, limit=0),
            timeout=aiohttp.ClientTimeout(total=30),
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def get(self, path: str, params: Mapping[str, str] | None = None) -> Obj:
        """Read one object or one list; ApiError where the server refuses."""
        return await self._request("GET", path, params=params)

    async def find(self, path: str) -> Obj | None:
        """Read one object, None where it does not exist."""
        try:
            return await self.get(path)
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    async def create(self, path: str, body: Obj) -> Obj:
        """POST an object to its collection or sub-resource path."""
        return await self._request("POST", path, body=body)

    async def patch(self, path: str, body: Obj, kind: PatchKind = "merge-patch") -> Obj:
        """PATCH an object (RFC 7386 merge patch, or Kubernetes' strategic merge patch)."""
        return await self._request("PATCH", path, body=body, content_type=f"application/{kind}+json")

    async def delete(self, path: str, *, grace_seconds: int | None = None, uid: str | None = None) -> None:
        """DELETE an object; an object that is already gone, or reborn under another uid, is not an error."""
        options: Obj = {"apiVersion": "v1", "kind": "DeleteOptions"}
        if grace_seconds is not None:
            options["gracePeriodSeconds"] = grace_seconds
        if uid is not None:
            options["preconditions"] = {"uid": uid}
        try:
            await self._request("DELETE", path, body=options)
        except ApiError as error:
            if error.status not in {404, 409}:
                raise

    async def follow(self, path: str, on_event: Callable[[EventType, Obj], None]) -> None:
        """List and watch a collection for ever, handing every change to ``on_event`` in order.

        After a re-list the objects that vanished meanwhile come as DELETED. A collection that does not exist
        (its CRD is not installed yet) and a server that is away are tried again every second.
        """
        known: dict[str, Obj] = {}
        while True:
            try:
                version = await self._list_into(path, known, on_event)
                async for kind, item in self._watch(path, version):
                    _note(known, kind, item)
                    on_event(kind, item)
            except ApiError as error:
                if error.status != 410:
                    _log.debug("watch of %s: %s", path, error)
                    await asyncio.sleep(1)
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                _log.debug("watch of %s: %s", path, error)
                await asyncio.sleep(1)

    async def _list_into(self, path: str, known: dict[str, Obj], on_event: Callable[[EventType, Obj], None]) -> str:
        listing = await self.get(path)
        fresh = {item["metadata"]["uid"]: item for item in listing.get("items") or []}
        for uid in [uid for uid in known if uid not in fresh]:
            on_event("DELETED", known.pop(uid))
        for uid, item in fresh.items():
            old = known.get(uid)
            if old is None or old["metadata"]["resourceVersion"] != item["metadata"]["resourceVersion"]:
                known[uid] = item
                on_event("ADDED" if old is None else "MODIFIED", item)
        return str(listing["metadata"]["resourceVersion"])

    async def _watch(self, path: str, version: str) -> AsyncIterator[tuple[EventType, Obj]]:
        params = {
            "watch": "true",
            "resourceVersion": version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(_WATCH_SECONDS),
        }
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=_WATCH_SECONDS + 30)
        async with self._open().get(path, params=params, timeout=timeout) as response:
            await _raise_for_status(response)
            async for line in _lines(response.content):
                event: Obj = msgspec.json.decode(line)
                if event["type"] == "ERROR":
                    status = event["object"]
                    raise ApiError(int(status.get("code", 500)), status.get("reason", ""), status.get("message", ""))
                if event["type"] != "BOOKMARK":
                    yield event["type"], event["object"]

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise RuntimeError("KubeApi is used outside its context")
        return self._session

    async def _request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: Obj | None = None,
        content_type: str = "application/json",
    ) -> Obj:
        data = None if body is None else msgspec.json.encode(body)
        headers = {} if body is None else {"Content-Type": content_type}
        async with self._open().request(method, path, params=params, data=data, headers=headers) as response:
            await _raise_for_status(response)
            decoded: Obj = msgspec.json.decode(await response.read())
            return decoded


def object_key(item: Obj) -> tuple[str, str]:
    """(namespace, name) of an object; the namespace is empty for cluster-wide kinds."""
    return item["metadata"].get("namespace", ""), item["metadata"]["name"]


class Mirror:
    """The current objects of one collection by (namespace, name), kept by KubeApi.follow."""

    def __init__(self, on_change: Callable[[], None]) -> None:
        self.items: dict[tuple[str, str], Obj] = {}
        self._on_change = on_change

    def note(self, kind: EventType, item: Obj) -> None:
        """Take in one event; a late DELETED of an earlier object of the same name is ignored."""
        key = object_key(item)
        if kind != "DELETED":
            self.items[key] = item
        elif key in self.items and self.items[key]["metadata"]["uid"] == item["metadata"]["uid"]:
            del self.items[key]
        self._on_change()


def _note(known: dict[str, Obj], kind: EventType, item: Obj) -> None:
    if kind == "DELETED":
        known.pop(item["metadata"]["uid"], None)
    else:
        known[item["metadata"]["uid"]] = item


async def _lines(stream: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    rest = b""
    async for chunk in stream.iter_any():
        *complete, rest = (rest + chunk).split(b"\n")
        for line in complete:
            if line:
                yield line


async def _raise_for_status(response: aiohttp.ClientResponse) -> None:
    if response.status < 400:
        return
    text = await response.text()
    try:
        status: Obj = msgspec.json.decode(text)
    except msgspec.DecodeError:
        status = {}
    raise ApiError(response.status, str(status.get("reason", "")), str(status.get("message") or text[:500]))
