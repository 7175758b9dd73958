"""Which model answered at a time, at which share of the traffic and by which commit: from a Canary's ledger."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

import msgspec

from agent.core.console.served import Seen, short
from agent.core.console.table import BOLD, Paint, safe, table
from agent.core.objects import ObjectKey
from agent.core.rollout.ledger import KEPT, SHARES, LedgerEntry, Outcome, Role, Share
from agent.core.rollout.plan import TOTAL_WEIGHT
from agent.core.rollout.quarantine import Reference


class Answerer(msgspec.Struct, frozen=True, kw_only=True):
    """A reference that answered. `commit` is the source's revision that brought it, null without a record of that."""

    slot: str
    kind: str
    spelling: str
    commit: str | None


class Answered(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A period of one Canary; what `weir rollout ledger -o json` prints, with the fields of `/api/v1/ledger`.

    `share` is the part of the traffic in percent at the time that was asked for: null without such a time, and where
    requests were not split by weight or the ledger does not reach back to it.
    """

    canary: str
    role: Role
    share: int | None
    revision: str
    since: datetime | None
    until: datetime | None
    outcome: Outcome
    models: tuple[Answerer, ...]
    shares: tuple[Share, ...]


def answered(
    entries: Sequence[LedgerEntry], target: ObjectKey, seen: Sequence[Seen], at: datetime | None
) -> list[Answered]:
    """All periods of a Canary, or those of a moment. `seen` are changes of its target, the newest first.

    A moment that the ledger does not reach gives none.
    """
    chosen = [entry for entry in entries if at is None or entry.covers(at)]
    if all(entry.role != "primary" for entry in chosen):
        return []
    mine = [change for change in seen if change.key == target]
    return [
        Answered(
            canary=entry.canary,
            role=entry.role,
            share=None if at is None or _is_in_gap(entries, at) else _share(entry, chosen, at),
            revision=entry.revision,
            since=entry.since,
            until=entry.until,
            outcome=entry.outcome,
            models=tuple(_answerer(model, entry.since, mine) for model in entry.models),
            shares=entry.shares,
        )
        for entry in chosen
    ]


def begins(entries: Sequence[LedgerEntry]) -> datetime | None:
    """The first moment for which the ledger knows who answered; None where it has no such bound, or nothing at all."""
    times = [entry.since for entry in entries if entry.role == "primary"]
    return min((time for time in times if time is not None), default=None)


def answered_table(found: Sequence[Answered], at: datetime | None, paint: Paint) -> Iterator[str]:
    """For people: the moment, and a line for each reference."""
    moment = f" at {written(at)}" if at is not None else ""
    yield paint(f"{safe(found[0].canary)}{moment}", BOLD)
    yield ""
    head = ("ROLE", "SHARE", "KIND", "REFERENCE", "COMMIT", "SINCE", "UNTIL", "THEN")
    yield from table(head, (row for period in found for row in _rows(period, at)))


def written(moment: datetime) -> str:
    """A moment as it may be asked for."""
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _rows(period: Answered, at: datetime | None) -> Iterator[tuple[str, ...]]:
    known = (
        written(period.since) if period.since else "before the ledger",
        written(period.until) if period.until else "now",
        period.outcome or "-",
    )
    role, share = period.role, _share_text(period, at)
    for model in period.models or (Answerer(slot="", kind="-", spelling=period.revision, commit=None),):
        yield role, share, model.kind, model.spelling, short(model.commit or ""), *known


def _share_text(period: Answered, at: datetime | None) -> str:
    if at is None and period.shares:
        known = [share.percent for share in period.shares if share.percent is not None]
        return f"≤ {max(known)}%" if len(known) == len(period.shares) else "-"
    return "-" if period.share is None else f"{period.share}%"


def _is_in_gap(entries: Sequence[LedgerEntry], at: datetime) -> bool:
    """Whether canaries of that time may have been forgotten, while the primary beside them still serves."""
    if len(entries) < KEPT or entries[-1].role != "primary" or entries[-1].until is not None:
        return False
    first = entries[-2].since
    return first is not None and at < first


def _share(entry: LedgerEntry, together: Sequence[LedgerEntry], at: datetime) -> int | None:
    trial = next((one for one in together if one.role == "canary"), None)
    if trial is None:
        return TOTAL_WEIGHT
    share = _share_of(trial, at)
    return share if share is None or entry is trial else TOTAL_WEIGHT - share


def _share_of(trial: LedgerEntry, at: datetime) -> int | None:
    past = [share for share in trial.shares if share.at <= at]
    if past:
        return past[-1].percent
    return 0 if 0 < len(trial.shares) < SHARES else None


def _answerer(model: Reference, since: datetime | None, seen: Sequence[Seen]) -> Answerer:
    canonical = model.digest.partition(" ")[0]
    brought = (
        change.revision
        for change in seen
        # the status, from which periods come, has whole seconds
        if (change.slot, change.canonical) == (model.slot, canonical)
        and since is not None
        and change.at.replace(microsecond=0) <= since
    )
    return Answerer(slot=model.slot, kind=model.kind, spelling=model.spelling, commit=next(brought, None))
