"""What one tick has gathered so far; the only thing in a tick that changes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from agent.adapters.traffic.router import Router
from agent.api.canary import Canary
from agent.controllers.canary.observing import World
from agent.core.models import Resolve
from agent.core.rollout.actions import Weights
from agent.core.rollout.judgement import Judgement
from agent.core.rollout.plan import Plan
from agent.core.rollout.snapshot import Answers
from agent.core.rollout.status import Status
from agent.core.rollout.view import Told


@dataclass(slots=True, kw_only=True)
class Tick:
    """`flagger` says why the Canary is left to a running Flagger, `lacking` what of the status would be dropped.

    `stored` is the status as the API server has it, `status` the same decoded."""

    canary: Canary
    plan: Plan
    status: Status
    stored: Mapping[str, Any]
    world: World
    router: Router | None = None
    routes: Weights | None = None
    flagger: str = ""
    lacking: frozenset[str] = frozenset()
    verdict: str = ""
    """The last judgement of this run that was no pass, in words."""
    answers: Answers = field(default_factory=Answers)
    judgements: list[Judgement] = field(default_factory=list)
    resolve: Resolve | None = None
    """Says what the target's references are known to mean."""
    certain: Resolve | None = None
    """The same, but for tags that may have moved since Git ceased to name them."""
    warnings: list[Told] = field(default_factory=list)
