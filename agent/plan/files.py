"""Changed files that stand for models and data: DVC, Git LFS, git-annex, submodules and the like."""

from __future__ import annotations

from collections.abc import Iterable

from agent.adapters.git.errors import GitOperationError
from agent.adapters.git.local import LocalRepository
from agent.core.models import Blob, FileChange, wants
from agent.core.models.extract.pointers import SUBMODULE
from agent.core.plan.listing import Listing
from agent.core.plan.report import PlanError
from agent.plan.revisions import NOT_IN_CLONE


def file_changes(
    repository: LocalRepository, old: Listing, new: Listing, changed: Iterable[str]
) -> tuple[list[FileChange], list[PlanError]]:
    """The changed files worth a look, with their bytes, and those whose bytes are not here."""
    found: list[FileChange] = []
    problems: list[PlanError] = []
    for path in sorted(changed):
        try:
            sides = _blob(repository, old, path), _blob(repository, new, path)
        except GitOperationError:
            problems.append(PlanError(file=path, message=NOT_IN_CLONE))
            continue
        if sides != (None, None):
            found.append(FileChange(path, *sides))
    return found, problems


def _blob(repository: LocalRepository, listing: Listing, path: str) -> Blob | None:
    file = listing.files.get(path)
    if file is None:
        return None
    if file.mode == SUBMODULE:
        return Blob(file.oid.encode(), file.mode)
    if not wants(path, repository.size(file.oid), file.mode):
        return None
    return Blob(repository.read(file.oid), file.mode)
