"""Asks now and then whether what pointers of Git LFS and DVC stand for is still there, and tells of what is not."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import structlog

from agent.api.changepolicy import ChangePolicy
from agent.api.gitrepository import GitRepository
from agent.controllers.announcing import Announcer, Subject
from agent.controllers.changelog import ChangeLog
from agent.controllers.resolution import Resolution
from agent.controllers.sources import SourceKey, SourceRegistry, SourceSnapshot
from agent.core.models import FileChange, Ref, Rules
from agent.core.models.belonging import with_kustomizations
from agent.core.models.extract.files import file_slots
from agent.core.models.floating import LostFile, lost_files
from agent.core.models.ref import is_absent
from agent.core.policy.judging import fault
from agent.core.policy.referencing import rules_of
from agent.runtime.rounds import Rounds
from agent.runtime.store import Store
from agent.telemetry.events import reference_to

_SCHEMES: Final = frozenset({"git-lfs", "dvc"})
_EVERY: Final = 3600.0
_FIRST: Final = 300.0
"""Seconds until the first look at a source: an agent that starts has other things to do."""
_AT_ONCE: Final = 50
"""References that are asked about before others get their turn."""


@dataclass(slots=True)
class _Followed:
    """`lost` is what was not there when somebody last knew, by canonical form; None before the first look."""

    due: float
    lost: Mapping[str, Ref] | None = None


class TrackedContent:
    """Follows the GitRepositories of this process. `run` is the service that looks.

    Policies of a namespace that name registries for `git-lfs` or `dvc` say whom to ask; without one nobody is.
    """

    def __init__(
        self,
        registry: SourceRegistry,
        repositories: Store[GitRepository],
        log: ChangeLog,
        announcer: Announcer,
        resolution: Resolution,
        *,
        policies: Callable[[], Iterable[ChangePolicy]],
        belonging: Callable[[str, Collection[str]], Mapping[str, Sequence[str]]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._registry = registry
        self._repositories = repositories
        self._log = log
        self._announcer = announcer
        self._resolution = resolution
        self._policies = policies
        self._belonging = belonging
        self._clock = clock
        self._followed: dict[SourceKey, _Followed] = {}
        self._rounds = Rounds(self._followed, self._look, idle=_EVERY, clock=clock)
        registry.subscribe(self._follow)

    async def run(self) -> None:
        """Looks at whatever is due, for ever."""
        await self._rounds.run()

    async def look(self) -> float:
        """Look once at whatever is due. Returns for how many seconds nothing is."""
        return await self._rounds.look()

    def _follow(self, key: SourceKey) -> None:
        if key.kind == GitRepository.KIND and key not in self._followed:
            self._followed[key] = _Followed(self._clock() + _FIRST)
            self._rounds.news()

    async def _look(self, key: SourceKey, followed: _Followed) -> None:
        followed.due = self._clock() + _EVERY
        repository, snapshot = self._repositories.get(key.namespace, key.name), self._registry.get(key)
        if repository is None or snapshot is None:
            del self._followed[key]
            return
        policies = [one for one in self._policies() if one.namespace == key.namespace and _asks(one)]
        if not policies or repository.spec.suspend:
            return
        try:
            await self._compare(repository, snapshot, policies, followed)
        except Exception:  # noqa: BLE001 - looking at one source must not end the looking at the others
            structlog.get_logger().exception("content of pointers cannot be looked at", source=str(key))

    async def _compare(
        self,
        repository: GitRepository,
        snapshot: SourceSnapshot,
        policies: Sequence[ChangePolicy],
        followed: _Followed,
    ) -> None:
        source = f"{repository.KIND}/{repository.namespace}/{repository.name}"
        files = await snapshot.history.files() if snapshot.history is not None else ()
        pointers = await asyncio.to_thread(_pointers, files, rules_of(policies))
        found = await self._asked([one.slot.ref for one in pointers], policies, repository.spec.url)
        answered = [one._replace(now=found.get(one.slot.ref.canonical, one.now)) for one in pointers]
        absent = [one for one in answered if is_absent(one.now)]
        told = self._log.files(source) if followed.lost is None else {}
        fresh = [one for one in absent if not (_is_told(one, told) or one.now.canonical in (followed.lost or ()))]
        before = followed.lost
        if before is None:
            before = {one.now.canonical: told[one.path, one.slot.name] for one in answered if _is_told(one, told)}
        now = {one.now.canonical: one.now for one in answered}
        still = {name: ref for name, ref in before.items() if name in now and not _is_back(now[name], ref)}
        followed.lost = still | {one.now.canonical: one.now for one in absent}
        if fresh:
            paths = self._belonging(source, {one.path for one in fresh})
            records = with_kustomizations(lost_files(fresh, snapshot.revision), paths)
            await self._announcer.announce(Subject(reference_to(repository), source, snapshot.revision), records)

    async def _asked(self, refs: Sequence[Ref], policies: Sequence[ChangePolicy], url: str) -> dict[str, Ref]:
        unique = list({ref.canonical: ref for ref in refs}.values())
        found: dict[str, Ref] = {}
        for first in range(0, len(unique), _AT_ONCE):
            some = unique[first : first + _AT_ONCE]
            found |= await self._resolution.resolved(some, policies, source=url, again_after=_EVERY / 2)
        return found


def _asks(policy: ChangePolicy) -> bool:
    resolution = policy.spec.resolution
    asks = resolution is not None and any(one.scheme in _SCHEMES for one in resolution.registries)
    return asks and not policy.spec.suspend and not fault(policy)


def _pointers(files: Iterable[FileChange], rules: Rules) -> list[LostFile]:
    return [
        LostFile(change.path, slot._replace(kind=rules.role_of(change.path, slot.kind)), slot.ref)
        for change in files
        if change.new is not None
        for slot in file_slots(change.path, change.new)
        if slot.ref.scheme in _SCHEMES and slot.ref.pinned is True
    ]


def _is_back(now: Ref, lost: Ref) -> bool:
    """Whether content was found since it was lost: where nobody answers, the time of what was known before stays."""
    at, before = (ref.identity.resolved_at if ref.identity is not None else None for ref in (now, lost))
    return not now.unresolved and at is not None and at != before


def _is_told(one: LostFile, told: Mapping[tuple[str, str], Ref]) -> bool:
    known = told.get((one.path, one.slot.name))
    return known is not None and known.canonical == one.now.canonical and is_absent(known)
