"""From a remote to the files of an artifact: commit, submodules, included folders, rules for what stays out."""

from __future__ import annotations

import asyncio
import dataclasses

from agent.adapters.git import (
    GitCommitTree,
    GitMirrors,
    GitOperationError,
    GitRemote,
    GitTree,
    GitTreeWithSubmodules,
    with_submodules,
)
from agent.api.meta import Artifact
from agent.controllers.gitrepository.history import GitHistory
from agent.controllers.gitrepository.recipe import Recipe
from agent.controllers.sources import SourceSnapshot
from agent.core.composition import CopyError, MissingFolderError
from agent.core.gitref import GitReference, RemoteRefs
from agent.core.tree import differing
from agent.errors import OperationError, WeirError
from agent.telemetry.tracing import note, traced

COPY_FAILURE = "CopyFailure"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Checkout:
    """A commit and its files."""

    commit: GitCommitTree
    files: GitTree | GitTreeWithSubmodules
    remote: GitRemote
    recipe: Recipe


@traced("fetch")
async def checked_out(
    mirrors: GitMirrors,
    remote: GitRemote,
    reference: GitReference,
    recipe: Recipe,
    timeout: float,
    *,
    listed: RemoteRefs | None = None,
) -> Checkout:
    """Fetch what is not here yet. `timeout` in seconds applies to the commit, and again to all submodules.

    `listed` is what the remote has named a moment ago. Raises GitOperationError.
    """
    commit = await mirrors.checkout(remote, reference, timeout, listed)
    note(revision=commit.revision)
    files: GitTree | GitTreeWithSubmodules = commit.tree
    if recipe.submodules:
        files = await with_submodules(mirrors, remote, commit, timeout, recipe.composition.reaches)
    return Checkout(commit=commit, files=files, remote=remote, recipe=recipe)


async def check_folders(checkout: Checkout) -> None:
    """Raises GitOperationError, with Flux's words, for a folder of `spec.sparseCheckout` that is not there."""
    try:
        await asyncio.to_thread(checkout.recipe.composition.check, checkout.files)
    except MissingFolderError as error:
        raise GitOperationError(f"failed to sparse checkout directories : {error}") from None


async def composed(
    checkout: Checkout, artifact: Artifact | None, mirrors: GitMirrors, timeout: float
) -> SourceSnapshot:
    """The artifact's files; revision and digest are those of the artifact, if there is one.

    Raises OperationError with Flux's reason CopyFailure for an include that has no place.
    """
    commit, composition = checkout.commit, checkout.recipe.composition
    try:
        tree = await asyncio.to_thread(composition.compose, checkout.files)
    except CopyError as error:
        raise OperationError(str(error), reason=COPY_FAILURE) from None
    return SourceSnapshot(
        revision=artifact.revision if artifact else commit.revision,
        digest=artifact.digest if artifact else "",
        tree=tree,
        author=f"{commit.author.name} <{commit.author.email}>",
        history=GitHistory(mirrors, checkout.remote, checkout.files, checkout.recipe, timeout),
    )


async def compared(before: SourceSnapshot | None, snapshot: SourceSnapshot) -> SourceSnapshot:
    """The snapshot with the paths at which it differs from the one before, as far as that can still be read."""
    if before is None:
        return snapshot
    try:
        differs = await asyncio.to_thread(differing, before.tree, snapshot.tree)
    except WeirError:
        return snapshot
    return dataclasses.replace(snapshot, differs=differs)
