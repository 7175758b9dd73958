"""How the artifact of a GitRepository is made."""

from __future__ import annotations

import dataclasses

from agent.api.gitrepository import GitRepository
from agent.controllers.includes import IncludedArtifact
from agent.core.composition import Composition


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How an artifact is made from a commit: what is composed, and whether submodules are part of it."""

    composition: Composition
    submodules: bool

    @classmethod
    def of_spec(cls, repository: GitRepository, includes: tuple[IncludedArtifact, ...]) -> Recipe:
        """What the spec asks for."""
        spec = repository.spec
        return cls(
            composition=Composition(
                ignore=spec.ignore,
                sparse=spec.sparse_checkout,
                included=tuple(one.copied for one in includes),
            ),
            submodules=spec.recurse_submodules,
        )

    @classmethod
    def of_status(cls, repository: GitRepository) -> Recipe:
        """How the last artifact was made, but for what was copied in."""
        status = repository.status
        return cls(
            composition=Composition(ignore=status.observed_ignore, sparse=status.observed_sparse_checkout),
            submodules=status.observed_recurse_submodules,
        )
