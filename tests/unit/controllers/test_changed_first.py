"""A commit is applied first where it changes something, however many Kustomizations read the same source."""

from __future__ import annotations

from typing import Any

import pytest

from agent.api.kustomization import Kustomization
from agent.controllers.sources import SourceKey, SourceSnapshot
from agent.controllers.triggers import SourceChanged
from agent.core.tree import Inputs, MemoryTree, RecordingTree, differing
from agent.runtime.queue import Priority, WorkQueue
from agent.runtime.store import Store
from agent.runtime.watch import Apply, Item, ObjectKey

Key = tuple[str, str]
SOURCE = SourceKey("GitRepository", "team", "repo")
BEFORE = {f"apps/{name}/app.yaml": b"0" for name in "abcd"} | {"base/base.yaml": b"0"}


def read(*paths: str) -> Inputs:
    """What a build has read that opened these files and listed their folders."""
    tree = RecordingTree(MemoryTree(BEFORE))
    for path in paths:
        tree.list(path.rpartition("/")[0])
        tree.read(path)
    return tree.inputs


class Fleet:
    """Kustomizations a to d, each of which has read its own file and the base."""

    def __init__(self) -> None:
        self.queue: WorkQueue[Key] = WorkQueue()
        self.inputs: dict[Key, Inputs] = {("team", n): read(f"apps/{n}/app.yaml", "base/base.yaml") for n in "abcd"}
        self._store: Store[Kustomization] = Store()
        self._snapshot: SourceSnapshot | None = None
        self._changed = SourceChanged(self._store, self.queue, inputs=self.inputs.get, current=lambda _: self._snapshot)
        for name in "abcd":
            self.declare(name)

    def declare(self, name: str, **spec: Any) -> None:
        body = {"interval": "10m", "prune": True, "sourceRef": {"kind": "GitRepository", "name": "repo"}, **spec}
        one = Kustomization.from_object({"metadata": {"namespace": "team", "name": name}, "spec": body})
        self._store.feed(Apply(Item(ObjectKey("team", name), "1", one)))

    def commit(self, files: dict[str, bytes]) -> list[tuple[str, Priority]]:
        """Who is queued, in which order and how urgently, if each pass ends before the next begins."""
        after = MemoryTree(BEFORE | files)
        differs = differing(MemoryTree(BEFORE), after)
        self._snapshot = SourceSnapshot(revision="r2", digest="", tree=after, differs=differs)
        self._changed(SOURCE)
        taken = []
        while (found := self.queue.take()) is not None:
            taken.append((found[0][1], found[1]))
            self.queue.done(found[0])
        return taken


@pytest.fixture
def fleet() -> Fleet:
    return Fleet()


def test_the_changed_one_goes_first_and_all_others_catch_up(fleet: Fleet) -> None:
    queued = fleet.commit({"apps/c/app.yaml": b"1"})
    assert queued[0] == ("c", Priority.REVISION)
    assert sorted(queued[1:]) == [(name, Priority.CATCH_UP) for name in "abd"]


def test_a_new_file_changes_who_has_listed_its_folder(fleet: Fleet) -> None:
    assert fleet.commit({"apps/b/more.yaml": b"1"})[0] == ("b", Priority.REVISION)


def test_a_shared_base_changes_all(fleet: Fleet) -> None:
    assert {priority for _, priority in fleet.commit({"base/base.yaml": b"1"})} == {Priority.REVISION}


def test_what_the_changed_one_waits_for_goes_before_it(fleet: Fleet) -> None:
    fleet.declare("c", dependsOn=[{"name": "b"}])
    fleet.declare("b", dependsOn=[{"name": "a"}])
    queued = fleet.commit({"apps/c/app.yaml": b"1"})
    assert queued[:3] == [(name, Priority.REVISION) for name in "abc"]
    assert queued[3:] == [("d", Priority.CATCH_UP)]


def test_one_that_was_never_built_is_not_left_for_later(fleet: Fleet) -> None:
    del fleet.inputs["team", "d"]
    urgent = {name for name, priority in fleet.commit({"apps/c/app.yaml": b"1"}) if priority is Priority.REVISION}
    assert urgent == {"c", "d"}
