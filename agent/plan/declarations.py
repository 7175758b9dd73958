"""Flux objects of a revision: as they are written, and as the build of their folder changes them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from agent.core.plan.fluxobjects import FluxObjects, sorted_out
from agent.core.plan.holders import Holder, holders
from agent.core.plan.pairing import asked_for
from agent.core.plan.units import Part, Unit
from agent.plan.building import Builder, Made
from agent.plan.revisions import Side

_GROUP = b"toolkit.fluxcd.io"


class Declarations:
    """Builds such folders; one that is the same in both revisions is built once."""

    def __init__(self, builder: Builder, changed: frozenset[str]) -> None:
        self._builder = builder
        self._changed = changed
        self._made: list[tuple[Holder, Made]] = []

    async def build(self, side: Side) -> None:
        """Replace what is written by what is built, for the folders where the two differ."""
        for holder in list(holders(side.includes, side.flux)):
            _replace(side, holder, await self._build(side, holder))

    async def _build(self, side: Side, holder: Holder) -> Made:
        for known, made in self._made:
            same = known.folder == holder.folder and known.reach == holder.reach and _asked(known) == _asked(holder)
            if same and not holder.reach.touched(self._changed):
                return made
        unit = Unit(holder.folder or ".", holder.folder, (Part(holder.folder),), holder.declared)
        made = await self._builder.build(side, unit, unit.parts[0])
        self._made.append((holder, made))
        return made


def _asked(holder: Holder) -> object:
    return asked_for(holder.declared) if holder.declared else None


def _replace(side: Side, holder: Holder, made: Made) -> None:
    written = side.flux
    if made.failed:
        side.flux = written.joined(FluxObjects(problems=made.problems))
        return
    unread = {problem.file for problem in written.problems}
    kept = tuple(
        found
        for found in written.kustomizations
        if found.file in unread or not _is_from(found.file, found.home, holder)
    )
    found = written._replace(kustomizations=kept)
    for obj, file in _objects(made):
        built = sorted_out([obj], file or holder.folder, home=holder.folder)
        found = found.joined(FluxObjects(kustomizations=built.kustomizations, problems=built.problems))
    side.flux = found


def _is_from(file: str, home: str, holder: Holder) -> bool:
    """Whether the object is one that the holder's build gave anew; those of another holder stay."""
    return home == file.rpartition("/")[0] and holder.reach.touched({file})


def _objects(made: Made) -> Iterator[tuple[Any, str]]:
    for document, origin in made.objects:
        if _GROUP in document:
            yield msgspec.json.decode(document), origin.file if origin else ""
