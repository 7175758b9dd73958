"""What the machine can ask for. Each action is idempotent: doing it twice is doing it once.

A decision with `again` is a question: the actions are done, the world is looked at anew, and the machine is asked
again within the same tick. Without it the tick is over.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypeAlias

import msgspec

from agent.api.analysis import HookType
from agent.core.judge.queries import Pods
from agent.core.rollout.gates import Gate, Result
from agent.core.rollout.judgestate import JudgeState
from agent.core.rollout.plan import Hook
from agent.core.rollout.status import Phase, Status

EventType: TypeAlias = Literal["Normal", "Warning"]
Severity: TypeAlias = Literal["info", "warn", "error"]


class Weights(msgspec.Struct, frozen=True):
    """Shares of the traffic in percent, and whether the canary gets a copy of it. `baseline` is the share of the fresh
    copy of the primary that the canary is compared with."""

    primary: int = 100
    canary: int = 0
    mirrored: bool = False
    baseline: int = 0


HOME = Weights(100, 0)
"""All traffic on the primary."""


class SeekRoom(msgspec.Struct, frozen=True):
    """See whether a run of the new revision could only wait, for accelerators or for its model."""


class Look(msgspec.Struct, frozen=True):
    """Read the primary and the routes without making sure of anything."""


class CheckProviders(msgspec.Struct, frozen=True):
    """See whether the metric providers answer, and say so in an event; blocks nothing."""

    pods: Pods


class EnsureServices(msgspec.Struct, frozen=True):
    """The Services of the canary and of the primary."""


class EnsurePrimary(msgspec.Struct, frozen=True):
    """The primary workload and its copies of ConfigMaps and Secrets, if it is missing."""

    identity: str


class EnsureScaler(msgspec.Struct, frozen=True):
    """The primary's copy of the autoscaler; `promote` carries over what changed in the original."""

    promote: bool = False


class EnsureApex(msgspec.Struct, frozen=True):
    """The Service that clients use, pointing at the primary."""


class EnsureRoutes(msgspec.Struct, frozen=True):
    """The router's objects, without moving any weight."""


class Scale(msgspec.Struct, frozen=True):
    """Replicas of the target."""

    replicas: int


class ScalePrimary(msgspec.Struct, frozen=True):
    """Replicas of the primary, of which nothing is missing any more."""

    replicas: int


class Exchange(msgspec.Struct, frozen=True):
    """Replicas of both sides, of `full` places in all; who gives up places does so first. `full` is noted on the
    primary."""

    primary: int
    target: int
    full: int


class EnsureBaseline(msgspec.Struct, frozen=True):
    """A copy of the primary with as many replicas as the canary, begun anew for each `revision` on trial."""

    revision: str
    replicas: int


class DropBaseline(msgspec.Struct, frozen=True):
    """Take that copy away; no traffic leads to it any more."""


class SetRoutes(msgspec.Struct, frozen=True):
    """Move the traffic."""

    weights: Weights


class Promote(msgspec.Struct, frozen=True):
    """Copy the target as it was judged, with its configs, to the primary. `identity` names the revision: with the
    same one on the primary already there is nothing to do."""

    identity: str


class Quarantine(msgspec.Struct, frozen=True):
    """Note on the Canary which references the rejected revision had changed; `verdict` says why, where nothing that
    was judged says it better."""

    verdict: str


class WriteStatus(msgspec.Struct, frozen=True):
    """The Canary's status."""

    status: Status


class Emit(msgspec.Struct, frozen=True):
    """A Kubernetes Event about the Canary, with annotations for programs."""

    text: str
    type: EventType = "Normal"
    annotations: Mapping[str, str] = {}


class SendAlert(msgspec.Struct, frozen=True):
    """A message to the alert providers; `metadata` adds the facts of the target."""

    text: str
    severity: Severity
    metadata: bool = False


class AskHooks(msgspec.Struct, frozen=True):
    """Call webhooks in order, up to the first that answers with `stop` (True: success, False: failure)."""

    kind: HookType
    hooks: tuple[Hook, ...]
    phase: Phase
    stop: bool = False


class QueryMetrics(msgspec.Struct, frozen=True):
    """Judge the metrics in order, up to the first that does not pass."""

    pods: Pods
    weight: int
    iteration: int


class WeighEvidence(msgspec.Struct, frozen=True):
    """Count what the pods of both sides did since the step began, and judge it."""

    state: JudgeState
    pods: Pods
    weight: int
    iteration: int


class Remember(msgspec.Struct, frozen=True):
    """Note on the Canary what is being judged, for whoever looks after a restart."""

    changes: tuple[str, ...]


class Count(msgspec.Struct, frozen=True):
    """A run is over: for the counters of successes and failures."""

    success: bool
    skipped: bool = False


class AskGates(msgspec.Struct, frozen=True):
    """See how the gates stand with a revision, and start what has not run yet."""

    gates: tuple[Gate, ...]
    revision: str


class ClearGates(msgspec.Struct, frozen=True):
    """A new run: what the gates did for an earlier run of the same revision does not count."""

    gates: tuple[Gate, ...]
    revision: str


class KeepResults(msgspec.Struct, frozen=True):
    """Note on the Canary what gates have reported; `promoted` is the checksum of the revision to be compared with."""

    results: tuple[Result, ...]
    promoted: str


class Acknowledge(msgspec.Struct, frozen=True):
    """Note on the Canary that a command was dealt with, and how: done or refused, and a sentence."""

    command: str
    outcome: str
    text: str


class AddFinalizer(msgspec.Struct, frozen=True):
    """Keep the Canary until the target is restored."""


class RestoreApex(msgspec.Struct, frozen=True):
    """Point the clients' Service and the router back at the target and leave them behind."""


class RemoveFinalizer(msgspec.Struct, frozen=True):
    """Let the Canary go."""


Action: TypeAlias = (
    Look
    | SeekRoom
    | CheckProviders
    | EnsureServices
    | EnsurePrimary
    | EnsureScaler
    | EnsureApex
    | EnsureRoutes
    | Scale
    | ScalePrimary
    | Exchange
    | EnsureBaseline
    | DropBaseline
    | SetRoutes
    | Promote
    | Quarantine
    | WriteStatus
    | Emit
    | SendAlert
    | AskHooks
    | QueryMetrics
    | WeighEvidence
    | Remember
    | Count
    | AskGates
    | ClearGates
    | KeepResults
    | Acknowledge
    | AddFinalizer
    | RestoreApex
    | RemoveFinalizer
)


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """What to do now. `rule` names the rule that decided, `analysed` is true for those of the analysis. `wait` is
    seconds until the next look; None keeps the time that is already set for it."""

    actions: tuple[Action, ...] = ()
    again: bool = False
    wait: float | None = None
    rule: str = ""
    analysed: bool = False
