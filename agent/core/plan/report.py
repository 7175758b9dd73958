"""The result of a plan: change records, and what could not be read."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from agent.core.models import ChangeRecord

SHOWN: Final = 500
"""Longest message of an error, in characters."""


class PlanError(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What could not be read: a file of the repository, or an object. Its references never count as removed."""

    file: str = ""
    object: str = ""
    message: str

    @property
    def subject(self) -> str:
        """The file or the object."""
        return self.file or self.object


class Plan(msgspec.Struct, frozen=True):
    """What changes between two revisions. Encoded as JSON it is the output of `weir plan -o json`."""

    changes: tuple[ChangeRecord, ...] = ()
    errors: tuple[PlanError, ...] = ()


def as_json(plan: Plan) -> bytes:
    """The plan as JSON, indented, with a line end."""
    return msgspec.json.format(msgspec.json.encode(plan), indent=2) + b"\n"


def errors_of(problems: Iterable[PlanError], changes: Iterable[ChangeRecord]) -> tuple[PlanError, ...]:
    """The problems and the unreadable objects among the changes, each once, sorted."""
    found = set(problems)
    for record in changes:
        if record.op != "parse-error":
            continue
        if record.object.kind == "File":
            name = record.object.name
            found.add(PlanError(file=name, message=record.reason.message.removeprefix(f"{name} ")))
        else:
            target = record.object
            name = "/".join(filter(None, (target.kind, target.namespace, target.name)))
            found.add(PlanError(object=name, message=record.reason.message))
    return tuple(sorted(found, key=lambda error: (not error.file, error.subject, error.message)))


def shortened(message: str) -> str:
    """A message in one line of bearable length: where it begins and where it ends, for the cause stands last."""
    line = " ".join(message.split())
    return line if len(line) <= SHOWN else f"{line[: SHOWN // 3]} … {line[-SHOWN * 2 // 3 :]}"
