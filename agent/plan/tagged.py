"""Versions and stages that tags on the commits between two revisions have. Tags themselves belong to no revision."""

from __future__ import annotations

from typing import NamedTuple

from agent.adapters.git.local import LocalRepository, LocalRevision
from agent.core.models import ChangeRecord, Commit, Rules
from agent.core.models.gto import parse_tag, registry
from agent.core.models.tagevents import Declared, TagChange, declared, of_models, tag_changes, tag_records
from agent.core.plan.listing import Listing


class Tagged(NamedTuple):
    """What differs, and where each artifact is."""

    changes: tuple[TagChange, ...] = ()
    places: dict[str, Declared] = {}  # noqa: RUF012 - never written to

    def __bool__(self) -> bool:
        return bool(self.changes)

    def records(self, commit: Commit, rules: Rules) -> list[ChangeRecord]:
        """A record for each change."""
        return tag_records(self.changes, self.places, commit, rules=rules)


def tagged_between(repository: LocalRepository, old: LocalRevision, new: LocalRevision, listing: Listing) -> Tagged:
    """What the tags on commits that *new* has in its history, and *old* has not, add to those on commits of *old*.

    Nothing is taken away that *old* has: that *new* is on another branch deletes no tag. A clone without tags has none.
    """
    if old.tree and not old.author:
        return Tagged()  # a bare tree: nobody knows what came before it
    tags = repository.tags(parse_tag)
    commits = {tag.commit for tag in tags}
    fresh = repository.reached(new, commits, old) if commits else set()
    if not fresh:
        return Tagged()
    known = repository.reached(old, commits)
    before = registry(tag for tag in tags if tag.commit in known)
    after = registry(tag for tag in tags if tag.commit in known or tag.commit in fresh)
    changes = tuple(tag_changes(before, after))

    def read(path: str) -> bytes | None:
        return listing.content(path).data if listing.is_file(path) else None

    places = {change.artifact: declared(change.artifact, read) for change in changes}
    return Tagged(tuple(of_models(changes, places, before, after)), places)
