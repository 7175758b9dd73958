"""Webhooks as values: what is sent, and what the answers are announced with (Flagger's payloads and texts)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from agent.api.analysis import HookType
from agent.core.rollout.actions import Emit
from agent.core.rollout.hashing import revision_checksum
from agent.core.rollout.plan import Hook, Plan
from agent.core.rollout.snapshot import HookResult
from agent.core.rollout.status import Phase, Status

_PASSED = {
    HookType.CONFIRM_ROLLOUT: "Confirm-rollout",
    HookType.PRE_ROLLOUT: "Pre-rollout",
    HookType.CONFIRM_TRAFFIC_INCREASE: "Confirm-traffic-increase",
    HookType.CONFIRM_PROMOTION: "Confirm-promotion",
    HookType.POST_ROLLOUT: "Post-rollout",
}


def payload(plan: Plan, status: Status, phase: Phase, metadata: Mapping[str, str]) -> dict[str, Any]:
    """The body of a call. `metadata` is left out if empty."""
    body: dict[str, Any] = {
        "name": plan.name,
        "namespace": plan.namespace,
        "phase": phase.value,
        "checksum": revision_checksum(status.tracked, status.last_applied_spec),
    }
    if metadata:
        body["metadata"] = dict(metadata)
    return body


def event_payload(plan: Plan, status: Status, hook: Hook, event: Emit, now: datetime) -> dict[str, Any]:
    """The body that tells an `event` hook about an event; the hook's own metadata cannot replace the event's."""
    metadata = {
        **hook.metadata,
        "eventMessage": event.text,
        "eventType": event.type,
        "timestamp": str(int(now.timestamp() * 1000)),
    }
    return payload(plan, status, status.phase, metadata)


def evaluation_payload(plan: Plan, gate: str, revision: str, subjects: Iterable[str], port: int) -> dict[str, Any]:
    """The body that asks a gate's server for its report: what is to be evaluated, and where both versions answer."""
    return {
        "name": plan.name,
        "namespace": plan.namespace,
        "phase": Phase.PROGRESSING.value,
        "checksum": revision,
        "gate": gate,
        "subjects": sorted(subjects),
        **{f"{side}Url": f"http://{plan.service}-{side}.{plan.namespace}:{port}" for side in ("canary", "primary")},
    }


def announcements(kind: HookType, results: Iterable[HookResult]) -> tuple[Emit, ...]:
    """The events that follow from the answers by themselves, whatever is decided about them."""
    found = (_announcement(kind, result) for result in results)
    return tuple(event for event in found if event is not None)


def _announcement(kind: HookType, result: HookResult) -> Emit | None:
    if kind is HookType.ROLLBACK:
        if result.passed:
            return Emit(f"Rollback check {result.name} passed", "Warning")
        return Emit(f"Rollback hook {result.name} not signaling a rollback")
    if kind is HookType.POST_ROLLOUT and not result.passed:
        return Emit(f"Post-rollout hook {result.name} failed {result.error}", "Warning")
    if result.passed and kind in _PASSED:
        return Emit(f"{_PASSED[kind]} check {result.name} passed")
    return None
