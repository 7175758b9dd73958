"""Remotes of DVC: folders in which a file has its hash as name."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from agent.core.models.ref import Ref

_HASH: Final = re.compile(r"^dvc:md5:([0-9a-f]{2})([0-9a-f]{30}(?:\.dir)?)$")


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
