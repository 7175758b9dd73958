"""Which way of serving an object has, and what a Canary may not ask of one."""

from __future__ import annotations

from typing import Final

from agent.api.canary import Canary
from agent.core.objects import Manifest, annotations_of, split_api_version
from agent.core.rollout.kserve.content import GROUP, INFERENCE_SERVICE, KINDS, LLM_INFERENCE_SERVICE
from agent.core.rollout.kserve.knative import Knative
from agent.core.rollout.kserve.lora import Lora, uses_pods_that_serve
from agent.core.rollout.kserve.serving import ServiceError, Services, Serving
from agent.core.rollout.kserve.standard import Standard
from agent.core.rollout.plan import Plan

MODE: Final = "serving.kserve.io/deploymentMode"
_STANDARD, _RAW = "Standard", "RawDeployment"
_KNATIVE = frozenset({"Knative", "Serverless"})


def serving_of(obj: Manifest) -> Serving:
    """How the object serves. Raises ServiceError where it cannot be rolled out.

    KServe's webhook accepts `spec.canary` only where the annotation says `Standard`, whatever the default is.
    """
    if obj["kind"] == LLM_INFERENCE_SERVICE:
        return Lora()
    assert obj["kind"] == INFERENCE_SERVICE
    asked = annotations_of(obj).get(MODE, "")
    mode = asked or str((obj.get("status") or {}).get("deploymentMode") or "")
    if asked == _STANDARD:
        _without_workers(obj)
        return Standard()
    if mode in _KNATIVE:
        return Knative()
    name = obj["metadata"]["name"]
    if mode in {_STANDARD, _RAW}:
        text = f"InferenceService {name}: set the annotation {MODE} to {_STANDARD}, KServe allows canaries only then"
    elif mode:
        text = f"InferenceService {name}: deployment mode {mode} has no canaries, use {_STANDARD} or Knative"
    else:
        text = f"InferenceService {name}: no annotation {MODE}, and KServe has not reported a deployment mode yet"
    raise ServiceError("TargetInvalid", text)


def _without_workers(obj: Manifest) -> None:
    """Raises ServiceError for a predictor over several nodes, unless a run of it has begun before it became one.

    KServe's webhook (0.20) forbids `workerSpec` in `spec.canary`: a canary's pods would have to hold the model alone.
    """
    spec = obj["spec"]
    if spec["predictor"].get("workerSpec") is not None and not spec.get("canary"):
        text = (
            f"InferenceService {obj['metadata']['name']}: spec.predictor.workerSpec spreads it over several nodes, and"
        )
        remedy = "use an LLMInferenceService with spec.worker, or remove workerSpec or the Canary"
        raise ServiceError("TargetInvalid", f"{text} KServe allows no workers in spec.canary: {remedy}")


def first_pods(obj: Manifest) -> int:
    """How many pods a canary of the object begins with: one in Standard mode, as many as at least serve otherwise."""
    if obj["kind"] == LLM_INFERENCE_SERVICE:
        return max(int(obj["spec"].get("replicas") or 1), 1)
    if isinstance(serving_of(obj), Standard):
        return 1
    return max(int(obj["spec"]["predictor"].get("minReplicas") or 1), 1)


def needs_room(services: Services) -> bool:
    """False where what Git asks for is tried in the pods that serve."""
    return services.target["kind"] != LLM_INFERENCE_SERVICE or not uses_pods_that_serve(services)


def refused_in_place(canary: Canary, plan: Plan) -> tuple[str, str] | None:
    """(reason, text) where a Canary of a KServe object, or with provider `kserve`, asks for what there is not."""
    group, _ = split_api_version(canary.spec.target_ref.api_version)
    if plan.target_kind not in KINDS or group != GROUP:
        text = f"provider kserve needs a target of {GROUP}, kind {' or '.join(KINDS)}: this is {plan.target_kind} of"
        return "TargetNotSupported", f"{text} {group or 'the core group'}"
    if not plan.in_place:
        return "ProviderNotSupported", f"target kind {plan.target_kind} needs provider kserve, not {plan.provider}"
    if canary.spec.autoscaler_ref is not None:
        return "AutoscalerNotSupported", f"KServe scales {plan.target_kind} itself: remove autoscalerRef"
    if plan.matched:
        return "ProviderNotSupported", "provider kserve splits by weight only: remove analysis.match"
    return None
