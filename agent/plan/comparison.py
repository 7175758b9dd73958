"""From what both revisions build to the builds that are compared."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from agent.core.models import Build, History, Origin, RenderedSet
from agent.core.objects import ObjectKey
from agent.core.plan.report import PlanError
from agent.core.plan.units import Unit
from agent.plan.building import Made
from agent.plan.revisions import NOT_IN_CLONE

Located = tuple[bytes, Origin | None]


class Compared(NamedTuple):
    """The builds of a unit and everything that could not be read on the way."""

    builds: tuple[Build, ...]
    problems: tuple[PlanError, ...]


def compared(unit: Unit, built: Sequence[tuple[Made, Made]], history: History, changed: frozenset[str]) -> Compared:
    """One build for the unit, and one for each file of plain manifests whose objects others have too.

    Nothing says which of them a cluster would get: they may be for several clusters. Where a file among *changed* can
    no longer be read, nothing counts as removed: whatever is missing may stand in there now.
    """
    problems = [problem for pair in built for made in pair for problem in made.problems]
    # Where one side cannot be built, nothing is known: neither what came nor what went.
    known = [pair for pair in built if not any(made.failed for made in pair)]
    old, new = ([found for pair in known for found in pair[side].objects] for side in (0, 1))
    new = _seen(built, old, new)
    incomplete = any(_lost_something(before, after, changed) for before, after in built)
    apart = sorted(_shared(old) | _shared(new)) if any(part.plain for part in unit.parts) else []
    builds = [_build(unit, unit.scope, _others(old, apart), _others(new, apart), incomplete=incomplete)]
    for file in apart:
        builds.append(_build(unit, file, _of(old, file), _of(new, file), incomplete=incomplete))
        problems += _repeated(file, _of(new, file))
    return Compared(tuple(build._replace(history=history) for build in builds), tuple(problems))


def _seen(built: Sequence[tuple[Made, Made]], old: Iterable[Located], new: Iterable[Located]) -> list[Located]:
    """What is new without the objects of files whose old content the clone lacks: they may have been there before."""
    unseen = {problem.file for made, _ in built for problem in made.problems if problem.message == NOT_IN_CLONE}
    if not unseen:
        return list(new)
    known = {RenderedSet.key_of(document) for document, _ in old}
    return [
        (document, origin)
        for document, origin in new
        if origin is None or origin.file not in unseen or RenderedSet.key_of(document) in known
    ]


def _lost_something(before: Made, after: Made, changed: frozenset[str]) -> bool:
    """Whether the build leaves out what it had before. A file that is the same was left out then as well."""
    known = set(before.problems)
    return not after.complete and any(
        not problem.file or problem.file in changed or problem not in known for problem in after.problems
    )


def _build(unit: Unit, scope: str, old: list[Located], new: list[Located], *, incomplete: bool) -> Build:
    origins: dict[ObjectKey, Origin] = {}
    before, after = (_rendered(objects, origins, unit.told_apart) for objects in (old, new))
    return Build(before, after, unit.shown, scope, incomplete, origins)


def _rendered(objects: Sequence[Located], origins: dict[ObjectKey, Origin], told_apart: str) -> RenderedSet:
    rendered = RenderedSet.from_json(document for document, _ in objects)
    for document, origin in objects:
        key = RenderedSet.key_of(document)
        if key is not None and origin is not None:
            note = "; ".join(filter(None, (origin.note, told_apart)))
            origins[rendered.paired(key)] = origin._replace(note=note or None)
    return rendered


def _shared(objects: Iterable[Located]) -> set[str]:
    """Files that hold an object which stands more than once."""
    places: dict[ObjectKey, list[str]] = {}
    for document, origin in objects:
        key = RenderedSet.key_of(document)
        if key is not None and origin is not None:
            places.setdefault(key, []).append(origin.file)
    return {file for files in places.values() if len(files) > 1 for file in files}


def _repeated(file: str, objects: Iterable[Located]) -> Iterator[PlanError]:
    seen: set[ObjectKey] = set()
    for document, _ in objects:
        key = RenderedSet.key_of(document)
        if key is not None and key in seen:
            yield PlanError(file=file, message=f"has {key} more than once: only the last one is looked at")
        elif key is not None:
            seen.add(key)


def _of(objects: Iterable[Located], file: str) -> list[Located]:
    return [found for found in objects if found[1] is not None and found[1].file == file]


def _others(objects: Iterable[Located], files: Sequence[str]) -> list[Located]:
    return [found for found in objects if found[1] is None or found[1].file not in files]
