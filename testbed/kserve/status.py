"""Statuses as KServe writes them, from specs alone: a model is loaded at once, slowly, or cannot be."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from testbed.kserve.pods import keep_crashed
from testbed.kube import Admin, ApiError, Object

SERVICES = ("serving.kserve.io/v1beta1", "InferenceService")
LLM_SERVICES = ("serving.kserve.io/v1alpha1", "LLMInferenceService")
BROKEN = "broken"
"""A model with this word in its address cannot be loaded."""
SLOW = "slow"
"""A model with this word in its address is loading until `StatusWriter.release` is called."""
_MODE = "serving.kserve.io/deploymentMode"
_PERIOD = 0.2


@dataclass
class _Revisions:
    """The Knative revisions of one predictor, by name in the order of their creation."""

    contents: list[Any] = field(default_factory=list)
    ready: int = 0
    rolled: int = 0

    def name(self, service: str, number: int) -> str:
        return f"{service}-predictor-{number:05d}" if number else ""


class StatusWriter:
    """Writes the statuses of one namespace; an asynchronous context manager."""

    def __init__(self, admin: Admin, namespace: str) -> None:
        self._admin = admin
        self._namespace = namespace
        self._revisions: dict[str, _Revisions] = {}
        self._released = False
        self._task: asyncio.Task[None] | None = None

    def release(self) -> None:
        """Slow models are loaded now."""
        self._released = True

    def contents(self, name: str) -> list[Any]:
        """The predictors of which Knative made revisions, the oldest first."""
        return list(self._revisions[name].contents)

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.wait({self._task})
        if not self._task.cancelled():
            self._task.result()

    async def _run(self) -> None:
        while True:
            crashed: dict[str, Mapping[str, str]] = {}
            for (api, kind), status_of in ((SERVICES, self._service), (LLM_SERVICES, self._llm)):
                for obj in await self._admin.list(api, kind, self._namespace):
                    crashed |= self._crashed(obj)
                    status = status_of(obj)
                    if obj.get("status") != status:
                        await self._write(api, kind, obj, status)
            await keep_crashed(self._admin, self._namespace, crashed)
            await asyncio.sleep(_PERIOD)

    def _crashed(self, obj: Object) -> dict[str, Mapping[str, str]]:
        """Workloads whose failed loads KServe does not report in the object's status, with the labels of their pods."""
        name, spec = obj["metadata"]["name"], obj["spec"]
        if obj["kind"] == LLM_SERVICES[1]:
            failed = self._loads(spec["model"]) == "FailedToLoad"
            return {f"{name}-kserve": {"app.kubernetes.io/name": name}} if failed else {}
        labels = {"serving.kserve.io/inferenceservice": name, "component": "predictor"}
        tried = [entry["predictor"] for entry in spec.get("canary") or ()]
        return {f"{name}-{each['name']}-predictor": labels for each in tried if self._loads(each) == "FailedToLoad"}

    async def _write(self, api: str, kind: str, obj: Object, status: Object) -> None:
        resource = await self._admin.resource(api, kind)
        path = resource.path(self._namespace, obj["metadata"]["name"], "status")
        try:
            await self._admin.request("PUT", path, body={**obj, "status": status})
        except ApiError as error:
            if error.status not in {404, 409}:  # changed or gone meanwhile: the next round sees it
                raise

    def _loads(self, content: Mapping[str, Any]) -> str:
        text = str(content)
        if BROKEN in text:
            return "FailedToLoad"
        return "Loading" if SLOW in text and not self._released else "Loaded"

    def _model_status(self, content: Mapping[str, Any]) -> Object:
        state = self._loads(content)
        if state == "FailedToLoad":
            failure = {"reason": "ModelLoadFailed", "message": "no such model", "exitCode": 1}
            return {
                "transitionStatus": "BlockedByFailedLoad",
                "states": {"targetModelState": state},
                "lastFailureInfo": failure,
            }
        transition = "UpToDate" if state == "Loaded" else "InProgress"
        return {"transitionStatus": transition, "states": {"targetModelState": state}}

    def _service(self, obj: Object) -> Object:
        mode = (obj["metadata"].get("annotations") or {}).get(_MODE, "Standard")
        return self._standard(obj) if mode == "Standard" else self._knative(obj)

    def _standard(self, obj: Object) -> Object:
        spec = obj["spec"]
        canaries = [
            {
                "name": entry["predictor"]["name"],
                "ready": self._loads(entry["predictor"]) == "Loaded",
                "trafficPercent": entry["trafficPercent"],
                "modelStatus": {"transitionStatus": ""},
            }
            for entry in spec.get("canary") or ()
        ]
        ready = self._loads(spec["predictor"]) == "Loaded"
        status = {
            "deploymentMode": "Standard",
            "modelStatus": self._model_status(spec["predictor"]),
            "conditions": _conditions(ready, "PredictorReady", "Ready"),
        }
        return {**status, "canaryStatuses": canaries} if canaries else status

    def _knative(self, obj: Object) -> Object:
        """One revision for each form of the predictor; percentages mean something once a revision had all traffic."""
        name, predictor = obj["metadata"]["name"], obj["spec"]["predictor"]
        revisions = self._revisions.setdefault(name, _Revisions())
        content = {key: value for key, value in predictor.items() if key not in {"canaryTrafficPercent", "maxReplicas"}}
        if not revisions.contents or revisions.contents[-1] != content:
            revisions.contents.append(content)
        created = len(revisions.contents)
        if self._loads(content) == "Loaded":
            revisions.ready = created
        percent = predictor.get("canaryTrafficPercent")
        traffic = [{"latestRevision": True, "percent": 100}]
        if percent is not None and revisions.rolled:
            previous = {"revisionName": revisions.name(name, revisions.rolled), "percent": 100 - percent, "tag": "prev"}
            traffic = [{"latestRevision": True, "percent": percent}, *([previous] if percent < 100 else [])]
        if traffic[0]["percent"] == 100 and revisions.ready == created:
            revisions.rolled = created
        component = {
            "latestCreatedRevision": revisions.name(name, created),
            "latestReadyRevision": revisions.name(name, revisions.ready),
            "latestRolledoutRevision": revisions.name(name, revisions.rolled),
            "traffic": traffic,
        }
        return {
            "deploymentMode": "Knative",
            "components": {"predictor": {key: value for key, value in component.items() if value}},
            "modelStatus": self._model_status(content),
            "conditions": _conditions(revisions.ready == created, "PredictorReady", "Ready"),
        }

    def _llm(self, obj: Object) -> Object:
        conditions = _conditions(self._loads(obj["spec"]["model"]) == "Loaded", "Ready")
        return {"observedGeneration": obj["metadata"]["generation"], "conditions": conditions}


def _conditions(ready: bool, *names: str) -> list[Object]:
    value = {"status": "True"} if ready else {"status": "False", "reason": "NotReady", "message": "not ready"}
    return [{"type": name, **value} for name in names]
