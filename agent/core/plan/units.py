"""What a revision builds: Flux Kustomizations, else kustomization folders, else folders of plain manifests."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from agent.core.plan.fluxobjects import Declared, FluxObjects
from agent.core.plan.generated import written_out
from agent.core.plan.includes import Includes, Reach
from agent.core.plan.listing import Listing, inside, is_yaml
from agent.core.plan.report import PlanError
from agent.core.plan.sourced import Origin, origin_of
from agent.core.tree import PathEscapeError, clean

SPLIT_FROM: Final = 16
"""From so many parts on they are built one by one: kustomize takes more than linear time for what it joins."""
DECLARED_IN: Final = "declaredIn: "
"""Stands in `location.origin` before the folder of the Flux object."""
_CHART: Final = "Chart.yaml"


class Part(NamedTuple):
    """One build: of a folder, of some resources of a folder (`only`), or of manifests as they stand (`plain`)."""

    folder: str
    only: tuple[str, ...] = ()
    plain: bool = False

    @property
    def paths(self) -> tuple[str, ...]:
        """The files that `only` names."""
        return tuple(inside(self.folder, name) for name in self.only)


class Unit(NamedTuple):
    """What is built and compared together. *scope* is its identity, *shown* its Kustomization (`namespace/name`)."""

    scope: str
    folder: str
    parts: tuple[Part, ...]
    declared: Declared | None = None

    @property
    def shown(self) -> str:
        """The Kustomization's name; empty where no Flux object asks for the build."""
        return self.declared.shown if self.declared else ""

    @property
    def declared_in(self) -> str:
        """The file of the Flux object."""
        return self.declared.file if self.declared else ""

    @property
    def called(self) -> str:
        """What messages call it."""
        return f"Kustomization/{self.scope}" if self.declared else self.scope

    @property
    def told_apart(self) -> str:
        """What the origin of its objects says where several clusters have a Kustomization of this name, else empty."""
        return f"{DECLARED_IN}{self.declared.home or '.'}" if self.declared and self.scope != self.shown else ""


class Units(NamedTuple):
    """The units of a revision and the Kustomizations that it cannot build, with the reason."""

    found: tuple[Unit, ...]
    unbuilt: tuple[tuple[Declared, PlanError], ...] = ()


def flux_units(includes: Includes, flux: FluxObjects, addresses: Iterable[str], ambiguous: frozenset[str]) -> Units:
    """One unit for each Kustomization object whose source is this repository (known by its addresses).

    Names in *ambiguous* belong to several clusters; the folder of the object's file tells them apart.
    """
    found: dict[str, Unit] = {}
    unbuilt: list[tuple[Declared, PlanError]] = []
    for written in flux.kustomizations:
        declared = _written_out(includes, flux, written)
        scope = declared.shown
        if scope in ambiguous:
            scope = f"{scope} of {declared.home or '.'}"
        called = f"Kustomization/{scope}"
        origin = origin_of(declared.object, flux.repositories, addresses)
        if origin is Origin.ELSEWHERE:
            source = declared.object.spec.source_ref
            message = f"is built from {source.kind}/{source.name}, which is not this repository: not read"
            unbuilt.append((declared, PlanError(object=called, message=message)))
            continue
        folder = folder_of(declared)
        if folder is None or not includes.listing.is_folder(folder):
            message = f"spec.path {declared.object.spec.path!r} is no folder of the repository"
            unbuilt.append((declared, PlanError(object=called, message=message)))
            continue
        if scope in found:
            message = f"is also in {found[scope].declared_in}: only the one in {declared.file} is looked at"
            unbuilt.append((declared, PlanError(object=called, message=message)))
        found[scope] = Unit(scope, folder, tuple(_parts(includes, folder, declared)), declared)
    return Units(tuple(found.values()), tuple(unbuilt))


def folder_units(includes: Includes) -> Units:
    """Folders with a kustomization that no other one includes, and folders of manifests that none of them reads."""
    found = [Unit(folder or ".", folder, tuple(_parts(includes, folder))) for folder in roots(includes)]
    return Units((*found, *_plain_units(includes, frozenset(folder for folder, _ in includes.all()))))


def rest_of(includes: Includes, units: Iterable[Unit]) -> tuple[Unit, ...]:
    """The folder units that none of the given units reads."""
    reaches = [reach_of(includes, unit, part) for unit in units for part in unit.parts]
    rest = []
    for unit in folder_units(includes).found:
        file = includes.file(unit.folder)
        paths = {file.path} if file else {path for part in unit.parts for path in part.paths}
        if not any(reach.touched(paths) for reach in reaches):
            rest.append(unit)
    return tuple(rest)


def roots(includes: Includes) -> list[str]:
    """Folders with a kustomization that no other one includes, and one of each circle that nothing else leads into."""
    inner = {folder: set(includes.included(folder)) - {folder} for folder, _ in includes.all()}
    included = set().union(*inner.values())
    covered: set[str] = set()
    found = []
    for folder in (*(folder for folder in inner if folder not in included), *inner):
        file = includes.file(folder)
        if folder in covered or file is None or file.is_component:
            continue
        found.append(folder)
        pending = [folder]
        while pending:
            current = pending.pop()
            if current not in covered:
                covered.add(current)
                pending += inner[current]
    return found


def _written_out(includes: Includes, flux: FluxObjects, declared: Declared) -> Declared:
    found = written_out(declared.object, declared.file, flux.generators, includes.listing.is_folder)
    return declared._replace(object=found)


def folder_of(declared: Declared) -> str | None:
    """The folder that a Kustomization object asks for, None if it lies outside of the repository."""
    try:
        return clean((declared.object.spec.path or "").removeprefix("/"))
    except PathEscapeError:
        return None


def reach_of(includes: Includes, unit: Unit, part: Part) -> Reach:
    """What the build of a part may read."""
    if part.plain:
        return Reach(frozenset(part.paths))
    components = unit.declared.object.spec.components if unit.declared else ()
    folders = []
    for component in components:
        try:
            folders.append(clean(inside(unit.folder, component)))
        except PathEscapeError:
            continue
    if part.only:
        below = includes.reach(folders) if folders else Reach(frozenset())
        return Reach(below.files | frozenset(part.paths), below.folders)
    return includes.reach([part.folder, *folders])


def chart_of(listing: Listing, path: str) -> str | None:
    """The folder of the Helm chart that the file belongs to, None if it belongs to none."""
    folder = path.rpartition("/")[0]
    while True:
        if listing.is_file(inside(folder, _CHART)):
            return folder
        if not folder:
            return None
        folder = folder.rpartition("/")[0]


def _parts(includes: Includes, folder: str, declared: Declared | None = None) -> Iterator[Part]:
    if declared is not None:
        spec = declared.object.spec
        # Patches may look for their target in all objects, and a prefix follows references between them.
        if spec.patches or spec.components or spec.name_prefix or spec.name_suffix:
            yield Part(folder)
            return
    parts = list(_split(includes, folder, set()))
    yield from parts if len(parts) >= SPLIT_FROM else [Part(folder)]


def _split(includes: Includes, folder: str, seen: set[str]) -> Iterator[Part]:
    """What a folder's build is made of, as far as it does nothing but list."""
    if folder in seen:
        return
    seen.add(folder)
    file, listing = includes.file(folder), includes.listing
    if file is None:
        for sub in _manifest_folders(includes, folder):
            if includes.file(sub) is not None:
                yield from _split(includes, sub, seen)
            else:
                yield from (Part(sub, (name,)) for name in listing.names(sub) if is_yaml(name))
        return
    entries = list(file.listed())
    subfolders = list(includes.included(folder))
    files = [name for name in entries if listing.is_file(_clean(folder, name))]
    if not file.only_lists or len(subfolders) + len(files) != len(entries):
        yield Part(folder)
        return
    if files:
        yield Part(folder, tuple(files))
    for sub in subfolders:
        yield from _split(includes, sub, seen)


def _manifest_folders(includes: Includes, folder: str) -> Iterator[str]:
    """The folder and those below it, as Flux walks them: what has a kustomization of its own is not entered."""
    closed = ""
    for sub in sorted(f for f in includes.listing.folders if f == folder or not folder or f.startswith(f"{folder}/")):
        if closed and sub.startswith(closed):
            continue
        yield sub
        closed = f"{sub}/" if sub != folder and includes.file(sub) is not None else ""


def _plain_units(includes: Includes, kustomized: frozenset[str]) -> Iterator[Unit]:
    listing = includes.listing
    named = {path for folder in kustomized for path in includes.named_files(folder)}
    for folder in sorted(listing.folders):
        if any(name.startswith(".") for name in folder.split("/")) or _within(folder, kustomized):
            continue
        names = tuple(
            name
            for name in listing.names(folder)
            if is_yaml(name)
            and not name.startswith(".")
            and listing.is_file(path := inside(folder, name))
            and path not in named
        )
        if names and chart_of(listing, inside(folder, names[0])) is None:
            yield Unit(folder or ".", folder, (Part(folder, names, plain=True),))


def _within(folder: str, kustomized: frozenset[str]) -> bool:
    while folder:
        if folder in kustomized:
            return True
        folder = folder.rpartition("/")[0]
    return "" in kustomized


def _clean(folder: str, name: str) -> str:
    try:
        return clean(inside(folder, name))
    except PathEscapeError:
        return ""
