"""Which references a DataTrigger watches."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from msgspec.structs import replace

from agent.api.datatrigger import DataTrigger, TriggerObject
from agent.api.duration import parse_duration
from agent.core.models.record import ChangeRecord
from agent.core.models.ref import MALFORMED, Ref
from agent.core.patterns import matches

KUSTOMIZATION, REPOSITORY = "Kustomization", "GitRepository"
STARTING = frozenset({"added", "changed", "floated"})
"""Operations that start runs."""


class Place(NamedTuple):
    """A reference where it stands now.

    `object` is `Kind/namespace/name`, or `File/path`. `ref` is None where the reference went. `old` is what stood there
    before, where whoever looked knows that. What is `sent` is run, even where the source is seen first; where `old` is
    `ref`, that was some time ago.
    """

    object: str
    slot: str
    kind: str
    ref: Ref | None
    old: Ref | None = None
    sent: bool = False


def listens_to(trigger: DataTrigger, kind: str, name: str, labels: Mapping[str, str]) -> bool:
    """Whether references that a Kustomization or GitRepository of the namespace brings may count."""
    sources = trigger.spec.selector.sources
    return not sources or any(
        source.kind == kind and source.name in {None, name} and source.match_labels.items() <= labels.items()
        for source in sources
    )


def selected(trigger: DataTrigger, places: Iterable[Place]) -> list[Place]:
    """The places that the trigger watches. Expressions have to be without fault."""
    return [place for place in places if _selects(trigger, place.object, place.kind, place.ref or place.old)]


def has_seen(trigger: DataTrigger, source: str) -> bool:
    """Whether the trigger has looked at a source, `Kind/name`, before."""
    return any(known.name == source for known in trigger.status.sources)


def with_jobs(
    record: ChangeRecord,
    namespace: str,
    name: str,
    labels: Mapping[str, str],
    triggers: Iterable[DataTrigger],
    *,
    seen: Callable[[DataTrigger, str], bool] = has_seen,
) -> ChangeRecord:
    """The record with the triggers, as `DataTrigger/namespace/name`, that a change would have start a run.

    `namespace`, `name` and `labels` are those of the Kustomization that brings it, or of the GitRepository for a file;
    an empty name is that of any. `seen` says whether a trigger has looked at the source before: what it sees first is
    only noted, unless it asks for more. Triggers that nobody can follow start nothing.
    """
    if record.op not in STARTING or record.new is None:
        return record
    target = record.object
    kind = REPOSITORY if target.kind == "File" else KUSTOMIZATION
    shown = object_name(target.kind, target.namespace, target.name)
    found = {
        f"{trigger.KIND}/{trigger.namespace}/{trigger.name}"
        for trigger in triggers
        if trigger.namespace == namespace
        and not trigger.spec.suspend
        and _hears(trigger, kind, name, labels)
        and (trigger.spec.on_first_sight == "Run" or seen(trigger, f"{kind}/{name}"))
        and not selector_fault(trigger)
        and _selects(trigger, shown, record.kind, record.new)
    }
    if not found:
        return record
    jobs = tuple(sorted({*record.impact.jobs, *found}))
    return replace(record, impact=replace(record.impact, jobs=jobs))


def _hears(trigger: DataTrigger, kind: str, name: str, labels: Mapping[str, str]) -> bool:
    if name:
        return listens_to(trigger, kind, name, labels)
    sources = trigger.spec.selector.sources
    return not sources or any(source.kind == kind for source in sources)


def object_name(kind: str, namespace: str, name: str) -> str:
    """`Kind/namespace/name`, without the namespace where there is none."""
    return f"{kind}/{namespace}/{name}" if namespace else f"{kind}/{name}"


def readable(ref: Ref | None) -> bool:
    """Whether the text says anything: what does not follow its grammar is neither the same nor another."""
    return ref is None or ref.unresolved != MALFORMED


def selector_fault(trigger: DataTrigger) -> str:
    """What is wrong with the selector, as `field: why`; empty if nothing is."""
    selector = trigger.spec.selector
    named = [("pattern", selector.pattern)]
    named += [(f"objects[{position}].name", wanted.name) for position, wanted in enumerate(selector.objects)]
    for field, expression in named:
        try:
            matches(expression or "", "")
        except ValueError as error:
            return f"spec.selector.{field}: {error}"
    return ""


def duration_fault(trigger: DataTrigger) -> str:
    """What is wrong with a duration of the spec, as `field: why`; empty if nothing is."""
    for field, text in (("settleFor", trigger.spec.settle_for), ("timeout", trigger.spec.timeout or "0s")):
        try:
            parse_duration(text)
        except ValueError as error:
            return f"spec.{field}: {error}"
    return ""


def _selects(trigger: DataTrigger, shown: str, kind: str, ref: Ref | None) -> bool:
    selector = trigger.spec.selector
    return (
        ref is not None
        and (not selector.kinds or kind in selector.kinds)
        and (not selector.schemes or ref.scheme in selector.schemes)
        and (not selector.objects or any(_is(wanted, shown) for wanted in selector.objects))
        and (selector.pattern is None or matches(selector.pattern, ref.canonical))
    )


def _is(wanted: TriggerObject, shown: str) -> bool:
    kind, _, rest = shown.partition("/")
    if wanted.kind not in {None, kind}:
        return False
    name = rest if kind == "File" else rest.rpartition("/")[2]
    return wanted.name is None or matches(wanted.name, name)
