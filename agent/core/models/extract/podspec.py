"""Slots of pod templates, wherever a kind keeps them."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from agent.core.models.extract import document
from agent.core.models.extract.container import container_slots
from agent.core.models.extract.mounts import mounts_of
from agent.core.models.extract.seen import POD, Place
from agent.core.models.extract.server import Server
from agent.core.models.extract.slot import Context, Slot, Trait, mapping, mappings, text
from agent.core.models.grammar import Grammar, parse
from agent.core.models.record import Kind
from agent.core.models.ref import Digest, Identity, Ref, literal, opaque, unresolved

_IMAGE_ATTRIBUTES: Final = frozenset({"modelRef", "model.csi.modelpack.org/reference"})
_MODEL_ATTRIBUTES: Final = _IMAGE_ATTRIBUTES | {"modelUri", "modelURI"}
# Drivers that mount a bucket: Cloud Storage FUSE for GKE and Mountpoint for Amazon S3.
_BUCKETS: Final[Mapping[str, str]] = {"gcsfuse.csi.storage.gke.io": "gs", "s3.csi.aws.com": "s3"}
_ONLY_FOLDER: Final = re.compile(r"(?:^|[,\s])(?:only-dir[=:]|--?prefix[= ])([^,\s]+)")
_REQUIRED: Final = "requiredDuringSchedulingIgnoredDuringExecution"
_MODEL_WORDS: Final = ("model", "weight", "checkpoint", "lora", "adapter")


def pod_slots(
    pod: Mapping[str, Any], path: str, context: Context, prefix: str = "", main: Server | None = None
) -> Iterator[Slot]:
    """All slots of the pod spec at *path*; *prefix* (with its dot) starts their names.

    *main* is the server that a container called ``main`` starts when nothing else tells.
    """
    folders: list[str] = []
    for field, word in (("containers", "container"), ("initContainers", "initContainer")):
        for container, here in mappings(pod, field, path):
            name = text(container, "name", here) or "unnamed"
            mounts = mounts_of(container, here, pod, path, context)
            place = Place(f"{prefix}{word}[{name}]", here, context, mounts, main if name == "main" else None)
            for slot in container_slots(container, place):
                if slot.kind in {"model", "adapter"} and slot.ref.scheme == "file":
                    folders.append(slot.ref.canonical.removeprefix("file://"))
                yield slot
            yield from environment_slots(container, here, context, place.base)
    yield from _volumes(pod, path, context, (prefix, folders))
    yield from _identity(pod, path, context, prefix)
    selector = mapping(pod, "nodeSelector", path)
    if selector:
        chosen = ",".join(f"{key}={selector[key]}" for key in sorted(selector, key=str))
        yield Slot(f"{prefix}nodeSelector", "scale", literal(chosen), f"{path}.nodeSelector", _selector(selector))
    yield from _node_affinity(pod, path, prefix)


def _identity(pod: Mapping[str, Any], path: str, context: Context, prefix: str) -> Iterator[Slot]:
    """As whom the pod pulls images and asks stores: with neither may it get another content."""
    pulls = sorted(
        secret_ref(name, context).canonical
        for entry, here in mappings(pod, "imagePullSecrets", path)
        if (name := text(entry, "name", here))
    )
    if pulls:
        listed = ", ".join(pulls)
        yield Slot(f"{prefix}imagePullSecrets", "credential", opaque(listed, "secret", listed),
                   f"{path}.imagePullSecrets", POD)  # fmt: skip
    if account := text(pod, "serviceAccountName", path):
        canonical = f"serviceaccount://{context.namespace}/{account}"
        yield Slot(f"{prefix}serviceAccountName", "credential", opaque(account, "serviceaccount", canonical),
                   f"{path}.serviceAccountName", POD)  # fmt: skip


def _node_affinity(pod: Mapping[str, Any], path: str, prefix: str) -> Iterator[Slot]:
    """Which nodes the pod must have, where that is not said by a selector."""
    here = f"{path}.affinity.nodeAffinity"
    affinity = mapping(mapping(pod, "affinity", path), "nodeAffinity", f"{path}.affinity")
    required = mapping(affinity, _REQUIRED, here)
    keys: set[str] = set()
    for term, where in mappings(required, "nodeSelectorTerms", f"{here}.{_REQUIRED}"):
        keys |= {text(wanted, "key", inner) for wanted, inner in mappings(term, "matchExpressions", where)}
    if keys:
        chosen = literal(document.canonical(required, "affinity"))
        yield Slot(f"{prefix}nodeAffinity", "scale", chosen, f"{here}.{_REQUIRED}", _selector(keys))


def _selector(keys: Iterable[str]) -> frozenset[Trait]:
    words = ("gpu", "accelerator", "nvidia", "amd.com", "instance-type", "tpu", "neuron", "gaudi")
    return POD | {"accelerator"} if any(word in str(key).lower() for key in keys for word in words) else POD


def environment_slots(container: Mapping[str, Any], path: str, context: Context, base: str) -> Iterator[Slot]:
    """Whole ConfigMaps and Secrets that become environment, and single Secret keys."""
    for source, here in mappings(container, "envFrom", path):
        config_map = text(mapping(source, "configMapRef", here), "name", here)
        secret = text(mapping(source, "secretRef", here), "name", here)
        if config_map:
            yield Slot(f"{base}.envFrom[{_base(context, config_map)}]", "config", config_map_ref(config_map, context),
                       here, POD | {"output"})  # fmt: skip
        if secret:
            ref = secret_ref(secret, context)
            yield Slot(f"{base}.envFrom[{ref.canonical[9:]}]", "credential", ref, here, POD)
    for entry, here in mappings(container, "env", path):
        source = mapping(mapping(entry, "valueFrom", here), "secretKeyRef", here)
        if source:
            ref = secret_ref(text(source, "name", here), context, text(source, "key", here))
            yield Slot(f"{base}.env[{text(entry, 'name', here)}]", "credential", ref, here, POD)


def _volumes(pod: Mapping[str, Any], path: str, context: Context, known: tuple[str, Sequence[str]]) -> Iterator[Slot]:
    prefix, folders = known
    places = _mount_paths(pod, path)
    for volume, here in mappings(pod, "volumes", path):
        name = text(volume, "name", here) or "unnamed"
        slot = f"{prefix}volume[{name}]"
        found = _volume(volume, here, context, _volume_kind(name, places.get(name, ()), folders))
        if found is not None:
            kind, ref, field = found
            yield Slot(slot, kind, ref, f"{here}.{field}", POD | ({"output"} if kind == "config" else set()))


def _volume(volume: Mapping[str, Any], path: str, context: Context, kind: Kind) -> tuple[Kind, Ref, str] | None:
    """What the volume holds and the field below *path* that says so."""
    image = mapping(volume, "image", path)
    claim = mapping(volume, "persistentVolumeClaim", path)
    host = mapping(volume, "hostPath", path)
    csi = mapping(volume, "csi", path)
    config_map = text(mapping(volume, "configMap", path), "name", path)
    secret = text(mapping(volume, "secret", path), "secretName", path)
    if reference := text(image, "reference", path):
        return "model", parse(reference, Grammar.IMAGE), "image.reference"
    if name := text(claim, "claimName", path):
        return kind, opaque(name, "pvc", f"pvc://{name}"), "persistentVolumeClaim.claimName"
    if folder := text(host, "path", path):
        return kind, opaque(folder, "hostPath", f"hostPath://{folder}"), "hostPath.path"
    if csi:
        ref, attribute = _csi(csi, f"{path}.csi")
        models = attribute in _MODEL_ATTRIBUTES
        return "model" if models else kind, ref, f"csi.volumeAttributes{_member(attribute)}" if attribute else "csi"
    if config_map:
        return "config", config_map_ref(config_map, context), "configMap.name"
    return ("credential", secret_ref(secret, context), "secret.secretName") if secret else None


def _member(name: str) -> str:
    return f".{name}" if name.isidentifier() else f"['{name}']"


def _csi(csi: Mapping[str, Any], path: str) -> tuple[Ref, str]:
    """What is mounted and the attribute that says so: none where all of them together say it."""
    driver, attributes = text(csi, "driver", path), mapping(csi, "volumeAttributes", path)
    here = f"{path}.volumeAttributes"
    for key in (*sorted(_MODEL_ATTRIBUTES), "uri", "source"):
        value = text(attributes, key, here)
        if "://" in value:
            return parse(value), key
        if value and key in _IMAGE_ATTRIBUTES:
            return parse(value, Grammar.IMAGE), key
    bucket = text(attributes, "bucketName", here)
    if bucket and driver in _BUCKETS:
        folder = _ONLY_FOLDER.search(text(attributes, "mountOptions", here))
        return parse(f"{_BUCKETS[driver]}://{bucket}" + (f"/{folder[1].strip('/')}" if folder else "")), "bucketName"
    shown = "&".join(f"{key}={attributes[key]}" for key in sorted(attributes, key=str) if not _looks_secret(str(key)))
    canonical = f"csi://{driver}" + (f"?{shown}" if shown else "")
    return unresolved(canonical, "csi", canonical), ""


def _looks_secret(key: str) -> bool:
    return any(word in key.lower() for word in ("secret", "token", "password", "credential", "accesskey", "apikey"))


def _mount_paths(pod: Mapping[str, Any], path: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for field in ("containers", "initContainers"):
        for container, here in mappings(pod, field, path):
            for mount, inner in mappings(container, "volumeMounts", here):
                found.setdefault(text(mount, "name", inner), []).append(text(mount, "mountPath", inner))
    return found


def _volume_kind(name: str, paths: Sequence[str], folders: Sequence[str]) -> Kind:
    """A volume with a model's name or place, or that a server loads its model from, holds a model; others data."""
    if any(word in shown.lower() for word in _MODEL_WORDS for shown in (name, *paths)):
        return "model"
    mounted = [path.rstrip("/") for path in paths if path.strip("/")]
    return "model" if any(f"{folder}/".startswith(f"{path}/") for folder in folders for path in mounted) else "data"


def _base(context: Context, name: str) -> str:
    return context.base("ConfigMap", name).partition("/")[2]


def config_map_ref(name: str, context: Context) -> Ref:
    """A ConfigMap with the digest of its data, if it was rendered."""
    canonical = f"configmap://{context.base('ConfigMap', name)}"
    found = context.rendered.get("", "ConfigMap", context.namespace, name)
    if found is None:
        return unresolved(name, "configmap", canonical, "not-in-rendered-set")
    data = {**mapping(found, "data", "$"), **mapping(found, "binaryData", "$")}
    encoded = json.dumps(data, sort_keys=True, separators=(",", ":"), default=str).encode("utf-8", "surrogatepass")
    value = hashlib.sha256(encoded).hexdigest()
    digest = Digest("sha256", value, "object", "sha256")
    return Ref(name, "configmap", f"{canonical}@sha256:{value}", True, Identity(revision=f"sha256:{value}"), digest)


def secret_ref(name: str, context: Context, key: str = "") -> Ref:
    """A Secret by name and key; its data is never looked at."""
    canonical = f"secret://{context.base('Secret', name)}" + (f"#{key}" if key else "")
    return opaque(canonical, "secret", canonical)
