"""Delta tables: the newest version of a table, or whether a version is still there.

In a store, a version is a file of the log, `_delta_log/%020d.json`, and versions have no gaps; `_last_checkpoint` says
where to begin to look. Searching by halves takes few questions, of any store that tells whether a file is there, also
of those that list nothing. The table's size is in the checksum file of a version (`.crc`). Its id is there, too, but
not every writer makes such files: digests would be of one kind today and of another tomorrow, and tell nothing. So the
id is that of the first version, until this is cleaned up. A Delta Sharing server tells all that with the metadata.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterator
from typing import Final, NamedTuple, TypeVar
from urllib.parse import quote

import msgspec

from agent.adapters.registries.access import Access, RegistryError
from agent.adapters.registries.fetcher import Fetcher
from agent.core.digits import whole
from agent.core.models.ref import Digest, Size
from agent.core.registries.outcome import Found

T = TypeVar("T")
_REFERENCE: Final = re.compile(r"^delta(?:\+([a-z0-9]+))?://(.+?)(?:@v(\d{1,19})|(\?timestampAsOf=.*))?$")
_LINES: Final = 50_000
_LOG: Final = "_delta_log"
_NEWEST: Final = 2**62


class Table(NamedTuple):
    """A table's place: the store it says itself (or none), the rest of the address, and the version if it names one."""

    store: str
    address: str
    version: int | None


class Log(NamedTuple):
    """Asks for files of a table's log: whether one is there, and its content (None if it is not there, or too large).

    `readable`: whether contents of such a store can be read at all; if not, none is.
    """

    has: Callable[[str], Awaitable[bool]]
    read: Callable[[str], Awaitable[bytes | None]]
    readable: bool


class _Checkpoint(msgspec.Struct):
    version: int = 0


class _Id(msgspec.Struct):
    id: str = ""


class _Checksum(msgspec.Struct, rename="camel"):
    table_size_bytes: int | None = None
    num_files: int | None = None


class _Metadata(msgspec.Struct, rename="camel"):
    id: str = ""
    size: int | None = None
    num_files: int | None = None
    delta_metadata: _Id | None = None


class _Action(msgspec.Struct, rename="camel"):
    meta_data: _Metadata | None = None


def table(canonical: str) -> Table:
    """The table that a reference names. Raises RegistryError for a time: which version it means only a reader knows."""
    found = _REFERENCE.match(canonical)
    if found is None:
        raise RegistryError("unsupported", "the reference names no table")
    store, address, version, time = found.groups()
    if time:
        raise RegistryError("unsupported", "the version of a table at a time is not looked up: name the version")
    return Table(store or "", address, int(version) if version else None)


def folder(named: Table, remote: str) -> str:
    """The address of the table's log; *remote* stands for the first part of the address. Raises RegistryError."""
    if named.store:
        return f"{named.store}://{named.address}/{_LOG}"
    if not remote:
        raise RegistryError("unsupported", "the reference names no store: set the remote or the endpoint in the policy")
    return f"{remote.rstrip('/')}/{named.address.partition('/')[2]}".rstrip("/") + f"/{_LOG}"


async def stored(log: Log, version: int | None) -> Found:
    """The version of the table, the newest if None. Raises RegistryError."""
    if version is None:
        version = await _newest(log)
    elif not (await log.has(_commit(version)) or await log.has(f"{version:020}.checkpoint.parquet")):
        raise RegistryError("not-found", "the log of the table has no such version, or not any more")
    checksum = _read(await log.read(f"{version:020}.crc"), _Checksum) or _Checksum()
    known = next(_ids(await log.read(_commit(0)) or b""), _Metadata()).id
    size = Size(checksum.table_size_bytes, checksum.num_files)
    return Found(version=str(version), digest=_digest(known, version), size=size if size != Size() else None)


async def shared(fetcher: Fetcher, access: Access, named: Table) -> Found:
    """The version of a table that is shared, as `delta://share/schema/table`. Secret: token. Raises RegistryError."""
    names = named.address.split("/")
    if len(names) != 3 or not all(names):
        raise RegistryError(
            "unsupported", "Delta Sharing has tables by share, schema and name: delta://SHARE/SCHEMA/TABLE"
        )
    share, schema, name = (quote(part, safe="") for part in names)
    url = f"{access.base('')}/shares/{share}/schemas/{schema}/tables/{name}"
    headers = access.authorization()
    answer = await fetcher.get(f"{url}/metadata", endpoint=access.endpoint, headers=headers, scope=access.scope)
    if answer.status == 400:  # it gives no metadata of tables with features that it is not told of
        answer = await fetcher.get(f"{url}/version", endpoint=access.endpoint, headers=headers, scope=access.scope)
    current = answer.expected("the sharing server", "table").headers.get("delta-table-version", "")
    newest = whole(current)
    if newest is None:
        raise RegistryError("unreadable", "the sharing server names no version of the table")
    version = named.version if named.version is not None else newest
    if version > newest:
        raise RegistryError("not-found", "the table has no such version yet")
    told = next(_ids(answer.body), _Metadata())
    size = Size(told.size, told.num_files) if version == newest else Size()
    return Found(version=str(version), digest=_digest(told.id, version), size=size if size != Size() else None)


def _commit(version: int) -> str:
    return f"{version:020}.json"


def _digest(known: str, version: int) -> Digest:
    """Of the table and its version: a table that is made anew has other content. Without the id, of the version."""
    if known and len(known) <= 64:
        return Digest("delta", f"{known}@{version}", "object", "generation")
    return Digest("delta-version", str(version), "object", "generation")


async def _newest(log: Log) -> int:
    checkpoint = _read(await log.read("_last_checkpoint"), _Checkpoint) or _Checkpoint()
    low, step = checkpoint.version if 0 <= checkpoint.version < _NEWEST else 0, 1
    if low == 0 and not await log.has(_commit(0)):
        if not log.readable:
            raise RegistryError("unsupported", "where the log begins is in a file, which is not read in such a store")
        raise RegistryError("not-found", "there is no log of a table, or not its first version")
    while low + step < _NEWEST and await log.has(_commit(low + step)):
        low, step = low + step, step * 2
    high = low + step
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if await log.has(_commit(middle)) else (low, middle)
    return low


def _ids(lines: bytes) -> Iterator[_Metadata]:
    """The metadata in some lines of actions, with the id, however it is wrapped. It is among the first, if at all."""
    for line in lines.split(b"\n", _LINES)[:_LINES]:
        action = _read(line, _Action)
        if action is not None and (told := action.meta_data) is not None:
            inner = told.delta_metadata.id if told.delta_metadata else ""
            yield _Metadata(told.id or inner, told.size, told.num_files)


def _read(body: bytes | None, kind: type[T]) -> T | None:
    try:
        return msgspec.json.decode(body, type=kind) if body else None
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
