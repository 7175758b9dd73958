"""What is known of the rollouts of this process: the present one of each Canary and the last finished ones."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from agent.core.rollout import view as views
from agent.core.rollout.judgement import Verdict
from agent.core.rollout.runs import RUNS, decode_runs
from agent.core.rollout.snapshot import Snapshot
from agent.core.rollout.status import Status
from agent.core.rollout.view import CanaryKey, News, RolloutView

_NO_REFUSALS = frozenset({Verdict.PASS, Verdict.INCONCLUSIVE})


class RolloutLog:
    """Bounded and in memory: the truth is in the cluster, this is what explains it. Of finished runs the Canary keeps
    the last few in brief, for the next process."""

    def __init__(self) -> None:
        self._current: dict[CanaryKey, RolloutView] = {}
        self._finished: dict[CanaryKey, tuple[RolloutView, ...]] = {}
        self._read: dict[CanaryKey, str] = {}
        self._unkept: set[CanaryKey] = set()

    def current(self) -> tuple[RolloutView, ...]:
        """One view for each Canary, by name."""
        return tuple(self._current[key] for key in sorted(self._current))

    def get(self, namespace: str, name: str) -> RolloutView | None:
        """The view of one Canary, None if it was not seen yet."""
        return self._current.get(CanaryKey(namespace, name))

    def last_refusal(self, namespace: str, name: str) -> str:
        """The last judgement of the present run that was no pass, in words; empty where none is known."""
        view = self.get(namespace, name)
        judgements = reversed(view.judgements) if view is not None else ()
        return next((item.text for item in judgements if item.verdict not in _NO_REFUSALS), "")

    def history(self, namespace: str, name: str) -> tuple[RolloutView, ...]:
        """Finished runs of one Canary, the newest first."""
        return tuple(reversed(self._finished.get(CanaryKey(namespace, name), ())))

    def finished(self) -> tuple[RolloutView, ...]:
        """Finished runs of all Canaries, the newest first."""
        runs = [view for runs in self._finished.values() for view in runs]
        return tuple(sorted(runs, key=_end, reverse=True))

    def recall(self, namespace: str, name: str, annotations: Mapping[str, str]) -> None:
        """Take in what is kept on the Canary, by this process or by another."""
        key, text = CanaryKey(namespace, name), annotations.get(RUNS, "")
        if self._read.get(key, "") != text:
            self._read[key] = text
            self._add(key, decode_runs(annotations, namespace, name))

    def lacks(self, namespace: str, name: str, since: datetime) -> bool:
        """Whether no run is known that ended at that time or later."""
        return all(_end(run) < since for run in self._finished.get(CanaryKey(namespace, name), ()))

    def add(self, view: RolloutView) -> None:
        """Take in a finished run that is not kept on the Canary yet."""
        self._add(view.key, (view,))
        self._unkept.add(view.key)

    def unkept(self, namespace: str, name: str) -> tuple[RolloutView, ...]:
        """All finished runs, the oldest first, if there is one among them that is not kept yet."""
        key = CanaryKey(namespace, name)
        return self._finished.get(key, ()) if key in self._unkept else ()

    def kept(self, namespace: str, name: str) -> None:
        """They are on the Canary now."""
        self._unkept.discard(CanaryKey(namespace, name))

    def record(self, snapshot: Snapshot, status: Status, news: News) -> RolloutView:
        """Take note of a tick; see `agent.core.rollout.view.updated`."""
        key = CanaryKey(snapshot.plan.namespace, snapshot.plan.name)
        view = views.updated(self._current.get(key) or self._last(key, status), snapshot, status, news)
        self._current[key] = view
        if views.finishes(snapshot, status):
            self.add(view)
        return view

    def _last(self, key: CanaryKey, status: Status) -> RolloutView | None:
        """The run that the Canary rests after, if it is known."""
        last = next(reversed(self._finished.get(key, ())), None)
        same = last is not None and (last.phase, last.applied) == (status.phase, status.last_applied_spec)
        return last if same and status.phase.resting else None

    def _add(self, key: CanaryKey, fresh: tuple[RolloutView, ...]) -> None:
        """What is known in full is not replaced by what is kept in brief."""
        runs = {run.finished: run for run in (*fresh, *self._finished.get(key, ()))}
        self._finished[key] = tuple(sorted(runs.values(), key=_end))[-views.HISTORY :]

    def forget(self, namespace: str, name: str) -> None:
        """The Canary is gone."""
        key = CanaryKey(namespace, name)
        self._current.pop(key, None)
        self._finished.pop(key, None)
        self._read.pop(key, None)
        self._unkept.discard(key)


def _end(run: RolloutView) -> datetime:
    assert run.finished is not None
    return run.finished
