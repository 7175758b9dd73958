"""Gates that read reports out of Git: what they will say of a revision is known before it is merged.

The same functions judge here and before the rollout (`agent.core.rollout.gates`). Gates that run a Job or ask a server
say nothing offline.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final, NamedTuple

import msgspec
from msgspec.structs import replace

from agent.api.canary import Canary
from agent.core.models import Build, ChangeRecord, Provenance, Reason, RenderedSet
from agent.core.objects import split_api_version
from agent.core.rollout.gatereading import gates_of
from agent.core.rollout.gates import REPORT, Gate, Observed, Opinion, about, key_about, opinion
from agent.core.rollout.reports import Answer
from agent.core.rollout.subjects import subjects_of

_EVALUATED: Final = frozenset({"model", "adapter"})


class _Said(NamedTuple):
    """What a gate says, and the report that it reads."""

    opinion: Opinion
    report: str


def evaluated(records: Iterable[ChangeRecord], builds: Iterable[Build]) -> list[ChangeRecord]:
    """The records, with action `gate` where a report fails a rollout, or is missing and holds it; where it passes, the
    record names it."""
    said: dict[str, list[_Said]] = {}
    for build in builds:
        for _, found in build.new.of_kind("flagger.app", "Canary"):
            canary = _canary(found)
            if canary is not None:
                said.setdefault(f"Canary/{canary.namespace}/{canary.name}", []).extend(_of_canary(canary, build))
    return [_judged(record, said) if record.action == "rollout" else record for record in records]


def _judged(record: ChangeRecord, said: Mapping[str, list[_Said]]) -> ChangeRecord:
    words = [(canary, one) for canary in record.impact.canaries for one in said.get(canary, ())]
    for effect, code in ((Answer.FAIL, "gate-failed"), (Answer.UNKNOWN, "gate-unknown")):
        for canary, one in words:
            if one.opinion.effect is effect:
                told = f"gate {one.opinion.gate} of {canary}: {one.opinion.text}"
                return replace(record, action="gate", reason=Reason(code, told))
    passed = next((one.report for _, one in words if one.opinion.answer is Answer.PASS), "")
    if not passed or record.new is None or record.kind not in _EVALUATED:
        return record
    provenance = replace(record.new.provenance or Provenance(), eval_report=passed)
    return replace(record, new=replace(record.new, provenance=provenance))


def _of_canary(canary: Canary, build: Build) -> Iterator[_Said]:
    for gate in gates_of(canary.spec.analysis.webhooks):
        if gate.kind != REPORT:
            continue
        now, report = _observed(gate, canary, build.new)
        if now is None:
            continue  # the ConfigMap is built elsewhere, or not by Git
        before, _ = _observed(gate, canary, build.old) if build.old is not None else (None, "")
        incumbent = before.report.metrics if before is not None and before.report is not None else None
        yield _Said(opinion(gate, now, incumbent), report)


def _observed(gate: Gate, canary: Canary, rendered: RenderedSet) -> tuple[Observed | None, str]:
    """What the report says, and where it stands; None where the build has no such ConfigMap."""
    found = rendered.get("", "ConfigMap", canary.namespace, gate.source)
    target = canary.spec.target_ref
    group, _ = split_api_version(target.api_version)
    workload = rendered.get(group, target.kind, canary.namespace, target.name)
    # A generated name with a hash is another one than that of the gate, which asks for it as it is written.
    if found is None or workload is None or found["metadata"]["name"] != gate.source:
        return None, ""
    data = found.get("data")
    texts = {str(key): str(value) for key, value in data.items()} if isinstance(data, Mapping) else {}
    configs = [config for _, config in rendered.of_kind("", "ConfigMap")]
    subjects = subjects_of([workload, *configs])
    key, _ = key_about(gate, texts, subjects)
    return about(gate, texts, subjects), f"ConfigMap/{canary.namespace}/{gate.source}#{key}"


def _canary(found: Mapping[str, object]) -> Canary | None:
    try:
        return Canary.from_object(found)
    except (msgspec.ValidationError, TypeError, ValueError):
        return None
