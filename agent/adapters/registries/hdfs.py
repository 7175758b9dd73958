"""Hadoop file systems, over WebHDFS (of a NameNode, HttpFS or a gateway): the checksum of a file, or a listing.

API: `/webhdfs/v1{path}?op=LISTSTATUS`, which tells size and time of each file, and `op=GETFILECHECKSUM`. A NameNode
sends who asks for a checksum to a DataNode, which no policy names: it is not asked, whether it could be reached or not,
and size and time have to do. The kind of a digest must not depend on the weather, or moves are missed.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import quote, urlencode

import msgspec

from agent.adapters.registries.access import Access, Answer, RegistryError, basic
from agent.adapters.registries.fetcher import Fetcher
from agent.adapters.registries.folders import Entry, below
from agent.core.models.ref import Digest, Size
from agent.core.registries.listing import extent, listing_digest
from agent.core.registries.outcome import Found

_REFERENCE: Final = re.compile(r"^(?:web)?hdfs://[^/]*(/.*)?$", re.DOTALL)
_ALGORITHM: Final = re.compile(r"^[A-Za-z0-9-]{1,64}$")
_BYTES: Final = re.compile(r"^[0-9a-f]{8,128}$")
_CHECKSUM: Final = "GETFILECHECKSUM"
_MAY_NOT_READ: Final = "AccessControlException"
"""Who may list may not have to be allowed to read. Other exceptions of the same status are of nodes that fail."""


class _Status(msgspec.Struct, rename="camel"):
    type: str = ""
    path_suffix: str = ""
    length: int = 0
    modification_time: int = 0


class _Statuses(msgspec.Struct, rename="pascal"):
    file_status: list[_Status]


class _Listing(msgspec.Struct, rename="pascal"):
    file_statuses: _Statuses


class _Checksum(msgspec.Struct):
    algorithm: str
    bytes: str


class _Checksums(msgspec.Struct, rename="pascal"):
    file_checksum: _Checksum


class _Exception(msgspec.Struct):
    exception: str = ""


class _Refusal(msgspec.Struct, rename="pascal"):
    remote_exception: _Exception = msgspec.field(default_factory=_Exception)


async def resolve(fetcher: Fetcher, access: Access, canonical: str) -> Found:
    """A file, or all below a folder. Raises RegistryError.

    Secret: token (a delegation token), or username and password, or a username alone. Kerberos is not spoken.
    """
    found = _REFERENCE.match(canonical)
    if found is None:
        raise RegistryError("unsupported", "the reference names no path of a file system")
    tree = _Tree(fetcher, access)
    path = found.group(1) or "/"
    statuses = await tree.listed(path)
    if len(statuses) == 1 and not statuses[0].path_suffix and statuses[0].type == "FILE":
        return Found(digest=await tree.digest(path, statuses[0]), size=Size(statuses[0].length, 1))
    files = await below(lambda inner: tree.entries(f"{path.rstrip('/')}/{inner}".rstrip("/")), _entries(statuses))
    if not files:
        raise RegistryError("not-found", "there are no files below the path")
    return Found(digest=listing_digest(files), size=extent(files))


class _Tree:
    """A file system, asked by one account."""

    def __init__(self, fetcher: Fetcher, access: Access) -> None:
        self._fetcher = fetcher
        self._access = access
        self._base = f"{access.required('WebHDFS')}/webhdfs/v1"
        self._headers: dict[str, str] = {}
        self._account: dict[str, str] = {}
        name, password = access.secret.get("username", ""), access.secret.get("password", "")
        if token := access.secret.get("token", "").strip():
            self._account = {"delegation": token}
        elif name and password:
            self._headers = {"Authorization": basic(name, password)}
        elif name:
            self._account = {"user.name": name}

    async def listed(self, path: str) -> list[_Status]:
        """What is in a folder, or the file itself, with an empty name. Raises RegistryError."""
        answer = await self._ask(path, "LISTSTATUS")
        return answer.expected("WebHDFS", "path").json(_Listing, "WebHDFS").file_statuses.file_status

    async def entries(self, path: str) -> list[Entry]:
        """What is in a folder. Raises RegistryError."""
        return _entries(await self.listed(path))

    async def digest(self, path: str, status: _Status) -> Digest:
        """Of one file: its checksum where the host tells it, else its size and time. Raises RegistryError."""
        plain = Digest("mtime", f"{status.modification_time}/{status.length}", "object", "mtime")
        try:
            answer = await self._ask(path, _CHECKSUM)
        except RegistryError as error:
            if error.missing.reason != "refused":
                raise
            return plain
        refusal = _refusal(answer) if answer.status != 200 else ""
        if answer.status == 400 or refusal == _MAY_NOT_READ:
            return plain
        if answer.status == 403 and refusal:
            raise RegistryError("unreachable", "WebHDFS cannot tell the checksum of the file at the moment")
        answer.expected("WebHDFS", "path")
        told = answer.json(_Checksums, "WebHDFS").file_checksum
        if not (_ALGORITHM.match(told.algorithm) and _BYTES.match(told.bytes)):
            raise RegistryError("unreadable", "WebHDFS gives no checksum that could be one")
        return Digest(told.algorithm, told.bytes, "object", "md5")

    async def _ask(self, path: str, operation: str) -> Answer:
        url = f"{self._base}{quote(path)}?{urlencode({'op': operation, **self._account})}"
        access = self._access
        answer = await self._fetcher.get(
            url,
            endpoint=access.endpoint,
            headers=self._headers,
            scope=access.scope,
            stays=operation == _CHECKSUM,
        )
        if answer.status == 401 and answer.headers.get("www-authenticate", "").lower().startswith("negotiate"):
            why = "WebHDFS asks for Kerberos, which is not spoken: use a delegation token, or a gateway with passwords"
            raise RegistryError("unsupported", why)
        if answer.status == 403 and _refusal(answer) == "StandbyException":
            raise RegistryError("unreachable", "the NameNode is the standby one: name the active one, or a gateway")
        return answer


def _refusal(answer: Answer) -> str:
    try:
        return msgspec.json.decode(answer.body, type=_Refusal).remote_exception.exception
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return ""


def _entries(statuses: list[_Status]) -> list[Entry]:
    return [
        Entry(one.path_suffix, one.type == "DIRECTORY", one.length, str(one.modification_time), "mtime")
        for one in statuses
        if one.type in {"FILE", "DIRECTORY"}
    ]
