"""Counters of Prometheus text: the API server's count of requests, whoever makes them, and an agent's loop lag."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping

_LINE = re.compile(r"^(\w+)(?:\{(.*)\})? (\S+)$", re.MULTILINE)
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
_NOT_WORK = frozenset({"WATCH", "CONNECT"})


def requests_by_verb(text: str) -> Counter[str]:
    """Requests that the API server has answered, by verb; watches are left out. APPLY counts as PATCH, which it is."""
    counts: Counter[str] = Counter()
    for labels, value in _samples(text, "apiserver_request_total"):
        verb = "PATCH" if labels["verb"] == "APPLY" else labels["verb"]
        if verb not in _NOT_WORK:
            counts[verb] += int(value)
    return counts


def dry_runs(text: str) -> int:
    """Of those requests, the ones that change nothing."""
    return int(sum(value for labels, value in _samples(text, "apiserver_request_total") if labels.get("dry_run")))


def histogram(text: str, name: str) -> dict[float, float]:
    """The cumulative buckets of a histogram, summed over its labels."""
    buckets: dict[float, float] = {}
    for labels, value in _samples(text, f"{name}_bucket"):
        edge = float(labels["le"])
        buckets[edge] = buckets.get(edge, 0.0) + value
    return buckets


def total(text: str, name: str, **wanted: str) -> float:
    """The sum of a counter over the series with these labels."""
    return sum(v for labels, v in _samples(text, name) if all(labels.get(k) == w for k, w in wanted.items()))


def quantile(share: float, before: Mapping[float, float], after: Mapping[float, float]) -> float:
    """The upper edge of the bucket that holds the quantile of what came between two scrapes; 0 if nothing came."""
    grown = {edge: after[edge] - before.get(edge, 0.0) for edge in sorted(after)}
    most = max(grown.values(), default=0.0)
    return next((edge for edge, count in grown.items() if most and count >= share * most), 0.0)


def _samples(text: str, name: str) -> list[tuple[dict[str, str], float]]:
    lines = (_LINE.match(line) for line in text.splitlines() if line.startswith(name))
    return [(dict(_LABEL.findall(m[2] or "")), float(m[3])) for m in lines if m is not None and m[1] == name]
