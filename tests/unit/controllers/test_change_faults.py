"""Telling what changes never stands in the way of the change itself."""

from __future__ import annotations

from typing import Any

from controller_cluster import FakeCluster

from agent.api.kustomization import Kustomization
from agent.controllers.changelog import ChangeLog
from agent.controllers.changes import ChangeRecorder
from agent.controllers.kustomization.build import Built
from agent.controllers.sources import SourceSnapshot
from agent.core.inventory import Inventory
from agent.errors import OperationError
from agent.telemetry.metrics import Metrics

KUSTOMIZATION = Kustomization.from_object(
    {
        "metadata": {"namespace": "team", "name": "app"},
        "spec": {"interval": "10m", "prune": True, "sourceRef": {"kind": "GitRepository", "name": "repo"}},
        "status": {"lastAppliedRevision": "main@sha1:1"},
    }
)


class Gone:
    """A history whose mirror is damaged."""

    async def tree_at(self, _revision: str) -> Any:
        """Fails."""
        raise OperationError("the local mirror cannot be read")


class Silent:
    """Takes events."""

    async def delivered(self) -> None:
        """At once."""

    def __getattr__(self, _name: str) -> Any:
        return lambda *_args, **_options: None


def recorder(log: ChangeLog) -> ChangeRecorder:
    cluster: Any = FakeCluster()
    silent: Any = Silent()
    return ChangeRecorder(log, silent, cluster.live, silent, Metrics(), canaries=list, policies=list, resolution=silent)


def built(previous: tuple[bytes, ...] | None, rendered: tuple[bytes, ...]) -> Built:
    return Built("sha256:a", (), Inventory(), rendered, previous, False)


async def test_a_history_that_cannot_be_read_is_nothing_to_compare_with() -> None:
    source = SourceSnapshot(revision="main@sha1:2", digest="sha256:b", tree=Silent(), history=Gone())  # type: ignore[arg-type]  # duck-typed
    log = ChangeLog()
    await recorder(log).detect(KUSTOMIZATION, source, built(None, ()), FakeCluster().target)
    assert log.entries() == ()


async def test_a_manifest_that_the_detection_stumbles_over_is_still_applied() -> None:
    source = SourceSnapshot(revision="main@sha1:2", digest="sha256:b", tree=Silent())  # type: ignore[arg-type]  # duck-typed
    log = ChangeLog()
    await recorder(log).detect(KUSTOMIZATION, source, built((b"not json",), (b"[1]",)), FakeCluster().target)
    assert {entry.record.op for entry in log.entries()} <= {"parse-error"}
