"""An LLMInferenceService: a second one beside it has the new revision, a routing group splits the traffic.

KServe's rules: a weight needs a group; every member's route leads to all members that serve the same model name; one
with weight 0 may still get requests on some gateways. So the second object joins the group with its first share and
leaves with its last, and has the target's model name.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from agent.core.objects import Manifest
from agent.core.rollout.actions import HOME, Weights
from agent.core.rollout.hashing import FLUX_MARKER
from agent.core.rollout.kserve.content import (
    PROMOTED,
    Content,
    Promoted,
    Trial,
    asked_of,
    content_of,
    covers,
    promoted_on,
    serving_on,
    trial_on,
    worth_noting,
)
from agent.core.rollout.kserve.pods import failed_load, llm_fleet
from agent.core.rollout.kserve.serving import (
    Facts,
    Look,
    Remove,
    ServiceError,
    Services,
    Side,
    Write,
    applied,
    asked_in,
    condition,
    facts_of,
    marks,
    within_deadline,
)
from agent.core.rollout.plan import TOTAL_WEIGHT, Plan
from agent.core.rollout.readiness import READY, Readiness, deployment_readiness
from agent.core.rollout.status import Status

_SHARED = ("replicas", "scaling", "rolloutStrategy")
"""Fields that the second object takes from the target as they are."""


def sibling_name(name: str) -> str:
    """Name of the second object."""
    return f"{name}-canary"


class Llm:
    """See the module."""

    def facts(self, services: Services, plan: Plan, status: Status, now: datetime) -> Facts:
        obj, sibling = services.target, services.sibling
        asked, name = asked_in(obj), obj["metadata"]["name"]
        fleet = llm_fleet(sibling_name(name), asked.content)
        ready = READY if asked.matches else Readiness("waiting for the canary to be created")
        there = sibling is not None and _tried(sibling) == asked.revision
        if sibling is not None and there:
            failed = failed_load(services.pods, fleet)
            ready = _ready(sibling) if failed.ready else failed
        tried = Side(asked.matches or there, within_deadline(ready, plan, status, now), fleet)
        stands = _ready(obj)
        if stands.ready and services.workload is not None:
            stands = deployment_readiness(
                services.workload, deadline=plan.deadline, threshold=plan.primary_ready, now=now
            )
        return facts_of(obj, asked, tried, Side(True, stands, llm_fleet(name, content_of(obj))))

    def look(self, services: Services) -> Look:
        """The target's Deployment, which is available while it still runs what was before; and the pods of a second
        object that is not ready: KServe reports no failed load."""
        obj, sibling = services.target, services.sibling
        content = content_of(obj)
        waiting = sibling is not None and not _ready(sibling).ready
        return Look(
            workload="" if content.get("worker") else llm_fleet(obj["metadata"]["name"], content).workload,
            pods=f"app.kubernetes.io/name={sibling_name(obj['metadata']['name'])}" if waiting else "",
        )

    def weights(self, services: Services) -> Weights:
        """The share of the second object in the group. Raises ServiceError for a target without a route."""
        if (services.target["spec"].get("router") or {}).get("route") is None:
            name = services.target["metadata"]["name"]
            text = f"LLMInferenceService {name} has no spec.router.route, without which KServe cannot split its traffic"
            raise ServiceError("TargetInvalid", text)
        if services.sibling is None:
            return HOME
        percent = int(_route(services.sibling).get("weight") or 0)
        return Weights(TOTAL_WEIGHT - percent, percent)

    def taken_over(self, services: Services) -> tuple[Write, ...]:
        serving = worth_noting(services.target)
        if serving is None or services.sibling is not None:
            return ()
        return (first_manifest(services.target, serving, None),)

    def raised(self, services: Services) -> tuple[Write, ...]:
        revision, content = asked_of(services.target)
        if services.sibling is not None and _tried(services.sibling) == revision:
            return ()
        return (_second(services, revision, content, 0),)

    def weighted(self, services: Services, percent: int) -> tuple[Write, ...]:
        """The target first: its weight means nothing while it is alone in its group."""
        obj, sibling = services.target, services.sibling
        if sibling is None or percent == self.weights(services).canary:
            return ()
        if percent == 0:
            return self.lowered(services, at_once=True)
        tried = _second(services, _tried(sibling), content_of(sibling), percent)
        return (first_manifest(obj, serving_on(obj), TOTAL_WEIGHT - percent), tried)

    def lowered(self, services: Services, *, at_once: bool) -> tuple[Write, ...]:  # noqa: ARG002 - the protocol's
        obj, sibling = services.target, services.sibling
        if sibling is None:
            return ()
        return (Remove(sibling["metadata"]["name"]), first_manifest(obj, serving_on(obj), None))

    def promoted(self, services: Services, identity: str) -> tuple[Write, ...]:
        """The second object goes on with its share until the target has loaded the revision, too."""
        obj = services.target
        _, content = asked_of(obj)
        serving = Promoted(content=content, identity=identity)
        if promoted_on(obj) == serving and covers(content_of(obj), content):
            return ()
        weight = self.weights(services).primary if services.sibling is not None else None
        return (first_manifest(obj, serving, weight),)

    def settled(self, services: Services) -> tuple[Write, ...]:
        """All traffic for a target that is alone although its weight says less: a process died in between."""
        obj = services.target
        alone = services.sibling is None and promoted_on(obj) is not None
        if alone and _route(obj).get("weight") not in {None, TOTAL_WEIGHT}:
            return (first_manifest(obj, serving_on(obj), None),)
        return ()


def _route(obj: Manifest) -> Mapping[str, Any]:
    found: Mapping[str, Any] = (obj["spec"].get("router") or {}).get("route") or {}
    return found


def _tried(sibling: Manifest) -> str:
    trial = trial_on(sibling)
    return trial.revision if trial is not None else ""


def first_manifest(
    obj: Manifest,
    serving: Promoted,
    weight: int | None,
    *,
    content: Content | None = None,
    trial: Trial | None = None,
) -> Manifest:
    """The target, alone where `weight` is None. Once it was in a group it stays there with all the traffic: the API
    server makes null of an object of which a server-side apply takes the last member, and refuses that. `content`:
    where it is not yet, or no longer, what is noted as serving."""
    if weight is None and _route(obj).get("weight") is not None:
        weight = TOTAL_WEIGHT
    share = {} if weight is None else {"group": _group(obj), "weight": weight}
    written = serving.content if content is None else content
    return applied(obj, marks(serving, trial), {**written, "router": {"route": share}})


def _group(obj: Manifest) -> str:
    return str(_route(obj).get("group") or obj["metadata"]["name"])


def _second(services: Services, revision: str, content: Content, percent: int) -> Manifest:
    """The second object; it goes with the target, and its model has the name that clients know."""
    obj = services.target
    metadata, spec = obj["metadata"], obj["spec"]
    model = dict(content.get("model") or {})
    model.setdefault("name", (serving_on(obj).content.get("model") or {}).get("name") or metadata["name"])
    route = {name: value for name, value in _route(obj).items() if name not in {"group", "weight"}}
    if percent:
        route |= {"group": _group(obj), "weight": percent}
    router = {**(spec.get("router") or {}), "route": route}
    shared = {"replicas": 1} if services.single else {name: spec[name] for name in _SHARED if name in spec}
    second = applied(
        {**obj, "metadata": {**metadata, "name": sibling_name(metadata["name"])}},
        {key: value for key, value in marks(serving_on(obj), Trial(revision=revision)).items() if key != PROMOTED},
        {**shared, **content, "model": model, "router": router},
    )
    owner = {
        "apiVersion": obj["apiVersion"],
        "kind": obj["kind"],
        "name": metadata["name"],
        "uid": metadata["uid"],
        "controller": False,
        "blockOwnerDeletion": False,
    }
    second["metadata"]["ownerReferences"] = [owner]
    second["metadata"]["labels"] = {
        key: value for key, value in (metadata.get("labels") or {}).items() if FLUX_MARKER not in key
    }
    return second


def _ready(obj: Manifest) -> Readiness:
    seen = (obj.get("status") or {}).get("observedGeneration")
    if seen is not None and seen < obj["metadata"].get("generation", 0):
        return Readiness(f"LLMInferenceService {obj['metadata']['name']}: waiting for KServe to take note of a change")
    found = condition(obj, "Ready")
    if found.get("status") == "True":
        return READY
    what = str(found.get("message") or found.get("reason") or "not reported yet")
    return Readiness(f"LLMInferenceService {obj['metadata']['name']}: {what}")
