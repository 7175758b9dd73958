"""An InferenceService in Knative mode: the new revision replaces the old one in `spec.predictor`, held back by percent.

KServe splits traffic between the latest revision and the one that last had all of it, and only if there is such a one.
Percent and reference go into one write: between two, the new revision would get everything. After a rollback the
rejected revision stays in the predictor at 0 percent; the good one serves without being loaded anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from agent.core.objects import Manifest
from agent.core.rollout.actions import HOME, Weights
from agent.core.rollout.knative import revision_fleet
from agent.core.rollout.kserve.content import (
    Promoted,
    Trial,
    asked_of,
    content_of,
    promoted_on,
    serving_on,
    trial_on,
    worth_noting,
)
from agent.core.rollout.kserve.serving import (
    Facts,
    Look,
    ServiceError,
    Services,
    Side,
    Write,
    applied,
    asked_in,
    condition,
    facts_of,
    loading,
    marks,
    within_deadline,
)
from agent.core.rollout.plan import TOTAL_WEIGHT, Plan
from agent.core.rollout.readiness import READY, Readiness
from agent.core.rollout.status import Status

_BACK = "restored"
"""The revision of a trial that brings back what was promoted."""


class Knative:
    """See the module."""

    def facts(self, services: Services, plan: Plan, status: Status, now: datetime) -> Facts:
        obj, asked = services.target, asked_in(services.target)
        trial = trial_on(obj)
        ready = READY if asked.matches else Readiness("waiting for the new revision to be created")
        up = asked.matches
        if trial is not None and trial.revision == asked.revision:
            up, ready = True, _tried_ready(obj, trial)
        created, serves = _revisions(obj, trial)
        tried = Side(up, within_deadline(ready, plan, status, now), revision_fleet(created))
        return facts_of(obj, asked, tried, Side(True, _serving_ready(obj, trial), revision_fleet(serves)))

    def look(self, services: Services) -> Look:  # noqa: ARG002 - the protocol's parameter
        return Look()

    def weights(self, services: Services) -> Weights:
        """The share of the latest revision while it is one on trial."""
        obj = services.target
        if trial_on(obj) is None:
            return HOME
        percent = int(_percent(obj) or 0)
        return Weights(TOTAL_WEIGHT - percent, percent)

    def taken_over(self, services: Services) -> tuple[Write, ...]:
        serving = worth_noting(services.target)
        if serving is None:
            return ()
        return (applied(services.target, marks(serving), {"predictor": serving.content}),)

    def raised(self, services: Services) -> tuple[Write, ...]:
        """Raises ServiceError while no revision ever had all traffic: the new one would get it at once."""
        obj = services.target
        revision, content = asked_of(obj)
        trial = trial_on(obj)
        if trial is not None and trial.revision == revision:
            return ()
        component = _component(obj)
        if not component.get("latestRolledoutRevision"):
            text = "no revision has been rolled out yet, so that KServe would send all traffic to a new one"
            raise ServiceError("TargetInvalid", text)
        tried = Trial(revision=revision, after=component.get("latestCreatedRevision", ""))
        return (_manifest(obj, serving_on(obj), content, 0, tried),)

    def weighted(self, services: Services, percent: int) -> tuple[Write, ...]:
        obj = services.target
        trial = trial_on(obj)
        if trial is None or _percent(obj) == percent:
            return ()
        return (_manifest(obj, serving_on(obj), content_of(obj), percent, trial),)

    def lowered(self, services: Services, *, at_once: bool) -> tuple[Write, ...]:  # noqa: ARG002 - as above
        """At rest nothing; a rejected revision keeps 0 percent; where Git went back, so does the predictor."""
        obj = services.target
        trial, serving = trial_on(obj), serving_on(obj)
        if trial is None or trial.revision == _BACK:
            return ()
        _, content = asked_of(obj)
        if not serving.is_asked(content):
            return self.weighted(services, 0)
        back = Trial(revision=_BACK, after=_component(obj).get("latestCreatedRevision", ""))
        return (_manifest(obj, serving, serving.content, 0, back),)

    def promoted(self, services: Services, identity: str) -> tuple[Write, ...]:
        """Without a percentage KServe sends everything to the latest revision."""
        obj = services.target
        _, content = asked_of(obj)
        serving = Promoted(content=content, identity=identity)
        if promoted_on(obj) == serving and trial_on(obj) is None and _percent(obj) is None:
            return ()
        return (applied(obj, marks(serving), {"predictor": content}),)

    def settled(self, services: Services) -> tuple[Write, ...]:
        """What was brought back gets the traffic once it is loaded, and the percentage goes."""
        obj = services.target
        trial, serving = trial_on(obj), serving_on(obj)
        if trial is None or trial.revision != _BACK or not _tried_ready(obj, trial).ready:
            return ()
        return (applied(obj, marks(serving), {"predictor": serving.content}),)


def _manifest(obj: Manifest, serving: Promoted, content: Mapping[str, Any], percent: int, trial: Trial) -> Manifest:
    return applied(obj, marks(serving, trial), {"predictor": {**content, "canaryTrafficPercent": percent}})


def _component(obj: Manifest) -> Mapping[str, Any]:
    found: Mapping[str, Any] = ((obj.get("status") or {}).get("components") or {}).get("predictor") or {}
    return found


def _revisions(obj: Manifest, trial: Trial | None) -> tuple[str, str]:
    """The latest revision and the one that serves. At 100 percent KServe calls the latest one rolled out before a
    rollout has decided so."""
    component = _component(obj)
    created, rolled = (str(component.get(f"latest{state}Revision") or "") for state in ("Created", "Rolledout"))
    if trial is not None and rolled == created:
        rolled = str(component.get("previousRolledoutRevision") or trial.after)
    return created, rolled


def _percent(obj: Manifest) -> int | None:
    found = obj["spec"]["predictor"].get("canaryTrafficPercent")
    return None if found is None else int(found)


def _tried_ready(obj: Manifest, trial: Trial) -> Readiness:
    component, percent = _component(obj), _percent(obj) or 0
    created, ready = component.get("latestCreatedRevision", ""), component.get("latestReadyRevision", "")
    if not created or created == trial.after:
        return Readiness("waiting for KServe to create the new revision")
    model = loading((obj.get("status") or {}).get("modelStatus"), f"model of revision {created}")
    if not model.ready:
        return model
    if ready != created:
        return Readiness(f"waiting for revision {created} to become ready")
    latest = sum(int(item.get("percent") or 0) for item in component.get("traffic") or () if item.get("latestRevision"))
    if latest != percent:
        return Readiness(f"waiting for revision {created} to get {percent} percent of the traffic")
    return READY


def _serving_ready(obj: Manifest, trial: Trial | None) -> Readiness:
    component = _component(obj)
    rolled = component.get("latestRolledoutRevision", "")
    if not rolled:
        return Readiness("waiting for a first revision to have all traffic")
    if trial is not None:
        return READY
    if rolled != component.get("latestCreatedRevision"):
        return Readiness(f"waiting for revision {component.get('latestCreatedRevision')} to have all traffic")
    found = condition(obj, "PredictorReady", "Ready")
    if found.get("status") == "True":
        return READY
    return Readiness(str(found.get("message") or found.get("reason") or "the predictor is not ready"))
