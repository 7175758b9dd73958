"""Reports of evaluations: what a gate reads, in the project's own form and in those of common tools.

    {"metrics": {"accuracy": 0.913}, "verdict": "pass", "reason": "…", "subject": "hf://org/chat@9a20",
     "licence": "apache-2.0", "signature": "model.sig", "samples": 1200, "at": "2026-11-30T08:00:00Z"}

All of it may be missing. The forms of other tools are told apart by the fields that only they have: LM Evaluation
Harness, promptfoo, Inspect, garak, Great Expectations, Deepchecks, Evidently, an MLflow run, a benchmarked KAITO
Workspace, JUnit's XML. Any other JSON, YAML or TOML, such as DVC's metrics, is its numbers, named by their path
(`train.accuracy`). They decide nothing by themselves: a line of an error message is YAML, too (`code: 503`). Nor does a
suite in which nothing was tried, which tools tell as a success: its verdict is unknown.
"""

from __future__ import annotations

import enum
import math
import tomllib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, time
from typing import Any, Final, TypeAlias, TypeGuard
from xml.etree import ElementTree as ET

import msgspec

from agent.core.digits import whole
from agent.core.models.extract.document import load
from agent.core.models.extract.slot import MalformedError

METRICS: Final = 1000
"""How many numbers of a report are read at most."""
LONGEST: Final = 1024 * 1024
"""Bytes of a report."""
_DEEPEST: Final = 8
_HUGE: Final = 1e300
_MILLISECONDS: Final = 1e11
"""A time since 1970 above this is in milliseconds: in seconds, it would be the year 5138."""
_HUB_PROVIDERS: Final = ("hf", "vllm")
"""Inspect's names of what loads a model of the hub."""
_OWN: Final = frozenset({"metrics", "verdict", "reason", "subject", "licence", "signature"})
"""Fields that tell the project's own form from plain numbers."""


_CASES: Final = {"tests": "testcase", "failures": "failure", "errors": "error", "skipped": "skipped"}
"""Numbers of a testsuite of JUnit, and the elements that they are the numbers of."""
_GOOD: Final = ("pass", "passed", "success", "warn", "warning")
_BAD: Final = ("fail", "failed")
"""How tests end that Deepchecks and Evidently tell of, in lower case."""


class Answer(enum.StrEnum):
    """What a gate says."""

    PASS = "pass"  # noqa: S105 - not a password
    FAIL = "fail"
    UNKNOWN = "unknown"
    RUNNING = "running"


class Report(msgspec.Struct, frozen=True):
    """What an evaluation tells. `subject` is the reference that it was about; `licence` and `signature` are what was
    found with that: an SPDX identifier, and the file or object that signs it. `samples` is the number of questions that
    the smallest of its tasks had, `at` when it was made."""

    metrics: Mapping[str, float] = {}
    verdict: Answer | None = None
    reason: str = ""
    subject: str = ""
    licence: str = ""
    signature: str = ""
    samples: float | None = None
    at: datetime | None = None


def read_report(text: str) -> Report:
    """The report in a text: JSON, YAML, TOML, garak's JSON lines or JUnit's XML. Raises ValueError with a message for
    people."""
    if len(text) > LONGEST:
        raise ValueError(f"the report is longer than {LONGEST // 1024} KiB")
    if text.lstrip().startswith("<"):
        return _junit(text)
    rows = _rows(text)
    report = _garak(rows) if rows else _told(text)
    if len(report.metrics) > METRICS or not all(map(math.isfinite, report.metrics.values())):
        raise ValueError(f"the report has more than {METRICS} metrics, or values that are no numbers")
    return report


def _told(text: str) -> Report:
    try:
        found = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        found = _written(text, error)
    if not isinstance(found, Mapping):
        raise ValueError("the report cannot be read: it is no JSON object")  # noqa: TRY004 - a text that is wrong
    own = bool(found.keys() & _OWN)
    for holds, read in _FORMS if own else (*_LESS_THAN_OWN, *_FORMS):
        if holds(found):
            return read(found)
    return _own(found) if own else Report(metrics=dict(_numbers(found)))


def _written(text: str, error: Exception) -> Mapping[str, Any]:
    """What is TOML or YAML and tells something: not any text with a colon is a report."""
    fault = ValueError(f"the report cannot be read: {error}")
    if text.lstrip().startswith("{"):
        raise fault
    found: Mapping[str, Any]
    try:
        found = tomllib.loads(text)
    except (ValueError, RecursionError):
        try:
            found = load(text, "report")
        except MalformedError:
            raise fault from None
    if not found.keys() & _OWN and next(_numbers(found), None) is None:
        raise fault
    return found


def _rows(text: str) -> list[dict[str, Any]]:
    """The objects of garak's JSON lines, none if the text is anything else."""
    if '"entry_type"' not in text:
        return []
    try:
        found = [msgspec.json.decode(line) for line in text.splitlines() if line.strip()]
    except (msgspec.DecodeError, RecursionError):
        return []
    if not all(isinstance(row, dict) and isinstance(row.get("entry_type"), str) for row in found):
        return []
    return [] if len(found) == 1 and found[0].keys() & _OWN else found


def _garak(rows: Sequence[Mapping[str, Any]]) -> Report:
    """`PROBE.DETECTOR` is the share of answers that passed; how many may fail is for bounds to say."""
    metrics: dict[str, float] = {}
    counts = []
    for row in (row for row in rows if row["entry_type"] == "eval"):
        passed, total = row.get("passed"), row.get("total_evaluated", row.get("total"))
        if not _is_number(passed) or not _is_number(total):
            continue
        counts.append((passed, total))
        if total > 0:
            metrics[f"{row.get('probe')}.{str(row.get('detector')).removeprefix('detector.')}"] = passed / total
    if not metrics:
        return Report(verdict=Answer.UNKNOWN, reason="no probe was evaluated")
    passed, total = (float(sum(numbers)) for numbers in zip(*counts, strict=True))
    times = [moment for row in rows for key in ("start_time", "end_time") if (moment := _moment(row.get(key)))]
    return Report(
        metrics={**metrics, "passed": passed, "failures": total - passed, "total": total},
        samples=float(min(total for _, total in counts)),
        at=max(times, default=None),
    )


def _own(found: Mapping[str, Any]) -> Report:
    """`samples` and `at` of another form than theirs are not known: gates that ask for neither do without them."""
    try:
        report = msgspec.convert({name: found[name] for name in _OWN if name in found}, Report)
    except (msgspec.ValidationError, OverflowError) as error:
        raise ValueError(f"the report cannot be read: {error}") from None
    if report.verdict is Answer.RUNNING:
        raise ValueError("the report's verdict is pass, fail or unknown")
    samples = found.get("samples")
    return msgspec.structs.replace(
        report,
        samples=float(samples) if _is_number(samples) and samples >= 0 else None,
        at=_moment(found.get("at")),
    )


def _lm_evaluation_harness(found: Mapping[str, Any]) -> Report:
    """`results.TASK."METRIC,FILTER"`, told as `TASK.METRIC`, with the filter where it is one."""
    metrics: dict[str, float] = {}
    for task, values in found["results"].items():
        for name, value in values.items() if isinstance(values, dict) else ():
            metric, _, kind = name.partition(",")
            if _is_number(value):
                metrics[f"{task}.{metric}" if kind in {"", "none"} else f"{task}.{metric}.{kind}"] = float(value)
    arguments = found.get("config", {}).get("model_args") if isinstance(found.get("config"), dict) else None
    if isinstance(arguments, str):
        arguments = dict(part.partition("=")[::2] for part in arguments.split(","))
    given = arguments if isinstance(arguments, dict) else {}
    name, revision = given.get("pretrained"), given.get("revision")
    tasks = found.get("n-samples")
    counts = [task.get("effective") for task in _objects(list(tasks.values()))] if isinstance(tasks, dict) else []
    return Report(
        metrics=metrics,
        subject=f"hf://{name}@{revision}" if name and revision else "",
        samples=_fewest(counts),
        at=_moment(found.get("date")),
    )


def _promptfoo(found: Mapping[str, Any]) -> Report:
    stats = found["results"]["stats"]
    metrics = {name: float(value) for name, value in stats.items() if _is_number(value)}
    good, bad, broken = (metrics.get(name, 0.0) for name in ("successes", "failures", "errors"))
    verdict, reason = _judged(good, bad, broken)
    at = _moment(found["results"].get("timestamp"))
    return Report(metrics=metrics, verdict=verdict, reason=reason, samples=good + bad + broken, at=at)


def _inspect(found: Mapping[str, Any]) -> Report:
    """The log of one task, as JSON: `SCORE.METRIC`. A log that did not end well leaves it open."""
    results: Any = found.get("results") if isinstance(found.get("results"), dict) else {}
    scores = _objects(results.get("scores"))
    metrics: dict[str, float] = {}
    for score in scores:
        values = score.get("metrics")
        for metric, entry in values.items() if isinstance(values, dict) else ():
            value = entry.get("value") if isinstance(entry, dict) else None
            name = f"{score.get('name')}.{metric}"
            if _is_number(value):
                metrics[f"{name}.{score.get('reducer')}" if name in metrics else name] = float(value)
    ended, about, stats = found["status"] == "success", found["eval"], found.get("stats")
    provider, _, model = str(about.get("model")).partition("/")
    arguments = about.get("model_args")
    revision = arguments.get("revision") if isinstance(arguments, dict) else None
    return Report(
        metrics=metrics,
        verdict=None if ended else Answer.UNKNOWN,
        reason="" if ended else f"the evaluation's status is {str(found['status'])[:40]}",
        subject=f"hf://{model}@{revision}" if provider in _HUB_PROVIDERS and model and revision else "",
        samples=_fewest([results.get("completed_samples"), *(score.get("scored_samples") for score in scores)]),
        at=_moment(stats.get("completed_at")) if isinstance(stats, dict) else None,
    )


def _kaito(found: Mapping[str, Any]) -> Report:
    """A Workspace as the API server gives it, with the benchmark that KAITO ran in it; values are texts."""
    status = found["status"]
    metrics: dict[str, float] = {}
    for name, entry in status["performance"]["metrics"].items():
        try:
            value = float(entry["value"])
        except (TypeError, KeyError, ValueError, OverflowError):
            continue
        if _is_number(value):
            metrics[name] = value
    done = (one for one in _objects(status.get("conditions")) if one.get("type") == "BenchmarkCompleted")
    return Report(metrics=metrics, at=_moment(next(done, {}).get("lastTransitionTime")))


def _great_expectations(found: Mapping[str, Any]) -> Report:
    """A suite of no expectations is a success to it."""
    metrics = {name: float(value) for name, value in found["statistics"].items() if _is_number(value)}
    evaluated = metrics.get("evaluated_expectations", len(_objects(found.get("results"))))
    verdict, reason = _judged(evaluated if found["success"] else 0.0, 0.0 if found["success"] else 1.0, 0.0)
    return Report(metrics=metrics, verdict=verdict, reason=reason)


def _deepchecks(found: Mapping[str, Any]) -> Report:
    """Its conditions; a check that could not be run has an error in their place."""
    results = _objects(found["results"])
    checked = [item for result in results for item in _objects(result.get("conditions_results"))]
    checked += [{"Status": "ERROR"} for result in results if result.get("type") == "CheckFailure"]
    return _counted(str(item.get("Status") or "") for item in checked)


def _evidently(found: Mapping[str, Any]) -> Report:
    return _counted(str(item.get("status") or "") for item in _objects(found["tests"]))


def _mlflow(found: Mapping[str, Any]) -> Report:
    """The answer of `runs/get`."""
    data = found["run"]["data"]
    tags = {str(item.get("key")): str(item.get("value")) for item in _objects(data.get("tags"))}
    numbers = [item for item in _objects(data["metrics"]) if _is_number(item.get("value"))]
    verdict = {"approved": Answer.PASS, "rejected": Answer.FAIL}.get(tags.get("validation_status", "").lower())
    about = found["run"].get("info")
    return Report(
        metrics={str(item.get("key")): float(item["value"]) for item in numbers},
        verdict=verdict,
        at=_moment(about.get("end_time")) if isinstance(about, dict) else None,
    )


def _objects(found: object) -> list[dict[str, Any]]:
    return [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []


def _junit(text: str) -> Report:
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise ValueError("the report cannot be read: XML with a document type or entities is not taken")
    try:
        root = ET.fromstring(text)  # noqa: S314 - nothing can be declared in it, see above
    except ET.ParseError as error:
        raise ValueError(f"the report cannot be read: {error}") from None
    suites = [root] if root.tag == "testsuite" else root.findall("testsuite")
    if not suites:
        raise ValueError("the report cannot be read: it is XML, but has no testsuite")
    metrics = {name: sum(_number_of(suite, name) for suite in suites) for name in _CASES}
    disabled = sum(_number_of(suite, "disabled") for suite in suites)
    bad = metrics["failures"] + metrics["errors"]
    verdict, reason = _judged(metrics["tests"] - metrics["skipped"] - disabled - bad, bad, 0.0)
    times = [moment for suite in suites if (moment := _moment(suite.get("timestamp")))]
    return Report(
        metrics=metrics,
        verdict=verdict,
        reason=reason,
        samples=metrics["tests"],
        at=min(times, default=None),
    )


def _number_of(suite: ET.Element, name: str) -> float:
    """What a testsuite says of its cases, else what the cases say themselves."""
    if name not in suite.keys():  # noqa: SIM118 - an element, whose items are its children
        return float(len(suite.findall(f".//{_CASES[name]}"))) if name in _CASES else 0.0
    count = whole(suite.get(name) or "0")
    if count is None:
        raise ValueError(f"the report cannot be read: a testsuite's {name} is no number")
    return float(count)


def _counted(statuses: Iterable[str]) -> Report:
    """Tests by how they ended; one of which that is not known leaves it open, if no other has failed."""
    counts = Counter(status.lower() for status in statuses)
    good, bad, skipped = (sum(counts[word] for word in words) for words in (_GOOD, _BAD, ("skipped",)))
    total = counts.total()
    metrics = {"tests": float(total), "failures": float(bad), "errors": float(counts["error"])}
    verdict, reason = _judged(good, bad, total - good - bad - skipped)
    return Report(metrics=metrics, verdict=verdict, reason=reason)


def _judged(good: float, bad: float, broken: float) -> tuple[Answer, str]:
    """A verdict over tests and its reason: those that could not be run leave it open, as does that there are none."""
    if bad:
        return Answer.FAIL, ""
    if broken:
        return Answer.UNKNOWN, f"{broken:.0f} of the tests could not be run"
    return (Answer.PASS, "") if good > 0 else (Answer.UNKNOWN, "no test was run")


def _numbers(found: Any, path: str = "", depth: int = 0) -> Iterator[tuple[str, float]]:
    if _is_number(found):
        yield path, float(found)
    elif isinstance(found, dict) and depth < _DEEPEST:
        for name, value in found.items():
            yield from _numbers(value, f"{path}.{name}" if path else str(name), depth + 1)


def _moment(value: object) -> datetime | None:
    """A time of RFC 3339, or since 1970; one without a zone is of UTC, a day its begin. None for anything else."""
    try:
        if isinstance(value, str):
            value = datetime.fromisoformat(value)
        elif _is_number(value):
            seconds = float(value)
            value = datetime.fromtimestamp(seconds / 1000 if seconds > _MILLISECONDS else seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return None
    if not isinstance(value, datetime):
        return datetime.combine(value, time(), UTC) if isinstance(value, date) else None
    return value if value.tzinfo is not None else value.replace(tzinfo=UTC)


def _fewest(counts: Iterable[object]) -> float | None:
    return min((float(count) for count in counts if _is_number(count)), default=None)


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _HUGE


def _at(*path: str, kind: type) -> Callable[[Mapping[str, Any]], bool]:
    """Whether a value of that kind is at the path."""

    def holds(found: Any) -> bool:
        for name in path:
            found = found.get(name) if isinstance(found, dict) else None
        return isinstance(found, kind)

    return holds


def _both(*tests: Callable[[Mapping[str, Any]], bool]) -> Callable[[Mapping[str, Any]], bool]:
    return lambda found: all(test(found) for test in tests)


Forms: TypeAlias = tuple[tuple[Callable[[Mapping[str, Any]], bool], Callable[[Mapping[str, Any]], Report]], ...]
_LESS_THAN_OWN: Final[Forms] = (
    (_at("status", "performance", "metrics", kind=dict), _kaito),
    (_both(_at("eval", "task", kind=str), _at("status", kind=str)), _inspect),
)
"""Forms by fields that may stand in one of the project's own, too, whose verdict then counts."""
_FORMS: Final[Forms] = (
    (_at("results", "stats", kind=dict), _promptfoo),
    (_both(_at("success", kind=bool), _at("statistics", kind=dict)), _great_expectations),
    (_both(_at("results", kind=dict), _at("versions", kind=dict)), _lm_evaluation_harness),
    (_both(_at("results", kind=dict), _at("config", kind=dict)), _lm_evaluation_harness),
    (lambda found: found.get("type") == "SuiteResult" and isinstance(found.get("results"), list), _deepchecks),
    (_at("tests", kind=list), _evidently),
    (_at("run", "data", "metrics", kind=list), _mlflow),
)
