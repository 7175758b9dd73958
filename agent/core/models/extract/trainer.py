"""Kubeflow Trainer jobs (trainer.kubeflow.org): all references are fixed once the job exists."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from agent.core.models.extract import fields
from agent.core.models.extract.container import container_slots
from agent.core.models.extract.mounts import Mounts
from agent.core.models.extract.seen import Place
from agent.core.models.extract.slot import Context, Extractor, Slot, at
from agent.core.models.grammar import parse
from agent.core.models.rendered import Object

GROUP: Final = "trainer.kubeflow.org"


def train_job(obj: Object, context: Context) -> Iterator[Slot]:
    """Data set and base model that are loaded first, the runtime, and what the trainer overrides of it."""
    yield from _immutable(_train_job(obj, context))


def _train_job(obj: Object, context: Context) -> Iterator[Slot]:
    for slot in fields.uri(at(obj, "spec", "initializer", "dataset"), "storageUri", "dataset", "data"):
        # The field says what it is, so that the address need not.
        address = slot.ref.spelling.removeprefix("hf://")
        hub = slot.ref.scheme == "hf-model"
        yield slot._replace(ref=parse(f"hf://datasets/{address}")) if hub else slot
    yield from fields.uri(at(obj, "spec", "initializer", "model"), "storageUri", "model")
    for part in ("dataset", "model"):
        secret = at(obj, "spec", "initializer", part, "secretRef")
        yield from fields.secret(secret, "name", f"{part}.secret", context.namespace)
    yield from fields.named(at(obj, "spec", "runtimeRef"), "name", "runtime", "trainingruntime")
    trainer, path = at(obj, "spec", "trainer")
    yield from container_slots(trainer, Place("trainer", path, context, Mounts((), context)))
    yield from fields.scale((trainer, path), "numNodes", prefix="trainer.")


def _immutable(slots: Iterator[Slot]) -> Iterator[Slot]:
    for slot in slots:
        yield slot._replace(traits=slot.traits | {"immutable"})


EXTRACTORS: Final[Mapping[tuple[str, str], Extractor]] = {(GROUP, "TrainJob"): train_job}
