"""One Canary's world at one moment, as frozen facts."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from datetime import datetime

import msgspec

from agent.api.analysis import HookType
from agent.core.judge.queries import OF_DAEMON_SET, OF_DEPLOYMENT, Fleet, Pods
from agent.core.rollout.actions import Action, EnsureRoutes, EnsureServices, Look, Weights
from agent.core.rollout.commands import Command, Hold
from agent.core.rollout.gates import Observed, Result
from agent.core.rollout.judgement import Judgement
from agent.core.rollout.plan import Plan
from agent.core.rollout.readiness import Readiness
from agent.core.rollout.status import Status
from agent.core.rollout.weighing import Weighed


class Stage(enum.IntEnum):
    """How far a tick has come: how much was made sure of and is known."""

    GLANCE = 0
    """The target and its configs were read, nothing else."""
    PREPARED = 1
    """Services and the primary exist; the primary was read."""
    ROUTED = 2
    """Everything exists; the routes were read."""


def stage_after(stage: Stage, actions: tuple[Action, ...]) -> Stage:
    """How far the tick has come once these actions are done."""
    for action in actions:
        if isinstance(action, EnsureServices | Look):
            stage = max(stage, Stage.PREPARED)
        elif isinstance(action, EnsureRoutes):
            stage = Stage.ROUTED
    return stage


class Workload(msgspec.Struct, frozen=True, kw_only=True):
    """Facts about a Deployment. `identity` is the revision that a promotion left on it."""

    hash: str
    replicas: int
    ready: Readiness
    images: tuple[str, ...] = ()
    identity: str = ""
    fence: str = ""
    """Stays the same as long as nobody writes the object's spec; empty where there is nothing like it."""
    server: str = ""
    """The model server in its pods, by its name in the table of model servers."""
    fleet: Fleet | None = None
    """Its pods, where they are not named after a workload that the plan names."""
    way: str = ""
    """How a new revision is tried, where there is more than one way."""
    shared: bool = False
    """It is tried in the pods of the primary. One that comes in mid-run lacks it, and gets requests at once."""
    lacking: bool = False
    """Such a pod has been seen."""
    wanted_replicas: int | None = None
    """What Git asks for, where the applier left `spec.replicas` to the rollout and noted it on the target."""
    available: int = 0
    """How many of its pods answer, of a Deployment; they may be of two revisions."""
    full_replicas: int | None = None
    """Of a primary that lacks some because a canary has their places: how many it has otherwise."""


class HookResult(msgspec.Struct, frozen=True, kw_only=True):
    """The answer of one webhook; `error` is the body or the failure of the call."""

    kind: HookType
    name: str
    passed: bool
    error: str = ""
    mute_alert: bool = False


class Answers(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked in this tick so far. None: not asked yet."""

    hooks: Mapping[HookType, tuple[HookResult, ...]] = {}
    judgements: tuple[Judgement, ...] | None = None
    weighed: Weighed | None = None
    gates: tuple[Observed, ...] | None = None
    obstacles: tuple[tuple[str, str], ...] | None = None
    """(reason, text): why a run of the new revision could only wait, for accelerators or for its model."""


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """What the machine decides from. Errors are texts for people; the empty text means none."""

    plan: Plan
    status: Status
    now: datetime
    due: bool = True
    """The analysis interval has passed. What cannot wait (a new revision, a deletion) is looked at in any case."""
    stage: Stage = Stage.GLANCE
    deleting: bool = False
    finalizer: bool = False
    refused: tuple[str, str] | None = None
    """(reason, text): the spec asks for something that cannot be done, or another Canary has the target."""
    target: Workload | None = None
    target_fault: tuple[str, str] | None = None
    """(reason, text): the target or a config it needs cannot be read or used."""
    tracked: Mapping[str, str] = {}
    """Checksums of the target's ConfigMaps and Secrets."""
    promoted_tracked: Mapping[str, str] = {}
    """Checksums of the primary's copies, under the names of the originals."""
    primary: Workload | None = None
    baseline: Workload | None = None
    """The fresh copy of the primary; its identity is the revision that it was made for."""
    primary_matches: bool = False
    """The primary is what a promotion of the target would make of it."""
    routes: Weights = Weights()
    routes_fault: str = ""
    scaler_minimum: int = 0
    answers: Answers = Answers()
    results: tuple[Result, ...] = ()
    """What the gates of earlier revisions have reported."""
    command: Command | None = None
    """What a person has asked for, and was not done yet."""
    hold: Hold | None = None
    """A person wants the rollout to stay as it is."""
    quarantined: str = ""
    """Why a new revision is not tried: it still has a reference that was rejected. Empty where nothing is held."""
    changes: tuple[str, ...] = ()
    """What changed in terms of models and data, one line each."""
    bytes: int = 0
    """The size of what is new in these changes, as far as it is known."""
    content_changed: bool = False
    """One of these changes makes another model answer."""
    reworded: tuple[str, ...] = ()
    """The target is what the primary serves in other words: the slots whose references are written differently."""

    @property
    def pods(self) -> Pods:
        """Where the two sides run; the primary's is that of its fresh copy, where the canary is compared with that."""
        suffix = OF_DAEMON_SET if self.plan.target_kind == "DaemonSet" else OF_DEPLOYMENT
        canary, primary = (
            workload.fleet if workload is not None and workload.fleet is not None else Fleet(name, suffix)
            for workload, name in ((self.target, self.plan.target), (self.primary, self.plan.primary))
        )
        if self.status.judge is not None and self.status.judge.fresh:
            primary = Fleet(self.plan.baseline)
        return Pods(namespace=self.plan.namespace, canary=canary, primary=primary)

    @property
    def is_first(self) -> bool:
        """Nothing of the run has reached the canary yet."""
        routes = self.routes
        return routes.canary == 0 and self.status.iterations <= 0 and not (self.plan.mirror and routes.mirrored)
