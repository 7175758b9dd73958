"""Where the pods of a KServe object are, and which model server runs in them.

Names are those that KServe and Knative give: `<service>[-<predictor>]-predictor` is a Deployment in Standard mode and a
Knative Service otherwise, whose revisions have Deployments of their own; an LLMInferenceService is a Deployment, or a
LeaderWorkerSet where it has workers. Pods that prefill for others are not counted: each request would be counted twice.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from agent.core.judge.queries import OF_LEADER_WORKER_SET, Fleet
from agent.core.models.extract import servers
from agent.core.models.redact import redact_within
from agent.core.models.serving import server_of
from agent.core.objects import Manifest
from agent.core.rollout.knative import child_name
from agent.core.rollout.kserve.content import LLM_INFERENCE_SERVICE, Content
from agent.core.rollout.readiness import READY, Readiness

_LONGEST_FAILURE: Final = 300
"""Characters of what a container said at its end."""
_SERVERS: Final[Mapping[str, str]] = {
    "huggingface": servers.KSERVE_HF.name,
    "vllm": servers.VLLM.name,
    "triton": servers.TRITON.name,
    "tensorrt": servers.TRITON.name,
    "onnx": servers.TRITON.name,
    "pytorch": servers.TORCHSERVE.name,
    "tensorflow": servers.TF_SERVING.name,
    "mlflow": servers.MLSERVER.name,
    **dict.fromkeys(("sklearn", "xgboost", "lightgbm", "pmml", "paddle", "autogluon"), servers.KSERVE_PYTHON.name),
}
"""By model format: the server of the runtime that KServe ships for it."""


def predictor_fleet(service: str, predictor: str) -> Fleet:
    """A predictor in Standard mode; `predictor` is its name, empty for one without."""
    return Fleet("-".join(part for part in (service, predictor, "predictor") if part))


def llm_fleet(name: str, content: Content) -> Fleet:
    """An LLMInferenceService."""
    if content.get("worker"):
        return Fleet(child_name(name, "-kserve-mn"), OF_LEADER_WORKER_SET)
    return Fleet(child_name(name, "-kserve"))


def failed_load(pods: Iterable[Manifest], fleet: Fleet) -> Readiness:
    """READY, or why a model will not be loaded: a container of one of the pods has crashed and KServe would call that
    `ModelLoadFailed`. Of the predictors on trial it reports nothing itself."""
    for pod in pods:
        if re.fullmatch(fleet.pattern, pod["metadata"]["name"]) and not _is_taken_away(pod):
            status = pod.get("status") or {}
            inits = status.get("initContainerStatuses") or ()
            for container in (*inits, *(status.get("containerStatuses") or ())):
                end = _end(container)
                if end is not None:
                    said = redact_within(str(end.get("message") or ""))[-_LONGEST_FAILURE:].strip()
                    why = f"container {container['name']} has failed with exit code {end.get('exitCode', 'unknown')}"
                    what = f"ModelLoadFailed in pod {pod['metadata']['name']}: {why}"
                    return Readiness(f"{what}: {said}" if said else what, retriable=False)
    return READY


def _is_taken_away(pod: Manifest) -> bool:
    """Deleted, or ended by Kubernetes: evicted, preempted, its node shut down or gone. Such a pod's containers end with
    an error, too, and it stays as it is until somebody clears it away."""
    status = pod.get("status") or {}
    disrupted = ("DisruptionTarget", "True")
    conditions = status.get("conditions") or ()
    return bool(
        pod["metadata"].get("deletionTimestamp")
        or status.get("reason")
        or any((one.get("type"), one.get("status")) == disrupted for one in conditions)
    )


def _end(container: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """How a container ended that has failed, None for all others."""
    state = container.get("state") or {}
    ended: Mapping[str, Any] | None = state.get("terminated")
    if ended is not None and ended.get("reason") == "Error":
        return ended
    if (state.get("waiting") or {}).get("reason") == "CrashLoopBackOff":
        return (container.get("lastState") or {}).get("terminated") or {}
    return None


def server_in(obj: Manifest, content: Content) -> str:
    """The server of a revision by its name in the table of model servers, "" if none is recognised.

    What the object itself starts decides, then the name of the runtime, then the format of the model.
    """
    if obj["kind"] == LLM_INFERENCE_SERVICE:
        return server_of(content.get("template") or {}) or servers.VLLM.name
    model: Mapping[str, Any] = content.get("model") or {}
    found = server_of({"containers": [model, *(content.get("containers") or ())]})
    if found or not model:
        return found
    runtime = servers.recognise_image(runtime_of(obj, content))
    kind = str((model.get("modelFormat") or {}).get("name") or "")
    return runtime.name if runtime is not None else _SERVERS.get(kind.lower(), "")


def runtime_of(obj: Manifest, content: Content) -> str:
    """The runtime that a revision names, or the one that KServe has chosen for a model of the same format; "" if none.

    Only models have one.
    """
    model: Mapping[str, Any] = content.get("model") or {}
    if obj["kind"] == LLM_INFERENCE_SERVICE or not model:
        return ""
    if model.get("runtime"):
        return str(model["runtime"])
    serving: Mapping[str, Any] = obj["spec"]["predictor"].get("model") or {}
    status = obj.get("status") or {}
    chosen = status.get("servingRuntimeName") or status.get("clusterServingRuntimeName") or ""
    return str(chosen) if serving.get("modelFormat") == model.get("modelFormat") else ""
