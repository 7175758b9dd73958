"""What a way of serving has to tell and to write: the values that `standard`, `knative` and `llm` work with."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Protocol, TypeAlias

import msgspec

from agent.core.judge.queries import Fleet
from agent.core.models.redact import redact_within
from agent.core.objects import Manifest, canonical
from agent.core.rollout.actions import Weights
from agent.core.rollout.kserve.content import (
    PROMOTED,
    TRIAL,
    Content,
    Promoted,
    Trial,
    asked_of,
    revision_of,
    serving_on,
)
from agent.core.rollout.kserve.pods import server_in
from agent.core.rollout.kserve.split import Pool
from agent.core.rollout.plan import Plan
from agent.core.rollout.readiness import READY, Readiness
from agent.core.rollout.snapshot import Workload
from agent.core.rollout.status import Status

_LONGEST_FAILURE = 300
"""Characters of what KServe says about a model that cannot be loaded."""
_HOPELESS = frozenset({"BlockedByFailedLoad", "InvalidSpec"})


class ServiceError(Exception):
    """The object cannot be rolled out as it is: `reason` is a word for conditions, the text says what to do."""

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason


class Services(msgspec.Struct, frozen=True):
    """The target, and the second object beside it where the way of serving needs one. `workload` is the Deployment of
    what serves, `tried` and `pods` are of what is tried, where a way of serving asks for them."""

    target: Manifest
    sibling: Manifest | None = None
    workload: Manifest | None = None
    tried: Manifest | None = None
    pods: tuple[Manifest, ...] = ()
    single: bool = False
    """What is tried gets one pod, whatever its share."""
    pool: Pool = Pool()
    """What serves, where an adapter may be tried in its pods."""
    owner: Mapping[str, Any] | None = None
    """An owner reference to the Canary."""


class Look(msgspec.Struct, frozen=True):
    """What else has to be read: Deployments by name, pods by a label selector; empty for what is not needed."""

    workload: str = ""
    tried: str = ""
    pods: str = ""


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What the machine has to know. The target is what Git asks for, the primary what serves."""

    target: Workload
    primary: Workload
    matches: bool
    """What Git asks for is what serves."""


class Remove(msgspec.Struct, frozen=True):
    """The second object goes."""

    name: str


class Withdraw(msgspec.Struct, frozen=True):
    """The rewrite of that name goes."""

    name: str


class Bring(msgspec.Struct, frozen=True, kw_only=True):
    """Every pod that serves gets the `wanted` adapters (name to path) and loses those that are `gone`. `required`: what
    would be written after it is not, unless all pods did. `unready`: pods that have ceased to be ready do as well."""

    wanted: Mapping[str, str] = {}
    gone: tuple[str, ...] = ()
    required: bool = False
    unready: bool = False


Write: TypeAlias = Manifest | Remove | Withdraw | Bring
"""A manifest is server-side applied as all that the rollout says about the object."""


class Serving(Protocol):
    """One way of serving. What is read may raise ServiceError, and so may what is to be written."""

    def facts(self, services: Services, plan: Plan, status: Status, now: datetime) -> Facts:
        """What is going on."""
        ...

    def look(self, services: Services) -> Look:
        """What of its pods KServe does not tell."""
        ...

    def weights(self, services: Services) -> Weights:
        """Where the traffic goes, as stored."""
        ...

    def taken_over(self, services: Services) -> tuple[Write, ...]:
        """The fields of a revision become the rollout's, with the values they have."""
        ...

    def raised(self, services: Services) -> tuple[Write, ...]:
        """What Git asks for beside what serves, without traffic."""
        ...

    def weighted(self, services: Services, percent: int) -> tuple[Write, ...]:
        """Traffic for what is tried."""
        ...

    def lowered(self, services: Services, *, at_once: bool) -> tuple[Write, ...]:
        """What is tried goes: at once, or when nobody is sent to it any more and `settled` is asked."""
        ...

    def promoted(self, services: Services, identity: str) -> tuple[Write, ...]:
        """What Git asks for serves from now on."""
        ...

    def settled(self, services: Services) -> tuple[Write, ...]:
        """What a rollout left behind once it is of no use any more."""
        ...


def marks(serving: Promoted, trial: Trial | None = None) -> dict[str, str]:
    """The annotations of the rollout."""
    notes = {PROMOTED: _encoded(serving)}
    if trial is not None:
        notes[TRIAL] = _encoded(trial)
    return notes


def _encoded(note: msgspec.Struct) -> str:
    return canonical(msgspec.to_builtins(note)).decode()


def applied(obj: Manifest, annotations: Mapping[str, str], spec: Mapping[str, Any]) -> Manifest:
    """All that the rollout says about an object."""
    metadata = obj["metadata"]
    return {
        "apiVersion": obj["apiVersion"],
        "kind": obj["kind"],
        "metadata": {"name": metadata["name"], "namespace": metadata["namespace"], "annotations": dict(annotations)},
        "spec": dict(spec),
    }


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What Git asks for, by its hash, and what serves."""

    revision: str
    content: Content
    serving: Promoted

    @property
    def matches(self) -> bool:
        """What Git asks for serves."""
        return self.serving.is_asked(self.content)


def asked_in(obj: Manifest) -> Asked:
    """Both sides of an object."""
    revision, content = asked_of(obj)
    return Asked(revision=revision, content=content, serving=serving_on(obj))


class Side(msgspec.Struct, frozen=True):
    """How one of the two sides is doing: whether it is there, whether it is ready, and its pods."""

    up: bool
    ready: Readiness
    fleet: Fleet


def facts_of(obj: Manifest, asked: Asked, tried: Side, stands: Side) -> Facts:
    """Facts as the machine wants them. What is tried is what serves where Git asks for that."""
    serving = asked.serving
    content = serving.content if asked.matches else asked.content
    return Facts(
        target=_workload(obj, asked.revision, content, tried),
        primary=_workload(obj, revision_of(serving.content), serving.content, stands, serving.identity),
        matches=asked.matches,
    )


def _workload(obj: Manifest, revision: str, content: Content, side: Side, identity: str = "") -> Workload:
    """`replicas` says only whether it is there at all."""
    return Workload(
        hash=revision,
        replicas=int(side.up),
        ready=side.ready,
        images=(canonical(content).decode(),),
        identity=identity,
        server=server_in(obj, content),
        fleet=side.fleet,
    )


def condition(obj: Manifest, *names: str) -> Mapping[str, Any]:
    """The first of these conditions that the object has."""
    found = {item.get("type"): item for item in (obj.get("status") or {}).get("conditions") or ()}
    return next((found[name] for name in names if name in found), {})


def loading(model_status: Mapping[str, Any] | None, what: str) -> Readiness:
    """What `modelStatus` says about a model: a failed load ends the wait at once."""
    found = model_status or {}
    transition = found.get("transitionStatus", "")
    failure = found.get("lastFailureInfo") or {}
    if transition in _HOPELESS:
        why = " ".join(str(failure[name]) for name in ("reason", "message") if failure.get(name))
        text = redact_within(why)[:_LONGEST_FAILURE]
        return Readiness(f"{what} {transition}" + (f": {text}" if text else ""), retriable=False)
    state = (found.get("states") or {}).get("targetModelState", "")
    if transition == "InProgress":
        return Readiness(f"{what} is {state or 'Pending'}")
    return READY


def within_deadline(ready: Readiness, plan: Plan, status: Status, now: datetime) -> Readiness:
    """What is not ready `progressDeadlineSeconds` after the run's last step will not become it."""
    since = status.last_transition_time
    if ready.ready or not ready.retriable or since is None or now <= since + timedelta(seconds=plan.deadline):
        return ready
    return Readiness(f"{ready.text}; progressDeadlineSeconds {plan.deadline} exceeded", retriable=False)
