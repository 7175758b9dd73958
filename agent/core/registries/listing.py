"""Digests over listings: what a model's loader would read, and what is below a prefix of an object store."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Final, Literal, NamedTuple

from agent.core.models.ref import Digest, Size

Strength = Literal["sha256", "md5", "generation", "etag", "mtime"]
_ORDER: Final[Sequence[str]] = ("sha256", "md5", "crc32c", "generation", "etag", "mtime")
_NEVER_LOADED: Final = re.compile(
    r"(?:^|/)(?:README[^/]*|LICENSE[^/]*|NOTICE[^/]*|\.gitattributes|\.gitignore)$"
    r"|\.(?:md|png|jpe?g|gif|svg|webp|pdf)$|^original/",
    re.IGNORECASE,
)

_DUPLICATE: Final = re.compile(r"(?:tf_model[^/]*\.h5|(?:diffusion_)?flax_model[^/]*\.msgpack|rust_model\.ot)")
"""Names under which transformers and diffusers keep the weights of a folder again, for TensorFlow, Flax and Rust."""


class File(NamedTuple):
    """A file or object: its path below the listing, its size in bytes, a validator, and which kind that is."""

    path: str
    size: int
    validator: str
    strength: str


def served(files: Iterable[File], wanted: Callable[[str], bool] = lambda _path: True) -> list[File]:
    """Those files that a loader may read: cards, licences and pictures change nothing that is served.

    Neither do copies for other frameworks in a folder with safetensors, which transformers and diffusers prefer. Other
    files with the same endings, such as Keras' model.weights.h5, may be the model itself, whatever is beside them.
    """
    kept = [file for file in files if wanted(file.path) and not _NEVER_LOADED.search(file.path)]
    preferred = {_folder(file.path) for file in kept if file.path.endswith(".safetensors")}
    return [file for file in kept if _folder(file.path) not in preferred or not _DUPLICATE.fullmatch(_name(file.path))]


def files_digest(files: Iterable[File]) -> Digest:
    """SHA-256 over path, validator and size of those files of a repository that `served` leaves, by path.

    Its scope is not "files", as it was when `served` left out fewer: digests that records keep from that time would
    differ for the same content. Whoever changes what `served` leaves out gives it a new scope again.
    """
    lines = (f"{file.path}\0{file.validator}\0{file.size}\n" for file in sorted(files))
    return Digest("sha256", _hash(lines), "loaded", "sha256")


def listing_digest(files: Sequence[File]) -> Digest:
    """SHA-256 over path, size and validator of the objects below a prefix. Its strength is that of the weakest."""
    strength = max((file.strength for file in files), key=_ORDER.index, default="sha256")
    lines = (f"{file.path}\0{file.size}\0{file.validator}\n" for file in sorted(files))
    return Digest("sha256", _hash(lines), "listing", strength)


def extent(files: Sequence[File]) -> Size:
    """Bytes and number."""
    return Size(bytes=sum(file.size for file in files), files=len(files))


def _folder(path: str) -> str:
    return path.rpartition("/")[0]


def _name(path: str) -> str:
    return path.rpartition("/")[2]


def _hash(lines: Iterable[str]) -> str:
    digest = hashlib.sha256()
    for line in lines:
        digest.update(line.encode("utf-8", "surrogatepass"))
    return digest.hexdigest()
