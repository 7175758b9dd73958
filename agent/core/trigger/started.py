"""Which runs a change has started, by its record."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from agent.api.datatrigger import DataTrigger, TriggerRun
from agent.core.models.record import ChangeRecord
from agent.core.trigger.selection import STARTING, object_name


class StartedRun(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """A run, as a change names it; `trigger` is `namespace/name`."""

    trigger: str
    kind: str
    name: str
    state: str
    verdict: str | None = None


class _Place(NamedTuple):
    namespace: str
    place: str


class StartedRuns:
    """The runs of all triggers, found by what they are for."""

    def __init__(self, triggers: Iterable[DataTrigger]) -> None:
        self._runs: dict[_Place, list[tuple[TriggerRun, StartedRun]]] = {}
        for trigger in triggers:
            for run in trigger.status.runs:
                shown = StartedRun(
                    trigger=f"{trigger.namespace}/{trigger.name}",
                    kind=run.kind,
                    name=run.name,
                    state=run.state,
                    verdict=run.verdict,
                )
                for place in run.slots:
                    self._runs.setdefault(_Place(trigger.namespace, place), []).append((run, shown))

    def by(self, record: ChangeRecord, namespace: str) -> tuple[StartedRun, ...]:
        """The runs that a change has started; `namespace` is that of the Kustomization or GitRepository it came by."""
        if record.new is None or record.op not in STARTING:
            return ()
        target = record.object
        place = f"{object_name(target.kind, target.namespace, target.name)} {record.slot}"
        canonical, digest = record.new.canonical, str(record.new.digest) if record.new.digest else None
        found = self._runs.get(_Place(namespace, place), ())
        return tuple(shown for run, shown in found if _is_for(run, canonical, digest))


def _is_for(run: TriggerRun, canonical: str, digest: str | None) -> bool:
    if digest is not None and run.data == digest:
        return True
    return run.reference == canonical and (digest is None or run.data == canonical)
