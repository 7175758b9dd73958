"""What the definition of Canaries in a cluster lacks, and what cannot be done because of that."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import msgspec

from agent.api.canary import GROUP
from agent.core.rollout.judgesettings import JudgeMode
from agent.core.rollout.plan import Plan

JUDGE, FENCE = "judge", "lastTrackedRevision"
REASON = "DefinitionIncomplete"
_OURS = (JUDGE, FENCE)
_KIND = "x-kubernetes-group-version-kind"
TEXT = (
    "the CustomResourceDefinition canaries.flagger.app in this cluster drops status.judge, so no run can be guarded or "
    "comparative: apply Weir's definitions (config/crd) in place of Flagger's"
)


def lacking(document: Mapping[str, Any]) -> frozenset[str] | None:
    """Fields of a Canary's status that are ours and not in the cluster's OpenAPI document; None if that has no
    Canary."""
    for schema in ((document.get("components") or {}).get("schemas") or {}).values():
        kinds = {(one.get("group"), one.get("kind")) for one in schema.get(_KIND) or ()}
        status = ((schema.get("properties") or {}).get("status") or {}).get("properties")
        if (GROUP, "Canary") in kinds:
            return frozenset(name for name in _OURS if status and name not in status)
    return None


def fitting(plan: Plan, missing: Collection[str]) -> Plan:
    """The plan where these fields are missing: what is asked for without being possible is a fault of it, and no run
    is guarded by itself."""
    if JUDGE not in missing:
        return plan
    if plan.judging.mode not in {None, JudgeMode.COMPATIBILITY}:
        return msgspec.structs.replace(plan, fault=plan.fault or (REASON, f"canary {plan.full_name}: {TEXT}"))
    judging = msgspec.structs.replace(plan.judging, mode=JudgeMode.COMPATIBILITY)
    return msgspec.structs.replace(plan, judging=judging)
