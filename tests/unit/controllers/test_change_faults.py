"""Telling what changes never stands in the way of the change itself."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any, ClassVar

import msgspec
from controller_cluster import FakeCluster

from agent.api.kustomization import Kustomization, KustomizationStatus
from agent.controllers.changelog import ChangeLog
from agent.controllers.changes import ChangeRecorder
from agent.controllers.kustomization.build import Built
from agent.controllers.sources import SourceSnapshot
from agent.core.inventory import Inventory
from agent.core.models import Ref
from agent.errors import OperationError
from agent.telemetry.metrics import Metrics
from tests.unit.models.manifests import config_map

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
    """Takes events, and has no answers."""

    async def delivered(self) -> None:
        """At once."""

    async def resolved(self, *_args: Any) -> dict[str, Ref]:
        """Nothing is known of any reference."""
        return {}

    def __getattr__(self, _name: str) -> Any:
        return lambda *_args, **_options: None


def recorder(log: ChangeLog) -> ChangeRecorder:
    cluster: Any = FakeCluster()
    silent: Any = Silent()
    return ChangeRecorder(log, silent, cluster.live, silent, Metrics(), canaries=list, policies=list, resolution=silent)


class Watched(tuple[bytes, ...]):
    """Objects that know in which threads they were looked through."""

    __slots__ = ()
    readers: ClassVar[set[int]] = set()

    def __iter__(self) -> Iterator[bytes]:
        self.readers.add(threading.get_ident())
        return super().__iter__()


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


async def test_a_build_of_any_size_is_never_read_on_the_loop() -> None:
    silent, log, target = Silent(), ChangeLog(), FakeCluster().target
    new = msgspec.structs.replace(KUSTOMIZATION, status=KustomizationStatus())
    changing = recorder(log)
    objects = Watched(msgspec.json.encode(config_map({"a": "b"}, str(number))) for number in range(3))
    objects.readers.clear()
    source = SourceSnapshot(revision="main@sha1:2", digest="sha256:b", tree=silent)  # type: ignore[arg-type]  # duck-typed
    await changing.detect(new, source, built(None, objects), target)
    compared = set(objects.readers)
    objects.readers.clear()
    await changing.announce(new, built(None, objects), source.revision, (), target)
    assert compared
    assert objects.readers
    assert threading.get_ident() not in compared | objects.readers
