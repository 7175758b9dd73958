"""The frames between the agent and its programs.

A frame is two big-endian uint32 (length of the header, length of the body), a JSON header and a raw body. The agent
sends a request; the program may ask questions of its own until it sends a result or an error.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import TypeVar

import msgspec

_PREFIX = struct.Struct(">II")
MAX_HEADER = 8 << 20
"""Bytes; a longer header is a broken conversation."""

T = TypeVar("T")

_encoder = msgspec.json.Encoder()


def encode(header: msgspec.Struct, body: bytes = b"") -> bytes:
    """One frame."""
    head = _encoder.encode(header)
    return b"".join((_PREFIX.pack(len(head), len(body)), head, body))


def receive(read: Callable[[int], bytes], decoder: msgspec.json.Decoder[T], *, max_body: int) -> tuple[T, bytes]:
    """The next frame; `read` returns exactly as many bytes as asked for.

    Raises ValueError for a frame that breaks the rules.
    """
    head_size, body_size = _PREFIX.unpack(read(_PREFIX.size))
    if head_size > MAX_HEADER or body_size > max_body:
        raise ValueError(f"a frame of {head_size} + {body_size} bytes")
    message = decoder.decode(read(head_size))
    return message, read(body_size) if body_size else b""
