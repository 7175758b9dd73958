"""The Flux objects in the YAML of a repository, found without building anything."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple

import msgspec

from agent.api.changepolicy import ChangePolicy
from agent.api.datatrigger import DataTrigger
from agent.api.kustomization import Kustomization
from agent.core.models.extract.document import load
from agent.core.models.extract.slot import MalformedError
from agent.core.objects import split_api_version
from agent.core.plan.documents import split
from agent.core.plan.generated import Generator
from agent.core.plan.listing import Content
from agent.core.plan.report import PlanError
from agent.core.plan.triggers import read_trigger
from agent.core.policy.judging import fault

_LARGEST: Final = 2 << 20
"""Bytes; nobody writes Flux objects into larger files."""
_GROUPS: Final = (
    b"kustomize.toolkit.fluxcd.io",
    b"source.toolkit.fluxcd.io",
    b"source.extensions.fluxcd.io",
    b"flagger.app",
    b"weir.dev/v1alpha1",
)
_DEFINITION: Final = re.compile(rb"^kind:\s*[\"']?CustomResourceDefinition\b", re.MULTILINE)
_DIRECTIVE: Final = re.compile(rb"^%.*$", re.MULTILINE)
_KINDS: Final = {
    ("kustomize.toolkit.fluxcd.io", "Kustomization"),
    ("source.toolkit.fluxcd.io", "GitRepository"),
    ("source.extensions.fluxcd.io", "ArtifactGenerator"),
    ("flagger.app", "Canary"),
    ("weir.dev", "DataTrigger"),
    ("weir.dev", "ChangePolicy"),
}
DEFAULT_NAMESPACE: Final = "flux-system"
"""Where an object is taken to live that names no namespace."""


class Declared(NamedTuple):
    """A Kustomization object, the file that it stands in, and the folder that tells it from others of its name."""

    object: Kustomization
    file: str
    home: str

    @property
    def shown(self) -> str:
        """`namespace/name`."""
        return f"{self.object.namespace}/{self.object.name}"


class FluxObjects(NamedTuple):
    """What a revision declares."""

    kustomizations: tuple[Declared, ...] = ()
    repositories: tuple[Mapping[str, Any], ...] = ()
    canaries: tuple[Mapping[str, Any], ...] = ()
    generators: tuple[Generator, ...] = ()
    triggers: tuple[DataTrigger, ...] = ()
    policies: tuple[ChangePolicy, ...] = ()
    problems: tuple[PlanError, ...] = ()

    @property
    def nothing(self) -> bool:
        """Whether nothing is declared, whatever could not be read."""
        return self._replace(problems=()) == FluxObjects()

    def joined(self, other: FluxObjects) -> FluxObjects:
        """These and the other ones."""
        return FluxObjects(
            self.kustomizations + other.kustomizations,
            self.repositories + other.repositories,
            self.canaries + other.canaries,
            self.generators + other.generators,
            self.triggers + other.triggers,
            self.policies + other.policies,
            self.problems + other.problems,
        )


def may_hold_objects(data: bytes) -> bool:
    """Whether a look into the text of a file is worth it."""
    return len(data) <= _LARGEST and any(group in data for group in _GROUPS)


def read(data: bytes, file: str) -> FluxObjects:
    """The objects in the text of a YAML file. What cannot be read is a problem, and the rest goes on."""
    found = FluxObjects()
    for part in split(data):
        if not any(group in part for group in _GROUPS) or _DEFINITION.search(part):
            continue
        try:
            found = found.joined(sorted_out(_flattened(load(part, file)), file))
        except MalformedError as error:
            message = str(error).removeprefix(f"{file} ")
            found = found.joined(FluxObjects(problems=(PlanError(file=file, message=message),)))
    return found


def after(before: FluxObjects, now: FluxObjects, content: Content, file: str) -> FluxObjects:
    """What a file declares that declared *before*, where its text as it is *now* may be damaged.

    A file that cannot be read takes nothing back: it stands for what it said before, with the problem.
    """
    if before.nothing:
        return now
    problem = content.problem or ("" if now.problems else _unreadable(content.data, file))
    if problem:
        now = now.joined(FluxObjects(problems=(PlanError(file=file, message=problem),)))
    return now.joined(before._replace(problems=())) if now.problems and now.nothing else now


def _unreadable(data: bytes, file: str) -> str:
    """Why a document of the text can be no Kubernetes object, empty if all can; `read` looks into the rest."""
    for part in split(data):
        if any(group in part for group in _GROUPS):
            continue
        try:
            document = load(_DIRECTIVE.sub(b"", part), file)
        except MalformedError as error:
            return str(error).removeprefix(f"{file} ")
        kind = str(document.get("kind") or "")
        if document and (not document.get("apiVersion") or not kind or kind.startswith("ENC[")):
            return "holds a document that is no Kubernetes object (damaged, or encrypted): not read"
    return ""


def sorted_out(objects: Iterable[Any], file: str, home: str | None = None) -> FluxObjects:
    """The objects by their kinds; others are left out. *home* is the file's folder where nothing else is said."""
    home = file.rpartition("/")[0] if home is None else home
    found = FluxObjects()
    for obj in objects:
        key = _kind(obj)
        if key not in _KINDS:
            continue
        if key[1] == "Kustomization":
            found = found.joined(_kustomization(obj, file, home))
        elif key[1] == "GitRepository":
            found = found.joined(FluxObjects(repositories=(obj,)))
        elif key[1] == "ArtifactGenerator":
            found = found.joined(FluxObjects(generators=(Generator(obj, file),)))
        elif key[1] == "ChangePolicy":
            found = found.joined(_policy(obj, file))
        elif key[1] == "DataTrigger":
            found = found.joined(_trigger(obj, file))
        else:
            found = found.joined(FluxObjects(canaries=(obj,)))
    return found


def _kustomization(obj: Mapping[str, Any], file: str, home: str) -> FluxObjects:
    try:
        # What a plan does not need may come from patches that the text does not show.
        spec = {"interval": "10m", "prune": True, **dict(obj.get("spec") or {})}
        metadata = {**dict(obj.get("metadata") or {})}
        metadata["namespace"] = metadata.get("namespace") or DEFAULT_NAMESPACE
        made = Kustomization.from_object({"metadata": metadata, "spec": spec})
    except (msgspec.ValidationError, TypeError, ValueError) as error:
        return FluxObjects(problems=(PlanError(file=file, message=f"Kustomization {_name(obj)}: {error}"),))
    if not made.name:
        return FluxObjects(problems=(PlanError(file=file, message="Kustomization without metadata.name"),))
    return FluxObjects(kustomizations=(Declared(made, file, home),))


def _trigger(obj: Mapping[str, Any], file: str) -> FluxObjects:
    try:
        return FluxObjects(triggers=(read_trigger(obj, DEFAULT_NAMESPACE),))
    except ValueError as error:
        return FluxObjects(problems=(PlanError(file=file, message=str(error)),))


def _policy(obj: Mapping[str, Any], file: str) -> FluxObjects:
    try:
        policy = ChangePolicy.from_object({**obj, "metadata": obj.get("metadata") or {}, "spec": obj.get("spec") or {}})
        why = fault(policy)
    except (msgspec.ValidationError, TypeError, ValueError) as error:
        return FluxObjects(problems=(PlanError(file=file, message=f"ChangePolicy {_name(obj)}: {error}"),))
    if why:
        return FluxObjects(problems=(PlanError(file=file, message=f"ChangePolicy {_name(obj)}: {why}"),))
    return FluxObjects(policies=() if policy.spec.suspend else (policy,))


def _flattened(document: Mapping[str, Any]) -> Iterator[Any]:
    items = document.get("items")
    if str(document.get("kind", "")).endswith("List") and isinstance(items, list):
        yield from items
    else:
        yield document


def _kind(obj: Any) -> tuple[str, str]:
    if not isinstance(obj, Mapping):
        return "", ""
    group, _ = split_api_version(str(obj.get("apiVersion") or ""))
    return group, str(obj.get("kind") or "")


def _name(obj: Mapping[str, Any]) -> str:
    metadata = obj.get("metadata")
    return str(metadata.get("name")) if isinstance(metadata, Mapping) else "without a name"
