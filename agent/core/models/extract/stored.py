"""ConfigMaps and Secrets: which keys changed. What a Secret holds is never shown."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, Final

from agent.core.models.extract import artifacts, fields, tfserving
from agent.core.models.extract.document import load
from agent.core.models.extract.slot import Context, Slot, mapping, mappings, text
from agent.core.models.grammar import Grammar
from agent.core.models.ref import Digest, Identity, Ref, opaque
from agent.core.models.rendered import Object

_LORA_MARK: Final = "vLLMLoRAConfig"


def _sha256(value: object) -> str:
    return hashlib.sha256(str(value).encode("utf-8", "surrogatepass")).hexdigest()


def secret(obj: Object, context: Context) -> Iterator[Slot]:
    """One slot per key. The fingerprint is only compared: it goes into no record."""
    name = context.base("Secret", obj["metadata"]["name"])
    data = {**mapping(obj, "data", "$"), **mapping(obj, "stringData", "$")}
    for key in sorted(data, key=str):
        canonical = f"secret://{name}#{key}"
        ref = opaque(canonical, "secret", canonical)
        yield Slot(f"data[{key}]", "credential", ref, f"$.data['{key}']", fingerprint=_sha256(data[key]))


def config_map(obj: Object, context: Context) -> Iterator[Slot]:
    """One slot per key, known by the digest of its text. What a workload makes of it is a slot of the workload."""
    name = context.base("ConfigMap", obj["metadata"]["name"])
    for field in ("data", "binaryData"):
        data = mapping(obj, field, "$")
        for key in sorted(data, key=str):
            value = _sha256(data[key])
            canonical = f"configmap://{name}#{key}"
            ref = Ref(
                canonical,
                "configmap",
                f"{canonical}@sha256:{value}",
                True,
                Identity(revision=f"sha256:{value}"),
                Digest("sha256", value, "object", "sha256"),
            )
            yield Slot(f"data[{key}]", "config", ref, f"$.{field}['{key}']")
    yield from _documents(mapping(obj, "data", "$"))


def _documents(data: Mapping[str, Any]) -> Iterator[Slot]:
    """What files with well-known names in a ConfigMap refer to: generators put server configurations there."""
    for key in sorted(data, key=str):
        reader = artifacts.DOCUMENTS.get(str(key))
        if reader is None and tfserving.begins(str(data[key])):
            reader = tfserving.served_models  # the file has any name: a flag of the server says which
        # A partial is a reader that knows a file only by its digest, which its key has already.
        if reader is not None and not isinstance(reader, partial):
            for slot in reader(str(data[key]).encode("utf-8", "surrogatepass"), f"$.data['{key}']"):
                if slot.name != "content":
                    yield slot._replace(name=f"{key}.{slot.name}", path=f"$.data['{key}']")
        elif isinstance(data[key], str) and _LORA_MARK in data[key]:
            yield from _synced_adapters(data[key], f"$.data['{key}']")


def _synced_adapters(written: str, where: str) -> Iterator[Slot]:
    """Adapters that a syncer side-car loads into running servers (Gateway API inference extension)."""
    wanted = mapping(mapping(load(written, where), _LORA_MARK, where), "ensureExist", where)
    for model, here in mappings(wanted, "models", where):
        name = text(model, "id", here)
        yield from fields.uri((model, here), "source", f"adapter[{name}]", "adapter", Grammar.HUB, traits=fields.HOT)
