"""Digests of artifacts, `<algorithm>:<hex>`, with the algorithms that Flux knows."""

from __future__ import annotations

import hashlib
import hmac
from typing import IO, Final, Protocol

from blake3 import blake3

from agent.settings import DIGEST_ALGORITHMS

ALGORITHMS: Final = frozenset(DIGEST_ALGORITHMS)
_CHUNK: Final = 1024 * 1024


class Hash(Protocol):
    """A sum under way."""

    def update(self, data: bytes, /) -> object:
        """Take in more."""

    def hexdigest(self) -> str:
        """The sum of all that was taken in."""


def new_hash(algorithm: str) -> Hash:
    """Begin a sum. Raises ValueError for an algorithm that is not among `ALGORITHMS`."""
    if algorithm not in ALGORITHMS:
        raise ValueError(f"digest algorithm {algorithm!r} is not one of {', '.join(sorted(ALGORITHMS))}")
    return blake3() if algorithm == "blake3" else hashlib.new(algorithm)


def digest_of(algorithm: str, file: IO[bytes]) -> str:
    """The digest of what is left of a file (blocking). Raises ValueError as `new_hash` does."""
    found = new_hash(algorithm)
    while chunk := file.read(_CHUNK):
        found.update(chunk)
    return f"{algorithm}:{found.hexdigest()}"


def matches(file: IO[bytes], digest: str) -> bool:
    """Whether a file has a digest (blocking); none has one of an unknown algorithm."""
    algorithm = digest.partition(":")[0]
    return algorithm in ALGORITHMS and hmac.compare_digest(digest_of(algorithm, file).encode(), digest.encode())
