"""Asks registries, for the policies of a namespace, what references mean."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterable, Sequence
from typing import Final

from agent.adapters.registries import Resolver
from agent.adapters.registries.resolver import AccessFor
from agent.api.changepolicy import ChangePolicy
from agent.api.duration import parse_duration
from agent.controllers.registryaccess import RegistryAccess
from agent.core.models import ChangeRecord, Ref
from agent.core.models.folders import is_folder, with_files

_SHORTEST: Final = 1.0
_PATIENCE: Final = 20.0
"""Seconds that registries are waited for; what is not known by then is unresolved."""
_FOLDERS: Final = 50
"""Folders of a commit whose listings are compared."""
_FOLDERS_AT_ONCE: Final = 4


class Resolution:
    """Whom policies name is asked, with what they name."""

    def __init__(self, resolver: Resolver, access: RegistryAccess, *, patience: float = _PATIENCE) -> None:
        self._resolver = resolver
        self._access = access
        self._patience = patience

    async def resolved(
        self,
        refs: Iterable[Ref],
        policies: Sequence[ChangePolicy],
        *,
        source: str = "",
        again_after: float | None = None,
    ) -> dict[str, Ref]:
        """The references that some registry knows more about, by canonical text. Never raises.

        Registries that take too long are not waited for; their answers are there the next time. What is known for ever
        is asked for, too, `again_after` so many seconds. `source` is the address of the repository that the references
        are from.
        """
        interval = interval_of(policies)
        wanted = {ref.canonical: ref for ref in refs}
        if interval is None or not wanted:
            return {}
        began = time.monotonic()
        try:
            asked = self._access.prepared(policies, tuple(wanted.values()), source)
            access_for = await asyncio.wait_for(asked, self._patience)
        except TimeoutError:
            return {}
        tasks = {
            canonical: asyncio.create_task(
                self._resolver.resolve(ref, access_for, ttl=interval, again_after=again_after)
            )
            for canonical, ref in wanted.items()
        }
        done, late = await asyncio.wait(tasks.values(), timeout=max(self._patience - (time.monotonic() - began), 0.0))
        for task in late:
            task.cancel()
        found = {canonical: task.result() for canonical, task in tasks.items() if task in done}
        return {canonical: ref for canonical, ref in found.items() if ref != wanted[canonical]}

    async def with_files(
        self, records: Sequence[ChangeRecord], policies: Sequence[ChangePolicy], *, source: str = ""
    ) -> list[ChangeRecord]:
        """The records, those of folders that DVC tracks with the files that changed, as far as these can be read.

        A listing may be large: a few folders are read at a time, and so many at all. What takes too long says nothing
        of its files. Never raises.
        """
        told, turns = list(records), asyncio.Semaphore(_FOLDERS_AT_ONCE)
        folders = [position for position, record in enumerate(told) if is_folder(record)][:_FOLDERS]
        if interval_of(policies) is None or not folders:
            return told

        async def compare(position: int, access_for: AccessFor) -> None:
            record = told[position]
            async with turns:
                sides = [ref for ref in (record.old, record.new) if ref is not None]
                found = await asyncio.gather(*(self._resolver.listing(ref, access_for) for ref in sides))
                listings = {ref.canonical: files for ref, files in zip(sides, found, strict=True) if files is not None}
                (told[position],) = await asyncio.to_thread(with_files, [record], listings)

        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._patience):
                refs = [ref for position in folders for ref in (told[position].old, told[position].new) if ref]
                access_for = await self._access.prepared(policies, refs, source)
                await asyncio.gather(*(compare(position, access_for) for position in folders))
        return told


def interval_of(policies: Iterable[ChangePolicy]) -> float | None:
    """Seconds for which answers are believed, the shortest of the policies; None if none of them asks anybody."""
    asked = [parse_duration(p.spec.resolution.interval) for p in policies if p.spec.resolution is not None]
    return max(min(asked), _SHORTEST) if asked else None
