"""Reports of evaluations: what a gate reads, in the project's own form and in those of common tools.

    {"metrics": {"accuracy": 0.913}, "verdict": "pass", "reason": "…", "subject": "hf://org/chat@9a20",
     "licence": "apache-2.0", "signature": "model.sig"}

All of it may be missing. The forms of other tools are told apart by the fields that only they have: LM Evaluation
Harness, promptfoo, Great Expectations, Deepchecks, Evidently, an MLflow run, JUnit's XML. Any other JSON object, such
as DVC's metrics, is its numbers, named by their path (`train.accuracy`).
"""

from __future__ import annotations

import enum
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final
from xml.etree import ElementTree as ET

import msgspec

METRICS: Final = 1000
"""How many numbers of a report are read at most."""
LONGEST: Final = 1024 * 1024
"""Bytes of a report."""
_DEEPEST: Final = 8
_HUGE: Final = 1e300


class Answer(enum.StrEnum):
    """What a gate says."""

    PASS = "pass"  # noqa: S105 - not a password
    FAIL = "fail"
    UNKNOWN = "unknown"
    RUNNING = "running"


class Report(msgspec.Struct, frozen=True):
    """What an evaluation tells. `subject` is the reference that it was about; `licence` and `signature` are what was
    found with that: an SPDX identifier, and the file or object that signs it."""

    metrics: Mapping[str, float] = {}
    verdict: Answer | None = None
    reason: str = ""
    subject: str = ""
    licence: str = ""
    signature: str = ""


def read_report(text: str) -> Report:
    """The report in a text, JSON or JUnit's XML. Raises ValueError with a message for people."""
    if len(text) > LONGEST:
        raise ValueError(f"the report is longer than {LONGEST // 1024} KiB")
    if text.lstrip().startswith("<"):
        return _junit(text)
    try:
        found = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ValueError(f"the report cannot be read: {error}") from None
    if not isinstance(found, dict):
        raise ValueError("the report cannot be read: it is no JSON object")  # noqa: TRY004 - a text that is wrong
    report = next((read(found) for holds, read in _FORMS if holds(found)), None)
    if report is None:
        report = _own(found) if found.keys() & set(Report.__struct_fields__) else Report(metrics=dict(_numbers(found)))
    if len(report.metrics) > METRICS or not all(map(math.isfinite, report.metrics.values())):
        raise ValueError(f"the report has more than {METRICS} metrics, or values that are no numbers")
    return report


def _own(found: Mapping[str, Any]) -> Report:
    try:
        report = msgspec.convert(found, Report)
    except (msgspec.ValidationError, OverflowError) as error:
        raise ValueError(f"the report cannot be read: {error}") from None
    if report.verdict is Answer.RUNNING:
        raise ValueError("the report's verdict is pass, fail or unknown")
    return report


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
    return Report(metrics=metrics, subject=f"hf://{name}@{revision}" if name and revision else "")


def _promptfoo(found: Mapping[str, Any]) -> Report:
    stats = found["results"]["stats"]
    metrics = {name: float(value) for name, value in stats.items() if _is_number(value)}
    return Report(metrics=metrics, verdict=_verdict(metrics.get("failures", 0.0), metrics.get("errors", 0.0)))


def _great_expectations(found: Mapping[str, Any]) -> Report:
    metrics = {name: float(value) for name, value in found["statistics"].items() if _is_number(value)}
    return Report(metrics=metrics, verdict=Answer.PASS if found["success"] is True else Answer.FAIL)


def _deepchecks(found: Mapping[str, Any]) -> Report:
    checked = [item for result in _objects(found["results"]) for item in _objects(result.get("conditions_results"))]
    return _counted(str(item.get("Status") or "") for item in checked)


def _evidently(found: Mapping[str, Any]) -> Report:
    return _counted(str(item.get("status") or "") for item in _objects(found["tests"]))


def _mlflow(found: Mapping[str, Any]) -> Report:
    """The answer of `runs/get`."""
    data = found["run"]["data"]
    tags = {str(item.get("key")): str(item.get("value")) for item in _objects(data.get("tags"))}
    numbers = [item for item in _objects(data["metrics"]) if _is_number(item.get("value"))]
    verdict = {"approved": Answer.PASS, "rejected": Answer.FAIL}.get(tags.get("validation_status", "").lower())
    return Report(metrics={str(item.get("key")): float(item["value"]) for item in numbers}, verdict=verdict)


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
    metrics = {name: _sum(suites, name) for name in ("tests", "failures", "errors", "skipped")}
    if not metrics["tests"]:
        return Report(metrics=metrics, verdict=Answer.UNKNOWN, reason="no test was run")
    return Report(metrics=metrics, verdict=_verdict(metrics["failures"] + metrics["errors"], 0.0))


def _sum(suites: Iterable[ET.Element], name: str) -> float:
    try:
        return float(sum(int(suite.get(name) or 0) for suite in suites))
    except ValueError:
        raise ValueError(f"the report cannot be read: a testsuite's {name} is no number") from None


def _counted(statuses: Iterable[str]) -> Report:
    """Tests by how they ended; one that could not be run leaves it open, if no other has failed."""
    counts = Counter(status.lower() for status in statuses)
    bad, broken = counts["fail"] + counts["failed"], counts["error"]
    metrics = {"tests": float(sum(counts.values())), "failures": float(bad), "errors": float(broken)}
    if not counts:
        return Report(metrics=metrics, verdict=Answer.UNKNOWN, reason="no test was run")
    return Report(metrics=metrics, verdict=_verdict(bad, broken))


def _verdict(failed: float, broken: float) -> Answer:
    if failed:
        return Answer.FAIL
    return Answer.UNKNOWN if broken else Answer.PASS


def _numbers(found: Any, path: str = "", depth: int = 0) -> Iterator[tuple[str, float]]:
    if _is_number(found):
        yield path, float(found)
    elif isinstance(found, dict) and depth < _DEEPEST:
        for name, value in found.items():
            yield from _numbers(value, f"{path}.{name}" if path else str(name), depth + 1)


def _is_number(value: object) -> bool:
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


_FORMS: Final[tuple[tuple[Callable[[Mapping[str, Any]], bool], Callable[[Mapping[str, Any]], Report]], ...]] = (
    (_at("results", "stats", kind=dict), _promptfoo),
    (_both(_at("success", kind=bool), _at("statistics", kind=dict)), _great_expectations),
    (_both(_at("results", kind=dict), _at("versions", kind=dict)), _lm_evaluation_harness),
    (_both(_at("results", kind=dict), _at("config", kind=dict)), _lm_evaluation_harness),
    (lambda found: found.get("type") == "SuiteResult" and isinstance(found.get("results"), list), _deepchecks),
    (_at("tests", kind=list), _evidently),
    (_at("run", "data", "metrics", kind=list), _mlflow),
)
