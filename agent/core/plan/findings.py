"""What makes a pipeline fail: records that match what `--fail-on` names."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, get_args

from agent.core.models import ChangeRecord
from agent.core.models.record import Action, Kind, Operation
from agent.core.plan.report import Plan

CHANGES: Final = "changes"
ERRORS: Final = "errors"
UNPINNED: Final = "unpinned"
_CONTENT: Final = frozenset({"model", "adapter", "tokenizer", "data", "code-image"})

CONDITIONS: Final = (
    *(CHANGES, ERRORS, UNPINNED),
    *(action for action in get_args(Action) if action != "none"),
    *get_args(Operation),
    *get_args(Kind),
)
"""Everything that `--fail-on` understands."""


def findings(plan: Plan, conditions: Iterable[str]) -> Iterator[tuple[str, str]]:
    """(condition, what meets it) for each condition that is met, in the order of the plan."""
    for condition in conditions:
        if condition == ERRORS:
            yield from ((condition, f"{error.subject}: {error.message}") for error in plan.errors)
        else:
            yield from ((condition, r.describe()) for r in plan.changes if _meets(r, condition))


def unpinned(record: ChangeRecord) -> bool:
    """Whether the change leaves a reference to content that may become another one with no commit."""
    return record.kind in _CONTENT and record.new is not None and record.new.pinned is False


def _meets(record: ChangeRecord, condition: str) -> bool:
    if condition == CHANGES:
        return record.op != "parse-error"
    if condition == UNPINNED:
        return unpinned(record)
    return condition in {record.action, record.op, record.kind}
