"""From what the containers do to what a Pod's status says (pure; the rules are the kubelet's)."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from testbed.node.kubeapi import Obj

Phase = Literal["Pending", "Running", "Succeeded", "Failed"]
Role = Literal["init", "sidecar", "main"]


@dataclass(frozen=True, slots=True)
class Waiting:
    """Not running: why, in the kubelet's words (ContainerCreating, CrashLoopBackOff, ErrImagePull ...)."""

    reason: str
    message: str = ""


@dataclass(frozen=True, slots=True)
class Running:
    """Running since ``started_at`` (UTC)."""

    started_at: datetime


@dataclass(frozen=True, slots=True)
class Terminated:
    """Ended: exit code (128 + signal number after a signal), the kubelet's reason, times in UTC."""

    exit_code: int
    reason: str
    started_at: datetime
    finished_at: datetime
    container_id: str
    message: str = ""


State = Waiting | Running | Terminated


@dataclass(frozen=True, slots=True)
class ContainerView:
    """One container as its status shows it; ``final`` when it will not run again, ``digest`` of what was pulled."""

    name: str
    image: str
    role: Role
    state: State
    last: Terminated | None
    restarts: int
    started: bool
    ready: bool
    final: bool
    container_id: str
    digest: str = ""


@dataclass(frozen=True, slots=True)
class PodView:
    """One Pod as its status shows it; ``sandbox`` when volumes and address are there."""

    containers: Sequence[ContainerView]
    ip: str
    sandbox: bool
    started_at: datetime
    reason: str = ""
    message: str = ""


def utc_now() -> datetime:
    """Now, in UTC, in whole seconds (the resolution of metav1.Time)."""
    return datetime.now(UTC).replace(microsecond=0)


def timestamp(moment: datetime) -> str:
    """RFC 3339 with Z, as metav1.Time is written."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def phase_of(view: PodView) -> Phase:
    """The Pod's phase: Pending until every main container ran once, then Running until all ended for good.

    As with the kubelet, a Pod does not have a final phase while one of its containers, a sidecar too, still runs.
    """
    phase = _phase_by_results(view)
    still_runs = any(isinstance(c.state, Running) for c in view.containers)
    return "Running" if still_runs and phase in {"Succeeded", "Failed"} else phase


def _phase_by_results(view: PodView) -> Phase:
    if view.reason:
        return "Failed"
    inits = [c for c in view.containers if c.role == "init"]
    if any(c.final and isinstance(c.state, Terminated) and c.state.exit_code for c in inits):
        return "Failed"
    mains = [c for c in view.containers if c.role == "main"]
    if all(c.final and isinstance(c.state, Terminated) for c in mains):
        failed = any(isinstance(c.state, Terminated) and c.state.exit_code for c in mains)
        return "Failed" if failed else "Succeeded"
    if any(isinstance(c.state, Waiting) and c.last is None for c in mains):
        return "Pending"
    return "Running"


def pod_status(pod: Obj, view: PodView, before: Sequence[Obj]) -> Obj:
    """The status to publish: phase, conditions, containers.

    ``before`` are the conditions published last; an unchanged one keeps its lastTransitionTime.
    """
    by_name = {c.name: c for c in view.containers}
    status: Obj = {
        "phase": phase_of(view),
        "conditions": _conditions(pod, view, before),
        "hostIP": "127.0.0.1",
        "hostIPs": [{"ip": "127.0.0.1"}],
        "podIP": view.ip,
        "podIPs": [{"ip": view.ip}],
        "startTime": timestamp(view.started_at),
        "containerStatuses": [_container_status(by_name[c["name"]]) for c in pod["spec"]["containers"]],
    }
    if pod["spec"].get("initContainers"):
        names = [c["name"] for c in pod["spec"]["initContainers"]]
        status["initContainerStatuses"] = [_container_status(by_name[name]) for name in names]
    if view.reason:
        status |= {"reason": view.reason, "message": view.message}
    if "generation" in pod["metadata"]:
        status["observedGeneration"] = pod["metadata"]["generation"]
    return status


def _containers_ready(view: PodView) -> tuple[bool, str, str]:
    phase = phase_of(view)
    if phase in {"Succeeded", "Failed"}:
        return False, "PodCompleted" if phase == "Succeeded" else "PodFailed", ""
    unready = [c.name for c in view.containers if c.role != "init" and not c.ready]
    if unready:
        return False, "ContainersNotReady", f"containers with unready status: [{' '.join(unready)}]"
    return True, "", ""


def _gates(pod: Obj) -> tuple[bool, str, str]:
    conditions = {c["type"]: c["status"] for c in pod.get("status", {}).get("conditions") or []}
    for gate in pod["spec"].get("readinessGates") or []:
        if conditions.get(gate["conditionType"]) != "True":
            return False, "ReadinessGatesNotReady", f'readiness gate "{gate["conditionType"]}" is not True'
    return True, "", ""


def _initialized(view: PodView) -> tuple[bool, str, str]:
    pending = [
        c.name
        for c in view.containers
        if (c.role == "init" and not (c.final and isinstance(c.state, Terminated) and c.state.exit_code == 0))
        or (c.role == "sidecar" and not c.started and not c.final)
    ]
    if pending:
        return False, "ContainersNotInitialized", f"containers with incomplete status: [{' '.join(pending)}]"
    return True, "", ""


def _conditions(pod: Obj, view: PodView, before: Sequence[Obj]) -> list[Obj]:
    containers_ready = _containers_ready(view)
    wanted = {
        "PodReadyToStartContainers": (view.sandbox, "", ""),
        "Initialized": _initialized(view),
        "Ready": containers_ready if not containers_ready[0] else _gates(pod),
        "ContainersReady": containers_ready,
        "PodScheduled": (True, "", ""),
    }
    present = {c["type"]: c for c in before}
    return [_condition(kind, *verdict, present.get(kind)) for kind, verdict in wanted.items()]


def _condition(kind: str, ok: bool, reason: str, message: str, before: Obj | None) -> Obj:
    value = "True" if ok else "False"
    unchanged = before is not None and before["status"] == value and before.get("lastTransitionTime")
    since = before["lastTransitionTime"] if before is not None and unchanged else timestamp(utc_now())
    condition: Obj = {"type": kind, "status": value, "lastProbeTime": None, "lastTransitionTime": since}
    # null removes what an earlier, failing state of this condition left behind in the strategic merge
    return condition | {"reason": reason or None, "message": message or None}


def _container_status(view: ContainerView) -> Obj:
    ran = bool(view.container_id)
    status: Obj = {
        "name": view.name,
        "image": view.image,
        "imageID": _image_id(view) if ran else "",
        "restartCount": view.restarts,
        "ready": view.ready,
        "started": view.started,
        "state": _state(view.state),
        "lastState": _state(view.last) if view.last else {},
    }
    return status | ({"containerID": view.container_id} if ran else {})


def _image_id(view: ContainerView) -> str:
    name = view.image.partition("@")[0]
    return f"{name}@{view.digest}" if view.digest else f"process-node://{view.image}"


def _state(state: State) -> Obj:
    match state:
        case Waiting():
            return {"waiting": {"reason": state.reason} | ({"message": state.message} if state.message else {})}
        case Running():
            return {"running": {"startedAt": timestamp(state.started_at)}}
        case Terminated():
            detail: Obj = {
                "exitCode": state.exit_code,
                "reason": state.reason,
                "startedAt": timestamp(state.started_at),
                "finishedAt": timestamp(state.finished_at),
                "containerID": state.container_id,
            }
            return {"terminated": detail | ({"message": state.message} if state.message else {})}
