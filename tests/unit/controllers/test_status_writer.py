"""A status write answers with the newest object; the pass that wrote it must not mistake that for what it acted on."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

from agent.adapters.kube.errors import Conflict
from agent.api.kustomization import Kustomization
from agent.api.meta import Condition
from agent.controllers.fresh import Fresh
from agent.controllers.statuses import StaleViewError, StatusWriter
from agent.runtime.store import Store
from agent.runtime.watch import Apply, Item, ObjectKey

OBJECT: dict[str, Any] = {
    "apiVersion": "kustomize.toolkit.fluxcd.io/v1",
    "kind": "Kustomization",
    "metadata": {
        "namespace": "team",
        "name": "app",
        "uid": "u1",
        "resourceVersion": "5",
        "generation": 1,
        "finalizers": ["finalizers.fluxcd.io"],
    },
    "spec": {"interval": "10m", "prune": True, "sourceRef": {"kind": "GitRepository", "name": "repo"}},
    "status": {"observedGeneration": 1},
}


class EditedMeanwhile:
    """An API server at which somebody has changed the spec, and asked for a pass, just before the status arrives."""

    async def merge_patch(self, *_args: Any, **_options: Any) -> Mapping[str, Any]:
        """The stored object."""
        metadata = {
            **OBJECT["metadata"],
            "generation": 2,
            "resourceVersion": "7",
            "annotations": {"reconcile.fluxcd.io/requestedAt": "now"},
        }
        condition = {
            "type": "Ready",
            "status": "Unknown",
            "reason": "Progressing",
            "message": "m",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
            "observedGeneration": 1,
        }
        status = {"observedGeneration": 1, "conditions": [condition]}
        return {**OBJECT, "metadata": metadata, "spec": {**OBJECT["spec"], "prune": False}, "status": status}


async def test_a_pass_keeps_the_spec_that_it_started_with_and_the_next_one_sees_the_new() -> None:
    store: Store[Kustomization] = Store()
    before = Kustomization.from_object(OBJECT)
    store.feed(Apply(Item(ObjectKey("team", "app"), "5", before)))
    fresh = Fresh(store)
    writer = StatusWriter(EditedMeanwhile(), Kustomization, fresh, "test")  # type: ignore[arg-type]  # duck-typed
    ready = Condition(
        type="Ready",
        status="Unknown",
        reason="Progressing",
        message="m",
        last_transition_time=datetime(2026, 1, 1, tzinfo=UTC),
        observed_generation=1,
    )
    after = await writer.write(before, type(before.status)(observed_generation=1, conditions=(ready,)))

    assert after.status.conditions == (ready,)
    assert after.metadata.generation == 1
    assert after.requested_at is None
    assert after.spec.prune is True
    assert after.metadata.resource_version == "7"

    newest = fresh.get("team", "app")
    assert newest is not None
    assert (newest.metadata.generation, newest.requested_at, newest.spec.prune) == (2, "now", False)


class Ahead:
    """An API server that already has version 9 of the object."""

    async def merge_patch(self, *_args: Any, resource_version: str | None = None, **_options: Any) -> Mapping[str, Any]:
        """Refuses writes that rest on an older version."""
        if resource_version not in (None, "9"):
            raise Conflict("the object has been modified")
        return {**OBJECT, "metadata": {**OBJECT["metadata"], "resourceVersion": "10"}}


async def test_what_must_rest_on_the_newest_version_is_refused_on_an_older_one() -> None:
    store: Store[Kustomization] = Store()
    before = Kustomization.from_object(OBJECT)
    store.feed(Apply(Item(ObjectKey("team", "app"), "5", before)))
    writer = StatusWriter(Ahead(), Kustomization, Fresh(store), "test")  # type: ignore[arg-type]  # duck-typed
    wanted = type(before.status)(observed_generation=2)
    with pytest.raises(StaleViewError) as caught:
        await writer.write(before, wanted, newest=True)
    assert caught.value.after < 1
    assert (await writer.write(before, wanted)).metadata.resource_version == "10"
