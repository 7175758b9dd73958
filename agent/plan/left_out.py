"""What a plan does not look into although it changed, so that nobody takes silence for an answer."""

from __future__ import annotations

from collections.abc import Iterator

from agent.core.models import Build
from agent.core.plan.fluxobjects import may_hold_objects
from agent.core.plan.listing import Listing, is_yaml
from agent.core.plan.report import PlanError
from agent.core.plan.units import chart_of, reach_of
from agent.plan.revisions import Side

_SHOWN = 10


def charts(old: Listing, new: Listing, changed: frozenset[str]) -> Iterator[PlanError]:
    """Helm charts of the repository that changed."""
    found = {folder for path in changed for listing in (old, new) if (folder := chart_of(listing, path)) is not None}
    for folder in sorted(found):
        yield PlanError(file=folder or ".", message="is a Helm chart: not rendered, so references in it are not seen")


def helm_releases(build: Build) -> Iterator[PlanError]:
    """HelmReleases that differ: what their charts make of the values needs Helm and the chart."""
    before = build.old.entries if build.old is not None else {}
    for key, entry in build.new.entries.items():
        if key.kind != "HelmRelease" or (key in before and before[key].hash == entry.hash):
            continue
        yield PlanError(object=str(key), message="its chart is not rendered: only references in its values are seen")


def uncovered(side: Side, changed: frozenset[str]) -> tuple[str, ...]:
    """Changed manifests that no Kustomization object of the repository builds; Flux objects themselves aside."""
    reaches = [reach_of(side.includes, unit, part) for unit in side.units.found for part in unit.parts]
    built = frozenset(path for path in changed if any(reach.touched({path}) for reach in reaches))
    missed = sorted(path for path in changed - built if _is_manifest(side.listing, path))
    more = (f"{len(missed) - _SHOWN} more manifests",) if len(missed) > _SHOWN else ()
    return tuple(
        f"{what} changed, and no Flux Kustomization of this repository builds it" for what in (*missed[:_SHOWN], *more)
    )


def _is_manifest(listing: Listing, path: str) -> bool:
    if not is_yaml(path) or not listing.is_file(path) or any(name.startswith(".") for name in path.split("/")):
        return False
    data = listing.content(path).data
    return b"apiVersion:" in data and b"kind:" in data and not may_hold_objects(data)
