"""What objects are not told of by this process, they do not hear from the next one long afterwards."""

from __future__ import annotations

from typing import Any

import pytest
from controller_cluster import FakeCluster

from agent.api.kustomization import Kustomization
from agent.controllers.announcing import Announcer, Subject
from agent.controllers.changelog import ChangeLog
from agent.controllers.telling import EVENTS_PER_PASS, Teller
from agent.telemetry.events import reference_to
from agent.telemetry.metrics import Metrics
from tests.unit.models.manifests import A, B, compare, vllm

HALF = EVENTS_PER_PASS // 2 + 5


class Events:
    """Delivers at once."""

    async def delivered(self) -> None:
        """At once."""

    def event(self, *_: Any, **_options: Any) -> None:
        """Nothing."""


@pytest.mark.parametrize("applied", [True, False])
async def test_what_is_passed_over_is_not_left_for_the_next_process(applied: bool) -> None:
    log, anything = ChangeLog(), Events()
    teller = Teller(log, FakeCluster().live, anything, Metrics(), triggers=tuple)  # type: ignore[arg-type]  # duck-typed
    announcer = Announcer(log, teller, anything, anything)  # type: ignore[arg-type]  # duck-typed
    spec = {"interval": "1m", "prune": False, "sourceRef": {"kind": "GitRepository", "name": "app"}}
    app = Kustomization.from_object({"metadata": {"namespace": "team", "name": "app"}, "spec": spec})
    names = [f"m{number}" for number in range(HALF)]
    before, after = ([vllm("org/m", "--revision", which, name=name) for name in names] for which in (A, B))
    records = compare(before, after)
    for revision in ("main@sha1:1", "main@sha1:2"):  # none of which is applied
        subject = Subject(reference_to(app), "GitRepository/team/app", revision, app)
        await announcer.announce(subject, records)
    if applied:
        announcer.applied(app)
    else:
        announcer.forget(("team", "app"))
    await teller.settled(60)
    later = ChangeLog()
    later.restore(log.lines())
    assert len(later.entries()) == 2 * HALF
    assert later.left() == ()
    assert later.left_for_objects() == ()
