"""Which unit and which part of the old revision belongs to which of the new one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from agent.core.plan.fluxobjects import Declared
from agent.core.plan.units import Part, Unit


class UnitPair(NamedTuple):
    """A unit on both sides; one is None where it does not exist."""

    old: Unit | None
    new: Unit | None

    @property
    def unit(self) -> Unit:
        """The unit as it is now, else as it was."""
        found = self.new or self.old
        assert found is not None
        return found


class PartPair(NamedTuple):
    """A part on both sides; one is None where it does not exist."""

    old: Part | None
    new: Part | None


def pair_units(old: Iterable[Unit], new: Iterable[Unit]) -> Iterator[UnitPair]:
    """By identity, then by folder: a Kustomization that got another name still builds the same."""
    before = {unit.scope: unit for unit in old}
    left: list[Unit] = []
    for unit in new:
        same = before.pop(unit.scope, None)
        if same is not None:
            yield UnitPair(same, unit)
        else:
            left.append(unit)
    by_folder: dict[str, list[Unit]] = {}
    for unit in before.values():
        by_folder.setdefault(unit.folder, []).append(unit)
    for unit in left:
        candidates = by_folder.get(unit.folder)
        yield UnitPair(candidates.pop(0) if candidates else None, unit)
    for units in by_folder.values():
        yield from (UnitPair(unit, None) for unit in units)


def pair_parts(pair: UnitPair) -> Iterator[PartPair]:
    """By what they build; folders of plain manifests by their folder, whichever files are in there."""
    before = {_identity(part): part for part in (pair.old.parts if pair.old else ())}
    for part in pair.new.parts if pair.new else ():
        yield PartPair(before.pop(_identity(part), None), part)
    for part in before.values():
        yield PartPair(part, None)


def asked_for(declared: Declared) -> tuple[Any, ...]:
    """What of a Kustomization's spec matters to its build."""
    spec = declared.object.spec
    return (
        *(spec.path, spec.target_namespace, spec.name_prefix, spec.name_suffix, spec.patches, spec.images),
        *(spec.components, spec.ignore_missing_components, spec.common_metadata, spec.post_build),
    )


def _identity(part: Part) -> tuple[str, tuple[str, ...]]:
    return part.folder, () if part.plain else part.only
