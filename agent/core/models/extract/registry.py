"""Which extractors read an object: by group and kind, never by kind alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from agent.core.models.extract import (
    aibrix,
    declared,
    dynamo,
    kaito,
    kserve,
    kubeai,
    llmisvc,
    nim,
    ome,
    pipelines,
    ray,
    ruled,
    seldon,
    stacks,
    stored,
    trainer,
    workloads,
)
from agent.core.models.extract.slot import Context, Extractor, MalformedError, Slot
from agent.core.models.redact import redact_within
from agent.core.models.rendered import Object
from agent.core.objects import split_api_version

FAMILIES: Final[Mapping[tuple[str, str], Extractor]] = {
    **kserve.EXTRACTORS,
    **llmisvc.EXTRACTORS,
    **seldon.EXTRACTORS,
    **kubeai.EXTRACTORS,
    **nim.EXTRACTORS,
    **aibrix.EXTRACTORS,
    **dynamo.EXTRACTORS,
    **ome.EXTRACTORS,
    **kaito.EXTRACTORS,
    **ray.EXTRACTORS,
    **trainer.EXTRACTORS,
    **stacks.EXTRACTORS,
    **pipelines.EXTRACTORS,
    ("", "Secret"): stored.secret,
    ("", "ConfigMap"): stored.config_map,
}
"""Extractors of kinds with reference fields of their own."""


class Failure(NamedTuple):
    """An extractor that could not read the object: its name, the JSONPath it stopped at, and why."""

    extractor: str
    path: str
    message: str


class Extracted(NamedTuple):
    """What an object refers to. With failures the slots are incomplete."""

    slots: Mapping[str, Slot]
    failures: Sequence[Failure]


def extractors_for(obj: Object, context: Context) -> Iterator[tuple[str, Extractor]]:
    """The named extractors of an object, in order: earlier ones win a slot."""
    group, _ = split_api_version(obj["apiVersion"])
    key = (group, obj["kind"])
    yield "annotations", declared.declared
    if context.rules.objects:
        yield "rules", ruled.ruled
    family, roots = FAMILIES.get(key), workloads.ROOTS.get(key)
    if family is not None:
        yield "fields", family
    if roots is not None:
        yield "pods", workloads.walker(roots)
        yield "replicas", workloads.counter(roots)
    elif family is None:
        yield "pods", workloads.unknown


def _nameable(slot: Slot) -> Slot:
    """A slot that is named after an address, without the credentials in it."""
    return slot._replace(name=redact_within(slot.name)) if "://" in slot.name else slot


def extract(obj: Object, context: Context) -> Extracted:
    """All slots of *obj*. Never raises: an extractor that fails is listed and the others go on."""
    slots: dict[str, Slot] = {}
    declarations: dict[str, Slot] = {}
    failures = []
    for name, extractor in extractors_for(obj, context):
        target = declarations if extractor is declared.declared else slots
        try:
            for slot in extractor(obj, context):
                target.setdefault(slot.name, slot)
        except MalformedError as error:
            failures.append(Failure(name, error.path, str(error)))
        except Exception as error:  # noqa: BLE001 - one unreadable object must not hide the changes of the others
            failures.append(Failure(name, "$", f"cannot be read ({type(error).__name__})"))
    found: Sequence[Slot] = [_nameable(slot) for slot in slots.values()]
    try:
        if declared.any_declared(obj):
            found = declared.annotate(obj, declared.override(slots.values(), declarations))
    except MalformedError as error:
        failures.append(Failure("annotations", error.path, str(error)))
    group, _ = split_api_version(obj["apiVersion"])
    key = (group, obj["kind"])
    found = [
        slot._replace(traits=slot.traits | {"immutable"}) if workloads.frozen(key, slot) else slot for slot in found
    ]
    return Extracted({slot.name: slot for slot in found}, failures)
