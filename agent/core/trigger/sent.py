"""What rules of ChangePolicies send to a DataTrigger: neither its selector nor its first sight has a say there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from agent.api.datatrigger import DataTrigger, TriggerSlot
from agent.core.models.record import ChangeRecord
from agent.core.models.ref import Ref
from agent.core.trigger.selection import object_name

Mark = tuple[str, str]
"""An object as places name it, and a slot of it."""
_CHANGES = frozenset({"added", "removed", "changed", "floated"})


def sent(records: Iterable[ChangeRecord], trigger: DataTrigger) -> Mapping[Mark, Ref | None]:
    """The places whose last change is sent to the trigger, with what stood there before; the newest record is first.

    What came without other content (respelled, approved) leaves a place as it is.
    """
    return {mark: record.old for mark, record in _last(records).items() if _is_sent(record, trigger)}


def standing(records: Iterable[ChangeRecord], trigger: DataTrigger, source: str) -> Mapping[Mark, TriggerSlot]:
    """What was sent of a source (`Kind/name`) earlier, and has not changed since: nobody remembers changes for ever."""
    last = _last(records)
    slots = {(slot.object, slot.slot): slot for slot in trigger.status.slots if slot.sent and slot.source == source}
    return {mark: slot for mark, slot in slots.items() if mark not in last or _is_sent(last[mark], trigger)}


def _last(records: Iterable[ChangeRecord]) -> dict[Mark, ChangeRecord]:
    last: dict[Mark, ChangeRecord] = {}
    for record in records:
        if record.op in _CHANGES and record.reason.code != "approved":
            target = record.object
            last.setdefault((object_name(target.kind, target.namespace, target.name), record.slot), record)
    return last


def _is_sent(record: ChangeRecord, trigger: DataTrigger) -> bool:
    name = f"{trigger.KIND}/{trigger.namespace}/{trigger.name}"
    return record.reason.code == "policy" and record.new is not None and name in record.impact.jobs
