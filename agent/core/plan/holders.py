"""Folders whose build changes the Flux objects that are written in it, so that their text alone misleads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

from agent.core.plan.fluxobjects import Declared, FluxObjects
from agent.core.plan.includes import Includes, KustomizationFile, Reach
from agent.core.plan.listing import inside
from agent.core.plan.units import folder_of, roots

_HARMLESS: Final = frozenset(
    {
        *("apiVersion", "kind", "metadata", "resources", "bases", "images", "labels", "commonLabels", "buildMetadata"),
        *("commonAnnotations", "configMapGenerator", "secretGenerator", "generatorOptions"),
    }
)
"""Fields of a kustomization that leave the spec of a Flux object alone."""
_PATCHES: Final = ("patches", "patchesStrategicMerge", "patchesJson6902")
_KIND: Final = "Kustomization"


class Holder(NamedTuple):
    """A folder to build for its Flux objects, the Kustomization that asks for it (if any) and what the build reads."""

    folder: str
    declared: Declared | None
    reach: Reach


def holders(includes: Includes, flux: FluxObjects) -> Iterator[Holder]:
    """Folders that hold Flux Kustomizations and change them as they are built."""
    files = frozenset(declared.file for declared in flux.kustomizations)
    asked: set[str] = set()
    for declared in flux.kustomizations:
        folder = folder_of(declared)
        if folder is None or not includes.listing.is_folder(folder):
            continue
        asked.add(folder)
        holder = Holder(folder, declared, includes.reach([folder]))
        if holder.reach.touched(files) and (_spec_matters(declared) or _build_matters(includes, holder.reach)):
            yield holder
    for folder in roots(includes):
        holder = Holder(folder, None, includes.reach([folder]))
        if folder not in asked and holder.reach.touched(files) and _build_matters(includes, holder.reach):
            yield holder


def _spec_matters(declared: Declared) -> bool:
    spec = declared.object.spec
    named = spec.name_prefix or spec.name_suffix or spec.target_namespace
    return bool(named or spec.patches or spec.components or spec.post_build)


def _build_matters(includes: Includes, reach: Reach) -> bool:
    return any(_matters(includes, folder, file) for folder, file in includes.all() if reach.touched({file.path}))


def _matters(includes: Includes, folder: str, file: KustomizationFile) -> bool:
    if file.document.keys() - _HARMLESS - set(_PATCHES):
        return True
    entries = (entry for field in _PATCHES for entry in _entries(file.document, field))
    return any(_may_be_for_kustomizations(includes, folder, entry) for entry in entries)


def _entries(document: Mapping[str, Any], field: str) -> list[Any]:
    values = document.get(field)
    return values if isinstance(values, list) else []


def _may_be_for_kustomizations(includes: Includes, folder: str, entry: Any) -> bool:
    """A patch is for the kind that its target names, or else for the one that it holds itself."""
    if isinstance(entry, Mapping):
        target = entry.get("target")
        kind = target.get("kind") if isinstance(target, Mapping) else None
        if isinstance(target, Mapping):
            # A target's fields are regular expressions; without a kind it may be for any.
            return kind is None or _KIND in str(kind) or not str(kind).isalnum()
        entry = entry.get("patch") or entry.get("path") or ""
    path = inside(folder, str(entry))
    text = (
        includes.listing.content(path).data.decode(errors="replace") if includes.listing.is_file(path) else str(entry)
    )
    return _KIND in text
