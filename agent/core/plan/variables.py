"""Variables of the post-build substitution, as far as the repository knows them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from agent.core.models.extract.document import load
from agent.core.models.extract.slot import MalformedError
from agent.core.plan.documents import split
from agent.core.plan.fluxobjects import DEFAULT_NAMESPACE, Declared
from agent.core.plan.listing import Listing, common_folders, is_yaml

_USED: Final = re.compile(rb"(?<!\$)\$\{([A-Za-z_][A-Za-z0-9_]*)(:?[-=?+]|[^}])?")
_IS_CONFIG_MAP: Final = re.compile(rb"^kind:\s*[\"']?ConfigMap\b|^\s*\{", re.MULTILINE)
"""At the start of a line: objects that only refer to one are not read."""
_LARGEST: Final = 1 << 20
"""Bytes; a ConfigMap cannot be larger."""


class Variables(NamedTuple):
    """What is known, and the sources that are not in the repository."""

    known: Mapping[str, str] = {}
    missing: tuple[str, ...] = ()


class ConfigMaps:
    """The ConfigMaps that stand as such in the YAML of a revision."""

    def __init__(self, listing: Listing) -> None:
        self._listing = listing
        self._found: dict[str, list[tuple[str, str, Mapping[str, Any]]]] = {}

    def variables(self, declared: Declared) -> Variables:
        """The variables of a Kustomization. Secrets are never read: their values could end up in what is printed."""
        post = declared.object.spec.post_build
        if post is None:
            return Variables()
        known: dict[str, str] = {}
        missing = []
        for reference in post.substitute_from:
            data = self._data(reference.name, declared) if reference.kind == "ConfigMap" else None
            if data is None:
                missing.append(f"{reference.kind}/{reference.name}")
            else:
                known.update({str(key): str(value) for key, value in data.items()})
        known.update(post.substitute or {})
        return Variables(known, tuple(missing))

    def _data(self, name: str, declared: Declared) -> Mapping[str, Any] | None:
        """The data of the ConfigMap that stands closest to the Kustomization's own file."""
        if name not in self._found:
            self._found[name] = list(self._search(name))
        namespace = declared.object.namespace
        fitting = [(file, data) for file, home, data in self._found[name] if home in {"", namespace}]
        return max(fitting, key=lambda found: common_folders(found[0], declared.file))[1] if fitting else None

    def _search(self, name: str) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
        wanted = name.encode()
        for path in self._listing.files:
            if not is_yaml(path) or not self._listing.is_file(path):
                continue
            data = self._listing.content(path).data
            if len(data) > _LARGEST or wanted not in data or b"ConfigMap" not in data:
                continue
            for part in split(data):
                found = _config_map(part, path, name) if wanted in part and _IS_CONFIG_MAP.search(part) else None
                if found is not None:
                    yield path, *found


def used_in(documents: Iterable[bytes]) -> tuple[frozenset[str], frozenset[str]]:
    """Names of the variables that documents use: those without a default, and those with one."""
    plain: set[str] = set()
    defaulted: set[str] = set()
    for document in documents:
        for name, operator in _USED.findall(document):
            target = defaulted if operator in {b":-", b":=", b"-", b"=", b":?", b"?"} else plain
            target.add(name.decode())
    return frozenset(plain), frozenset(defaulted - plain)


def _config_map(part: bytes, path: str, name: str) -> tuple[str, Mapping[str, Any]] | None:
    try:
        obj = load(part, path)
    except MalformedError:
        return None
    metadata, data = obj.get("metadata"), obj.get("data")
    if obj.get("kind") != "ConfigMap" or not isinstance(metadata, Mapping) or metadata.get("name") != name:
        return None
    namespace = str(metadata.get("namespace") or "")
    return ("" if namespace == DEFAULT_NAMESPACE else namespace), data if isinstance(data, Mapping) else {}
