"""What policies say about a revision before it is applied, and about deletions before they happen.

Several policies about one Kustomization add up: whatever one of them holds is held.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from msgspec.structs import replace

from agent.api.changepolicy import ACTIONS, ChangePolicy, ChangeRule, UnreadablePolicy
from agent.api.duration import parse_duration
from agent.core.models.record import REVERT_TO, UNKNOWN, Action, ChangeRecord, Operation, Reason
from agent.core.models.references import Reference
from agent.core.policy import referencing, windows

DEFAULT_OPERATIONS = frozenset({"added", "removed", "changed"})
WITHOUT_COMMIT = frozenset({"floated", "stale-serving"})
"""What happens to content although Git, and what is applied, stay as they are: mended by pods that start anew."""
_RANK = {"apply": 0, "job": 1, "alert": 2, "hot-reload": 3, "rollout": 4, "gate": 5, "hold": 6}
_ACTIONS: Mapping[str, Action] = {
    "alert": "alert",
    "job": "job",
    "hot-reload": "hot-reload",
    "rollout": "rollout",
    "gate": "gate",
    "hold": "gate",
}
_KSERVE = "serving.kserve.io"
_ROLLED_OUT = frozenset({"InferenceService", "LLMInferenceService"})
"""Of KServe's kinds those that a Canary can have. The others (runtimes, base configurations, storage containers) are
shared: an edit replaces the pods of all who use them at once, whatever Canaries these have."""
_TOLD_APART: Mapping[Operation, tuple[Operation, ...]] = {
    "added": ("moved", "changed"),
    "removed": ("moved", "changed"),
    "changed": ("respelled", "metadata-only"),
}
"""What else may turn out to have happened once a registry has told what references mean, by what the text says."""
_HALVES = frozenset({"added", "removed"})
"""What only both together can turn out to be something else."""
_SHORTEST_COMMIT = 7
LISTED = 5
"""Changes or references that a message names; the others are counted."""


class Ruling(NamedTuple):
    """What a rule says about a change, and by which policy. A ``canary`` is decided: where no Canary is, it is a hold.

    *trigger* is the DataTrigger that a ``job`` runs, or whose run a ``gate`` waits for.
    """

    action: str
    policy: str
    trigger: str = ""


Unmet = Callable[[str, ChangeRecord], str]
"""(DataTrigger, change) -> why the gate of that trigger does not let the change pass; empty if it does."""


class Verdict(NamedTuple):
    """Why nothing may be applied (nothing said: it may).

    What is *refused* stays so until Git or the policy changes; what is *held* can be approved, or ends by itself when a
    sync window *opens*.
    """

    refused: tuple[str, ...] = ()
    held: tuple[str, ...] = ()
    opens: datetime | None = None


def about(policies: Iterable[ChangePolicy], namespace: str, labels: Mapping[str, str]) -> list[ChangePolicy]:
    """The policies for a Kustomization with these labels, by name."""
    found = [
        policy
        for policy in policies
        if policy.namespace == namespace
        and not policy.spec.suspend
        and policy.spec.selector.match_labels.items() <= labels.items()
    ]
    return sorted(found, key=lambda policy: policy.name)


def faults(policies: Iterable[ChangePolicy]) -> str:
    """What makes one of the policies unusable, with its name and field; empty if nothing does."""
    return next(
        (f"{policy.KIND} {policy.namespace}/{policy.name}: {why}" for policy in policies if (why := fault(policy))), ""
    )


def fault(policy: ChangePolicy) -> str:
    """What makes a policy unusable, with its field; empty if nothing does."""
    if isinstance(policy, UnreadablePolicy):
        return policy.problem
    for position, window in enumerate(policy.spec.windows):
        if why := windows.fault(window):
            return f"spec.windows[{position}].{why}"
    for position, rule in enumerate(policy.spec.rules):
        if rule.action not in ACTIONS:
            return f"spec.rules[{position}].action: {rule.action!r} is none of {', '.join(ACTIONS)}"
        if rule.action in {"job", "gate"} and rule.trigger is None:
            return f"spec.rules[{position}].trigger: {rule.action} needs the name of a DataTrigger"
    spec = policy.spec
    if why := referencing.fault(spec.references):
        return f"spec.references.{why}"
    durations = {
        "resolution.interval": spec.resolution.interval if spec.resolution else "",
        "serving.interval": spec.serving.interval if spec.serving else "",
        "serving.after": spec.serving.after if spec.serving else "",
    }
    for field, text in durations.items():
        try:
            parse_duration(text or "0")
        except ValueError as error:
            return f"spec.{field}: {error}"
    return ""


def ruling(policies: Iterable[ChangePolicy], record: ChangeRecord) -> Ruling | None:
    """The strictest word of the policies about a change; None if no rule fits it."""
    return max(_rulings(policies, record), key=lambda found: _RANK[found.action], default=None)


def overruled(policies: Sequence[ChangePolicy], record: ChangeRecord) -> ChangeRecord:
    """The record with the action, and the jobs, that policies of one namespace ask for instead of the default ones."""
    found = ruling(policies, record)
    if found is None:
        return record
    jobs = tuple(sorted(f"DataTrigger/{policies[0].namespace}/{name}" for name in _triggers(policies, record)))
    if jobs:
        record = replace(record, impact=replace(record.impact, jobs=jobs))
    if found.action not in _ACTIONS:
        return record
    reason = Reason("policy", f"ChangePolicy {found.policy}: {_told(found)}")
    return replace(record, action=_ACTIONS[found.action], reason=reason)


def hinging_on_content(policies: Sequence[ChangePolicy], records: Sequence[ChangeRecord]) -> list[ChangeRecord]:
    """The records whose references have to be known before it is known whether they may be applied.

    Gates ask for digests. Rules are about operations and directions, and another place for the same content, or another
    spelling of it, is another operation than the text tells: it may be held, or let through. What follows an apply (an
    alert, a job) can be told once that is known. Where what is added or removed may so have moved, what may be the
    other half of it belongs to it.
    """
    both = {record.op for record in records} >= _HALVES
    found = {record.id for record in records if _hinges(policies, record, both)}
    halves = both and any(record.id in found for record in records if record.op in _HALVES)
    return [record for record in records if record.id in found or (halves and record.op in _HALVES)]


def _hinges(policies: Sequence[ChangePolicy], record: ChangeRecord, both: bool) -> bool:
    rulings = list(_rulings(policies, record))
    if any(one.action == "gate" for one in rulings):
        return True
    held = _is_held(rulings)
    possible = _TOLD_APART.get(record.op, ()) if both or record.op not in _HALVES else ()
    others = [list(_rulings(policies, replace(record, op=op, direction=_direction(op, record)))) for op in possible]
    return any(any(one.action == "gate" for one in other) or _is_held(other) != held for other in others)


def _direction(op: Operation, record: ChangeRecord) -> str:
    """That of a record with another operation: only what changes what is served has one."""
    return record.direction if op == "changed" else UNKNOWN


def _is_held(rulings: Iterable[Ruling]) -> bool:
    return any(one.action == "hold" for one in rulings)


def _triggers(policies: Iterable[ChangePolicy], record: ChangeRecord) -> frozenset[str]:
    """The DataTriggers that a change starts by the word of any policy, by name."""
    return frozenset(found.trigger for found in _rulings(policies, record) if found.trigger)


def _rulings(policies: Iterable[ChangePolicy], record: ChangeRecord) -> Iterator[Ruling]:
    for policy in policies:
        rule = next((rule for rule in policy.spec.rules if _fits(rule, record)), None)
        if rule is not None:
            trigger = rule.trigger.name if rule.trigger is not None and rule.action in {"job", "gate"} else ""
            yield Ruling(_decided(rule.action, record), policy.name, trigger)


def _decided(action: str, record: ChangeRecord) -> str:
    """What a rule's word comes to for this very change."""
    if action == "canary" and (_is_shared(record) or not record.impact.canaries):
        return "hold"
    if action == "hot-reload" and record.action != "hot-reload":
        action = "rollout"  # the server has to be started anew
    if action in {"canary", "rollout"}:
        # what a commit changes rolls out by being applied
        return "rollout" if record.op in WITHOUT_COMMIT else "apply"
    return action


def _is_shared(record: ChangeRecord) -> bool:
    return record.object.group == _KSERVE and record.object.kind not in _ROLLED_OUT


def _reach(record: ChangeRecord) -> str:
    """Who gets a change of a shared object at once, and what to do so that a Canary tries it first."""
    users = [name for name in record.impact.objects if name.partition("/")[0] in _ROLLED_OUT]
    if not _is_shared(record) or not users:
        return ""
    more = f" and {len(users) - LISTED} more" if len(users) > LISTED else ""
    remedy = f"make a {record.object.kind} of another name and refer to that, which a Canary tries first"
    return f", which {', '.join(users[:LISTED])}{more} get at once: {remedy}"


def _told(found: Ruling) -> str:
    return f"{found.action} by DataTrigger {found.trigger}" if found.trigger else found.action


def before_apply(
    policies: Sequence[ChangePolicy],
    records: Sequence[ChangeRecord] | None,
    references: Sequence[Reference],
    now: datetime,
    *,
    new: bool,
    unmet: Unmet = lambda trigger, _: f"DataTrigger {trigger} is not known",
) -> Verdict:
    """May the revision be applied? *records* are its changes, None if nobody can tell; *new*: it is not applied yet."""
    floating = tuple(line for policy in policies for line in _floating(policy, references))
    if not new:
        return Verdict(floating)
    opening = None
    holds = _held(policies, records or (), unmet)
    if records is None and any(rule.action in {"hold", "gate", "canary"} for p in policies for rule in p.spec.rules):
        holds.append("what changes cannot be told: the revision that is applied cannot be read any more")
    spans = [window for policy in policies for window in policy.spec.windows]
    if not windows.permitted(spans, now):
        opening = windows.opens(spans, now)
        until = f"until {opening:%Y-%m-%d %H:%M} UTC" if opening else "for at least a week"
        holds.append(f"outside of the sync windows {until}")
    return Verdict(floating, tuple(holds), opening)


def alerts(policies: Iterable[ChangePolicy], record: ChangeRecord) -> list[str]:
    """What is to be told of a change beyond that it happens, by the word of each policy."""
    return [_line(record, found) for found in _rulings(policies, record) if found.action == "alert"]


def _line(record: ChangeRecord, found: Ruling) -> str:
    return f"{record.describe()}{_reach(record)} ({found.policy})"


def _held(policies: Sequence[ChangePolicy], records: Iterable[ChangeRecord], unmet: Unmet) -> list[str]:
    """What is held. Each policy has its say: the gate of one is no answer for another's."""
    holds: list[str] = []
    for record in records:
        for found in _rulings(policies, record):
            if found.action == "hold":
                holds.append(_line(record, found))
            elif found.action == "gate" and (why := unmet(found.trigger, record)):
                holds.append(f"{record.describe()} ({found.policy}: {why})")
    return holds


def before_prune(policies: Iterable[ChangePolicy], stale: int, total: int) -> str:
    """Why *stale* of the *total* objects of an inventory must not be deleted unasked; empty if they may."""
    for policy in policies:
        guard = policy.spec.prune
        if guard is None or stale < guard.min_objects or stale * 100 <= guard.max_percent * total:
            continue
        return (
            f"{stale} of {total} objects would be deleted, more than the {guard.max_percent} % that "
            f"ChangePolicy {policy.name} allows"
        )
    return ""


def approves(note: str, revision: str) -> bool:
    """Whether an approval names the revision: whole, or by at least seven characters of its commit."""
    word, commit = note.split(maxsplit=1)[0] if note.strip() else "", revision.rpartition(":")[2]
    return word == revision != "" or (len(word) >= _SHORTEST_COMMIT and commit.startswith(word))


def listed(lines: Sequence[str]) -> str:
    """Some lines as one text of bearable length."""
    shown = "; ".join(lines[:LISTED])
    return shown if len(lines) <= LISTED else f"{shown}; and {len(lines) - LISTED} more"


def _fits(rule: ChangeRule, record: ChangeRecord) -> bool:
    way = "revert" if record.direction.startswith(REVERT_TO) else record.direction
    return (
        (not rule.kinds or record.kind in rule.kinds)
        and record.op in (rule.operations or DEFAULT_OPERATIONS)
        and (not rule.directions or way in rule.directions)
    )


def _floating(policy: ChangePolicy, references: Iterable[Reference]) -> list[str]:
    kinds = frozenset(policy.spec.require_pinned)
    return [
        f"{found.slot.kind} {found.slot.name} of {found.key.kind} {found.key.name} is {found.slot.ref.canonical[:200]}"
        f", which floats; name a commit, digest or version (requirePinned of ChangePolicy {policy.name})"
        for found in references
        if found.slot.kind in kinds and found.slot.ref.pinned is False and "ignored" not in found.slot.traits
    ]
