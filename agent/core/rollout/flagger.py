"""Whether Flagger itself is at work on a Canary: two that roll out one target would undo each other's steps."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from agent.api.canary import Canary

FLAGGER_RUNNING = "FlaggerRunning"
"""Why a Canary is refused that a running Flagger acts on as well."""
HANDOVER = "weir.dev/handover"
"""Annotation on a Canary; with the value `weir` a person says that no Flagger acts on it, whatever runs."""

NAME = "flagger"
LABELS = ("app=flagger", "app.kubernetes.io/name=flagger")
"""Labels of Flagger's Deployment as its manifests and its Helm chart install it."""


def running(deployments: Iterable[Mapping[str, Any]]) -> tuple[Mapping[str, Any], ...]:
    """Those of the Deployments that are Flagger, by the image, and are to have replicas."""
    return tuple(found for found in deployments if found["spec"].get("replicas", 1) > 0 and _is_flagger(found))


def refusal(canary: Canary, flaggers: Iterable[Mapping[str, Any]]) -> str:
    """Why the Canary has to be left alone; empty if no Flagger watches its namespace, or a person has said so."""
    if canary.metadata.annotations.get(HANDOVER) == "weir":
        return ""
    for found in flaggers:
        if _watched(found) in {"", canary.namespace}:
            where = f"{found['metadata']['namespace']}/{found['metadata']['name']}"
            return (
                f"Flagger runs as Deployment {where} and acts on canary {canary.name}.{canary.namespace} too: scale it "
                f"to zero, or annotate the canary with {HANDOVER}: weir"
            )
    return ""


def _is_flagger(deployment: Mapping[str, Any]) -> bool:
    containers = deployment["spec"]["template"]["spec"].get("containers") or ()
    images = [str(container.get("image", "")).partition("@")[0] for container in containers]
    return any(image.rpartition("/")[2].partition(":")[0] == NAME for image in images)


def _watched(deployment: Mapping[str, Any]) -> str:
    """The only namespace that this Flagger watches; empty for all."""
    for container in deployment["spec"]["template"]["spec"].get("containers") or ():
        arguments = [*(container.get("command") or ()), *(container.get("args") or ())]
        for at, argument in enumerate(map(str, arguments)):
            flag, given, value = argument.lstrip("-").partition("=")
            if flag == "namespace" and argument.startswith("-"):
                return value if given else "".join(map(str, arguments[at + 1 : at + 2]))
    return ""
