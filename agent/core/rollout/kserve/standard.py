"""An InferenceService in Standard mode: the new revision is an entry of `spec.canary` beside the stable predictor.

KServe's rules (0.20): an entry needs a name of its own, may not have more replicas than the stable predictor's minimum,
gets no pods at 0 percent unless it says how many, and no traffic before it is ready. Taking over the entry's name makes
its Deployment the stable one, so that the promotion of another model restarts nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from agent.core.judge.queries import Fleet
from agent.core.objects import Manifest
from agent.core.rollout.actions import Weights
from agent.core.rollout.hashing import PREFIX
from agent.core.rollout.kserve.content import (
    GROUP,
    LIVE,
    Content,
    Promoted,
    Trial,
    asked_of,
    content_of,
    covers,
    promoted_on,
    revision_of,
    serving_on,
    trial_on,
    worth_noting,
)
from agent.core.rollout.kserve.pods import failed_load, predictor_fleet
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
from agent.core.rollout.readiness import READY, Readiness, deployment_readiness
from agent.core.rollout.status import Status

_OURS = "weir-"
_LEAVING = "leaving"
"""The revision of a trial that is over: the entry only waits to go."""
_PROGRAM = ("name", "image", "command", "args", "env")
"""Fields of a container that say what it runs."""


def entry_name(revision: str) -> str:
    """The name of the predictor of one revision; it becomes part of names of Deployment and Service."""
    return _OURS + revision.removeprefix(PREFIX).removeprefix(LIVE)[:8]


class Standard:
    """See the module."""

    def facts(self, services: Services, plan: Plan, status: Status, now: datetime) -> Facts:
        """Raises ServiceError for entries that others made."""
        obj, asked = services.target, asked_in(services.target)
        entries, name = _entries(obj), entry_name(asked.revision)
        entry = next((item for item in entries if _name(item) == name), None)
        fleet = predictor_fleet(obj["metadata"]["name"], name)
        ready = READY if asked.matches else Readiness("waiting for the canary to be created")
        if entry is not None:
            failed = failed_load(services.pods, fleet)
            ready = _entry_ready(obj, entry) if failed.ready else failed
        up = asked.matches or (entry is not None and not _leaves(obj))
        tried = Side(up, within_deadline(ready, plan, status, now), fleet)
        return facts_of(obj, asked, tried, Side(True, _stable_ready(services, plan, now), _serves(obj)))

    def look(self, services: Services) -> Look:
        """The Deployments, of which KServe tells no more than that they are available; and the pods while an entry is
        not ready."""
        obj, entries = services.target, _entries(services.target)
        name = obj["metadata"]["name"]
        waiting = any(not _entry_ready(obj, entry).ready for entry in entries)
        return Look(
            workload=_serves(obj).workload,
            tried=predictor_fleet(name, _name(entries[0])).workload if entries else "",
            pods=f"{GROUP}/inferenceservice={name},component=predictor" if waiting else "",
        )

    def weights(self, services: Services) -> Weights:
        """The share of our entry."""
        percent = sum(int(item.get("trafficPercent") or 0) for item in _entries(services.target))
        return Weights(TOTAL_WEIGHT - percent, percent)

    def taken_over(self, services: Services) -> tuple[Write, ...]:
        serving = worth_noting(services.target)
        return (_manifest(services.target, serving),) if serving is not None and not _entries(services.target) else ()

    def raised(self, services: Services) -> tuple[Write, ...]:
        """The entry of another revision goes first, as ever: until nobody is sent to it, nothing comes in its place."""
        obj = services.target
        revision, content = asked_of(obj)
        name, present = entry_name(revision), [_name(item) for item in _entries(obj)]
        if present == [name] and not _leaves(obj):
            return ()
        if present not in ([], [name]) and not _drained(obj):
            return self.lowered(services, at_once=False)
        return (_manifest(obj, serving_on(obj), _entry(services, name, content, 0)),)

    def weighted(self, services: Services, percent: int) -> tuple[Write, ...]:
        obj = services.target
        entries = _entries(obj)
        if percent == 0:
            return self.lowered(services, at_once=False)
        if not entries or percent == self.weights(services).canary:
            return ()
        content = content_of({**obj, "spec": {"predictor": entries[0]["predictor"]}})
        return (_manifest(obj, serving_on(obj), _entry(services, _name(entries[0]), content, percent)),)

    def lowered(self, services: Services, *, at_once: bool) -> tuple[Write, ...]:
        """KServe takes the pods of an entry that is gone away before its route has changed: requests would be lost. So
        it loses its share first."""
        obj = services.target
        entries = _entries(obj)
        if not entries:
            return ()
        if at_once or _drained(obj) or not _may_stay(obj, entries[0]):
            return (_manifest(obj, serving_on(obj)),)
        if _leaves(obj):
            return ()
        unused = {**entries[0], "trafficPercent": 0}
        return (_manifest(obj, serving_on(obj), unused, trial=Trial(revision=_LEAVING)),)

    def promoted(self, services: Services, identity: str) -> tuple[Write, ...]:
        """KServe lets a name change only together with `storageUri`. Where that stays, the stable predictor loads the
        revision as well, and what was tried keeps its share until then."""
        obj, entries = services.target, _entries(services.target)
        revision, content = asked_of(obj)
        serving, name = Promoted(content=content, identity=identity), entry_name(revision)
        if promoted_on(obj) == serving and covers(content_of(obj), content):
            return ()
        running = any(_name(item) == name for item in entries)
        if running and _uri(content) == _uri(content_of(obj)):
            return (_manifest(obj, serving, *(dict(item) for item in entries)),)
        return (_manifest(obj, serving, name=name if running else ""),)

    def settled(self, services: Services) -> tuple[Write, ...]:
        """An entry without a share goes once KServe has taken note of that."""
        obj = services.target
        return (_manifest(obj, serving_on(obj)),) if _leaves(obj) and _drained(obj) else ()


def _entries(obj: Manifest) -> list[Mapping[str, Any]]:
    entries: list[Mapping[str, Any]] = obj["spec"].get("canary") or []
    foreign = [_name(item) for item in entries if not _name(item).startswith(_OURS)]
    if foreign:
        text = f"InferenceService {obj['metadata']['name']} has a canary {foreign[0]} of its own: remove spec.canary"
        raise ServiceError("TargetInvalid", text)
    return entries


def _name(entry: Mapping[str, Any]) -> str:
    return str((entry.get("predictor") or {}).get("name", ""))


def _entry(services: Services, name: str, content: Content, percent: int) -> dict[str, Any]:
    minimum = services.target["spec"]["predictor"].get("minReplicas", 1)
    if minimum < 1:
        text = "spec.predictor.minReplicas is 0, so that KServe gives a canary no pods: set it to 1 or more"
        raise ServiceError("TargetInvalid", text)
    replicas = 1 if services.single else max(math.ceil(minimum * percent / TOTAL_WEIGHT), 1)
    return {"trafficPercent": percent, "predictor": {**content, "name": name, "minReplicas": replicas}}


def _may_stay(obj: Manifest, entry: Mapping[str, Any]) -> bool:
    """KServe refuses every write while an entry has more replicas than the stable predictor's minimum, which Git may
    have lowered meanwhile."""
    least: int = entry["predictor"].get("minReplicas") or 0
    return bool(least <= obj["spec"]["predictor"].get("minReplicas", 1))


def _leaves(obj: Manifest) -> bool:
    """Its entry has lost its share for good."""
    trial = trial_on(obj)
    return trial is not None and trial.revision == _LEAVING


def _drained(obj: Manifest) -> bool:
    """KServe sends nobody to the entries, as far as it has told."""
    reported = (obj.get("status") or {}).get("canaryStatuses") or ()
    return all(not entry.get("trafficPercent") for entry in (*_entries(obj), *reported))


def _manifest(
    obj: Manifest, serving: Promoted, *entries: dict[str, Any], name: str = "", trial: Trial | None = None
) -> Manifest:
    present = str(obj["spec"]["predictor"].get("name") or "")
    kept = name or (present if present.startswith(_OURS) else "")
    predictor = {**serving.content, **({"name": kept} if kept else {})}
    return applied(
        obj, marks(serving, trial), {"predictor": predictor, **({"canary": list(entries)} if entries else {})}
    )


def _entry_ready(obj: Manifest, entry: Mapping[str, Any]) -> Readiness:
    name, percent = _name(entry), entry.get("trafficPercent") or 0
    reported = (obj.get("status") or {}).get("canaryStatuses") or ()
    found = next((item for item in reported if item.get("name") == name), None)
    if found is None:
        return Readiness(f"waiting for KServe to report on predictor {name}")
    model = loading(found.get("modelStatus"), f"model of predictor {name}")
    if not model.ready:
        return model
    if not found.get("ready"):
        return Readiness(f"waiting for predictor {name}: no replica is available")
    if found.get("trafficPercent", 0) != percent:
        return Readiness(f"waiting for predictor {name} to get {percent} percent of the traffic")
    return READY


def _stable_ready(services: Services, plan: Plan, now: datetime) -> Readiness:
    """The Deployment, else the conditions, unless these are from before the last write: KServe reports no generation of
    its own, so what it has built tells."""
    obj, status = services.target, services.target.get("status") or {}
    reported = {str(item.get("name")) for item in status.get("canaryStatuses") or ()}
    if reported - {_name(item) for item in _entries(obj)} or _behind(services):
        return Readiness("waiting for KServe to take note of the promoted predictor")
    if services.workload is not None:
        return deployment_readiness(services.workload, deadline=plan.deadline, threshold=plan.primary_ready, now=now)
    found = condition(obj, "PredictorReady", "Ready")
    if found.get("status") == "True":
        return READY
    return Readiness(str(found.get("message") or found.get("reason") or "the predictor is not ready"))


def _behind(services: Services) -> bool:
    """What was tried was promoted, and the stable predictor does not run the same yet."""
    obj, stable, tried = services.target, services.workload, services.tried
    name = entry_name(revision_of(serving_on(obj).content))
    promoted = any(_name(item) == name for item in _entries(obj))
    return promoted and stable is not None and tried is not None and _programs(stable) != _programs(tried)


def _programs(deployment: Manifest) -> list[dict[str, Any]]:
    pod = deployment["spec"]["template"]["spec"]
    containers = (*(pod.get("initContainers") or ()), *pod["containers"])
    return [{name: container.get(name) for name in _PROGRAM} for container in containers]


def _serves(obj: Manifest) -> Fleet:
    return predictor_fleet(obj["metadata"]["name"], str(obj["spec"]["predictor"].get("name") or ""))


def _uri(content: Mapping[str, Any]) -> str:
    return str((content.get("model") or {}).get("storageUri") or "")
