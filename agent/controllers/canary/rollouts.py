"""What is known of the rollouts of this process: the present one of each Canary and the last finished ones."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from agent.core.rollout import view as views
from agent.core.rollout.judgement import Judgement, Verdict
from agent.core.rollout.quarantine import Withheld
from agent.core.rollout.snapshot import Snapshot
from agent.core.rollout.status import Status
from agent.core.rollout.view import CanaryKey, RolloutView

_NO_REFUSALS = frozenset({Verdict.PASS, Verdict.INCONCLUSIVE})


class RolloutLog:
    """Bounded and in memory: the truth is in the cluster, this is what explains it."""

    def __init__(self) -> None:
        self._current: dict[CanaryKey, RolloutView] = {}
        self._finished: dict[CanaryKey, deque[RolloutView]] = {}

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
        return tuple(sorted(runs, key=lambda view: str(view.finished), reverse=True))

    def record(
        self,
        snapshot: Snapshot,
        status: Status,
        fresh: Sequence[Judgement],
        withheld: tuple[Withheld, ...] | None = None,
    ) -> RolloutView:
        """Take note of a tick; see `agent.core.rollout.view.updated`."""
        key = CanaryKey(snapshot.plan.namespace, snapshot.plan.name)
        view = views.updated(self._current.get(key), snapshot, status, fresh, withheld)
        self._current[key] = view
        if views.finishes(snapshot, status):
            self._finished.setdefault(key, deque(maxlen=views.HISTORY)).append(view)
        return view

    def forget(self, namespace: str, name: str) -> None:
        """The Canary is gone."""
        key = CanaryKey(namespace, name)
        self._current.pop(key, None)
        self._finished.pop(key, None)
