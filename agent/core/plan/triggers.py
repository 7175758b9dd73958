"""What DataTriggers in the tree would start."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from agent.api.datatrigger import DataTrigger
from agent.api.kustomization import Kustomization
from agent.core.models import ChangeRecord
from agent.core.trigger.selection import KUSTOMIZATION, duration_fault, selector_fault, with_jobs
from agent.core.trigger.template import TemplateError, check


def read_trigger(obj: Mapping[str, Any], namespace: str) -> DataTrigger:
    """The trigger in an object; `namespace` is where it lives if it does not say. Raises ValueError for one that the
    agent would refuse."""
    metadata = {**dict(obj.get("metadata") or {})}
    metadata["namespace"] = metadata.get("namespace") or namespace
    name = str(metadata.get("name") or "without a name")
    try:
        trigger = DataTrigger.from_object({"metadata": metadata, "spec": obj.get("spec")})
        check(trigger)
    except (msgspec.ValidationError, TemplateError, TypeError) as error:
        raise ValueError(f"DataTrigger {name}: {error}") from None
    if fault := duration_fault(trigger) or selector_fault(trigger):
        raise ValueError(f"DataTrigger {name}: {fault}")
    return trigger


class Declarations(NamedTuple):
    """What a revision declares: its triggers, and its Kustomizations by `namespace/name`."""

    triggers: Sequence[DataTrigger]
    kustomizations: Mapping[str, Kustomization]


def predicted_jobs(records: Iterable[ChangeRecord], old: Declarations, new: Declarations) -> list[ChangeRecord]:
    """The records with the triggers that each would have start a run.

    What no Kustomization of the tree builds, and files, may come by any source of a trigger's namespace. A trigger that
    is new, and one that sees a Kustomization first, only notes what is there, unless it asks for more.
    """
    before = {(trigger.namespace, trigger.name) for trigger in old.triggers}

    def seen(trigger: DataTrigger, source: str) -> bool:
        kind, _, name = source.partition("/")
        known = not name or kind != KUSTOMIZATION or f"{trigger.namespace}/{name}" in old.kustomizations
        return known and (trigger.namespace, trigger.name) in before

    return [_predicted(record, new, seen) for record in records] if new.triggers else list(records)


def _predicted(record: ChangeRecord, declared: Declarations, seen: Callable[[DataTrigger, str], bool]) -> ChangeRecord:
    triggers, known = declared.triggers, declared.kustomizations
    by = [known[name] for name in record.impact.kustomizations if name in known]
    if record.object.kind == "File" or not by:
        for namespace in {trigger.namespace for trigger in triggers}:
            record = with_jobs(record, namespace, "", {}, triggers, seen=seen)
        return record
    for one in by:
        record = with_jobs(record, one.namespace, one.name, one.metadata.labels, triggers, seen=seen)
    return record
