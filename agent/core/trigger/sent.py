"""What rules of ChangePolicies send to a DataTrigger: neither its selector nor its first sight has a say there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from agent.api.datatrigger import DataTrigger
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
    last: dict[Mark, ChangeRecord] = {}
    for record in records:
        if record.op in _CHANGES and record.reason.code != "approved":
            target = record.object
            last.setdefault((object_name(target.kind, target.namespace, target.name), record.slot), record)
    name = f"{trigger.KIND}/{trigger.namespace}/{trigger.name}"
    return {
        mark: record.old
        for mark, record in last.items()
        if record.reason.code == "policy" and record.new is not None and name in record.impact.jobs
    }
