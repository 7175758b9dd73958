"""Finished runs as they are kept on the Canary: the last few, in brief, within a size that an annotation can have.

What is left out is what explains least: checks that passed, and queries that were told before. What somebody else has
written there is read as far as it can be, and costs nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from agent.api.judge import Finding
from agent.core.rollout.judgement import Judgement, Verdict
from agent.core.rollout.noted import noted
from agent.core.rollout.view import RolloutView

RUNS = "weir.dev/runs"
"""Annotation on a Canary: its last finished runs as JSON, the oldest first."""
KEPT = 5
LIMIT = 32 * 1024
"""Bytes of the annotation; all annotations of an object share 256 KiB."""
_LISTED = 10
_SHORT, _QUERY = 500, 1000
"""Characters of a text, and of a query."""


def decode_runs(annotations: Mapping[str, str], namespace: str, name: str) -> tuple[RolloutView, ...]:
    """The runs on a Canary, the oldest first. Entries that somebody has broken are left out."""
    entries = noted(annotations, RUNS, list[msgspec.Raw]) or ()
    views = (_decoded(entry, namespace, name) for entry in entries)
    return _last(view for view in views if view is not None)


def encode_runs(views: Iterable[RolloutView]) -> str:
    """The annotation's value: as many of the newest as have room, and the newest in any case."""
    kept = [brief(view) for view in _last(views)]
    while len(kept) > 1 and not _fits(kept):
        kept = kept[1:]
    for shorten in (_without_queries, _without_evidence, _bare):
        if not kept or _fits(kept):
            break
        kept = [shorten(kept[0])]
    return _encoded(kept).decode()


def brief(view: RolloutView) -> RolloutView:
    """A run with what explains it most."""
    return msgspec.structs.replace(
        view,
        changes=tuple(_cut(text) for text in view.changes[:_LISTED]),
        withheld=view.withheld[:_LISTED],
        judgements=_telling(view.judgements),
        warnings=tuple(msgspec.structs.replace(one, text=_cut(one.text)) for one in view.warnings[-_LISTED:]),
        findings=tuple(_finding(one) for one in view.findings[:_LISTED]),
        cause=_cut(view.cause),
        reason=_cut(view.reason),
        blocked=_cut(view.blocked),
        message=_cut(view.message),
    )


def _decoded(entry: msgspec.Raw, namespace: str, name: str) -> RolloutView | None:
    """The run, of this Canary whatever it says; None for what is none."""
    try:
        found = msgspec.json.decode(entry, type=RolloutView)
    except (msgspec.DecodeError, RecursionError):
        return None
    return msgspec.structs.replace(found, namespace=namespace, name=name)


def _last(views: Iterable[RolloutView]) -> tuple[RolloutView, ...]:
    ended = [(view.finished, view) for view in views if view.finished is not None]
    return tuple(view for _, view in sorted(ended, key=lambda pair: pair[0]))[-KEPT:]


def _telling(judgements: Sequence[Judgement]) -> tuple[Judgement, ...]:
    """The last checks that did not pass, and the last one of each metric; a query once."""
    latest = {one.metric: place for place, one in enumerate(judgements)}
    refusals = [place for place, one in enumerate(judgements) if one.verdict is not Verdict.PASS]
    places = sorted({*refusals[-_LISTED:], *list(latest.values())[:_LISTED]})
    told: dict[str, str] = {}
    found: list[Judgement] = []
    for one in (judgements[place] for place in places):
        query = "" if told.get(one.metric) == one.query else one.query
        told[one.metric] = one.query
        found.append(msgspec.structs.replace(one, text=_cut(one.text), query=_cut(query, _QUERY)))
    return tuple(found)


def _finding(finding: Finding) -> Finding:
    return msgspec.structs.replace(finding, reason=_cut(finding.reason), query=_cut(finding.query, _QUERY))


def _without_queries(view: RolloutView) -> RolloutView:
    return msgspec.structs.replace(
        view,
        judgements=tuple(msgspec.structs.replace(one, query="") for one in view.judgements),
        findings=tuple(msgspec.structs.replace(one, query="") for one in view.findings),
    )


def _without_evidence(view: RolloutView) -> RolloutView:
    return msgspec.structs.replace(view, judgements=(), findings=(), withheld=(), warnings=view.warnings[-1:])


def _bare(view: RolloutView) -> RolloutView:
    return msgspec.structs.replace(view, changes=view.changes[:1], warnings=(), shares=())


def _fits(views: list[RolloutView]) -> bool:
    return len(_encoded(views)) <= LIMIT


def _encoded(views: list[RolloutView]) -> bytes:
    return msgspec.json.encode(_filled(views))


def _filled(value: Any) -> Any:
    """Without the fields that reading fills in by itself."""
    if isinstance(value, msgspec.Struct):
        fields = ((field, getattr(value, field.name)) for field in msgspec.structs.fields(value))
        return {field.encode_name: _filled(item) for field, item in fields if item != field.default}
    return [_filled(item) for item in value] if isinstance(value, list | tuple) else value


def _cut(text: str, length: int = _SHORT) -> str:
    return text if len(text) <= length else f"{text[: length - 1]}…"
