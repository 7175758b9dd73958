"""Files that describe models, adapters, data sets and evidence: one small reader per format."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Final

from agent.core.models.extract import document, fields
from agent.core.models.extract.pipelines import compiled
from agent.core.models.extract.slot import MalformedError, Slot, items, mapping, mappings, text
from agent.core.models.extract.tfserving import served_models
from agent.core.models.grammar import Grammar, parse
from agent.core.models.record import Kind
from agent.core.models.redact import bounded, redact
from agent.core.models.ref import Digest, Identity, Ref, Size, literal

Reader = Callable[[bytes, str], Iterable[Slot]]
"""(bytes, path) -> slots. Raises MalformedError."""


def whole(kind: Kind, data: bytes, path: str) -> Iterator[Slot]:
    """A file whose content as a whole is the reference."""
    value = hashlib.sha256(data).hexdigest()
    name = path.rpartition("/")[2]
    digest = Digest("sha256", value, "object", "sha256")
    ref = Ref(name, "git", f"git-file:sha256:{value}", True, Identity(revision=value), digest, Size(bytes=len(data)))
    yield Slot("content", kind, ref, "$", frozenset({"output"}))


def adapter_config(data: bytes, path: str) -> Iterator[Slot]:
    """PEFT adapter: its base model is a second reference."""
    root = (document.load_json(data, path), "$")
    yield from fields.uri(root, "base_model_name_or_path", "base", "model", Grammar.HUB, revision="revision",
                          traits=fields.NONE)  # fmt: skip
    yield from fields.values(root, ("peft_type", "r", "lora_alpha"), traits=frozenset({"output"}))


_SHOWN: Final = ("torch_dtype", "dtype", "max_position_embeddings", "model_type")
_SAYS_NOTHING: Final = ("transformers_version", "_name_or_path")
"""Fields of a model's configuration that tell by what and from where it was written."""


def model_config(data: bytes, path: str) -> Iterator[Slot]:
    """``config.json`` of a model: number format, shape, and all else as one. Others of that name say nothing here."""
    config = document.load_json(data, path)
    if not ("architectures" in config or "model_type" in config):
        return
    yield from fields.values((config, "$"), _SHOWN, traits=frozenset({"output"}))
    apart = {*_SHOWN, *_SAYS_NOTHING, "quantization_config"}
    if rest := {name: value for name, value in config.items() if name not in apart}:
        digest = hashlib.sha256(document.canonical(rest, "$").encode("utf-8", "surrogatepass")).hexdigest()
        ref = Ref(path.rpartition("/")[2], "git", f"git-fields:sha256:{digest}", True, Identity(revision=digest),
                  Digest("sha256", digest, "object", "sha256"))  # fmt: skip
        yield Slot("content", "config", ref, "$", frozenset({"output"}))
    quantization = mapping(config, "quantization_config", "$")
    if quantization:
        value = bounded(document.canonical(quantization, "$.quantization_config"))
        yield Slot("quantization", "quantization", literal(value), "$.quantization_config", frozenset({"output"}))


def model_settings(data: bytes, path: str) -> Iterator[Slot]:
    """MLServer ``model-settings.json``."""
    settings = document.load_json(data, path)
    root, parameters = (settings, "$"), (mapping(settings, "parameters", "$"), "$.parameters")
    yield from fields.uri(parameters, "uri", "model", revision="version", traits=fields.NONE)
    yield from fields.value(root, "implementation", "implementation", "runtime", fields.NONE)
    yield from fields.value(root, "name", "name", traits=frozenset({"api-name"}))
    yield from fields.uri(parameters, "environment_tarball", "environment", "code-image", traits=fields.NONE)


def mlmodel(data: bytes, path: str) -> Iterator[Slot]:
    """MLflow ``MLmodel``: the id of the logged model and the run that made it."""
    root = document.load(data, path)
    identity = text(root, "model_uuid", "$") or text(root, "model_id", "$") or text(root, "run_id", "$")
    if identity:
        ref = Ref(identity, "mlflow-version", f"mlflow-model:{identity}", True, Identity(revision=identity))
        yield Slot("model", "model", ref, "$.model_uuid")
    signature = root.get("signature")
    if signature:
        value = bounded(document.canonical(signature, "$.signature"))
        yield Slot("signature", "config", literal(value), "$.signature", frozenset({"output"}))


def kitfile(data: bytes, path: str) -> Iterator[Slot]:
    """KitOps ``Kitfile``: model, data sets and code by name, version and path."""
    root = document.load(data, path)
    model = mapping(root, "model", "$")
    if model:
        parts = [text(model, field, "$.model") for field in ("name", "version", "path")]
        yield Slot("model", "model", literal(" ".join(filter(None, parts))), "$.model")
    yield from fields.value((mapping(root, "package", "$"), "$.package"), "version", "version", traits=fields.NONE)
    kinds: tuple[tuple[str, Kind], ...] = (("datasets", "data"), ("code", "code-image"))
    for field, kind in kinds:
        for item, here in mappings(root, field, "$"):
            where = text(item, "path", here)
            yield Slot(f"{field}[{text(item, 'name', here) or where}]", kind, literal(where), here)


_FEATURES_PLACE: Final = ("dataset", "database", "db_schema", "schema", "project_id", "table_name", "region")
"""Settings of Feast's stores that tell where features are. Others may hold passwords."""


def feature_store(data: bytes, path: str) -> Iterator[Slot]:
    """Feast ``feature_store.yaml``."""
    root = document.load(data, path)
    registry = root.get("registry")
    parent = (registry, "$.registry") if isinstance(registry, Mapping) else (root, "$")
    field = "path" if isinstance(registry, Mapping) else "registry"
    yield from fields.uri(parent, field, "registry", "feature-store", traits=fields.NONE)
    for name in ("project", "provider", "entity_key_serialization_version"):
        yield from fields.value((root, "$"), name, name, "feature-store", fields.NONE)
    for name in ("online_store", "offline_store"):
        store = root.get(name)
        inner = (store, f"$.{name}") if isinstance(store, Mapping) else (root, "$")
        yield from fields.value(
            inner, "type" if isinstance(store, Mapping) else name, name, "feature-store", fields.NONE
        )
        if isinstance(store, Mapping):
            yield from fields.uri(inner, "path", f"{name}.path", "feature-store", traits=fields.NONE)
            yield from fields.values(inner, _FEATURES_PLACE, f"{name}.", "feature-store", fields.NONE)


def croissant(data: bytes, path: str) -> Iterator[Slot]:
    """Croissant data card: files with their digests."""
    for item, here in mappings(document.load_json(data, path), "distribution", "$"):
        name = text(item, "name", here) or text(item, "@id", here) or "unnamed"
        url, value = text(item, "contentUrl", here), text(item, "sha256", here).lower()
        if re.fullmatch(r"[0-9a-f]{64}", value):
            digest = Digest("sha256", value, "object", "sha256")
            shown = parse(url).spelling if url else name
            ref = Ref(shown, "croissant", f"croissant:sha256:{value}", True, Identity(revision=value), digest)
            yield Slot(f"distribution[{name}]", "data", ref, here)
        elif url:
            yield Slot(f"distribution[{name}]", "data", parse(url), here)


def data_card(data: bytes, path: str) -> Iterator[Slot]:
    """The same, if the file says that it is one."""
    if b"mlcommons.org/" in data:
        yield from croissant(data, path)


def bentofile(data: bytes, path: str) -> Iterator[Slot]:
    """BentoML ``bentofile.yaml`` and built ``bento.yaml``: the models that go into the bento."""
    for number, item in enumerate(items(document.load(data, path), "models", "$")):
        here = f"$.models[{number}]"
        if not isinstance(item, str | Mapping):
            raise MalformedError(here, "is neither a tag nor a mapping")
        tag = item if isinstance(item, str) else text(item, "tag", here)
        if tag:
            yield Slot(f"model[{tag.partition(':')[0]}]", "model", parse(f"bento://{tag}"), here)


_PROPERTY: Final = re.compile(
    r"^[ \t]*(load_models|model_store|model_snapshot)[ \t]*[=:][ \t]*(.*?)[ \t\r]*$", re.MULTILINE
)


def torchserve_properties(data: bytes, _: str) -> Iterator[Slot]:
    """TorchServe ``config.properties``: the folder of the models and which of them are loaded."""
    found = dict(_PROPERTY.findall(data.decode("utf-8", "replace")))
    if store := found.get("model_store"):
        yield Slot("model", "model", parse(store), "$.model_store")
    for name in ("load_models", "model_snapshot"):
        if found.get(name):
            yield Slot(name, "config", literal(found[name]), f"$.{name}", frozenset({"output"}))


_INSTRUCTION: Final = re.compile(r"^[ \t]*(FROM|ADAPTER)[ \t]+(\S+)", re.MULTILINE | re.IGNORECASE)
_PARAMETER: Final = re.compile(r"^[ \t]*PARAMETER[ \t]+(\S+)[ \t]+(.+?)[ \t]*$", re.MULTILINE | re.IGNORECASE)
_BLOCK: Final = re.compile(r'^[ \t]*(TEMPLATE|SYSTEM)[ \t]+("""[\s\S]*?"""|.*)$', re.MULTILINE | re.IGNORECASE)


def modelfile(data: bytes, path: str) -> Iterator[Slot]:
    """Ollama ``Modelfile``."""
    written = data.decode("utf-8", "replace")
    for word, target in _INSTRUCTION.findall(written):
        if word.upper() == "FROM":
            yield Slot("model", "model", parse(target, Grammar.OLLAMA), path)
        else:
            yield Slot(f"adapter[{redact(target)}]", "adapter", parse(target, Grammar.OLLAMA), path)
    for name, value in _PARAMETER.findall(written):
        yield Slot(f"parameter[{name}]", "config", literal(bounded(value)), path, frozenset({"output"}))
    for word, block in _BLOCK.findall(written):
        kind: Kind = "chat-template" if word.upper() == "TEMPLATE" else "config"
        yield Slot(word.lower(), kind, literal(bounded(block)), path, frozenset({"output"}))


_COMPILED: Final = tuple(re.compile(rb"^%s:" % field, re.MULTILINE) for field in (b"deploymentSpec", b"pipelineInfo"))


def kubeflow_pipeline(data: bytes, path: str) -> Iterator[Slot]:
    """A pipeline as the Kubeflow compiler writes it. Other YAML says nothing here."""
    if all(mark.search(data) for mark in _COMPILED):
        # What platforms need stands in a second document.
        first = re.split(rb"^---[ \t]*\r?$", data.removeprefix(b"---"), maxsplit=1, flags=re.MULTILINE)[0]
        yield from compiled(document.load(first, path), "$")


_VERSION_POLICY: Final = re.compile(r"version_policy\s*:?\s*(\{[^{}]*(?:\{[^{}]*\}[^{}]*)*\})")


def triton_config(data: bytes, path: str) -> Iterator[Slot]:
    """Triton ``config.pbtxt``: which version folders are served."""
    found = _VERSION_POLICY.search(data.decode("utf-8", "replace"))
    if found:
        yield Slot("versionPolicy", "config", literal(" ".join(found.group(1).split())), path, frozenset({"output"}))
    yield from whole("config", data, path)


DOCUMENTS: Final[dict[str, Reader]] = {
    "adapter_config.json": adapter_config,
    "config.json": model_config,
    "model-settings.json": model_settings,
    "MLmodel": mlmodel,
    "Kitfile": kitfile,
    "feature_store.yaml": feature_store,
    "bentofile.yaml": bentofile,
    "bento.yaml": bentofile,
    "config.properties": torchserve_properties,
    "Modelfile": modelfile,
    "config.pbtxt": triton_config,
    "models.config": served_models,
    "croissant.json": croissant,
    "metadata.json": data_card,
    "generation_config.json": partial(whole, "config"),
    "chat_template.jinja": partial(whole, "chat-template"),
    "chat_template.json": partial(whole, "chat-template"),
    **dict.fromkeys(
        ("tokenizer.json", "tokenizer_config.json", "tokenizer.model", "special_tokens_map.json", "added_tokens.json"),
        partial(whole, "tokenizer"),
    ),
    "MLproject": partial(whole, "pipeline"),
    "model.safetensors.index.json": partial(whole, "model"),
    "model.sig": partial(whole, "provenance"),
}
"""Readers by file name."""


def reader_by_pattern(folder: str, name: str) -> Reader | None:
    """The reader of files that are known by their place or by a part of their name."""
    if name.endswith(".json") and ("croissant" in name):
        return croissant
    if name.endswith((".yaml", ".yml")):
        return kubeflow_pipeline
    evidence = re.fullmatch(r"results_.*\.json|.*\.(?:intoto\.jsonl|sigstore\.json|sig)", name)
    if evidence or (name.endswith(".json") and "evals" in folder.split("/")):
        return partial(whole, "provenance")
    return None
