"""Kustomizations built from a part of the repository, which an ArtifactGenerator copies into an artifact of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from msgspec.structs import replace

from agent.api.kustomization import Kustomization, SourceReference
from agent.core.plan.listing import common_folders
from agent.core.tree import PathEscapeError, clean

_ARTIFACT = "@artifact/"
_EVERYTHING = "/**"


class Generator(NamedTuple):
    """An ArtifactGenerator and the file that it stands in."""

    object: Mapping[str, Any]
    file: str


class _Copy(NamedTuple):
    """Files of a folder of a source that come into a folder of the artifact."""

    source: SourceReference
    folder: str
    into: str


def written_out(
    kustomization: Kustomization, file: str, generators: Iterable[Generator], exists: Callable[[str], bool]
) -> Kustomization:
    """The Kustomization with the folder of the repository that its path in the artifact stands for.

    The same one if no generator of the tree makes its artifact, or none of its copies holds an existing folder. Of
    generators in several clusters, the one nearest to *file* counts.
    """
    reference = kustomization.spec.source_ref
    if reference.kind != "ExternalArtifact":
        return kustomization
    for generator in sorted(generators, key=lambda one: -common_folders(one.file, file)):
        for copy in _copies(generator.object, reference.name):
            path = _in_repository(copy, kustomization.spec.path or "")
            if path is not None and exists(path):
                spec = replace(kustomization.spec, path=path, source_ref=copy.source)
                return replace(kustomization, spec=spec)
    return kustomization


def _copies(generator: Mapping[str, Any], artifact: str) -> Iterator[_Copy]:
    spec = generator.get("spec")
    spec = spec if isinstance(spec, Mapping) else {}
    sources = {str(source.get("alias")): source for source in _mappings(spec.get("sources"))}
    for made in _mappings(spec.get("artifacts")):
        if made.get("name") != artifact:
            continue
        for copy in _mappings(made.get("copy")):
            alias, _, pattern = str(copy.get("from", "")).removeprefix("@").partition("/")
            source, into = sources.get(alias), str(copy.get("to", ""))
            folder = f"/{pattern}".removesuffix(_EVERYTHING)
            if source is None or not into.startswith(_ARTIFACT) or "*" in folder:
                continue
            reference = SourceReference(
                kind=str(source.get("kind")), name=str(source.get("name")), namespace=source.get("namespace")
            )
            if not pattern.endswith("**"):
                into = f"{into}/{folder.rpartition('/')[2]}"  # a folder itself, not what is in it
            yield _Copy(reference, folder.strip("/"), into.removeprefix(_ARTIFACT))


def _in_repository(copy: _Copy, path: str) -> str | None:
    try:
        wanted, into = clean(path.removeprefix("/")), clean(copy.into)
    except PathEscapeError:
        return None
    if into and wanted != into and not wanted.startswith(f"{into}/"):
        return None
    rest = wanted.removeprefix(into).strip("/")
    return "/".join(filter(None, (copy.folder, rest)))


def _mappings(value: Any) -> Iterator[Mapping[str, Any]]:
    return (item for item in value if isinstance(item, Mapping)) if isinstance(value, list) else iter(())
