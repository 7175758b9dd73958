"""Small manifests that tests change one field of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from agent.core.models import ChangeRecord, Commit, FileChange, RenderedSet, changes
from agent.core.models.extract.registry import Extracted, extract
from agent.core.models.extract.slot import Context
from agent.core.models.ref import Ref

Manifest = dict[str, Any]

A, B, C = "a" * 40, "b" * 40, "c" * 40
DIGEST_A, DIGEST_B = f"sha256:{'a' * 64}", f"sha256:{'b' * 64}"
COMMIT = Commit("main@sha1:1111", "main@sha1:2222")


def obj(api_version: str, kind: str, spec: Mapping[str, Any], name: str = "chat", **top: Any) -> Manifest:
    return {
        "apiVersion": api_version,
        "kind": kind,
        "metadata": {"name": name, "namespace": "ml", **top.pop("metadata", {})},
        "spec": dict(spec),
        **top,
    }


def container(name: str = "server", image: str = "registry.example/app:1", **fields: Any) -> Manifest:
    return {"name": name, "image": image, **fields}


def deployment(*containers: Mapping[str, Any], name: str = "chat", **pod: Any) -> Manifest:
    spec = {"containers": list(containers), **pod}
    return obj("apps/v1", "Deployment", {"template": {"spec": spec}}, name)


def vllm(*args: str, name: str = "chat", **fields: Any) -> Manifest:
    return deployment(container("vllm", "vllm/vllm-openai:v0.11.0", args=list(args), **fields), name=name)


def config_map(data: Mapping[str, str], name: str = "settings") -> Manifest:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "ml"}, "data": dict(data)}


def secret(data: Mapping[str, str], name: str = "credentials") -> Manifest:
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": "ml"}, "data": dict(data)}


def extracted(manifest: Mapping[str, Any], *others: Mapping[str, Any]) -> Extracted:
    return extract(manifest, Context("ml", RenderedSet([manifest, *others])))


def refs(manifest: Mapping[str, Any], *others: Mapping[str, Any]) -> dict[str, Ref]:
    """The references of an object by slot; the object must be readable."""
    found = extracted(manifest, *others)
    assert not found.failures
    return {name: slot.ref for name, slot in found.slots.items()}


def canonicals(manifest: Mapping[str, Any], *others: Mapping[str, Any]) -> dict[str, str]:
    return {name: ref.canonical for name, ref in refs(manifest, *others).items()}


def compare(
    old: Iterable[Any] | None, new: Iterable[Any], files: Sequence[FileChange] = (), **options: Any
) -> list[ChangeRecord]:
    return changes(
        None if old is None else RenderedSet(old), RenderedSet(new), files, COMMIT, "flux-system/apps", **options
    )


def only(records: Sequence[ChangeRecord]) -> ChangeRecord:
    assert len(records) == 1, [record.describe() for record in records]
    return records[0]
