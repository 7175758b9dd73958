"""A DataTrigger, data that moves, and words for both."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from agent.api.datatrigger import DataTrigger, DataTriggerStatus, TriggerRun
from agent.core.models.ref import Digest, Identity, Ref
from agent.core.trigger.deciding import Decision, decide
from agent.core.trigger.selection import Place
from agent.core.trigger.sighting import Sighting, looked

APP = ("Kustomization/app",)
NOON = datetime(2026, 11, 29, 12, tzinfo=UTC)
JOB: dict[str, Any] = {
    "apiVersion": "batch/v1",
    "kind": "Job",
    "spec": {
        "template": {
            "spec": {
                "restartPolicy": "Never",
                "containers": [{"name": "train", "image": "train:1", "args": ["--data", "$(weir.uri)"]}],
            }
        }
    },
}


def trigger(template: dict[str, Any] | None = None, **spec: Any) -> DataTrigger:
    return DataTrigger.from_object(
        {
            "metadata": {"name": "retrain", "namespace": "ml", "uid": "7d9e", "generation": 3},
            "spec": {"template": JOB if template is None else template, "settleFor": "0s", **spec},
        }
    )


def data(name: str, digest: str = "", *, strength: str = "sha256", spelling: str = "") -> Ref:
    """`s3://data/NAME`, with the digest of that many characters if one is known."""
    canonical = f"s3://data/{name}"
    found = Digest("sha256", digest, "listing", strength) if digest else None
    identity = Identity() if digest else Identity(unresolved="offline")
    return Ref(spelling or canonical, "s3", canonical, False, identity, found)


def place(ref: Ref | None, slot: str = "data-ref.train", *, obj: str = "Deployment/ml/chat", **more: Any) -> Place:
    return Place(obj, slot, more.pop("kind", "data"), ref, **more)


def app(*places: Place, revision: str = "main@sha1:" + "a" * 40) -> Sighting:
    return Sighting("Kustomization/app", revision, places)


class World:
    """The status as it goes on, seen by passes at a clock that only moves when told."""

    def __init__(self, subject: DataTrigger | None = None) -> None:
        self.trigger = subject or trigger()
        self.now = NOON
        self.status = DataTriggerStatus()

    def look(
        self, *sightings: Sighting, after: float = 0.0, present: tuple[str, ...] = ("Kustomization/app",)
    ) -> Decision:
        """A pass, so many seconds later, in which no run has come to an end."""
        self.now += timedelta(seconds=after)
        run_first = self.trigger.spec.on_first_sight == "Run"
        seen = looked(self.status, sightings, present, self.now, run_first=run_first)
        decision = decide(self.trigger, seen, self.now)
        self.status = decision.status
        return decision

    def end(self, state: str = "Succeeded") -> None:
        """All runs that go on come to an end."""
        runs = (
            msgspec.structs.replace(run, state=state) if run.state in {"Pending", "Running"} else run
            for run in self.status.runs
        )
        self.status = msgspec.structs.replace(self.status, runs=tuple(runs))

    def runs(self) -> list[str]:
        """The data of all runs."""
        return [run.data for run in self.status.runs]

    def run(self, data: str) -> TriggerRun:
        (found,) = [run for run in self.status.runs if run.data == data]
        return found
