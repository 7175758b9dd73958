"""Pointers in Git that stand for content elsewhere: Git LFS, git-annex, submodules."""

from __future__ import annotations

import re
from typing import Final

import msgspec

from agent.core.models.extract.slot import MalformedError, Slot
from agent.core.models.ref import Digest, Identity, Ref, Size

SUBMODULE: Final = 0o160000
SYMLINK: Final = 0o120000
POINTER_LIMIT: Final = 1024
"""Largest Git LFS or git-annex pointer, in bytes."""
POINTERS: Final = frozenset({"git-lfs", "git-annex"})
"""Schemes of the references that texts in place of the content are."""
LFS_MARK: Final = b"version https://git-lfs.github.com/spec/v1"
_OLD_LFS_MARK: Final = b"version https://hawser.github.com/spec/v1"
_LFS_OID: Final = re.compile(r"^oid sha256:([0-9a-f]{64})$", re.MULTILINE)
_LFS_SIZE: Final = re.compile(r"^size (\d{1,19})$", re.MULTILINE)
_ANNEX_KEY: Final = re.compile(r"^([A-Z0-9_]+)((?:-[smSC]\d+)*)--(.+)$")
_SHORTEST_MARK: Final = len(b"version h")
"""Bytes from which on a text that ends within the mark is taken for a pointer that was cut off."""
_ANNEX_ALGORITHMS: Final = {
    "SHA256": "sha256", "SHA512": "sha512", "SHA384": "sha384", "SHA224": "sha224", "SHA1": "sha1", "MD5": "md5",
    "SHA3_256": "sha3-256", "SHA3_512": "sha3-512", "BLAKE2B256": "blake2b256", "BLAKE2B512": "blake2b512",
}  # fmt: skip
_DIGITS: Final = {
    "sha256": 64, "sha512": 128, "sha384": 96, "sha224": 56, "sha1": 40, "md5": 32,
    "sha3-256": 64, "sha3-512": 128, "blake2b256": 64, "blake2b512": 128,
}  # fmt: skip


class Blob(msgspec.Struct, frozen=True, gc=False):
    """One side of a changed file: its bytes and its Git mode. A submodule's bytes are its commit, in hex."""

    data: bytes
    mode: int = 0o100644


def pointer(path: str, blob: Blob) -> Slot | None:
    """What the pointer *blob* stands for, None if it is none. Raises MalformedError."""
    if blob.mode == SUBMODULE:
        return _submodule(path, blob)
    if len(blob.data) >= POINTER_LIMIT:
        return None
    if blob.data.startswith((LFS_MARK, _OLD_LFS_MARK)):
        return _lfs(path, blob.data)
    if len(blob.data) >= _SHORTEST_MARK and any(mark.startswith(blob.data) for mark in (LFS_MARK, _OLD_LFS_MARK)):
        raise MalformedError(path, "is a broken Git LFS pointer (cut off in its first line)")
    key = _annex_key(blob)
    return _annex(path, key) if key else None


def _lfs(path: str, data: bytes) -> Slot:
    try:
        pointer = data.decode("utf-8")
    except UnicodeDecodeError:
        raise MalformedError(path, "is a broken Git LFS pointer (not text)") from None
    oid, size = _LFS_OID.search(pointer), _LFS_SIZE.search(pointer)
    if oid is None or size is None:
        raise MalformedError(path, "is a broken Git LFS pointer (oid or size is missing)")
    value = oid.group(1)
    ref = Ref(
        f"oid sha256:{value}",
        "git-lfs",
        f"git-lfs:sha256:{value}",
        True,
        Identity(revision=value),
        Digest("sha256", value, "object", "sha256"),
        Size(bytes=int(size.group(1)), files=1),
    )
    return Slot("content", "data", ref, "$")


def _annex_key(blob: Blob) -> str:
    try:
        line = blob.data.decode("utf-8").partition("\n")[0].strip()
    except UnicodeDecodeError:
        return ""
    if blob.mode == SYMLINK and ".git/annex/objects/" in line:
        return line.rpartition("/")[2]
    return line.rpartition("/")[2] if line.startswith("/annex/objects/") else ""


def _annex(path: str, key: str) -> Slot:
    found = _ANNEX_KEY.match(key)
    if found is None:
        raise MalformedError(path, "is a broken git-annex pointer")
    backend, sizes, value = found.groups()
    # A trailing "E" means that the key keeps the file's extension.
    algorithm = _ANNEX_ALGORITHMS.get(backend) or _ANNEX_ALGORITHMS.get(backend.removesuffix("E"))
    size = re.search(r"-s(\d{1,19})", sizes)
    extent = Size(bytes=int(size.group(1))) if size else None
    canonical = f"git-annex:{key}"
    if algorithm is None:
        # WORM and URL keys name no content.
        ref = Ref(key, "git-annex", canonical, "soft", Identity(unresolved="no-digest"), None, extent)
        return Slot("content", "data", ref, "$")
    value = value.partition(".")[0]
    if not re.fullmatch(rf"[0-9a-f]{{{_DIGITS[algorithm]}}}", value):
        raise MalformedError(path, f"is a broken git-annex pointer (no {algorithm} of {_DIGITS[algorithm]} digits)")
    digest = Digest(algorithm, value, "object", "sha256" if algorithm != "md5" else "md5")
    ref = Ref(key, "git-annex", f"git-annex:{algorithm}:{value}", True, Identity(revision=value), digest, extent)
    return Slot("content", "data", ref, "$")


def _submodule(path: str, blob: Blob) -> Slot:
    commit = blob.data.decode("ascii", "replace").strip()
    if not re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", commit):
        raise MalformedError(path, "is a submodule without a commit")
    return Slot("commit", "data", Ref(commit, "git", f"git:{commit}", True, Identity(revision=commit)), "$")
