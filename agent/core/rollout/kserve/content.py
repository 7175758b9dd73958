"""What makes a revision of a KServe object, and the annotations by which applier and rollout tell each other.

The applier never writes the fields of a revision once a Canary is set up: it notes what Git asks for (`WANTED`), and
the rollout writes it when and where it should serve. What serves is noted as well (`PROMOTED`), in Git's words, so that
defaults that the API server fills in never look like a change.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias, TypeVar

import msgspec

from agent.core.objects import Manifest, annotations_of, canonical
from agent.core.rollout.hashing import PREFIX
from agent.core.rollout.kserve.split import Split

Content: TypeAlias = dict[str, Any]
"""The fields of a revision by name, as they stand below `root`."""

_T = TypeVar("_T")

GROUP = "serving.kserve.io"
INFERENCE_SERVICE = "InferenceService"
LLM_INFERENCE_SERVICE = "LLMInferenceService"
KINDS = (INFERENCE_SERVICE, LLM_INFERENCE_SERVICE)

WANTED = "weir.dev/wanted"
"""Annotation by the applier: the fields of a revision as Git has them, JSON."""
PROMOTED = "weir.dev/promoted"
"""Annotation by the rollout: what serves, JSON of `Promoted`."""
TRIAL = "weir.dev/trial"
"""Annotation by the rollout: what is tried in the place of what serves, JSON of `Trial`."""

_FRAMEWORKS = (
    "sklearn", "xgboost", "tensorflow", "pytorch", "triton", "onnx", "huggingface", "pmml", "lightgbm", "paddle",
)  # fmt: skip
_FIELDS: Mapping[str, tuple[str, ...]] = {
    INFERENCE_SERVICE: (
        "model", *_FRAMEWORKS, "containers", "initContainers", "volumes", "storageUris", "storageContainerName",
    ),
    LLM_INFERENCE_SERVICE: ("model", "template", "worker", "prefill", "parallelism", "baseRefs"),
}  # fmt: skip
_ROOTS: Mapping[str, tuple[str, ...]] = {INFERENCE_SERVICE: ("spec", "predictor"), LLM_INFERENCE_SERVICE: ("spec",)}
_STEERING: Mapping[str, tuple[str, ...]] = {
    INFERENCE_SERVICE: ("/spec/predictor/name", "/spec/predictor/canaryTrafficPercent", "/spec/canary"),
    LLM_INFERENCE_SERVICE: ("/spec/router/route/group", "/spec/router/route/weight"),
}
_FOUND = "found"
"""The identity of what served before the first promotion."""
LIVE = "live:"
"""Prefix of the hash of content that was read from the object itself, because nobody noted what Git has."""


class Promoted(msgspec.Struct, frozen=True, kw_only=True):
    """What serves. `identity` is that of the promotion; empty for what was found when the rollout was set up, which has
    defaults in it that Git does not name."""

    content: Content
    identity: str = ""

    def is_asked(self, content: Content) -> bool:
        """True if that is what Git asks for."""
        return self.content == content or (not self.identity and covers(self.content, content))


class Trial(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is tried: the hash of its content, and the latest revision that there was before. `split`: an adapter that
    is tried in the pods of what serves."""

    revision: str
    after: str = ""
    split: Split | None = None


def owned_pointers(kind: str) -> frozenset[str]:
    """JSON pointers to what belongs to a rollout: the fields of a revision and those that steer traffic."""
    root = "/".join(("", *_ROOTS[kind]))
    return frozenset({f"{root}/{field}" for field in _FIELDS[kind]} | {*_STEERING[kind]})


def content_of(obj: Manifest) -> Content:
    """The fields of a revision that an object has; older predictors (`sklearn: …`) in the form KServe gives them."""
    node: Any = obj
    for part in _ROOTS[obj["kind"]]:
        node = node.get(part) or {}
    return _modern({field: node[field] for field in _FIELDS[obj["kind"]] if node.get(field) is not None})


def with_content(obj: Manifest, content: Content) -> Manifest:
    """The object as it would be with these fields, and without what steers traffic."""
    root = _ROOTS[obj["kind"]]
    spec = {name: value for name, value in (obj.get("spec") or {}).items() if name not in {"canary", "router"}}
    node = spec if len(root) == 1 else dict(spec.get(root[1]) or {})
    kept = {name: value for name, value in node.items() if name not in _FIELDS[obj["kind"]]}
    served = {**kept, **content}
    return {**obj, "spec": served if len(root) == 1 else {**spec, root[1]: served}}


def _modern(content: Content) -> Content:
    for framework in _FRAMEWORKS:
        if framework in content and "model" not in content:
            content = {**content, "model": {"modelFormat": {"name": framework}, **content[framework]}}
            del content[framework]
    return content


def noting_wanted(payload: Manifest, desired: Manifest, pointers: tuple[str, ...]) -> Manifest:
    """`payload` with the note of what Git asks for, where a rollout owns the fields themselves."""
    if not withholds(desired, pointers):
        return payload
    metadata = payload["metadata"]
    note = canonical(content_of(desired)).decode()
    return {**payload, "metadata": {**metadata, "annotations": {**(metadata.get("annotations") or {}), WANTED: note}}}


def withholds(desired: Manifest, pointers: Iterable[str]) -> bool:
    """True if the pointers are those of a rollout of a KServe object."""
    kind = desired["kind"]
    return kind in KINDS and desired["apiVersion"].startswith(f"{GROUP}/") and set(pointers) >= owned_pointers(kind)


def withheld(desired: Manifest, live: Manifest, pointers: Iterable[str]) -> tuple[str, ...]:
    """Paths of the fields in which what Git asks for is not what serves, such as `spec.predictor.model.storageUri`."""
    if not withholds(desired, pointers):
        return ()
    asked, noted = content_of(desired), promoted_on(live)
    if noted is None or not noted.identity:
        here = content_of(live)
        found = set() if covers(here, asked) else _differing(_named(here, asked), asked)
    else:
        found = _differing(noted.content, asked)
    root = ".".join(_ROOTS[desired["kind"]])
    return tuple(f"{root}.{path}" for path in sorted(found))


def _named(live: Mapping[str, Any], asked: Mapping[str, Any]) -> dict[str, Any]:
    """The part of `live` that `asked` has names for, without defaults."""
    found = {}
    for name in asked.keys() & live.keys():
        here, there = live[name], asked[name]
        found[name] = _named(here, there) if isinstance(here, Mapping) and isinstance(there, Mapping) else here
    return found


def _differing(one: Mapping[str, Any], other: Mapping[str, Any]) -> set[str]:
    """Paths of the innermost members of mappings that differ."""
    found: set[str] = set()
    for name in {*one, *other}:
        before, after = one.get(name), other.get(name)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            found |= {f"{name}.{path}" for path in _differing(before, after)}
        elif before != after:
            found.add(name)
    return found


def covers(live: Any, wanted: Any) -> bool:
    """True if everything that `wanted` says is so in `live`, which may say more where defaults were filled in."""
    if isinstance(wanted, Mapping):
        return isinstance(live, Mapping) and all(covers(live.get(name), value) for name, value in wanted.items())
    if isinstance(wanted, list):
        same = isinstance(live, list) and len(live) == len(wanted)
        return same and all(covers(one, other) for one, other in zip(live, wanted, strict=True))
    return bool(live == wanted)


def revision_of(content: Content) -> str:
    """The hash of a revision."""
    return PREFIX + hashlib.sha256(canonical(content)).digest()[:8].hex()


def wanted_on(obj: Manifest) -> Content | None:
    """What the applier noted, None if it did not."""
    return _decoded(annotations_of(obj).get(WANTED, ""), dict[str, Any])


def promoted_on(obj: Manifest) -> Promoted | None:
    """What the rollout noted of what serves."""
    return _decoded(annotations_of(obj).get(PROMOTED, ""), Promoted)


def serving_on(obj: Manifest) -> Promoted:
    """What serves, noted or not."""
    return promoted_on(obj) or Promoted(content=content_of(obj))


def worth_noting(obj: Manifest) -> Promoted | None:
    """What serves, if that is not noted, or not yet in Git's words although they are known; None otherwise."""
    noted, asked = promoted_on(obj), wanted_on(obj)
    if noted is None:
        return Promoted(content=content_of(obj))
    if noted.identity or asked is None or trial_on(obj) is not None or not noted.is_asked(asked):
        return None
    return Promoted(content=asked, identity=_FOUND)


def trial_on(obj: Manifest) -> Trial | None:
    """What the rollout noted of what is tried in place."""
    return _decoded(annotations_of(obj).get(TRIAL, ""), Trial)


def asked_of(obj: Manifest) -> tuple[str, Content]:
    """The hash and the content of the revision that the object should come to serve."""
    noted = wanted_on(obj)
    if noted is not None:
        return revision_of(noted), noted
    serving, here = promoted_on(obj), content_of(obj)
    if serving is not None and serving.identity and (trial_on(obj) is not None or covers(here, serving.content)):
        return revision_of(serving.content), serving.content
    return LIVE + revision_of(here).removeprefix(PREFIX), here


def _decoded(text: str, kind: type[_T]) -> _T | None:
    """A note; one that somebody has spoilt counts as missing."""
    if not text:
        return None
    try:
        return msgspec.json.decode(text.encode(), type=kind)
    except msgspec.DecodeError:
        return None
