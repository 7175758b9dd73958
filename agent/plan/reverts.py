"""Whether a change puts back what an earlier commit had."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from agent.adapters.git.local import LocalRepository, LocalRevision
from agent.core.models import History, Ref
from agent.core.objects import ObjectKey
from agent.core.plan.listing import File

LOOK_BACK = 200
"""Commits before the old revision that are looked at."""
_MOST_FILES = 50


class Reverts:
    """Looks for earlier commits in which changed files were what they become now."""

    def __init__(self, repository: LocalRepository, old: LocalRevision, new: Mapping[str, File]) -> None:
        self._repository = repository
        self._old = old
        self._new = new
        self._earlier: list[LocalRevision] | None = None
        self._found: dict[tuple[tuple[str, str], ...], str | None] = {}

    def history(self, paths: Iterable[str]) -> History:
        """Answers for slots that are made from these changed files, as the comparison asks; it looks when it is asked.

        All of them have to be as they were in one earlier commit. A file that is gone proves nothing: before it came,
        it was not there either.
        """
        wanted = {path: self._new.get(path) for path in paths}
        oids = {path: file.oid for path, file in wanted.items() if file is not None}
        provable = len(oids) == len(wanted) and 0 < len(wanted) <= _MOST_FILES

        def known(_key: ObjectKey, _slot: str, reference: Ref | None) -> str | None:
            return self._find(tuple(sorted(oids.items()))) if provable and reference is not None else None

        return known

    def of_files(self) -> History:
        """The same for files that stand for themselves."""

        def known(key: ObjectKey, slot: str, reference: Ref | None) -> str | None:
            return self.history([key.name])(key, slot, reference) if key.kind == "File" else None

        return known

    def _find(self, wanted: tuple[tuple[str, str], ...]) -> str | None:
        if self._earlier is None:
            self._earlier = self._repository.ancestors(self._old, LOOK_BACK)
        if wanted not in self._found:
            fitting = (
                commit.id
                for commit in self._earlier
                if all(self._repository.at(commit, path) == oid for path, oid in wanted)
            )
            self._found[wanted] = next(fitting, None)
        return self._found[wanted]
