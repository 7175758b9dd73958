"""Who uses a changed object from another build of the repository: a service the runtime that another folder keeps."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from typing import Final, NamedTuple

from agent.core.models import Build, RenderedSet
from agent.core.models.elsewhere import BY_MEANING
from agent.core.models.impact import ImpactIndex, UsersElsewhere
from agent.core.models.rendered import Object
from agent.core.objects import ObjectKey
from agent.core.plan.listing import is_yaml
from agent.core.plan.units import Part, Unit, reach_of
from agent.plan.building import Builder
from agent.plan.comparison import Compared
from agent.plan.revisions import Side

_USED_BY: Final[Mapping[str, tuple[bytes, ...]]] = {
    **dict.fromkeys(BY_MEANING, (b"InferenceService",)),
    "LLMInferenceServiceConfig": (b"LLMInferenceService",),
    "InferenceService": (b"TrainedModel", b"InferenceGraph"),
    "NIMCache": (b"NIMService", b"NIMBuild"),
    "BaseModel": (b"ome.io/",),
    "ClusterBaseModel": (b"ome.io/",),
    "FineTunedWeight": (b"ome.io/",),
}
"""Kinds that other teams often keep, and what stands in files with objects that use them. What only its own build uses
as a rule (ConfigMaps, Secrets, claims) is not looked for: 500 applications may have one of the same name each."""


class _Other(NamedTuple):
    """A unit and what it builds, as far as it may use what changed."""

    unit: Unit
    rendered: RenderedSet


async def with_users(side: Side, builder: Builder, built: Iterable[tuple[Unit, Compared]]) -> list[Compared]:
    """The builds, told who else of the new revision uses what changed in them. Where nobody can, no more is built."""
    found = list(built)
    changed = {key for _, made in found for build in made.builds for key in _changed(build)}
    files = _mentioning(side, changed) if changed else set()
    others = await asyncio.gather(*(_other(side, builder, unit, files) for unit in side.units.found)) if files else []
    if not others:
        return [made for _, made in found]
    return [
        made._replace(builds=tuple(build._replace(elsewhere=_users(unit, others)) for build in made.builds))
        for unit, made in found
    ]


def _changed(build: Build) -> Iterator[ObjectKey]:
    """The objects of kinds that other builds use which are in the new build, and are not as they were."""
    before = build.old.entries if build.old is not None else {}
    for key, entry in build.new.entries.items():
        if key.kind in _USED_BY and (key not in before or before[key].hash != entry.hash):
            yield key


def _mentioning(side: Side, changed: Iterable[ObjectKey]) -> set[str]:
    """The YAML files that may hold a user of one of these objects."""
    wanted = {(_USED_BY[key.kind], b"" if key.kind in BY_MEANING else key.name.encode()) for key in changed}
    found = set()
    for path in filter(is_yaml, side.listing.files):
        data = side.listing.content(path).data if side.listing.is_file(path) else b""
        if any(name in data and any(word in data for word in words) for words, name in wanted):
            found.add(path)
    return found


async def _other(side: Side, builder: Builder, unit: Unit, files: set[str]) -> _Other:
    parts: list[Part] = [part for part in unit.parts if reach_of(side.includes, unit, part).touched(files)]
    made = await asyncio.gather(*(builder.build(side, unit, part) for part in parts))
    return _Other(unit, RenderedSet.from_json(document for one in made for document, _ in one.objects))


def _users(own: Unit, others: Iterable[_Other]) -> UsersElsewhere:
    """Looks in all builds but its own, those of another cluster, and those with an object of their own of that name."""
    known: dict[ObjectKey, dict[str, set[ObjectKey]]] = {}
    foreign = [other for other in others if other.unit.scope != own.scope and _one_cluster(own, other.unit)]

    def users(key: ObjectKey, obj: Object) -> Mapping[str, Iterable[ObjectKey]]:
        if key.kind not in _USED_BY:
            return {}
        if key not in known:
            known[key] = {}
            for unit, rendered in foreign:
                if key not in rendered.entries:
                    around = RenderedSet([obj, *(entry.object for entry in rendered.entries.values())])
                    if reached := ImpactIndex(around, "").users_of(key):
                        known[key].setdefault(unit.shown, set()).update(reached)
        return known[key]

    return users


def _one_cluster(one: Unit, other: Unit) -> bool:
    """Whether both may be of one cluster: those whose names several clusters use are told apart by their folders."""
    if not one.declared or not other.declared or not (one.told_apart and other.told_apart):
        return True
    return one.declared.home == other.declared.home
