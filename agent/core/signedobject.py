"""Signed commits and tags of Git: what was signed, and the signature, taken from an object's raw content.

As Git itself reads them: a commit carries its signature in a header that is no part of what was signed, a tag carries
it at the end of its text.
"""

from __future__ import annotations

import dataclasses
import re
from typing import Literal

SignatureKind = Literal["pgp", "ssh", "unknown"]

_MARKS: dict[bytes, SignatureKind] = {
    b"-----BEGIN PGP SIGNATURE-----": "pgp",
    b"-----BEGIN PGP MESSAGE-----": "pgp",
    b"-----BEGIN SSH SIGNATURE-----": "ssh",
    b"-----BEGIN SIGNED MESSAGE-----": "unknown",
}
_MARK = re.compile(rb"^(?:" + b"|".join(re.escape(mark) for mark in _MARKS) + rb")", re.MULTILINE)
_SIGNATURE_HEADERS = (b"gpgsig ", b"gpgsig-sha256 ")


class MalformedObjectError(ValueError):
    """The content is not that of a commit or tag as Git writes them."""


@dataclasses.dataclass(frozen=True, slots=True)
class SignedObject:
    """`payload` is what was signed; `signature` is armored text, empty if there is none."""

    payload: bytes
    signature: bytes

    @property
    def kind(self) -> SignatureKind:
        """Whose format the signature has."""
        return next((kind for mark, kind in _MARKS.items() if self.signature.startswith(mark)), "unknown")


def signed_commit(content: bytes) -> SignedObject:
    """Raises MalformedObjectError if there is no message, or more than one signature."""
    head, blank, message = content.partition(b"\n\n")
    if not blank:
        raise MalformedObjectError("a commit without a message")
    payload: list[bytes] = []
    signatures: list[list[bytes]] = []
    leaving = False
    for line in head.split(b"\n"):
        if line.startswith(b" "):
            if not leaving:
                payload.append(line)
            elif signatures:
                signatures[-1].append(line[1:])
            continue
        leaving = line.startswith(_SIGNATURE_HEADERS)
        if leaving:
            signatures.append([line.partition(b" ")[2]])
        else:
            payload.append(line)
    if len(signatures) > 1:
        raise MalformedObjectError("a commit with more than one signature")
    signature = b"\n".join(signatures[0]) + b"\n" if signatures else b""
    return SignedObject(b"\n".join(payload) + b"\n\n" + message, signature)


def signed_tag(content: bytes, commit: str) -> SignedObject:
    """Raises MalformedObjectError if the tag is not one of that commit (40 digits)."""
    if not content.startswith(f"object {commit}\ntype commit\n".encode()):
        raise MalformedObjectError(f"not a tag of commit '{commit}'")
    _, _, text = content.partition(b"\n\n")
    start = len(content) - len(text)
    marks = list(_MARK.finditer(content, start))
    if not marks:
        return SignedObject(content, b"")
    at = marks[-1].start()
    return SignedObject(content[:at], content[at:])
