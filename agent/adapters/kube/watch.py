"""Listing and watching one kind at the API server, for `agent.runtime.watch.Watcher`.

Objects are decoded once, from the bytes on the wire into the caller's type. An object that does not fit the type is
reported and left out, since one bad object must not blind the agent to all others of its kind.
"""

from __future__ import annotations

import random
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from typing import Generic, TypeVar

import msgspec

from agent.adapters.kube.client import PAGE, KubeClient, Pairs
from agent.adapters.kube.errors import Gone, Status, Unavailable, decoded, from_status
from agent.adapters.kube.resource import ListMeta, Resource
from agent.runtime.watch import Bookmark, Changed, Deleted, Expired, Frame, Item, ObjectKey, Page

T = TypeVar("T")

STREAM_SECONDS = 290
"""Each stream is asked to end after this long plus up to a third, so that those of many kinds do not end at once."""
IDLE_SECONDS = 180.0
"""Bookmarks come about once a minute, the first after up to two; a stream that is silent for this long is dead."""


LONGEST_LINE = 64 << 20
"""Bytes of a frame; etcd holds no object of more than a few mebibytes."""


class ObjectMeta(msgspec.Struct, frozen=True, rename="camel"):
    """What every object's metadata has and every watcher needs."""

    name: str = ""
    namespace: str = ""
    resource_version: str = ""
    uid: str = ""
    generation: int = 0
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    deletion_timestamp: str | None = None


class PartialObject(msgspec.Struct, frozen=True):
    """An object of a metadata-only watch."""

    metadata: ObjectMeta


class _Name(msgspec.Struct, rename="camel"):
    name: str = ""
    namespace: str = ""
    resource_version: str = ""


class _Head(msgspec.Struct):
    metadata: _Name


class _RawList(msgspec.Struct):
    metadata: ListMeta
    items: list[msgspec.Raw] | None = None


class _RawFrame(msgspec.Struct):
    type: str
    object: msgspec.Raw


_head = msgspec.json.Decoder(_Head)
_frame = msgspec.json.Decoder(_RawFrame)
_status = msgspec.json.Decoder(Status)

decode_metadata: Callable[[bytes], PartialObject] = msgspec.json.Decoder(PartialObject).decode


class KubeListWatch(Generic[T]):
    """`ListWatch` of one resource, cluster-wide or in one namespace.

    `decode` turns the JSON of an object into T; raising msgspec.DecodeError or ValueError means that it does not fit,
    which `on_undecodable(key, message)` is told. With `metadata_only` the JSON is a PartialObjectMetadata.
    """

    def __init__(
        self,
        client: KubeClient,
        resource: Resource,
        decode: Callable[[bytes], T],
        *,
        on_undecodable: Callable[[ObjectKey, str], None],
        namespace: str | None = None,
        label_selector: str = "",
        field_selector: str = "",
        metadata_only: bool = False,
        page: int = PAGE,
    ) -> None:
        self._client = client
        self._resource = resource
        self._decode = decode
        self._on_undecodable = on_undecodable
        self._namespace = namespace
        selectors = (("labelSelector", label_selector), ("fieldSelector", field_selector))
        self._selectors: Pairs = tuple(pair for pair in selectors if pair[1])
        self._metadata_only = metadata_only
        self._page = page

    async def list(self, token: str) -> Page[T]:
        """A page of the listing; the first if the token is "". Raises Expired and ApiError."""
        try:
            body = await self._client.list_bytes(
                self._resource,
                self._namespace,
                params=self._selectors,
                metadata_only=self._metadata_only,
                limit=self._page,
                token=token,
            )
        except Gone as error:
            raise Expired(error.message) from None
        page = decoded(body, _RawList, f"list {self._resource.plural}")
        try:
            items = tuple(item for raw in page.items or () if (item := self._item(raw)) is not None)
        except msgspec.DecodeError:  # not the object itself, but what all objects have
            raise Unavailable(f"list {self._resource.plural}: the answer is not what the API promises") from None
        return Page(items, page.metadata.resource_version, page.metadata.token)

    @asynccontextmanager
    async def watch(self, resource_version: str) -> AsyncIterator[AsyncIterator[Frame[T]]]:
        """The frames after a resource version. Raises Expired and ApiError, also while iterating."""
        seconds = STREAM_SECONDS + random.randrange(STREAM_SECONDS // 3)  # noqa: S311 - spreads load, guards nothing
        params = (
            ("allowWatchBookmarks", "true"),
            ("resourceVersion", resource_version),
            ("timeoutSeconds", str(seconds)),
            *self._selectors,
        )
        try:
            async with (
                self._client.watch_bytes(
                    self._resource, self._namespace, params=params, metadata_only=self._metadata_only, idle=IDLE_SECONDS
                ) as chunks,
                aclosing(self._frames(chunks)) as frames,
            ):
                yield frames
        except Gone as error:
            raise Expired(error.message) from None

    async def _frames(self, chunks: AsyncIterator[bytes]) -> AsyncGenerator[Frame[T], None]:
        lines = Lines()
        async for chunk in chunks:
            try:
                found = lines.feed(chunk)
            except ValueError:
                raise self._broken() from None
            for line in found:
                yield self._understood(line)

    def _understood(self, line: bytes) -> Frame[T]:
        try:
            raw = _frame.decode(line)
            return self._meaning(raw)
        except msgspec.DecodeError:
            raise self._broken() from None

    def _broken(self) -> Unavailable:
        return Unavailable(f"watch {self._resource.plural}: the stream is not what the API promises")

    def _meaning(self, raw: _RawFrame) -> Frame[T]:
        if raw.type == "ERROR":
            status = _status.decode(raw.object)
            raise from_status(status, status.code or 500, secret=self._resource.is_secret)
        head = _head.decode(raw.object).metadata
        if raw.type == "BOOKMARK":
            return Bookmark(head.resource_version)
        if raw.type == "DELETED":
            return Deleted(ObjectKey(head.namespace, head.name), head.resource_version)
        item = self._item(raw.object)
        # Left out, but not to be seen again either.
        return Changed(item) if item is not None else Bookmark(head.resource_version)

    def _item(self, raw: msgspec.Raw) -> Item[T] | None:
        head = _head.decode(raw).metadata
        key = ObjectKey(head.namespace, head.name)
        try:
            value = self._decode(bytes(raw))
        except (msgspec.DecodeError, ValueError) as error:
            self._on_undecodable(key, str(error))
            return None
        return Item(key, head.resource_version, value)


class Lines:
    """Cuts chunks into lines, looking at each byte once."""

    def __init__(self, longest: int = LONGEST_LINE) -> None:
        self._longest = longest
        self._parts: list[bytes] = []
        self._size = 0

    def feed(self, chunk: bytes) -> list[bytes]:
        """The lines that the chunk completes, without their ends. Raises ValueError for one that does not end."""
        *ends, rest = chunk.split(b"\n")
        self._size = self._size * (not ends) + len(rest)
        if self._size > self._longest:
            raise ValueError("a line is too long")
        lines = []
        for end in ends:
            lines.append(b"".join((*self._parts, end)))
            self._parts.clear()
        if rest:
            self._parts.append(rest)
        return lines
