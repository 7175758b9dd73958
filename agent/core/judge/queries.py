"""PromQL that counts what happened in a window, by pod, and what its answers say.

A window of Prometheus ends now. A counter that was born in the window counts with its whole value: `increase` alone
would lose the first error of a series that did not exist before it. Pods are found by the labels that Prometheus'
usual configurations give them (`namespace` and `pod`, or `kubernetes_namespace` and `kubernetes_pod_name`).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from agent.core.judge.evidence import Counts, Histogram
from agent.core.judge.packs import Series

_SHORTEST = 1
OF_DEPLOYMENT = "-[0-9a-zA-Z]+(-[0-9a-zA-Z]+)"
OF_DAEMON_SET = "-[0-9a-zA-Z]+"
OF_LEADER_WORKER_SET = "-[0-9]+(-[0-9]+)?"
"""What follows the workload's name in the names of its pods, as a regular expression."""
_CUT = 58
"""Characters of a pod's name that its owner gives; Kubernetes drops the rest, and adds five of its own."""
_HASH = 11
"""Characters of a ReplicaSet's name that may follow its Deployment's."""
_POD_LABELS = (("namespace", "pod"), ("kubernetes_namespace", "kubernetes_pod_name"))
_MODEL_LABEL = "target_model_name"
"""The label by which an endpoint picker tells to which model it has sent a request."""


class Point(msgspec.Struct, frozen=True):
    """One value of a series; `at`, in seconds since 1970, for those of a range."""

    labels: Mapping[str, str]
    value: float
    at: float = 0.0


class Fleet(msgspec.Struct, frozen=True):
    """The pods of one workload. `suffix` tells a pod's name from its workload's. `model`: only what they count for
    requests that were sent to this model."""

    workload: str
    suffix: str = OF_DEPLOYMENT
    model: str = ""

    @property
    def pattern(self) -> str:
        """A regular expression for the names of its pods, which Python and Prometheus read alike."""
        name = self.workload.replace(".", "[.]")
        if len(self.workload) >= _CUT:
            return f"{self.workload[:_CUT].replace('.', '[.]')}[0-9a-z]+"
        if self.suffix == OF_DEPLOYMENT and len(self.workload) + _HASH >= _CUT:
            return f"{name}{OF_DEPLOYMENT}?"  # the end of the ReplicaSet's hash is dropped, and the dash behind it
        return f"{name}{self.suffix}"


class Pods(msgspec.Struct, frozen=True, kw_only=True):
    """The pods of both sides: two workloads of a namespace."""

    namespace: str
    canary: Fleet
    primary: Fleet

    def side(self, pod: str, model: str = "") -> str:
        """`canary`, `primary`, or "" for a pod, or a model of it, that is of neither."""
        for side, fleet in (("primary", self.primary), ("canary", self.canary)):
            if re.fullmatch(fleet.pattern, pod) and fleet.model in {"", model}:
                return side
        return ""

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels that tell the sides apart."""
        return (*(pod for _, pod in _POD_LABELS), *((_MODEL_LABEL,) if self.canary.model else ()))

    def matchers(self) -> tuple[str, ...]:
        """Label matchers of both sides, one for each way in which pods may be labelled."""
        names = "|".join(sorted({self.canary.pattern, self.primary.pattern}))
        models = "|".join(fleet.model.replace(".", "[.]") for fleet in (self.canary, self.primary) if fleet.model)
        more = f',{_MODEL_LABEL}=~"{models}"' if models else ""
        return tuple(f'{space}="{self.namespace}",{pod}=~"{names}"{more}' for space, pod in _POD_LABELS)


def counted(series: Series, pods: Pods, seconds: float, *, by: Sequence[str] = ()) -> str:
    """How much the counter grew in the last `seconds`, by pod and the labels `by`.

    A pod that exports it under several of its names, as servers do while they rename, counts under the first only.
    """
    window = f"{max(math.ceil(seconds), _SHORTEST)}s"
    labels = ",".join((*pods.labels, *by))
    sums: list[str] = []
    for name, matching in series.forms():
        terms: list[str] = []
        for matcher in pods.matchers():
            selector = f"{name}{{{','.join(filter(None, (matcher, matching)))}}}"
            terms.append(f"({selector} unless {selector} offset {window}) or increase({selector}[{window}])")
        sums.append(f"sum by ({labels}) ({' or '.join(terms)})")
    return " or ".join(sums)


def averaged(series: Series, pods: Pods, seconds: float) -> str:
    """The mean of a gauge over the last `seconds`, by pod, under the first of its names that the pod exports."""
    window = f"{max(math.ceil(seconds), _SHORTEST)}s"
    labels = ",".join(pods.labels)
    means: list[str] = []
    for name, matching in series.forms():
        selectors = (",".join(filter(None, (matcher, matching))) for matcher in pods.matchers())
        terms = " or ".join(f"avg_over_time({name}{{{selector}}}[{window}])" for selector in selectors)
        means.append(f"avg by ({labels}) ({terms})")
    return " or ".join(means)


Block = tuple[str, float]
"""A pod, and the end of a period; 0 for all of the window."""


def by_pod(points: Iterable[Point], pods: Pods, side: str) -> dict[str, float]:
    """The sum for each pod of one side; a counter that went back counts as 0."""
    found: dict[str, float] = {}
    for (pod, _), value in by_block(points, pods, side).items():
        found[pod] = found.get(pod, 0.0) + value
    return found


def by_block(points: Iterable[Point], pods: Pods, side: str) -> dict[Block, float]:
    """The same for each pod and period."""
    found: dict[Block, float] = {}
    for point in points:
        block = (_pod(point), point.at)
        if _side(point, pods) == side and math.isfinite(point.value):
            found[block] = found.get(block, 0.0) + max(point.value, 0.0)
    return found


def histograms(points: Iterable[Point], pods: Pods, side: str, unit: float) -> dict[Block, Histogram]:
    """The histogram of each pod of one side and each period, in seconds, by the label `le`."""
    buckets: dict[Block, dict[float, float]] = {}
    for point in points:
        block, edge = (_pod(point), point.at), _edge(point)
        if _side(point, pods) == side and edge is not None and math.isfinite(point.value):
            counts = buckets.setdefault(block, {})
            counts[edge * unit] = counts.get(edge * unit, 0.0) + max(point.value, 0.0)
    return {block: Histogram.from_cumulative(counts.items()) for block, counts in buckets.items()}


def together(parts: Iterable[Histogram]) -> Histogram:
    """Histograms of pods of one version as one. Edges that only some have take what lies up to them."""
    counts: dict[float, float] = {}
    for part in parts:
        for edge, count in zip(part.edges, part.counts, strict=True):
            counts[edge] = counts.get(edge, 0.0) + count
    edges = tuple(sorted(counts))
    return Histogram(edges, tuple(counts[edge] for edge in edges))


def blocks(total: Mapping[Block, float], bad: Mapping[Block, float], *, apart: bool) -> tuple[Counts, ...]:
    """Requests by block. `apart`: the bad ones are not among the total. More bad ones than all are all of them: the two
    are asked for one after the other."""
    counts: list[Counts] = []
    for block in sorted(total.keys() | bad.keys()):
        failed = bad.get(block, 0.0)
        whole = total.get(block, 0.0) + (failed if apart else 0.0)
        counts.append(Counts(max(whole, failed), failed))
    return tuple(counts)


def _edge(point: Point) -> float | None:
    try:
        return float(point.labels.get("le", ""))
    except ValueError:
        return None


def _side(point: Point, pods: Pods) -> str:
    return pods.side(_pod(point), point.labels.get(_MODEL_LABEL, ""))


def _pod(point: Point) -> str:
    return next((point.labels[label] for _, label in _POD_LABELS if point.labels.get(label)), "")
