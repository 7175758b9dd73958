"""What text and Markdown say alike: order, groups, summary, and references made safe to show."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Final, get_args

from agent.core.models import ChangeRecord
from agent.core.models.record import Action, Kind, meaning, spelling
from agent.core.plan.findings import unpinned
from agent.core.plan.units import DECLARED_IN

WEIGHT: Final[tuple[Action, ...]] = ("gate", "recreate", "rollout", "hot-reload", "job", "alert", "apply", "none")
"""Actions, those that deserve a look first."""
_NAMES: Final = {"data": "data reference", "code-image": "image", "config": "setting", "scale": "scale setting"}
FLOATS: Final = "not pinned"
_KINDS: Final = get_args(Kind)
_HASH: Final = re.compile(r"[0-9a-f]{32,}")
_QUIET_KINDS: Final = frozenset({"config", "scale", "traffic", "credential", "provenance"})
_QUIET_ACTIONS: Final = frozenset({"apply", "none"})
SHORT_ID: Final = 10


def safe(text: str) -> str:
    """*text* in one line, with what a terminal or a reader could be misled by written out."""
    return "".join(char if char.isprintable() else f"\\u{ord(char):04x}" for char in text)


def short(revision: str) -> str:
    """The start of a commit id."""
    return revision[:SHORT_ID]


def sides(record: ChangeRecord) -> tuple[str, str]:
    """What the reference was and what it is; empty where it was not or is not."""
    if record.op == "parse-error":
        return "", ""
    show = spelling if record.op == "respelled" else meaning
    old, new = (_shortened(safe(show(ref))) if ref is not None else "" for ref in (record.old, record.new))
    # What a Secret holds is not shown: both sides read the same.
    return ("", new) if record.op == "moved" or old == new else (old, new)


def object_of(record: ChangeRecord) -> str:
    """`Kind namespace/name`, or the path of a file."""
    target = record.object
    if target.kind == "File":
        return safe(target.name)
    return safe(
        f"{target.kind} {target.namespace}/{target.name}" if target.namespace else f"{target.kind} {target.name}"
    )


def place_of(record: ChangeRecord) -> str:
    """`file:line` where known."""
    if record.object.kind == "File" or record.location.file is None:
        return ""
    return safe(record.location.file) + line_of(record)


def line_of(record: ChangeRecord) -> str:
    """`:line` where known."""
    return f":{record.location.line}" if record.location.line else ""


def is_quiet(record: ChangeRecord) -> bool:
    """Whether nobody needs to look: it is applied, and what is served stays the same or is a plain setting."""
    if record.action not in _QUIET_ACTIONS:
        return False
    return record.op in {"respelled", "metadata-only", "moved"} or record.kind in _QUIET_KINDS


def remarks(record: ChangeRecord) -> str:
    """Why the action was chosen, and what else is to be known."""
    told = [record.reason.message]
    if unpinned(record) and record.op in {"added", "changed"} and record.reason.code != "unpinned":
        told.append(FLOATS)
    if record.direction.startswith("revert-to"):
        told.append(record.direction)
    _, declared, home = (record.location.origin or "").rpartition(DECLARED_IN)
    if declared:
        told.append(f"Kustomization in {home}")
    if record.impact.canaries:
        told.append(", ".join(record.impact.canaries))
    if record.impact.jobs:
        told.append(f"starts {', '.join(record.impact.jobs)}")
    if record.impact.objects:
        told.append(f"reaches {', '.join(record.impact.objects)}")
    return safe("; ".join(told))


def by_kustomization(records: Iterable[ChangeRecord]) -> Iterator[tuple[str, list[ChangeRecord]]]:
    """Records by the Kustomization that they reach, under a title; then files, and objects of no Kustomization.

    Within a group, the object with the weightiest action comes first.
    """
    records = list(records)
    weights: dict[tuple[object, ...], int] = {}

    def group(record: ChangeRecord) -> tuple[int, str]:
        name = ", ".join(record.impact.kustomizations)
        if name:
            return 0, f"Kustomization {safe(name)}"
        return (2, "Files") if record.object.kind == "File" else (1, "")

    def place(record: ChangeRecord) -> tuple[object, ...]:
        return *group(record), record.object, record.location.file or ""

    for record in records:
        weight = WEIGHT.index(record.action)
        weights[place(record)] = min(weight, weights.get(place(record), weight))

    def order(record: ChangeRecord) -> tuple[object, ...]:
        where = object_of(record), place_of(record).removesuffix(line_of(record))
        return (
            *group(record),
            weights[place(record)],
            *where,
            WEIGHT.index(record.action),
            _KINDS.index(record.kind),
            record.slot,
            record.id,
        )

    for (_, title), found in groupby(sorted(records, key=order), key=group):
        yield title, list(found)


def summary(records: Sequence[ChangeRecord]) -> str:
    """`2 models changed, 1 image added`; empty without records."""
    counted = Counter((record.kind, record.op) for record in records if record.op != "parse-error")
    ordered = sorted(counted.items(), key=lambda item: (_KINDS.index(item[0][0]), item[0][1]))
    return ", ".join(f"{count} {_named(kind, count)} {op}" for (kind, op), count in ordered)


def predicted(records: Sequence[ChangeRecord]) -> str:
    """`1 rollout, 2 jobs`: what would happen; empty if nothing but applying."""
    counted = Counter(record.action for record in records)
    wanted = [action for action in WEIGHT if action not in {"apply", "none"} and counted[action]]
    return ", ".join(f"{counted[action]} {action}{'s' if counted[action] > 1 else ''}" for action in wanted)


def _shortened(text: str) -> str:
    """*text* with long hashes cut to what people compare."""
    return _HASH.sub(lambda found: f"{found[0][:12]}…", text)


def _named(kind: str, count: int) -> str:
    name = _NAMES.get(kind, kind)
    return f"{name}s" if count > 1 else name
