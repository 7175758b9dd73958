"""Builds parts of a revision in the renderer; what cannot be read is left out and named."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Final, NamedTuple

import msgspec
from msgspec.structs import replace

from agent.adapters.git.errors import GitOperationError
from agent.adapters.renderer import BuildRequest, RendererPool, RenderError, Substitution, build_request
from agent.core.models import Origin
from agent.core.models.redact import redact_within as redact
from agent.core.plan.listing import inside, is_yaml
from agent.core.plan.overlay import OverlayTree
from agent.core.plan.report import PlanError, shortened
from agent.core.plan.units import Part, Unit, reach_of
from agent.core.plan.variables import Variables, used_in
from agent.core.tree import Inputs, PathEscapeError, clean
from agent.errors import WeirError
from agent.plan.revisions import NOT_IN_CLONE, Side

_ORIGIN: Final = "config.kubernetes.io/origin"
_ROUNDS: Final = 20
"""So many times a build is tried again without the files that turn out to be unreadable."""
SHOWN_KIND: Final = 63
"""Characters of a kind in a message."""
_PLACE: Final = re.compile(r"\b(?:document|line|column) \d+")
_HEAD: Final = 8000
"""Bytes in which Git looks for what no text has."""
_PLAIN_KIND: Final = re.compile(rb"^[\"'{\s]*kind[\"']?:\s*[\"']?(?!ENC\[)\w", re.MULTILINE)
_QUOTED: Final = re.compile(r"(with config: )`.*?`(?=:|$)|(\[patch: )\".*\"(?=\])", re.DOTALL)
_NOTHING: Final = b"# left out: cannot be read\n"


class Made(NamedTuple):
    """What a part builds: objects as JSON with the file that each stands in.

    *complete* is False if something was left out, *failed* True if nothing could be built at all.
    """

    objects: tuple[tuple[bytes, Origin | None], ...] = ()
    problems: tuple[PlanError, ...] = ()
    complete: bool = True
    failed: bool = False


class Builder:
    """Builds parts; a file that both revisions share is parsed once."""

    def __init__(self, renderer: RendererPool) -> None:
        self._renderer = renderer
        self._parsed: dict[str, tuple[bytes, ...] | str] = {}

    async def build(self, side: Side, unit: Unit, part: Part) -> Made:
        """The objects of a part. Never raises for what the repository holds."""
        if part.plain:
            return await self._plain(side, part)
        try:
            return await self._kustomized(side, unit, part)
        except WeirError as error:
            return Made(problems=tuple(_failures(side, unit, part, error)), complete=False, failed=True)

    async def _plain(self, side: Side, part: Part) -> Made:
        """Manifests as they stand. YAML without a Kubernetes object is nobody's business here; what is no YAML may have
        been one before somebody broke it."""
        objects: list[tuple[bytes, Origin | None]] = []
        problems = []
        for path in part.paths:
            content = side.listing.content(path)
            problem = content.problem or _sealed(content.data)
            documents = problem or await self._documents(side, path)
            if isinstance(documents, str):
                problems.append(PlanError(file=path, message=documents))
            elif b"apiVersion" in content.data and b"kind" in content.data:
                held = (found for document in documents if _is_object(document) for found in _opened(document))
                objects += ((found, Origin(path)) for found in held)
                problems += _nameless(path, documents)
        return Made(tuple(objects), tuple(problems), complete=not problems)

    async def _kustomized(self, side: Side, unit: Unit, part: Part) -> Made:
        request = _request(unit, part)
        variables = side.config_maps.variables(unit.declared) if unit.declared else Variables()
        reached = list(_reached(side, unit, part)) if side.listing.damaged else []
        damaged = [path for path in reached if path in side.listing.damaged]
        left = _unread(side, damaged)
        if len(left) < len(damaged):
            told = (PlanError(file=path, message=side.listing.damaged[path]) for path in damaged)
            return Made(problems=tuple(told), complete=False, failed=True)
        problems = [problem for problem, _ in left.values()]
        overlay = {path: content for path, (_, content) in left.items()}
        if part.only:
            listed = {"kind": "Kustomization", "resources": list(part.only)}
            path = side.listing.kustomization(part.folder) or inside(part.folder, "kustomization.yaml")
            overlay[path] = msgspec.json.encode(listed)
        if variables.missing:
            objects = await self._rendered(side, (unit, part), request, overlay, problems)
            variables, notes = _filled(unit, variables, objects)
            problems += notes
        if variables.known:
            substitution = Substitution(vars=dict(variables.known), strict=False)
            request = replace(request, substitution=substitution)
        objects = await self._rendered(side, (unit, part), request, overlay, problems)
        located = tuple(_located(part.folder, document) for document in objects)
        return Made(located, tuple(problems), complete=len(overlay) == bool(part.only))

    async def _rendered(
        self,
        side: Side,
        wanted: tuple[Unit, Part],
        request: BuildRequest,
        overlay: dict[str, bytes],
        problems: list[PlanError],
    ) -> tuple[bytes, ...]:
        """Build, leaving out the files that cannot be read; they are added to *overlay* and *problems*."""
        for _ in range(_ROUNDS):
            try:
                return (await self._renderer.build(request, OverlayTree(side.tree, overlay))).objects
            except (RenderError, GitOperationError) as error:
                if isinstance(error, RenderError):
                    left = _not_offline(side, error, overlay)
                    left |= {found.file: (found, _NOTHING) for found in await self._broken(side, error, overlay)}
                else:
                    left = _unread(side, (path for path in _missing(side, *wanted) if path not in overlay))
                if not left:
                    raise
                problems += (problem for problem, _ in left.values())
                overlay.update((path, content) for path, (_, content) in left.items())
        return (await self._renderer.build(request, OverlayTree(side.tree, overlay))).objects

    async def _broken(self, side: Side, error: RenderError, overlay: Mapping[str, bytes]) -> list[PlanError]:
        """The files among those that the failed build read which are no Kubernetes YAML."""
        found = []
        for path, _ in (error.inputs or Inputs()).files:
            if path in overlay or not is_yaml(path) or path == side.listing.kustomization(path.rpartition("/")[0]):
                continue
            documents = _sealed(side.listing.content(path).data) or await self._documents(side, path)
            if isinstance(documents, str):
                found.append(PlanError(file=path, message=documents))
        return found

    async def _documents(self, side: Side, path: str) -> tuple[bytes, ...] | str:
        """The documents of a YAML file as JSON, or why they cannot be had."""
        oid = side.listing.files[path].oid
        if oid not in self._parsed:
            content = side.listing.content(path)
            try:
                self._parsed[oid] = content.problem or await self._renderer.documents(content.data)
            except WeirError as error:
                self._parsed[oid] = _told(error.message, content.data)
        return self._parsed[oid]


def _sealed(data: bytes) -> str:
    """Why a file cannot be looked into, empty if it can."""
    if b"\0" in data[:_HEAD]:
        return "is not text: encrypted, or binary"
    if b"ENC[AES256_GCM" in data and not _PLAIN_KIND.search(data):
        return "is encrypted as a whole with SOPS: not read"
    return ""


def _told(message: str, data: bytes) -> str:
    """Why a text is no YAML. The parser quotes what it stumbles over: where a Secret may be, only the place is told."""
    if b"secret" in data.lower():
        place = ", ".join(found[0] for found in _PLACE.finditer(message))
        return f"is not YAML ({place})" if place else "is not YAML"
    return shortened(message) or "cannot be read"


def _request(unit: Unit, part: Part) -> BuildRequest:
    request = build_request(unit.declared.object, None) if unit.declared else BuildRequest()
    return replace(request, path=part.folder, build_metadata=("originAnnotations",))


def _filled(unit: Unit, variables: Variables, objects: Iterable[bytes]) -> tuple[Variables, list[PlanError]]:
    """Variables whose value nobody knows offline stand for themselves: nobody takes them for empty."""
    plain, defaulted = used_in(objects)
    unknown = sorted(plain - variables.known.keys())
    guessed = sorted(defaulted - variables.known.keys())
    known = {**variables.known, **{name: f"${{{name}}}" for name in unknown}}
    if not unknown and not guessed:
        return Variables(known), []
    told = [f"{', '.join(unknown)} left as written"] if unknown else []
    told += [f"{', '.join(guessed)} taken by default"] if guessed else []
    message = f"variables of {', '.join(variables.missing)} are not in the repository: {'; '.join(told)}"
    return Variables(known), [PlanError(object=unit.called, message=message)]


def _not_offline(side: Side, error: RenderError, overlay: Mapping[str, bytes]) -> dict[str, tuple[PlanError, bytes]]:
    """Kustomizations that the failed build read, without what nobody has here: remote bases, charts, missing files."""
    found = {}
    for path, _ in (error.inputs or Inputs()).files:
        folder = path.rpartition("/")[0]
        if path in overlay or path != side.listing.kustomization(folder):
            continue
        file = side.includes.file(folder)
        if file is None:
            continue
        absent = side.includes.absent(folder)
        wanted = [*map(redact, file.remote), *(["Helm charts"] if file.charts else [])]
        told = [f"includes {', '.join(wanted)}: not read offline"] if wanted else []
        told += (
            [f"lists {', '.join(map(redact, absent))}: no file or folder of the source (links are none)"]
            if absent
            else []
        )
        if told:
            problem = PlanError(file=path, message=shortened("; ".join(told)))
            found[path] = problem, msgspec.json.encode(file.offline(absent))
    return found


def _failures(side: Side, unit: Unit, part: Part, error: WeirError) -> Iterator[PlanError]:
    """Why nothing can be built: the files at fault, else the whole."""
    # kustomize quotes patches as they are written, which may be those of Secrets.
    message = shortened(_QUOTED.sub(lambda found: f"{found[1] or found[2]}…", error.message))
    if isinstance(error, GitOperationError):
        missing = list(_missing(side, unit, part))
        if missing:
            yield from (PlanError(file=path, message=NOT_IN_CLONE) for path in missing)
            return
        message = f"reads a file that {NOT_IN_CLONE}"
    if unit.declared is not None:
        yield PlanError(object=unit.called, message=message)
        return
    broken = (path for path in _reached(side, unit, part) if _is_broken(side, path))
    yield PlanError(file=next(broken, side.listing.kustomization(part.folder) or part.folder or "."), message=message)


def _reached(side: Side, unit: Unit, part: Part) -> Iterator[str]:
    """The files that the build of the part may read."""
    listing, reach = side.listing, reach_of(side.includes, unit, part)
    return (path for path in listing.files if listing.is_file(path) and reach.touched({path}))


def _missing(side: Side, unit: Unit, part: Part) -> Iterator[str]:
    return (path for path in _reached(side, unit, part) if side.listing.content(path).problem == NOT_IN_CLONE)


def _unread(side: Side, paths: Iterable[str]) -> dict[str, tuple[PlanError, bytes]]:
    """Those of the unreadable files at *paths* that a build can do without: what it would take objects from."""
    otherwise = side.includes.used_otherwise()
    problems = {path: side.listing.content(path).problem for path in paths if is_yaml(path) and path not in otherwise}
    return {path: (PlanError(file=path, message=problem), _NOTHING) for path, problem in problems.items()}


def _is_broken(side: Side, path: str) -> bool:
    """Whether this is a kustomization that cannot be read."""
    found = side.includes.file(path.rpartition("/")[0])
    return found is not None and found.path == path and bool(found.problem)


def _is_object(document: bytes) -> bool:
    return bool(_kind(document)) and not _is_nameless(document)


def _opened(document: bytes) -> list[bytes]:
    """The objects of a list, each by itself; else the document."""
    value = msgspec.json.decode(document)
    items = value.get("items") if str(value.get("kind")).endswith("List") else None
    return [msgspec.json.encode(item) for item in items] if isinstance(items, list) else [document]


def _nameless(path: str, documents: Iterable[bytes]) -> Iterator[PlanError]:
    """Objects that the API server would refuse."""
    for document in documents:
        if _kind(document) and _is_nameless(document):
            yield PlanError(file=path, message=f"has a {_kind(document)[:SHOWN_KIND]} without metadata.name")


def _kind(document: bytes) -> str:
    """The kind of a Kubernetes object; empty for everything else."""
    try:
        value = msgspec.json.decode(document)
    except (msgspec.DecodeError, RecursionError):
        return ""
    return str(value.get("kind") or "") if isinstance(value, dict) and value.get("apiVersion") else ""


def _is_nameless(document: bytes) -> bool:
    value = msgspec.json.decode(document)
    metadata = value.get("metadata")
    return not str(value["kind"]).endswith("List") and not (isinstance(metadata, dict) and metadata.get("name"))


def _located(folder: str, document: bytes) -> tuple[bytes, Origin | None]:
    """The object without the note about its origin, and the origin."""
    if _ORIGIN.encode() not in document:
        return document, None
    obj = msgspec.json.decode(document)
    annotations = obj["metadata"].get("annotations") or {}
    note = annotations.pop(_ORIGIN, "")
    if not annotations:
        obj["metadata"].pop("annotations", None)
    return msgspec.json.encode(obj), _origin(folder, str(note))


def _origin(folder: str, note: str) -> Origin | None:
    """`path` or `configuredIn` of the note, which are relative to the folder that was built."""
    fields = dict(_fields(note))
    written = fields.get("path") or fields.get("configuredIn")
    if not written or "repo" in fields:
        return None
    try:
        return Origin(clean(inside(folder, written)), "; ".join(line for line in note.split("\n") if line.strip()))
    except PathEscapeError:
        return None


def _fields(note: str) -> Iterator[tuple[str, str]]:
    for line in note.splitlines():
        name, colon, value = line.partition(":")
        if colon and not name.startswith(" "):
            yield name, value.strip()
