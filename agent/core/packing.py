"""Lines packed into little: what is kept in an object of the cluster has to be small."""

from __future__ import annotations

import zlib
from collections.abc import Sequence


def packed(lines: Sequence[bytes], limit: int) -> bytes:
    """The newest of the lines, which come oldest first and hold no line feeds, in at most `limit` bytes."""
    kept = list(lines)
    while True:
        data = zlib.compress(b"\n".join(kept), 6)
        if len(data) <= limit or not kept:
            return data
        kept = kept[max(1, len(kept) // 4) :]


def unpacked(data: bytes, limit: int) -> list[bytes]:
    """The lines, oldest first; none if that is not what `packed` makes, or if they would be more than `limit` bytes."""
    unpacker = zlib.decompressobj()
    try:
        text = unpacker.decompress(data, limit)
    except zlib.error:
        return []
    return [line for line in text.split(b"\n") if line] if unpacker.eof else []
