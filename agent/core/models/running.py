"""What pods really run, held against what Git resolves to: the decision behind `stale-serving`.

A difference is only claimed where it is certain. Text decides where it differs; where it is the same and floats, the
digest of the image that the node reports, the digest that the pod was started for, or the time at which it started.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from msgspec.structs import replace

from agent.core.health.pods import selector_of
from agent.core.models.diff import object_id
from agent.core.models.extract.registry import extract
from agent.core.models.extract.slot import Context, Slot
from agent.core.models.impact import ImpactIndex
from agent.core.models.meanings import Meanings, Pods
from agent.core.models.record import ChangeRecord, Commit
from agent.core.models.recording import Comparison, Pair, record
from agent.core.models.ref import Digest, Identity, Ref, have_equal_digests
from agent.core.models.references import Reference
from agent.core.models.rendered import Object, RenderedSet
from agent.core.objects import ObjectKey

_WORKLOADS: Final = frozenset({"Deployment", "StatefulSet", "DaemonSet"})
_BY_NAME: Final[Mapping[tuple[str, str], str]] = {
    ("serving.kserve.io", "InferenceService"): "serving.kserve.io/inferenceservice={},component=predictor",
    (
        "serving.kserve.io",
        "LLMInferenceService",
    ): "app.kubernetes.io/name={},app.kubernetes.io/part-of=llminferenceservice",
    ("serving.knative.dev", "Service"): "serving.knative.dev/service={}",
    ("leaderworkerset.x-k8s.io", "LeaderWorkerSet"): "leaderworkerset.sigs.k8s.io/name={}",
    ("kubeai.org", "Model"): "model={}",
}
"""Labels that controllers put on the pods of their objects."""
_SERVED: Final = frozenset({"model", "adapter"})
_COMPARED: Final = frozenset({"model", "adapter", "tokenizer", "code-image"})
_LOADERS: Final = frozenset({"initContainer[storage-initializer].model", "container[modelcar].image"})
"""Slots of pods that KServe made of the one that its own object has."""
_PREDICTOR: Final = "predictor.model"
_CONTAINER: Final = re.compile(r"^(?:initContainer|container)\[([^\]]+)\]")
_IMAGE_ID: Final = re.compile(r"@(sha256):([0-9a-f]{64})$")


class Move(NamedTuple):
    """A reference that came to mean other content, with no commit. *old* says when it was last seen as it was."""

    old: Ref
    new: Ref


class Stale(NamedTuple):
    """A reference of which pods run something else: what they run, as far as that is known, and their names."""

    reference: Reference
    running: Ref | None
    pods: tuple[str, ...]


def serving(references: Iterable[Reference]) -> dict[ObjectKey, list[Reference]]:
    """The objects whose pods serve a model or an adapter, with all their references that pods show."""
    found: dict[ObjectKey, list[Reference]] = {}
    for reference in references:
        key = reference.key
        if reference.slot.kind in _COMPARED and (
            (key.group == "apps" and key.kind in _WORKLOADS) or key[:2] in _BY_NAME
        ):
            found.setdefault(key, []).append(reference)
    return {key: listed for key, listed in found.items() if any(one.slot.kind in _SERVED for one in listed)}


def pods_of(obj: Object) -> str:
    """The label selector of the pods that serve for an object; empty if nobody knows them."""
    group = str(obj["apiVersion"]).rpartition("/")[0]
    labels = _BY_NAME.get((group, obj["kind"]))
    return labels.format(obj["metadata"]["name"]) if labels else selector_of(dict(obj))


def stale(
    wanted: Sequence[Reference],
    moves: Mapping[str, Sequence[Move]],
    pods: Iterable[Object],
    meanings: Meanings | None = None,
) -> list[Stale]:
    """The references of one object that some of its *pods* do not run.

    *wanted* have the digests that are known for them; *moves* are by canonical text, newest first. *meanings* tell when
    pods run the same content in other words.
    """
    found: dict[str, Stale] = {}
    for pod in pods:
        if (pod.get("status") or {}).get("phase") != "Running" or pod["metadata"].get("deletionTimestamp"):
            continue
        slots = extract(pod, Context(pod["metadata"].get("namespace") or "", RenderedSet([pod]))).slots
        for reference in wanted:
            differs, running = _difference(reference.slot, slots, moves.get(reference.slot.ref.canonical, ()), pod)
            if not differs or (running is not None and _is_same(reference.slot, running, meanings or {})):
                continue
            known = found.get(reference.slot.name)
            names = (*(known.pods if known else ()), str(pod["metadata"]["name"]))
            found[reference.slot.name] = Stale(reference, known.running if known else running, names)
    return [found[name] for name in sorted(found)]


def started(pods: Sequence[Object]) -> Pods:
    """When the first and the last of the pods were started, or containers of theirs, which load anew; the first only if
    that is known of all."""
    times = [_time((pod.get("status") or {}).get("startTime")) for pod in pods]
    known = [time for time in times if time is not None]
    later = [_time(text) for pod in pods for text in _restarts(pod)]
    first = min(known) if known and len(known) == len(times) else None
    return Pods(first, max((time for time in (*known, *later) if time is not None), default=None))


def _restarts(pod: Object) -> Iterator[Any]:
    status = pod.get("status") or {}
    for one in (*(status.get("containerStatuses") or ()), *(status.get("initContainerStatuses") or ())):
        yield ((one.get("state") or {}).get("running") or {}).get("startedAt")


def stale_records(
    found: Iterable[Stale], rendered: RenderedSet, kustomization: str, revision: str, canaries: Sequence[Object] = ()
) -> list[ChangeRecord]:
    """A record for each: from what runs to what Git asks for. The commit is the applied one on both sides."""
    # the commit that brought the reference has a record with the same two sides: the scope keeps their ids apart
    scope, impact = f"{kustomization} running", ImpactIndex(rendered, kustomization, canaries)
    shared = Comparison(Commit(revision, revision), scope, impact, history=None)
    return [
        record(
            Pair(
                shared,
                one.reference.key,
                object_id(one.reference.key, rendered.entries[one.reference.key].object),
                one.reference.slot._replace(ref=one.running) if one.running else None,
                one.reference.slot,
                standing=True,
            ),
            "stale-serving",
        )
        for one in found
    ]


def _difference(wanted: Slot, slots: Mapping[str, Slot], moves: Sequence[Move], pod: Object) -> tuple[bool, Ref | None]:
    """Whether the pod certainly runs other content, and which."""
    if wanted.name == _PREDICTOR:
        loaded = [slot for name, slot in slots.items() if name in _LOADERS]
        # a pod without any of them gets its model in a way that nobody knows here
        running = loaded[0] if len(loaded) == 1 else None
        return (False, None) if running is None else _compared(wanted, running, moves, pod)
    running = slots.get(wanted.name)
    if running is not None:
        return _compared(wanted, running, moves, pod)
    container = _CONTAINER.match(wanted.name)
    there = container is not None and any(name.startswith(container.group()) for name in slots)
    return there and wanted.kind in _SERVED, None


def _is_same(wanted: Slot, running: Ref, known: Meanings) -> bool:
    """Whether another text is known to mean the same content."""
    want, run = (ref if ref.digest else known.get((wanted.name, ref.canonical), ref) for ref in (wanted.ref, running))
    return have_equal_digests(want, run) and want.canonical != run.canonical


def _compared(wanted: Slot, running: Slot, moves: Sequence[Move], pod: Object) -> tuple[bool, Ref | None]:
    want, run = wanted.ref, running.ref
    if run.pinned == "opaque" or want.pinned == "opaque":
        return run.canonical != want.canonical, run
    if run.scheme == "oci" and running.name.endswith("].image"):
        run = _as_pulled(run, running.name, pod)
    alike = want.canonical == run.canonical or _same_elsewhere(want, run)
    if want.digest and run.digest and run.digest.strength == want.digest.strength and run.digest.scope == "manifest":
        earlier = any(move.old.digest and move.old.digest.value == run.digest.value for move in moves)
        # what runs may be one platform of the index that Git's text means
        certain = not alike or earlier or want.size is not None
        return certain and want.digest.value != run.digest.value, run
    if not alike:
        return True, run
    if want.pinned is not False or want.digest is None:
        return False, run
    return _moved_since(want, run, moves, _started(running.name, pod))


def _moved_since(want: Ref, run: Ref, moves: Sequence[Move], started: datetime | None) -> tuple[bool, Ref | None]:
    """The same text that floats: what it meant when the pod was started."""
    if run.digest is not None and want.digest is not None and run.digest.value == want.digest.value:
        return False, run
    then = want
    for move in moves:
        seen = _time(move.old.identity.resolved_at) if move.old.identity else None
        if started is None or seen is None or started >= seen:
            break
        then = move.old
    differs = str(then.digest) != str(want.digest)
    return differs, then


def _same_elsewhere(want: Ref, run: Ref) -> bool:
    """Whether the pod's text may be what a webhook of the cluster makes of Git's: a mirror, a tag's digest."""
    if want.scheme != run.scheme or want.scheme != "oci":
        return False
    wanted, running = (_repository(ref.canonical) for ref in (want, run))
    if not running[0].endswith(wanted[0].partition("/")[2]):
        return False
    return wanted[1] == running[1] or (want.pinned is False and run.pinned is True)


def _repository(canonical: str) -> tuple[str, str]:
    """Host and repository, tag or digest."""
    text = canonical.removeprefix("oci://")
    name, at, digest = text.partition("@")
    if at:
        return name, digest
    name, _, tag = text.rpartition(":")
    return name, tag


def _as_pulled(ref: Ref, slot: str, pod: Object) -> Ref:
    """An image with the digest that the node says it has pulled."""
    found = _IMAGE_ID.search(str(_container_status(slot, pod).get("imageID") or ""))
    if found is None:
        return ref
    digest = Digest(found.group(1), found.group(2), "manifest", found.group(1))
    return replace(ref, digest=digest, identity=Identity(revision=str(digest)))


def _started(slot: str, pod: Object) -> datetime | None:
    """When the content of a slot was loaded, at the earliest."""
    running = (_container_status(slot, pod).get("state") or {}).get("running") or {}
    return _time(running.get("startedAt") or (pod.get("status") or {}).get("startTime"))


def _container_status(slot: str, pod: Object) -> Mapping[str, Any]:
    container = _CONTAINER.match(slot)
    status = pod.get("status") or {}
    listed = (*(status.get("containerStatuses") or ()), *(status.get("initContainerStatuses") or ()))
    if container is None:
        return {}
    return next((one for one in listed if one.get("name") == container.group(1)), {})


def _time(text: Any) -> datetime | None:
    try:
        return datetime.fromisoformat(str(text)).astimezone(UTC) if text else None
    except ValueError:
        return None
