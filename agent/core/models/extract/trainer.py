"""Kubeflow Trainer jobs (trainer.kubeflow.org): all references are fixed once the job exists."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from typing import Final

from msgspec.structs import replace

from agent.core.models.extract import fields, servers
from agent.core.models.extract.argv import flags
from agent.core.models.extract.container import container_slots
from agent.core.models.extract.mounts import Mounts
from agent.core.models.extract.seen import Place
from agent.core.models.extract.slot import Context, Extractor, Slot, at, mappings, text, texts
from agent.core.models.grammar import parse
from agent.core.models.redact import HIDDEN, SECRET_WORDS
from agent.core.models.ref import Ref, literal, opaque
from agent.core.models.rendered import Object

GROUP: Final = "trainer.kubeflow.org"
_BETWEEN: Final = re.compile(r"[\s,;&]+")


def train_job(obj: Object, context: Context) -> Iterator[Slot]:
    """Data set and base model that are loaded first, the runtime, and what the trainer overrides of it."""
    yield from _immutable(_train_job(obj, context))


def _train_job(obj: Object, context: Context) -> Iterator[Slot]:
    for slot in fields.uri(at(obj, "spec", "initializer", "dataset"), "storageUri", "dataset", "data"):
        # The field says what it is, so that the address need not.
        address = slot.ref.spelling.removeprefix("hf://")
        hub = slot.ref.scheme == "hf-model"
        dataset = parse(f"hf://datasets/{address}")
        yield slot._replace(ref=replace(dataset, spelling=slot.ref.spelling)) if hub else slot
    yield from fields.uri(at(obj, "spec", "initializer", "model"), "storageUri", "model")
    for part in ("dataset", "model"):
        secret = at(obj, "spec", "initializer", part, "secretRef")
        yield from fields.secret(secret, "name", f"{part}.secret", context.namespace)
    yield from fields.named(at(obj, "spec", "runtimeRef"), "name", "runtime", "trainingruntime")
    trainer, path = at(obj, "spec", "trainer")
    place = Place("trainer", path, context, Mounts((), context), servers.TRAINING)
    yield from container_slots(trainer, place)
    words = [word for field in ("command", "args") for word in flags(texts(trainer, field, path)).positional]
    if words:
        ref, fingerprint = _told(" ".join(words), "words")
        yield Slot("trainer.words", "config", ref, f"{path}.args", fields.POD, fingerprint)
    for entry, here in mappings(trainer, "env", path):
        name, value = text(entry, "name", here), text(entry, "value", here)
        if name and value and name not in servers.CACHE_ENV:
            ref, fingerprint = _told(value, name)
            yield Slot(f"trainer.env[{name}]", "config", ref, f"{here}.value", fields.POD, fingerprint)
    yield from fields.scale((trainer, path), "numNodes", prefix="trainer.")


def _told(value: str, name: str) -> tuple[Ref, str]:
    """A plain value and no fingerprint, or the stand-in for one that may be a credential and its fingerprint."""
    # A number of something in front says nothing of the settings that follow it.
    if not any(map(SECRET_WORDS.search, (name, *_BETWEEN.split(value)))):
        return literal(value), ""
    return opaque(HIDDEN, "argument", f"argument:{name}"), hashlib.sha256(
        value.encode("utf-8", "surrogatepass")
    ).hexdigest()


def _immutable(slots: Iterator[Slot]) -> Iterator[Slot]:
    for slot in slots:
        yield slot._replace(traits=slot.traits | {"immutable"})


EXTRACTORS: Final[Mapping[tuple[str, str], Extractor]] = {(GROUP, "TrainJob"): train_job}
