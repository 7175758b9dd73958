"""Ray Serve applications of a RayService (ray.io): a YAML document in a text field."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from agent.core.models.extract import fields, servers
from agent.core.models.extract.container import server_slots
from agent.core.models.extract.document import canonical, load
from agent.core.models.extract.mounts import Mounts
from agent.core.models.extract.seen import Place
from agent.core.models.extract.server import Setting
from agent.core.models.extract.slot import (
    Context,
    Extractor,
    MalformedError,
    Slot,
    at,
    items,
    mapping,
    mappings,
    text,
    texts,
)
from agent.core.models.extract.written import keyed
from agent.core.models.grammar import Grammar, parse
from agent.core.models.redact import SECRET_WORDS
from agent.core.models.ref import literal
from agent.core.models.rendered import Object

GROUP: Final = "ray.io"
MODEL_ARGUMENTS: Final = ("model", "model_id", "model_name", "model_path", "model_uri")


def ray_service(obj: Object, context: Context) -> Iterator[Slot]:
    """Applications: their code, models, adapters, replicas and the variables that name models."""
    spec, path = at(obj, "spec")
    written = text(spec, "serveConfigV2", path)
    if not written:
        return
    where = f"{path}.serveConfigV2"
    for application, here in mappings(load(written, where), "applications", where):
        label = f"app[{text(application, 'name', here) or 'default'}]"
        yield from _application(application, here, label)
        environment = mapping(application, "runtime_env", here)
        yield from _variables(environment, f"{here}.runtime_env", f"{label}.env", context)


def _variables(environment: Mapping[str, Any], path: str, label: str, context: Context) -> Iterator[Slot]:
    """What the usual variables name that the application is started with."""
    variables = mapping(environment, "env_vars", path)
    given = {"env": [{"name": str(name), "value": text(variables, name, f"{path}.env_vars")} for name in variables]}
    for slot in server_slots(given, "", Place(label, path, context, Mounts((), context))):
        yield slot._replace(
            path=keyed(slot.path.replace(f"{path}.env[", f"{path}.env_vars["), f"{path}.env_vars", [*variables])
        )


def _application(application: Mapping[str, Any], path: str, label: str) -> Iterator[Slot]:
    parent = (application, path)
    yield from fields.value(parent, "import_path", f"{label}.import_path", "code-image", fields.POD)
    environment, here = mapping(application, "runtime_env", path), f"{path}.runtime_env"
    yield from fields.uri((environment, here), "working_dir", f"{label}.working_dir", "code-image")
    for number, module in enumerate(texts(environment, "py_modules", here)):
        ref = parse(module)
        yield Slot(f"{label}.py_module[{module}]", "code-image", ref, f"{here}.py_modules[{number}]", fields.POD)
    packages = environment.get("pip")
    if isinstance(packages, list):
        joined = ",".join(sorted(map(str, packages)))
        yield Slot(f"{label}.pip", "code-image", literal(joined), f"{here}.pip", fields.POD)
    arguments, here = mapping(application, "args", path), f"{path}.args"
    for name in MODEL_ARGUMENTS:
        if isinstance(arguments.get(name), str):
            yield from fields.uri((arguments, here), name, f"{label}.{name}")
    configs = items(arguments, "llm_configs", here)
    for index, config in enumerate(configs):
        yield from _llm_config(config, f"{here}.llm_configs[{index}]", label, len(configs) > 1)
    for deployment, inner in mappings(application, "deployments", path):
        prefix = f"{label}.deployment[{text(deployment, 'name', inner)}]."
        yield from fields.scale((deployment, inner), "num_replicas", prefix=prefix)


def _llm_config(config: Any, path: str, label: str, several: bool) -> Iterator[Slot]:
    if isinstance(config, str):
        # The name of a file that the application reads when it starts.
        key = f"[{config}]" if several else ""
        yield Slot(f"{label}.llm_config{key}", "config", parse(config), path, fields.OUTPUT)
        return
    if not isinstance(config, Mapping):
        raise MalformedError(path, "is not a mapping")
    loading, here = mapping(config, "model_loading_config", path), f"{path}.model_loading_config"
    name = text(loading, "model_id", here)
    base = f"{label}.llm[{name}]" if several else label
    engine, engine_path = mapping(config, "engine_kwargs", path), f"{path}.engine_kwargs"
    source = loading.get("model_source")
    spelled = text(source, "bucket_uri", here) if isinstance(source, Mapping) else text(loading, "model_source", here)
    if spelled or name:
        ref = parse(spelled or name, Grammar.HUB, revision=text(engine, "revision", engine_path))
        nested = ".bucket_uri" if isinstance(source, Mapping) else ""
        where = f"{here}.model_source{nested}" if spelled else f"{here}.model_id"
        yield Slot(f"{base}.model", "model", ref, where, fields.POD)
    if spelled and name:
        yield Slot(f"{base}.model_id", "config", literal(name), f"{here}.model_id", fields.NAME)
    yield from _engine(engine, engine_path, base)
    lora = (mapping(config, "lora_config", path), f"{path}.lora_config")
    yield from fields.uri(lora, "dynamic_lora_loading_path", f"{base}.adapters", "adapter")
    deployment = (mapping(config, "deployment_config", path), f"{path}.deployment_config")
    yield from fields.scale(deployment, "num_replicas", prefix=f"{base}.")
    scaled = (mapping(deployment[0], "autoscaling_config", deployment[1]), f"{deployment[1]}.autoscaling_config")
    yield from fields.scale(scaled, "min_replicas", "max_replicas", prefix=f"{base}.")
    yield from fields.value((config, path), "accelerator_type", f"{base}.accelerators", "scale", fields.ACCELERATOR)


def _engine(engine: Mapping[str, Any], path: str, base: str) -> Iterator[Slot]:
    """What vLLM is started with: its flags, as keywords."""
    for key in engine:
        found = servers.VLLM.settings.get(str(key).replace("_", "-"), Setting("config", frozenset()))
        name, parent = f"{base}.{key}", (engine, path)
        if key in {"revision", "tokenizer_revision"}:
            continue
        if isinstance(engine[key], Mapping | list):
            value = literal(canonical(engine[key], f"{path}.{key}"))
            yield Slot(name, found.kind, value, f"{path}.{key}", found.traits | fields.POD)
        elif key == "tokenizer":
            yield from fields.uri(parent, key, name, found.kind, Grammar.HUB, revision="tokenizer_revision",
                                  traits=fields.OUTPUT)  # fmt: skip
        elif SECRET_WORDS.search(str(key)):
            yield from fields.concealed(parent, key, name)
        else:
            yield from fields.value(parent, key, name, found.kind, found.traits | fields.POD)


EXTRACTORS: Final[Mapping[tuple[str, str], Extractor]] = {(GROUP, "RayService"): ray_service}
