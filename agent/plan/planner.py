"""From two revisions to a plan: find what each builds, build what differs, compare."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import NamedTuple

from agent.adapters.git.local import LocalRepository, LocalRevision
from agent.adapters.renderer import RendererPool
from agent.core.models import Commit, changes_across
from agent.core.models.belonging import by_folder, nearest, with_kustomizations
from agent.core.plan.evaluations import evaluated
from agent.core.plan.fluxobjects import Declared, FluxObjects
from agent.core.plan.includes import Documents
from agent.core.plan.pairing import PartPair, UnitPair, asked_for, pair_parts, pair_units
from agent.core.plan.policies import predicted_actions
from agent.core.plan.report import Plan, PlanError, errors_of
from agent.core.plan.triggers import Declarations as TriggerDeclarations
from agent.core.plan.triggers import predicted_jobs
from agent.core.plan.units import Part, Unit, flux_units, folder_units, reach_of, rest_of
from agent.core.policy.referencing import rules_of
from agent.core.sourceignore import IgnoreRules, Pattern
from agent.plan.building import Builder, Made
from agent.plan.comparison import Compared, compared
from agent.plan.declarations import Declarations
from agent.plan.files import file_changes
from agent.plan.left_out import charts, helm_releases, uncovered
from agent.plan.located import with_lines
from agent.plan.reverts import Reverts
from agent.plan.revisions import Contents, Side, cut_off
from agent.plan.sharing import with_users
from agent.plan.tagged import tagged_between


class Sides(NamedTuple):
    """Both revisions and the paths that differ between them."""

    old: Side
    new: Side
    changed: frozenset[str]


class Result(NamedTuple):
    """The plan, and remarks for a person that are no part of it."""

    plan: Plan
    notes: tuple[str, ...] = ()


def make_plan(repository: LocalRepository, old: LocalRevision, new: LocalRevision) -> Result:
    """Everything that happens to models and data between the revisions.

    Raises WeirError if the trees themselves cannot be read or no renderer can be started.
    """
    sides = _sides(repository, old, new)
    commit = Commit(old=old.id, new=new.id, author=new.author or None)
    tagged = tagged_between(repository, old, new, sides.new.listing)
    if not sides.changed and not tagged:
        return Result(Plan())
    reverts = Reverts(repository, old, sides.new.listing.files)
    built = asyncio.run(_built(repository, sides, reverts))
    files, problems = file_changes(repository, sides.old.listing, sides.new.listing, sides.changed)
    builds = [build for unit in built for build in unit.builds]
    rules = rules_of(sides.new.flux.policies)
    records = changes_across(
        builds,
        files,
        commit,
        history=reverts.of_files(),
        complete_history=False,
        canaries=[*sides.new.flux.canaries],
        rules=rules,
    )
    records += tagged.records(commit, rules)
    paths = {record.object.name for record in records if record.object.kind == "File"}
    records = predicted_actions(with_kustomizations(records, _belonging(sides, paths)), sides.new.flux)
    records = evaluated(records, builds)
    records = predicted_jobs(records, *map(_declared, sides[:2]))
    problems += [problem for unit in built for problem in unit.problems]
    problems += [problem for build in builds for problem in helm_releases(build)]
    named = {problem.file for problem in problems if problem.file}
    problems += [problem for problem in _declaration_problems(sides) if problem.file not in named]
    problems += charts(sides.old.listing, sides.new.listing, sides.changed)
    located = with_lines(records, sides.old.listing, sides.new.listing)
    notes = uncovered(sides.new, sides.changed) if sides.new.flux.kustomizations else ()
    return Result(Plan(tuple(located), errors_of(problems, located)), notes)


def _sides(repository: LocalRepository, old: LocalRevision, new: LocalRevision) -> Sides:
    read = Contents(repository)
    documents: Documents = {}
    files = repository.files(new)
    before = repository.files_before(old, new, files)
    changed = frozenset(path for path in files.keys() | before.keys() if files.get(path) != before.get(path))
    damaged = cut_off(before, files, changed, read)
    sides = [
        Side(revision, listed, repository.tree(revision), read, documents, damaged=lost)
        for revision, listed, lost in ((old, before, {}), (new, files, damaged))
    ]
    return Sides(sides[0], sides[1], changed)


async def _built(repository: LocalRepository, sides: Sides, reverts: Reverts) -> list[Compared]:
    renderer = RendererPool()
    await renderer.start()
    try:
        builder = Builder(renderer)
        declarations = Declarations(builder, sides.changed)
        known: dict[tuple[str, str], FluxObjects] = {}
        rules: dict[tuple[Pattern, ...], IgnoreRules] = {}
        sides.old.find_flux_objects(known)
        sides.new.find_flux_objects(known, sides.old.listing)
        for side in sides[:2]:
            if side.flux.kustomizations:
                side.narrow(repository.addresses, rules)
            await declarations.build(side)
        _find_units(repository, sides)
        jobs = list(_work(sides))
        built = await asyncio.gather(*(_build_unit(sides, builder, job, reverts) for job in jobs))
        return await with_users(sides.new, builder, zip((job.units.unit for job in jobs), built, strict=True))
    finally:
        await renderer.stop()


def _find_units(repository: LocalRepository, sides: Sides) -> None:
    names = [Counter(shown for shown, _ in {(k.shown, k.home) for k in side.flux.kustomizations}) for side in sides[:2]]
    ambiguous = frozenset(name for counted in names for name, count in counted.items() if count > 1)
    mixed = not all(names)
    for side in sides[:2]:
        if not side.flux.kustomizations:
            side.units = folder_units(side.includes)
            continue
        side.units = flux_units(side.includes, side.flux, repository.addresses, ambiguous)
        if mixed:
            # The other side has folders only: those that no Kustomization builds here stay what they are.
            side.units = side.units._replace(found=side.units.found + rest_of(side.includes, side.units.found))


class _Job(NamedTuple):
    """A unit and those of its parts that may differ."""

    units: UnitPair
    parts: tuple[PartPair, ...]


def _work(sides: Sides) -> Iterator[_Job]:
    unread = _unread(sides)
    for pair in pair_units(sides.old.units.found, sides.new.units.found):
        if pair.new is None and pair.old is not None and _gone_unread(pair.old, unread):
            continue
        otherwise = _asks_otherwise(sides, pair)
        parts = tuple(part for part in pair_parts(pair) if otherwise or _touched(sides, pair, part))
        if parts:
            yield _Job(pair, parts)


def _unread(sides: Sides) -> frozenset[str]:
    """Files and Kustomizations of the new revision that should say what is built, and cannot."""
    files = {problem.file for problem in sides.new.flux.problems}
    return frozenset(files | {declared.shown for declared, _ in sides.new.units.unbuilt})


def _gone_unread(unit: Unit, unread: frozenset[str]) -> bool:
    return unit.declared is not None and (unit.declared.file in unread or unit.declared.shown in unread)


def _asks_otherwise(sides: Sides, pair: UnitPair) -> bool:
    """Whether the Kustomization object itself, or a variable of it, differs."""
    if pair.old is None or pair.new is None:
        return True
    before, after = pair.old.declared, pair.new.declared
    if before is None or after is None:
        return before is not after
    if asked_for(before) != asked_for(after):
        return True
    return sides.old.config_maps.variables(before) != sides.new.config_maps.variables(after)


def _touched(sides: Sides, units: UnitPair, parts: PartPair) -> bool:
    if units.old is None or units.new is None or parts.old is None or parts.new is None:
        return True
    reaches = (
        reach_of(sides.old.includes, units.old, parts.old),
        reach_of(sides.new.includes, units.new, parts.new),
    )
    return any(reach.touched(sides.changed) for reach in reaches) or parts.old != parts.new


async def _build_unit(sides: Sides, builder: Builder, job: _Job, reverts: Reverts) -> Compared:
    built = await asyncio.gather(*(_build_part(sides, builder, job.units, part) for part in job.parts))
    if len(job.parts) < len(list(pair_parts(job.units))) and _needs_the_rest(built):
        rest = [part for part in pair_parts(job.units) if part not in job.parts]
        built += await asyncio.gather(*(_build_part(sides, builder, job.units, part) for part in rest))
    history = reverts.history(_changed_files(sides, job.units))
    return compared(job.units.unit, built, history, sides.changed)


def _changed_files(sides: Sides, units: UnitPair) -> Iterator[str]:
    """The changed files that the unit is made from; none where they are not all that changed."""
    if _asks_otherwise(sides, units):
        return
    for side, unit in ((sides.old, units.old), (sides.new, units.new)):
        if unit is None:
            continue
        for part in unit.parts:
            reach = reach_of(side.includes, unit, part)
            yield from (path for path in sides.changed if reach.touched({path}))


async def _build_part(sides: Sides, builder: Builder, units: UnitPair, parts: PartPair) -> tuple[Made, Made]:
    old, new = await asyncio.gather(
        _build_side(builder, sides.old, units.old, parts.old), _build_side(builder, sides.new, units.new, parts.new)
    )
    return old, new


async def _build_side(builder: Builder, side: Side, unit: Unit | None, part: Part | None) -> Made:
    return await builder.build(side, unit, part) if unit is not None and part is not None else Made()


def _needs_the_rest(built: Iterable[tuple[Made, Made]]) -> bool:
    """Whether other parts may use, or hold, a ConfigMap that matters to what was built."""
    return any(b"onfigMap" in document for pair in built for made in pair for document, _ in made.objects)


def _declaration_problems(sides: Sides) -> Iterator[PlanError]:
    """Flux objects that cannot be read; Kustomizations that cannot be built here are told where that is news."""
    yield from sides.new.flux.problems
    yield from (problem for problem in sides.old.flux.problems if problem.file in sides.changed)
    before = {unit.shown for unit in sides.old.units.found}
    declared: Mapping[str, Declared] = {found.shown: found for found in sides.old.flux.kustomizations}
    for found, problem in sides.new.units.unbuilt:
        same = declared.get(found.shown)
        if found.shown in before or same is None or same.object.spec != found.object.spec:
            yield problem


def _declared(side: Side) -> TriggerDeclarations:
    return TriggerDeclarations(side.flux.triggers, {found.shown: found.object for found in side.flux.kustomizations})


def _belonging(sides: Sides, paths: Collection[str]) -> Mapping[str, tuple[str, ...]]:
    """File -> the Kustomizations whose build may read it, and those in whose folder it lies."""
    found: dict[str, set[str]] = {path: set() for path in paths}
    for side in sides[:2]:
        folders = by_folder((unit.shown, unit.folder) for unit in side.units.found if unit.declared)
        for path in paths:
            found[path] |= nearest(path, folders)
        for unit in side.units.found:
            if not unit.declared:
                continue
            reaches = [reach_of(side.includes, unit, part) for part in unit.parts]
            for path in paths:
                if any(reach.touched({path}) for reach in reaches):
                    found[path].add(unit.shown)
    return {path: tuple(sorted(names)) for path, names in found.items()}
