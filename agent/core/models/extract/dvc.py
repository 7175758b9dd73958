"""DVC files: ``.dvc``, ``dvc.lock`` and ``dvc.yaml``."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from agent.core.digits import whole
from agent.core.models.confidential import without_secrets
from agent.core.models.extract.document import canonical
from agent.core.models.extract.slot import MalformedError, Slot, mapping, mappings, text
from agent.core.models.redact import bounded, redact
from agent.core.models.ref import OPAQUE, Digest, Identity, Ref, Size, literal, unresolved

_HASHES: Final = ("md5", "sha256", "etag", "checksum")
_DIGITS: Final = {"md5": 32, "sha256": 64}
"""Of the hashes whose length is known; a folder's has `.dir` at its end."""


def dvc_file(document: Mapping[str, Any]) -> Iterator[Slot]:
    """Outputs of a ``.dvc`` file and, for imports, where they came from.

    Raises MalformedError for a file without outputs, unless it is a stage of DVC before 1.0 (which has a command).
    """
    _written(document, ("outs", "deps"), "$")
    if not document.get("outs") and "cmd" not in document:
        raise MalformedError("$.outs", "is missing or empty: the file is cut off")
    for out, here in mappings(document, "outs", "$"):
        yield _tracked(out, here, "out")
    for dep, here in mappings(document, "deps", "$"):
        repo = mapping(dep, "repo", here)
        name = redact(text(dep, "path", here)) or "import"
        if repo:
            url, rev = redact(text(repo, "url", here)), text(repo, "rev_lock", here) or text(repo, "rev", here)
            pinned = bool(re.fullmatch(r"[0-9a-f]{40}", rev))
            identity = Identity(revision=rev) if pinned else Identity(unresolved="offline")
            ref = Ref(f"{url}@{rev}", "git", f"{url.rstrip('/')}@{rev}", pinned, identity)
            yield Slot(f"dep[{name}].repo", "data", ref, here)
        elif any(field in dep for field in ("md5", "etag", "checksum", "hash")):
            yield _tracked(dep, here, "dep")


def dvc_lock(document: Mapping[str, Any]) -> Iterator[Slot]:
    """Outputs, dependencies, parameters and command of every stage that ``dvc repro`` ran.

    Raises MalformedError where something is missing that DVC's own schema asks for.
    """
    _written(document, ("stages", "datasets"), "$")
    if not document.keys() - {"schema"}:
        raise MalformedError("$", "has no stages and no datasets: the file is empty or cut off")
    # The first schema had the stages at the top level.
    stages, base = (mapping(document, "stages", "$"), "$.stages") if "schema" in document else (document, "$")
    for name in sorted(stages, key=str):
        stage, here = mapping(stages, name, base), f"{base}.{name}"
        if not stage.get("cmd"):
            raise MalformedError(f"{here}.cmd", "is missing: the file is cut off")
        _written(stage, ("deps", "params", "outs"), here)
        for field, word in (("deps", "dep"), ("outs", "out")):
            for entry, inner in mappings(stage, field, here):
                slot = _tracked(entry, inner, word)
                yield slot._replace(name=f"stage[{name}].{slot.name}")
        params = mapping(stage, "params", here)
        for source in sorted(params, key=str):
            value = bounded(canonical(without_secrets(params[source]), f"{here}.params"))
            yield Slot(f"stage[{name}].params[{source}]", "pipeline", literal(value), f"{here}.params")
        command = without_secrets(stage["cmd"])
        shown = bounded(command if isinstance(command, str) else canonical(command, f"{here}.cmd"))
        yield Slot(f"stage[{name}].cmd", "pipeline", literal(shown), f"{here}.cmd")
    for entry, here in mappings(document, "datasets", "$"):
        yield from _dataset(entry, here)


def _dataset(entry: Mapping[str, Any], path: str) -> Iterator[Slot]:
    name, url = text(entry, "name", path), redact(text(entry, "url", path))
    lock = text(entry, "rev_lock", path) or text(entry, "version", path) or _version_of(entry, path)
    canonical = f"{url}@{lock}" if lock else url
    identity = Identity(revision=lock) if lock else Identity(unresolved="offline")
    yield Slot(f"dataset[{name}]", "data", Ref(canonical, "dvc", canonical, bool(lock), identity), path)


def _version_of(entry: Mapping[str, Any], path: str) -> str:
    """What a data set at an address was when it was locked: its files one by one, or the only one."""
    listed = sorted(
        f"{text(file, 'relpath', here)}={_meta_of(file, here)}" for file, here in mappings(entry, "files", path)
    )
    return _sha256("\n".join(listed)) if listed else _meta_of(entry, path)


def _meta_of(entry: Mapping[str, Any], path: str) -> str:
    meta, here = mapping(entry, "meta", path), f"{path}.meta"
    return next(filter(None, (text(meta, field, here) for field in ("md5", "etag", "checksum", "version_id"))), "")


def _tracked(entry: Mapping[str, Any], path: str, word: str) -> Slot:
    """One path with the hash that DVC recorded for it."""
    name = redact(text(entry, "path", path))
    if not name:
        raise MalformedError(path, "has no path")
    algorithm, value = _hash_of(entry, path)
    size = _size_of(entry, path)
    slot = f"{word}[{name}]"
    if not value:
        # Cloud-versioned folders list their files one by one; outputs that were never pushed have no hash at all.
        files = sorted(f"{text(f, 'relpath', p)}={'.'.join(_hash_of(f, p))}" for f, p in mappings(entry, "files", path))
        if not files:
            return Slot(slot, "data", unresolved(name, "dvc", f"dvc:{name}", OPAQUE), path)
        algorithm, value = "listing", _sha256("\n".join(files))
    folder = value.endswith(".dir") or algorithm == "listing"
    strength = "etag" if algorithm == "etag" else "sha256" if algorithm in {"listing", "sha256"} else "md5"
    digest = Digest(algorithm, value, "listing" if folder else "object", strength)
    canonical = f"dvc:{algorithm}:{value}"
    return Slot(slot, "data", Ref(name, "dvc", canonical, True, Identity(revision=value), digest, size), path)


def _hash_of(entry: Mapping[str, Any], path: str) -> tuple[str, str]:
    _written(entry, _HASHES, path)
    for field in _HASHES:
        if value := text(entry, field, path):
            digits = _DIGITS.get(field)
            if digits and not re.fullmatch(rf"[0-9a-fA-F]{{{digits}}}(\.dir)?", value):
                raise MalformedError(f"{path}.{field}", f"is no hash of {digits} hexadecimal digits")
            return field, value
    cloud = mapping(entry, "cloud", path)
    for remote in sorted(cloud, key=str):
        found = mapping(cloud, remote, f"{path}.cloud")
        if value := text(found, "version_id", path) or text(found, "etag", path):
            return "etag", value
    return "", ""


def _written(parent: Mapping[str, Any], fields: Iterable[str], path: str) -> None:
    """Raises MalformedError for a field whose value is missing: DVC leaves such fields out, a cut file ends in one."""
    for field in fields:
        if field in parent and parent[field] is None:
            raise MalformedError(f"{path}.{field}", "has no value: the file is cut off")


def _count(entry: Mapping[str, Any], field: str, path: str) -> int | None:
    return whole(text(entry, field, path))


def _size_of(entry: Mapping[str, Any], path: str) -> Size | None:
    sizes = [_count(file, "size", here) for file, here in mappings(entry, "files", path)]
    known = [size for size in sizes if size is not None]
    if sizes and len(known) == len(sizes):
        return Size(bytes=sum(known), files=len(sizes))
    size = Size(bytes=_count(entry, "size", path), files=_count(entry, "nfiles", path) or len(sizes) or None)
    return size if size != Size() else None


def _sha256(value: str) -> str:
    return hashlib.sha256(value.encode("utf-8", "surrogatepass")).hexdigest()


def dvc_yaml(document: Mapping[str, Any]) -> Iterator[Slot]:
    """Stages and artifacts as they are written: what the lock file will be made from."""
    stages = mapping(document, "stages", "$")
    for name in sorted(stages, key=str):
        value = bounded(canonical(without_secrets(stages[name]), f"$.stages.{name}"))
        yield Slot(f"stage[{name}]", "pipeline", literal(value), f"$.stages.{name}")
    artifacts = mapping(document, "artifacts", "$")
    for name in sorted(artifacts, key=str):
        value = bounded(canonical(without_secrets(artifacts[name]), f"$.artifacts.{name}"))
        yield Slot(f"artifact[{name}]", "pipeline", literal(value), f"$.artifacts.{name}")
    for entry, here in mappings(document, "datasets", "$"):
        rev = text(entry, "rev", here)
        url = redact(text(entry, "url", here))
        pinned = bool(re.fullmatch(r"[0-9a-f]{40}", rev))
        spelled = f"{url}@{rev}" if rev else url
        identity = Identity(revision=rev) if pinned else Identity(unresolved="offline")
        yield Slot(
            f"dataset[{text(entry, 'name', here)}]", "data", Ref(spelled, "dvc", spelled, pinned, identity), here
        )
