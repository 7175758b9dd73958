"""Offline gates: what a revision has to show before it gets any traffic.

A gate is a pre-rollout webhook of the Canary whose address is none of Flagger's. `job://NAME` runs the Job that the
CronJob NAME describes, once a revision, and reads its report; `report://NAME/KEY` reads the report that stands in a
ConfigMap already, which Git brought there; `trigger://NAME` waits for what a DataTrigger runs for the data that the
target names; `gate+https://…` asks a server. Reports are those of `reports.py`.

What a report has to say is in the webhook's metadata: `min.METRIC` and `max.METRIC`, in comparison with what the
promoted revision reported `maxDrop.METRIC` and `maxRise.METRIC`, and what has to be there, `licence` and `signature`.
A gate says pass, fail or unknown.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime
from urllib.parse import urlsplit

import msgspec

from agent.core.rollout.noted import Moment, noted
from agent.core.rollout.reports import Answer, Report, read_report

RESULTS = "weir.dev/gate-results"
"""Annotation on a Canary: what the gates of the last revisions reported, as JSON."""
KEPT = 10
JOB, REPORT, TRIGGER, HTTP, HTTPS = "job", "report", "trigger", "gate+http", "gate+https"
DIGEST = "{digest}"
"""In the key of a report: the commit or digest of the model that it is about."""
_HEX = re.compile(r"[0-9a-f]{32,128}")
_LONGEST = 300
_AT_IT = 202
_SKEW = 300.0
"""Seconds that another machine's clock may be ahead."""
_LISTED = 3
"""Metrics that a message names."""
_METRICS = 50
"""How many numbers of a report are kept, those with limits first."""


class OnUnknown(enum.StrEnum):
    """What follows where a gate cannot tell: wait for a person, go on, or roll back."""

    HOLD = "hold"
    PASS = "pass"  # noqa: S105 - not a password
    FAIL = "fail"


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What one metric has to keep; None is no limit. `drop` and `rise` are differences from the incumbent's value."""

    minimum: float | None = None
    maximum: float | None = None
    drop: float | None = None
    rise: float | None = None


class Gate(msgspec.Struct, frozen=True, kw_only=True):
    """One gate. `source` is the name of the CronJob, or of the ConfigMap whose `key` has the report, or the address of
    the server; `timeout` in seconds; `secret` is the name of the Secret with the server's credentials. `licences` are
    those that are allowed, in lower case, empty where none is asked for; `signed`: a signature is. `samples` is how
    many questions there have to be, `age` how many seconds old the report may be; None asks for nothing.
    `in_config_map`: the Job leaves its report in a ConfigMap of its own name, not in its termination message. `error`
    says why it cannot be used as it is written; it is then unknown, and holds whatever `on_unknown` says."""

    name: str
    kind: str = JOB
    source: str
    key: str = ""
    limits: Mapping[str, Limits] = {}
    licences: frozenset[str] = frozenset()
    signed: bool = False
    samples: float | None = None
    age: float | None = None
    in_config_map: bool = False
    timeout: float | None = None
    verify_tls: bool = True
    secret: str = ""
    on_unknown: OnUnknown = OnUnknown.HOLD
    error: str = ""


class Observed(msgspec.Struct, frozen=True, kw_only=True):
    """A gate as it was found: still running; completed, or failed, with the report if there is one and the place where
    it stands; or none of these, and so of no use. `note` says what is the matter."""

    gate: str
    running: bool = False
    completed: bool = False
    failed: bool = False
    report: Report | None = None
    where: str = ""
    note: str = ""


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept of a gate's answer. `revision` is the checksum that webhooks get, too."""

    gate: str
    revision: str
    answer: Answer
    metrics: Mapping[str, float] = {}
    at: Moment


class Opinion(msgspec.Struct, frozen=True, kw_only=True):
    """A gate's answer in words, and what is done about it: `effect` is pass, fail, unknown (hold) or running."""

    gate: str
    answer: Answer
    effect: Answer
    text: str
    metrics: Mapping[str, float] = {}


def key_about(gate: Gate, keys: Collection[str], subjects: Collection[str]) -> tuple[str, str]:
    """(key, subject): where the report stands among the keys of its ConfigMap. The subject is the one that the key
    names, and empty where the report has to name it itself."""
    if DIGEST not in gate.key:
        return gate.key, ""
    for subject in sorted(subjects):
        for mark in _HEX.findall(subject):
            if gate.key.replace(DIGEST, mark) in keys:
                return gate.key.replace(DIGEST, mark), subject
    return gate.key, ""


def about(gate: Gate, data: Mapping[str, str], subjects: Collection[str]) -> Observed:
    """What a report that is there says about a revision: `data` is that of the ConfigMap, `subjects` are the revision's
    references, spelled in any way that counts.

    A report about another model, or about none, says nothing of this one.
    """
    key, named = key_about(gate, data, subjects)
    where, text = f"ConfigMap {gate.source}, key {key}", data.get(key)
    if text is None:
        return Observed(gate=gate.name, note=f"there is no {where}")
    try:
        report = read_report(text)
    except ValueError as error:
        return Observed(gate=gate.name, note=f"{where}: {error}")
    if not subjects:
        return Observed(gate=gate.name, note="the target names no pinned model that a report could be about")
    if named and not report.subject:
        report = msgspec.structs.replace(report, subject=named)
    if report.subject not in subjects:
        other = f"is about {report.subject}" if report.subject else "names no subject"
        return Observed(gate=gate.name, note=f"{where}: the report {other}, not about {', '.join(sorted(subjects))}")
    return Observed(gate=gate.name, completed=True, report=report, where=where)


def answered(gate: Gate, status: int, text: str, subjects: Collection[str]) -> Observed:
    """What a server's answer says: 202 that it is still at it, another 2xx that the body is the report; `status` 0 with
    the reason if there was none."""
    where = without_secrets(gate.source)
    if status == _AT_IT:
        return Observed(gate=gate.name, running=True, note=f"{where} is still evaluating")
    if status == 0:
        return Observed(gate=gate.name, note=f"{where} cannot be asked: {_cut(text)}")
    if not 200 <= status < 300:
        return Observed(gate=gate.name, note=f"{where} answered {status}: {_cut(text)}")
    try:
        report = read_report(text) if text.strip() else Report()
    except ValueError as error:
        return Observed(gate=gate.name, note=f"{where}: {error}")
    if report.subject and report.subject not in subjects:
        return Observed(gate=gate.name, note=f"{where}: the report is about {report.subject}")
    return Observed(gate=gate.name, completed=True, report=report, where=where)


def opinion(gate: Gate, found: Observed, incumbent: Mapping[str, float] | None, now: datetime | None = None) -> Opinion:
    """What a gate says of a revision; `incumbent` are the metrics of the promoted one, None if they are not known.
    Without `now` nothing is too old."""
    answer, why = _answer(gate, found, incumbent, now)
    effect = answer
    if answer is Answer.UNKNOWN and not gate.error and gate.on_unknown is not OnUnknown.HOLD:
        effect = Answer(gate.on_unknown)
    return Opinion(
        gate=gate.name,
        answer=answer,
        effect=effect,
        text=_cut(why),
        metrics=_kept(gate, found.report.metrics) if found.report is not None else {},
    )


def _kept(gate: Gate, metrics: Mapping[str, float]) -> dict[str, float]:
    ordered = sorted(metrics, key=lambda metric: metric not in gate.limits)
    return {metric: metrics[metric] for metric in ordered[:_METRICS]}


def decode_results(annotations: Mapping[str, str]) -> tuple[Result, ...]:
    """The results on a Canary; an annotation that somebody has broken holds none."""
    return tuple(noted(annotations, RESULTS, list[Result]) or ())


def encode_results(results: Sequence[Result]) -> str:
    """The annotation's value."""
    return msgspec.json.encode(results).decode()


def with_results(results: Sequence[Result], fresh: Sequence[Result], promoted: str) -> tuple[Result, ...]:
    """The last results. Those of the promoted revision are never pushed out: the next one is compared with them."""
    new = {(one.gate, one.revision) for one in fresh}
    kept = [one for one in results if (one.gate, one.revision) not in new]
    safe = [one for one in kept if one.revision == promoted]
    others = [one for one in kept if one.revision != promoted]
    room = max(KEPT - len(safe) - len(fresh), 0)
    return (*safe, *(others[-room:] if room else ()), *fresh)


def result_of(results: Sequence[Result], gate: str, revision: str) -> Result | None:
    """What a gate said of a revision."""
    return next((one for one in results if (one.gate, one.revision) == (gate, revision)), None)


def _answer(
    gate: Gate, found: Observed, incumbent: Mapping[str, float] | None, now: datetime | None
) -> tuple[Answer, str]:
    if gate.error:
        return Answer.UNKNOWN, gate.error
    if found.running:
        return Answer.RUNNING, found.note
    report = found.report if found.report is not None else Report()
    broken, missing, kept = _held_against(gate.limits, report.metrics, incumbent)
    _held_against_presence(gate, report, broken, missing, kept)
    if report.verdict is Answer.FAIL or found.failed or broken:
        return Answer.FAIL, "; ".join(filter(None, (report.reason, *broken, found.note)))
    if report.verdict is Answer.UNKNOWN or not found.completed:
        return Answer.UNKNOWN, "; ".join(filter(None, (report.reason, found.note)))
    if missing:
        return Answer.UNKNOWN, f"there is no {', '.join(missing)} in the report"
    if found.report is not None and report.verdict is None and not kept:
        return Answer.UNKNOWN, _undecided(found.where, report)
    if weak := _too_weak(gate, report, now):
        return Answer.UNKNOWN, weak
    return Answer.PASS, "; ".join(kept) or report.reason


def _undecided(where: str, report: Report) -> str:
    """That nothing in the report was held against anything, and what to do about it."""
    names = sorted(report.metrics)
    more = ", …" if len(names) > _LISTED else ""
    has = f"has {', '.join(names[:_LISTED])}{more}" if names else "has no metrics"
    place = f" of {where}" if where else ""
    remedy = "add 'verdict' to it, or min.METRIC or max.METRIC to the gate's metadata"
    return f"the report{place} states no verdict and {has}, for which the gate has no limit: {remedy}"


def _too_weak(gate: Gate, report: Report, now: datetime | None) -> str:
    """Why the report shows too little, empty if it does not: of too few questions, or of too long ago."""
    if gate.samples is not None and report.samples is None:
        return "the report does not say of how many samples it is: add 'samples' to it, a number"
    if gate.samples is not None and report.samples is not None and report.samples < gate.samples:
        return f"the report is of {_shown(report.samples)} samples, fewer than {_shown(gate.samples)}"
    if gate.age is None or now is None:
        return ""
    if report.at is None:
        return "the report does not say when it was made: add 'at' to it, a time of RFC 3339"
    age = (now - report.at).total_seconds()
    if age < -_SKEW:
        return f"the report was made at {report.at.isoformat()}, which is in the future"
    return f"the report was made {_shown(age)} s ago, more than {_shown(gate.age)} s" if age > gate.age else ""


def _held_against(
    limits: Mapping[str, Limits], metrics: Mapping[str, float], incumbent: Mapping[str, float] | None
) -> tuple[list[str], list[str], list[str]]:
    """Texts of limits that are broken, names of metrics that are missing, texts of those that are kept."""
    broken, missing, kept = [], [], []
    for metric, limit in limits.items():
        value = metrics.get(metric)
        if value is None:
            missing.append(metric)
            continue
        before = (incumbent or {}).get(metric)
        outside = list(_outside(value, limit, before))
        compared = f", incumbent {_shown(before)}" if before is not None else ""
        shown = f"{metric} {_shown(value)}{compared}"
        broken += [f"{metric} {text}" for text in outside]
        if not outside:
            kept.append(shown)
    return broken, missing, kept


def _held_against_presence(gate: Gate, report: Report, broken: list[str], missing: list[str], kept: list[str]) -> None:
    """The same of what has to be there: a licence that is allowed, and a signature."""
    if gate.licences and not report.licence:
        missing.append("licence")
    elif gate.licences:
        allowed = report.licence.lower() in gate.licences
        text = f"licence {_cut(report.licence)}"
        (kept if allowed else broken).append(text if allowed else f"{text} is not allowed")
    if gate.signed:
        (kept if report.signature else missing).append(
            f"signature {_cut(report.signature)}" if report.signature else "signature"
        )


def _outside(value: float, limit: Limits, before: float | None) -> Iterator[str]:
    if limit.minimum is not None and value < limit.minimum:
        yield f"{_shown(value)} < {_shown(limit.minimum)}"
    if limit.maximum is not None and value > limit.maximum:
        yield f"{_shown(value)} > {_shown(limit.maximum)}"
    if before is None:
        return  # the first revision has nobody to be compared with
    if limit.drop is not None and before - value > limit.drop:
        yield f"{_shown(value)} is more than {_shown(limit.drop)} below the incumbent's {_shown(before)}"
    if limit.rise is not None and value - before > limit.rise:
        yield f"{_shown(value)} is more than {_shown(limit.rise)} above the incumbent's {_shown(before)}"


def _shown(value: float) -> str:
    return f"{value:.6g}"


def _cut(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 1]}…"


def without_secrets(url: str) -> str:
    """An address without what may be a secret in it."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
