"""Pipelines that make models: Argo Workflows (argoproj.io), Tekton (tekton.dev), Kubeflow (pipelines.kubeflow.org)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any, Final

from agent.core.models.confidential import is_secret_name, told, without_secrets
from agent.core.models.extract import fields
from agent.core.models.extract.container import container_slots
from agent.core.models.extract.document import canonical
from agent.core.models.extract.mounts import Mounts
from agent.core.models.extract.seen import Place
from agent.core.models.extract.slot import Context, Extractor, Slot, at, mapping, mappings, text
from agent.core.models.grammar import Grammar, parse
from agent.core.models.ref import literal
from agent.core.models.rendered import Object

ARGO: Final = "argoproj.io"
TEKTON: Final = "tekton.dev"
KUBEFLOW: Final = "pipelines.kubeflow.org"


def workflow(obj: Object, context: Context) -> Iterator[Slot]:
    """Arguments, input artifacts and containers of an Argo Workflow."""
    yield from _workflow(*at(obj, "spec"), context)


def cron_workflow(obj: Object, context: Context) -> Iterator[Slot]:
    """The same below ``workflowSpec``."""
    yield from _workflow(*at(obj, "spec", "workflowSpec"), context)


def _workflow(spec: Mapping[str, Any], path: str, context: Context) -> Iterator[Slot]:
    arguments = mapping(spec, "arguments", path)
    for parameter, here in mappings(arguments, "parameters", f"{path}.arguments"):
        yield from _parameter(parameter, here)
    yield from _artifacts(arguments, f"{path}.arguments", "")
    yield from fields.named((mapping(spec, "workflowTemplateRef", path), f"{path}.workflowTemplateRef"), "name",
                            "template", "workflowtemplate", "pipeline")  # fmt: skip
    for template, here in mappings(spec, "templates", path):
        label = f"template[{text(template, 'name', here) or 'unnamed'}]."
        inputs = mapping(template, "inputs", here)
        yield from _artifacts(inputs, f"{here}.inputs", label)
        for field in ("container", "script"):
            step = mapping(template, field, here)
            if step:
                place = Place(f"{label}{field}", f"{here}.{field}", context, Mounts((), context))
                yield from container_slots(step, place)


def _parameter(parameter: Mapping[str, Any], path: str, prefix: str = "") -> Iterator[Slot]:
    field = next((field for field in ("value", "default", "defaultValue") if parameter.get(field) is not None), None)
    if field is None:
        return
    called = text(parameter, "name", path)
    name, value = f"{prefix}param[{called}]", parameter[field]
    if is_secret_name(called) and isinstance(value, str):
        yield from (
            slot._replace(path=f"{path}.{field}") for slot in fields.concealed(({called: value}, path), called, name)
        )
        return
    shown = value if isinstance(value, str) else canonical(without_secrets(value), f"{path}.{field}")
    # An address among the parameters is what the pipeline works on; anything else is a setting of it.
    if "://" in shown and not any(character.isspace() for character in shown):
        yield Slot(name, "data", parse(shown), f"{path}.{field}")
    else:
        yield Slot(name, "pipeline", literal(told(shown)), f"{path}.{field}")


def _artifacts(parent: Mapping[str, Any], path: str, label: str) -> Iterator[Slot]:
    for artifact, here in mappings(parent, "artifacts", path):
        spelled, revision = _address(artifact, here)
        if spelled:
            name = f"{label}artifact[{text(artifact, 'name', here) or 'unnamed'}]"
            yield Slot(name, "data", parse(spelled, revision=revision), here)


def _address(artifact: Mapping[str, Any], path: str) -> tuple[str, str]:
    """(address, revision) of an artifact in one of the stores that Argo knows."""
    for field, scheme in (("s3", "s3"), ("gcs", "gs"), ("oss", "oss")):
        store = mapping(artifact, field, path)
        if store:
            return f"{scheme}://{text(store, 'bucket', path)}/{text(store, 'key', path)}", ""
    git = mapping(artifact, "git", path)
    if git:
        return text(git, "repo", path), text(git, "revision", path)
    return text(mapping(artifact, "http", path), "url", path), ""


def tekton(obj: Object, context: Context) -> Iterator[Slot]:
    """Parameters, steps and bundles of Tekton tasks, pipelines and runs."""
    spec, path = at(obj, "spec")
    yield from _tekton(spec, path, context)
    # A run may hold the whole of what it runs; what it says itself wins over the defaults in there.
    for field in ("pipelineSpec", "taskSpec"):
        yield from _tekton(mapping(spec, field, path), f"{path}.{field}", context)


def _tekton(spec: Mapping[str, Any], path: str, context: Context) -> Iterator[Slot]:
    for parameter, here in mappings(spec, "params", path):
        yield from _parameter(parameter, here)
    for field in ("taskRef", "pipelineRef"):
        reference = (mapping(spec, field, path), f"{path}.{field}")
        yield from _from_elsewhere(reference, f"{field}.")
        yield from fields.named(reference, "name", field, field.removesuffix("Ref"), "pipeline")
    for task, here in chain(mappings(spec, "tasks", path), mappings(spec, "finally", path)):
        label = f"task[{text(task, 'name', here) or 'unnamed'}]."
        for parameter, inner in mappings(task, "params", here):
            yield from _parameter(parameter, inner, label)
        yield from _from_elsewhere((mapping(task, "taskRef", here), f"{here}.taskRef"), label)
        yield from _steps(mapping(task, "taskSpec", here), f"{here}.taskSpec", label, context)
    yield from _steps(spec, path, "", context)


def _from_elsewhere(reference: fields.Parent, label: str) -> Iterator[Slot]:
    """A task or pipeline out of a bundle, or of what one of Tekton's resolvers fetches (bundles, git, http)."""
    found, path = reference
    yield from fields.image(reference, "bundle", f"{label}bundle", "pipeline")
    resolver = text(found, "resolver", path)
    given = {
        text(parameter, "name", here): (value, f"{here}.value")
        for parameter, here in (mappings(found, "params", path) if resolver else ())
        if isinstance(value := parameter.get("value"), str)
    }
    if resolver == "bundles" and "bundle" in given:
        bundle, here = given["bundle"]
        yield Slot(f"{label}bundle", "pipeline", parse(bundle, Grammar.IMAGE), here)
    elif resolver in {"git", "http"} and "url" in given:
        url, here = given["url"]
        revision, _ = given.get("revision", ("", ""))
        yield Slot(f"{label}source", "pipeline", parse(url, revision=revision), here)


def _steps(spec: Mapping[str, Any], path: str, label: str, context: Context) -> Iterator[Slot]:
    for step, here in mappings(spec, "steps", path):
        name = f"{label}step[{text(step, 'name', here) or 'unnamed'}]"
        yield from container_slots(step, Place(name, here, context, Mounts((), context)))


def kubeflow(obj: Object, _: Context) -> Iterator[Slot]:
    """A version of a Kubeflow pipeline: its parameters, and the images and importers of its executors."""
    yield from compiled(*at(obj, "spec", "pipelineSpec"))


def compiled(spec: Mapping[str, Any], path: str) -> Iterator[Slot]:
    """What the Kubeflow compiler writes."""
    inputs, here = mapping(mapping(spec, "root", path), "inputDefinitions", path), f"{path}.root.inputDefinitions"
    parameters, here = mapping(inputs, "parameters", here), f"{here}.parameters"
    for name in sorted(parameters, key=str):
        found = mapping(parameters, name, here)
        yield from _parameter({"name": str(name), "defaultValue": found.get("defaultValue")}, f"{here}['{name}']")
    executors, here = (
        mapping(mapping(spec, "deploymentSpec", path), "executors", path),
        f"{path}.deploymentSpec.executors",
    )
    for name in sorted(executors, key=str):
        executor, inner = mapping(executors, name, here), f"{here}['{name}']"
        container = (mapping(executor, "container", inner), f"{inner}.container")
        yield from fields.image(container, "image", f"executor[{name}].image", traits=fields.NONE)
        uri = mapping(mapping(executor, "importer", inner), "artifactUri", f"{inner}.importer")
        yield from fields.uri((uri, f"{inner}.importer.artifactUri"), "constant", f"executor[{name}].artifact", "data",
                              traits=fields.NONE)  # fmt: skip


EXTRACTORS: Final[Mapping[tuple[str, str], Extractor]] = {
    (ARGO, "Workflow"): workflow,
    (ARGO, "WorkflowTemplate"): workflow,
    (ARGO, "ClusterWorkflowTemplate"): workflow,
    (ARGO, "CronWorkflow"): cron_workflow,
    (KUBEFLOW, "PipelineVersion"): kubeflow,
    **dict.fromkeys(((TEKTON, kind) for kind in ("Task", "Pipeline", "TaskRun", "PipelineRun")), tekton),
}
