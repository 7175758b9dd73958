"""Which Kustomizations the files of a source belong to: those that read them, and those in whose folder they lie."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping

from agent.adapters.renderer import folder_of
from agent.api.kustomization import Kustomization
from agent.controllers.triggers import source_of
from agent.core.models.belonging import by_folder, nearest
from agent.core.tree import Inputs
from agent.errors import ArtifactError

Key = tuple[str, str]


class Belonging:
    """`inputs` tells what the last build of a Kustomization has read, None if there was none."""

    def __init__(
        self, kustomizations: Callable[[], Iterable[Kustomization]], inputs: Callable[[Key], Inputs | None]
    ) -> None:
        self._kustomizations = kustomizations
        self._inputs = inputs

    def of(self, source: str, paths: Collection[str]) -> Mapping[str, tuple[str, ...]]:
        """Each path of a source (`Kind/namespace/name`) with its Kustomizations (`namespace/name`), by name."""
        found: dict[str, set[str]] = {path: set() for path in paths}
        folders: list[tuple[str, str]] = []
        for kustomization in self._kustomizations():
            if not found or str(source_of(kustomization)) != source:
                continue
            name = f"{kustomization.namespace}/{kustomization.name}"
            inputs = self._inputs((kustomization.namespace, kustomization.name))
            for path, _ in inputs.files if inputs is not None else ():
                if path in found:
                    found[path].add(name)
            try:
                folders.append((name, folder_of(kustomization)))
            except ArtifactError:
                continue  # it builds nothing
        above = by_folder(folders)
        return {path: tuple(sorted(names | nearest(path, above))) for path, names in found.items()}
