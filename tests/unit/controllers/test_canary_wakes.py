"""Which changes of a Canary queue it at once."""

from __future__ import annotations

import pytest

from agent.api.canary import Canary
from agent.controllers.canary.triggers import watch_canaries
from agent.runtime.queue import WorkQueue
from agent.runtime.store import Store
from agent.runtime.watch import Apply, Item, ObjectKey

HELD = '[{"slot":"s"}]'


def canary(version: int, **annotations: str) -> Item[Canary]:
    metadata = {
        "name": "chat",
        "namespace": "prod",
        "generation": 1,
        "annotations": {f"weir.dev/{key}": value for key, value in annotations.items()},
    }
    spec = {"targetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "chat"}, "analysis": {}}
    obj = {"metadata": metadata, "spec": spec}
    return Item(ObjectKey("prod", "chat"), str(version), Canary.from_object(obj))


@pytest.mark.parametrize(
    ("before", "after", "wakes"),
    [
        ({"quarantine": HELD}, {}, True),
        ({"quarantine": HELD}, {"quarantine": "[]"}, True),
        ({}, {"quarantine": HELD}, False),
        ({"quarantine": HELD}, {"quarantine": HELD, "analysing": "a -> b"}, False),
        ({}, {"paused": "by=jane"}, True),
        ({"command": "abort"}, {"command": "retry"}, True),
        ({}, {"ledger": "[]"}, False),
    ],
)
def test_what_people_ask_for_wakes_and_what_the_agent_notes_does_not(
    before: dict[str, str], after: dict[str, str], wakes: bool
) -> None:
    store: Store[Canary] = Store()
    queue: WorkQueue[tuple[str, str]] = WorkQueue()
    watch_canaries(store, queue)
    store.feed(Apply(canary(1, **before)))
    assert queue.take() is not None
    queue.done(("prod", "chat"))
    store.feed(Apply(canary(2, **after)))
    assert (queue.take() is not None) is wakes
