"""One of the two revisions of a plan: its files, and what it builds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from agent.adapters.git.errors import GitOperationError
from agent.adapters.git.local import LocalRepository, LocalRevision, TreeFile
from agent.adapters.git.objects import GitTree
from agent.core.models.cut import is_cut_off, is_torn, told_of
from agent.core.models.extract.pointers import SYMLINK
from agent.core.plan import fluxobjects
from agent.core.plan.fluxobjects import FluxObjects
from agent.core.plan.includes import Documents, Includes
from agent.core.plan.listing import KUSTOMIZATION_NAMES, Content, Listing, is_yaml
from agent.core.plan.sourced import ignored_by
from agent.core.plan.units import Units
from agent.core.plan.variables import ConfigMaps
from agent.core.sourceignore import IGNORE_FILE, FilteredTree, IgnoreRules, Pattern, parse_rules, rules_with
from agent.core.tree import Tree

LARGEST = 8 << 20
"""Bytes; larger files are not read as manifests."""
NOT_IN_CLONE = "is not in the clone (a partial or damaged one): its content cannot be read"
"""What is said of a file whose content is missing."""


class Contents:
    """Reads files of the repository by their ids, and says why one cannot be read instead of raising."""

    def __init__(self, repository: LocalRepository) -> None:
        self._repository = repository

    def __call__(self, oid: str) -> Content:
        """What is behind the id."""
        try:
            size = self._repository.size(oid)
            if size > LARGEST:
                return Content(b"", f"has {size} bytes: files of more than {LARGEST} are not read")
            return Content(self._repository.read(oid))
        except GitOperationError:
            return Content(b"", NOT_IN_CLONE)


def cut_off(
    before: Mapping[str, TreeFile], files: Mapping[str, TreeFile], changed: Iterable[str], read: Contents
) -> dict[str, str]:
    """The manifests among *changed* of which only the beginning is left, with what to say of them."""
    found = {}
    for path in changed:
        old, new = before.get(path), files.get(path)
        builds = path.rpartition("/")[2] in KUSTOMIZATION_NAMES
        if old is None or new is None or SYMLINK in {old.mode, new.mode} or not (builds or is_yaml(path)):
            continue
        was, now = read(old.oid), read(new.oid)
        if was.problem or now.problem or not (builds or b"kind" in was.data):
            continue
        if is_cut_off(was.data, now.data) or is_torn(was.data, now.data, optional=builds):
            found[path] = told_of(now.data)
    return found


class Side:
    """A revision with everything that is found out about it. `units` and `flux` are filled in as they are known."""

    def __init__(
        self,
        revision: LocalRevision,
        files: Mapping[str, TreeFile],
        tree: GitTree,
        read: Contents,
        documents: Documents,
        *,
        damaged: Mapping[str, str],
    ) -> None:
        self.revision = revision
        self._documents = documents
        self.listing = Listing(files, read, damaged)
        self.includes = Includes(self.listing, documents)
        self.config_maps = ConfigMaps(self.listing)
        self.tree: Tree = tree
        self.flux = FluxObjects()
        self.units = Units(())

    def find_flux_objects(self, known: dict[tuple[str, str], FluxObjects], before: Listing | None = None) -> None:
        """Look into all YAML files; *known* is shared by both sides, so that equal files are read once.

        A file that cannot be read any more declares what it did *before*.
        """
        parts = self._patches()
        for path, file in self.listing.files.items():
            if not is_yaml(path) or not self.listing.is_file(path) or path in parts:
                continue
            key = (path, file.oid)
            if key not in known:
                data = self.listing.content(path).data
                may = fluxobjects.may_hold_objects(data)
                known[key] = fluxobjects.read(data, path) if may else FluxObjects()
            found = known[key]
            earlier = before.files.get(path) if before is not None else None
            if earlier is not None and earlier.oid != file.oid:
                declared = known.get((path, earlier.oid), FluxObjects())
                found = fluxobjects.after(declared, found, self.listing.content(path), path)
            if found != FluxObjects():
                self.flux = self.flux.joined(found)

    def narrow(self, addresses: Iterable[str], known: dict[tuple[Pattern, ...], IgnoreRules]) -> None:
        """Look at what a source's artifact would hold, and no more: `.sourceignore`, `spec.ignore`, Flux's defaults.

        Rules remember what they say of names: equal ones of both sides are *known*.
        """
        written: list[Pattern] = []
        for path in sorted(self.listing.files):
            folder, _, name = path.rpartition("/")
            if name == IGNORE_FILE and self.listing.is_file(path):
                text = self.listing.content(path).data.decode(errors="replace")
                written += parse_rules(text, tuple(folder.split("/")) if folder else ())
        written += parse_rules(ignored_by(self.flux.repositories, addresses))
        rules = known.setdefault(tuple(written), rules_with(tuple(written)))
        self.tree = FilteredTree(self.tree, rules)
        self.includes = Includes(self.listing.without(lambda path: rules.ignores(path, is_dir=False)), self._documents)

    def _patches(self) -> set[str]:
        """Files that kustomizations use for something else than resources: an object in there is a part of one."""
        found: set[str] = set()
        for folder, file in self.includes.all():
            if file.document.keys() & {"patches", "patchesStrategicMerge", "patchesJson6902", "replacements"}:
                listed = {f"{folder}/{text}" if folder else text for text in file.listed()}
                found.update(path for path in self.includes.named_files(folder) if path not in listed)
        return found
