"""Tells what tags of a repository register and assign, and take back: GTO's, with no commit on any branch."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from typing import Final

from agent.api.changepolicy import ChangePolicy
from agent.api.gitrepository import GitRepository
from agent.controllers.announcing import Announcer, Subject
from agent.controllers.changelog import ChangeLog
from agent.controllers.sources import SourceKey, SourceSnapshot
from agent.core.models.belonging import with_kustomizations
from agent.core.models.gto import Registry, candidates, listed_tags, registry, undecided
from agent.core.models.record import ChangeRecord, Commit
from agent.core.models.tagevents import Declared, TagChange, declared, of_models, tag_changes, tag_records
from agent.core.policy.judging import fault
from agent.core.policy.referencing import rules_of
from agent.core.tree import Tree
from agent.errors import WeirError
from agent.telemetry.events import reference_to

Times = Callable[[Collection[str]], Awaitable[Mapping[str, int]]]
"""Ids of annotated tags -> when they were made, in seconds since 1970. Raises WeirError."""
_LARGEST: Final = 1 << 20
"""Bytes of a file that declares artifacts."""


class TagRegistries:
    """Compares the tags of a source with what was last known of them, also by another process.

    What is there when a source is first looked at is no change. A source without such tags costs nothing but going
    through the listing.
    """

    def __init__(
        self,
        log: ChangeLog,
        announcer: Announcer,
        *,
        policies: Callable[[], Iterable[ChangePolicy]],
        belonging: Callable[[str, Collection[str]], Mapping[str, Sequence[str]]],
    ) -> None:
        self._log = log
        self._announcer = announcer
        self._policies = policies
        self._belonging = belonging
        self._looked: dict[str, tuple[str, int]] = {}
        self._empty: dict[str, str] = {}
        self._times: dict[str, Mapping[str, int]] = {}
        self._subscribers: list[Callable[[SourceKey], None]] = []

    def subscribe(self, subscriber: Callable[[SourceKey], None]) -> None:
        """Call `subscriber` whenever tags of a source have changed something."""
        self._subscribers.append(subscriber)

    def forget(self, key: SourceKey) -> None:
        """The source is gone."""
        source = str(key)
        self._looked.pop(source, None)
        self._empty.pop(source, None)
        self._times.pop(source, None)
        if self._log.registries.forget(source):
            self._log.news.set()

    async def look(
        self, repository: GitRepository, refs: Mapping[str, str], snapshot: SourceSnapshot, times: Times
    ) -> None:
        """Tell what has changed in the tags among `refs`, by full name, of the repository.

        Raises WeirError where the order of tags has to be asked for and cannot be had: then nothing is compared.
        """
        key = SourceKey(GitRepository.KIND, repository.namespace, repository.name)
        source = str(key)
        place = hashlib.sha256(repository.spec.url.encode()).hexdigest()[:16]
        tags, known = candidates(refs), self._looked.get(source)
        look = place, hash(frozenset(tags.items()))
        if known == look:
            return
        await self._log.restored.wait()
        before = self._log.registries.of(source, place)
        if before is None and not tags:
            self._looked[source], self._empty[source] = look, place
            return
        if before is None and self._empty.get(source) == place:
            before = {}
        after = await self._registry(source, tags, times)
        records = await self._records(repository, before, after, snapshot) if before is not None else []
        self._log.registries.put(source, place, after)
        self._looked[source] = look
        self._empty.pop(source, None)
        await self._announcer.announce(Subject(reference_to(repository), source, snapshot.revision), records)
        if records:
            for subscriber in self._subscribers:
                subscriber(key)

    async def _registry(self, source: str, refs: Mapping[str, str], times: Times) -> Registry:
        """What the tags say; their time is asked for where their counters do not tell their order."""
        tags = await asyncio.to_thread(listed_tags, refs)
        wanted, known = await asyncio.to_thread(undecided, tags), self._times.get(source, {})
        missing = wanted - known.keys()
        found = {**known, **(await times(missing) if missing else {})}
        if found:
            self._times[source] = {oid: found[oid] for oid in wanted if oid in found}
        timed = [tag._replace(time=found[tag.oid]) if tag.oid in found else tag for tag in tags]
        return await asyncio.to_thread(registry, timed)

    async def _records(
        self, repository: GitRepository, before: Registry, after: Registry, snapshot: SourceSnapshot
    ) -> list[ChangeRecord]:
        found = list(tag_changes(before, after))
        if not found:
            return []
        places = await asyncio.to_thread(_declared, found, snapshot.tree)
        found = of_models(found, places, before, after)
        policies = [one for one in self._policies() if one.namespace == repository.namespace and not one.spec.suspend]
        records = tag_records(
            found,
            places,
            Commit(snapshot.revision, snapshot.revision),
            history=self._log.earlier,
            rules=rules_of(policy for policy in policies if not fault(policy)),
        )
        source = f"{repository.KIND}/{repository.namespace}/{repository.name}"
        return with_kustomizations(records, self._belonging(source, {record.object.name for record in records}))


def _declared(found: Iterable[TagChange], tree: Tree) -> dict[str, Declared]:
    """What the files of a source say of the artifacts; read once each (blocking)."""
    contents: dict[str, bytes | None] = {}

    def read(path: str) -> bytes | None:
        if path not in contents:
            contents[path] = _content(tree, path)
        return contents[path]

    return {change.artifact: declared(change.artifact, read) for change in found}


def _content(tree: Tree, path: str) -> bytes | None:
    try:
        stat = tree.stat(path)
        usable = stat is not None and stat.kind == "file" and stat.size <= _LARGEST
        return tree.read(path) if usable else None
    except WeirError:
        return None
