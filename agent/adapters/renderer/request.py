"""What the renderer is asked for a Kustomization."""

from __future__ import annotations

from agent.adapters.renderer.protocol import BuildRequest, Substitution
from agent.api.kustomization import Kustomization
from agent.core.tree import PathEscapeError, clean
from agent.errors import ArtifactError


def build_request(kustomization: Kustomization, substitution: Substitution | None) -> BuildRequest:
    """The renderer's request for a Kustomization.

    Raises ArtifactError for a path that leaves the source.
    """
    spec = kustomization.spec
    common = spec.common_metadata
    return BuildRequest(
        path=folder_of(kustomization),
        target_namespace=spec.target_namespace,
        name_prefix=spec.name_prefix,
        name_suffix=spec.name_suffix,
        patches=spec.patches,
        components=spec.components,
        ignore_missing_components=spec.ignore_missing_components,
        images=spec.images,
        build_metadata=spec.build_metadata,
        common_labels=(common.labels if common else None) or {},
        common_annotations=(common.annotations if common else None) or {},
        substitution=substitution,
    )


def folder_of(kustomization: Kustomization) -> str:
    """`spec.path` as a path in the source's tree, "" for its root. Raises ArtifactError if it leads out of it."""
    path = kustomization.spec.path or ""
    try:
        return clean(path.removeprefix("/"))
    except PathEscapeError:
        raise ArtifactError(f"kustomization path not found: spec.path {path!r} leads out of the source") from None
