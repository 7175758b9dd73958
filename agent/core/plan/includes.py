"""What a folder's build may read: the files and folders that its kustomization names, and those that they name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from typing import Any, Final, NamedTuple

from agent.core.models.extract.document import load
from agent.core.models.extract.slot import MalformedError
from agent.core.plan.listing import KUSTOMIZATION_NAMES, Listing, inside
from agent.core.tree import PathEscapeError, clean

_FOLDER_FIELDS: Final = ("resources", "bases", "components", "generators", "transformers", "validators")
_RESOURCES: Final = ("resources", "bases")
_LONGEST_PATH: Final = 4096
_BARE: Final = frozenset({"apiVersion", "kind", "metadata", "resources", "bases"})
_CHARTS: Final = ("helmCharts", "helmChartInflationGenerator")
_REMOTE: Final = ("://", "git@", "github.com/", "git::")

Documents = dict[str, tuple[Mapping[str, Any], str]]
"""Kustomization files by content id: parsed, or empty with what is wrong. Shared by both revisions."""


class KustomizationFile(NamedTuple):
    """A folder's kustomization. `problem` says why it cannot be read; it is empty then."""

    path: str
    document: Mapping[str, Any]
    problem: str = ""

    @property
    def is_component(self) -> bool:
        """Whether it can only be built as a part of others."""
        return self.document.get("kind") == "Component"

    @property
    def only_lists(self) -> bool:
        """Whether its build is what its resources build, one after the other, and nothing else."""
        return not self.problem and self.document.keys() <= _BARE

    @property
    def remote(self) -> tuple[str, ...]:
        """Addresses among what it includes, which nothing can read offline."""
        return tuple(text for text in self.listed() if any(mark in text for mark in _REMOTE))

    @property
    def charts(self) -> bool:
        """Whether it wants Helm charts inflated."""
        return not self.document.keys().isdisjoint(_CHARTS)

    def offline(self, absent: Iterable[str] = ()) -> dict[str, Any]:
        """The document without what needs a network or Helm, and without resources that are *absent*."""
        kept = {field: value for field, value in self.document.items() if field not in _CHARTS}
        for field in _FOLDER_FIELDS:
            values = kept.get(field)
            if isinstance(values, list):
                left_out = {*self.remote, *(absent if field in _RESOURCES else ())}
                kept[field] = [value for value in values if not isinstance(value, str) or value not in left_out]
        return kept

    def resources(self) -> Iterator[str]:
        """What it lists as resources."""
        for field in _RESOURCES:
            values = self.document.get(field)
            yield from (value for value in (values if isinstance(values, list) else ()) if isinstance(value, str))

    def listed(self) -> Iterator[str]:
        """What its fields for resources, components and the like list."""
        for field in _FOLDER_FIELDS:
            values = self.document.get(field)
            for value in values if isinstance(values, list) else ():
                if isinstance(value, str):
                    yield value


class Reach(NamedTuple):
    """What a build may read: files (also those that would matter if they were there), and whole folders."""

    files: frozenset[str]
    folders: tuple[str, ...] = ()

    def touched(self, changed: AbstractSet[str]) -> bool:
        """Whether one of the changed paths is among it."""
        if not self.files.isdisjoint(changed):
            return True
        prefixes = tuple(f"{folder}/" if folder else "" for folder in self.folders)
        return bool(prefixes) and any(path.startswith(prefixes) for path in changed)


class Includes:
    """The kustomizations of one revision."""

    def __init__(self, listing: Listing, documents: Documents) -> None:
        self.listing = listing
        self._documents = documents
        self._files: dict[str, KustomizationFile | None] = {}
        self._reaches: dict[tuple[str, ...], Reach] = {}

    def file(self, folder: str) -> KustomizationFile | None:
        """The folder's kustomization, read once."""
        if folder not in self._files:
            path = self.listing.kustomization(folder)
            self._files[folder] = self._load(path) if path is not None else None
        return self._files[folder]

    def all(self) -> Iterator[tuple[str, KustomizationFile]]:
        """All folders with a kustomization, sorted."""
        for folder in sorted(self.listing.folders):
            found = self.file(folder)
            if found is not None:
                yield folder, found

    def included(self, folder: str) -> Iterator[str]:
        """The folders with a kustomization that the folder's own includes."""
        found = self.file(folder)
        for text in found.listed() if found else ():
            path = _joined(folder, text)
            if path is not None and self.listing.is_folder(path) and self.file(path) is not None:
                yield path

    def named_files(self, folder: str) -> Iterator[str]:
        """The files that the folder's kustomization names, in whatever field."""
        found = self.file(folder)
        for text in _texts(found.document) if found else ():
            for part in {text, text.partition("=")[2]}:
                path = _joined(folder, part) if part else None
                if path is not None and self.listing.is_file(path):
                    yield path

    def absent(self, folder: str) -> list[str]:
        """The resources that the folder's kustomization lists and the repository does not hold, or only as links."""
        file, listing = self.file(folder), self.listing
        found = []
        for text in file.resources() if file else ():
            path = _joined(folder, text)
            if text not in (file.remote if file else ()) and not (
                path is not None and (listing.is_file(path) or listing.is_folder(path))
            ):
                found.append(text)
        return found

    def used_otherwise(self) -> frozenset[str]:
        """Kustomizations, and the files that they name for anything else than resources, such as patches."""
        found: set[str] = set()
        for folder, file in self.all():
            resources = {_joined(folder, text) for text in file.resources()}
            found.update(path for path in self.named_files(folder) if path not in resources)
            found.add(file.path)
        return frozenset(found)

    def reach(self, folders: Iterable[str]) -> Reach:
        """What builds of the folders may read, found out once."""
        wanted = tuple(folders)
        if wanted not in self._reaches:
            self._reaches[wanted] = self._reach(wanted)
        return self._reaches[wanted]

    def _reach(self, folders: Iterable[str]) -> Reach:
        pending, seen = list(folders), set[str]()
        files: set[str] = set()
        whole: list[str] = []
        while pending:
            folder = pending.pop()
            if folder in seen:
                continue
            seen.add(folder)
            files.update(inside(folder, name) for name in KUSTOMIZATION_NAMES)
            found = self.file(folder)
            if found is None:
                # Without a kustomization a build takes all manifests below, and the folders that have one.
                whole.append(folder)
                pending += (sub for sub in self.listing.folders if _is_below(sub, folder) and self.file(sub))
                continue
            for text in _texts(found.document):
                for part in {text, text.partition("=")[2]}:
                    path = _joined(folder, part) if part else None
                    if path is None or path in seen:
                        continue
                    files.add(path)
                    if self.listing.is_folder(path):
                        pending.append(path)
        return Reach(frozenset(files), tuple(whole))

    def _load(self, path: str) -> KustomizationFile:
        oid = self.listing.files[path].oid
        if oid not in self._documents:
            content = self.listing.content(path)
            if content.problem:
                return KustomizationFile(path, {}, content.problem)
            try:
                self._documents[oid] = load(content.data, path), ""
            except MalformedError as error:
                self._documents[oid] = {}, str(error)
        document, problem = self._documents[oid]
        return KustomizationFile(path, document, problem)


def _joined(folder: str, text: str) -> str | None:
    """The path that *text* names from *folder*; None for what cannot be one."""
    if len(text) > _LONGEST_PATH or "\n" in text or "\0" in text or text.startswith("/"):
        return None
    try:
        return clean(inside(folder, text))
    except PathEscapeError:
        return None


def _texts(value: Any) -> Iterator[str]:
    """All texts among the values of a document."""
    pending = [value]
    while pending:
        current = pending.pop()
        if isinstance(current, str):
            yield current
        elif isinstance(current, Mapping):
            pending.extend(current.values())
        elif isinstance(current, list):
            pending.extend(current)


def _is_below(path: str, folder: str) -> bool:
    return path != folder and (not folder or path.startswith(f"{folder}/"))
