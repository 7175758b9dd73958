"""Remotes of DVC: folders in which a file has its hash as name."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from typing import Final

import msgspec

from agent.adapters.registries.access import RegistryError
from agent.core.models.ref import Ref

_HASH: Final = re.compile(r"^dvc:md5:([0-9a-f]{2})([0-9a-f]{30}(?:\.dir)?)$")


class _Entry(msgspec.Struct):
    relpath: str
    md5: str


def places(remote: str, ref: Ref) -> Iterator[str]:
    """Where a remote keeps the content (of a folder: its listing), as DVC 3 does it and as DVC 2 did.

    None for hashes of other kinds: they are of files that lie elsewhere.
    """
    found = _HASH.match(ref.canonical)
    if found is None:
        return
    folder, name = found.groups()
    for layout in ("files/md5/", ""):
        yield f"{remote.rstrip('/')}/{layout}{folder}/{name}"


def listing(ref: Ref, content: bytes) -> dict[str, str]:
    """The files of a folder, by path, with their hashes. Raises RegistryError unless it is the listing of the hash."""
    made = f"{hashlib.md5(content, usedforsecurity=False).hexdigest()}.dir"
    if not ref.canonical.endswith(f":{made}"):
        raise RegistryError("unreadable", "the listing of the folder is not what its hash says")
    try:
        entries = msgspec.json.decode(content, type=list[_Entry])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise RegistryError("unreadable", "the listing of the folder is not one of DVC") from None
    return {entry.relpath: entry.md5 for entry in entries}
