"""What ChangePolicies in the tree would have done about a change, as far as a text decides."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from msgspec.structs import replace

from agent.api.changepolicy import ChangePolicy
from agent.core.models import ChangeRecord
from agent.core.models.record import Reason
from agent.core.plan.fluxobjects import FluxObjects
from agent.core.policy.judging import about, overruled


def predicted_actions(records: Iterable[ChangeRecord], declared: FluxObjects) -> list[ChangeRecord]:
    """The records with the actions of the policies for the Kustomization that applies each object.

    Nothing is said of files, which nobody applies, and of a Kustomization whose name several clusters use: whose
    policies those are, the tree does not tell. Sync windows and guards of deletions depend on when, and on the cluster.
    """
    counted = Counter(one.shown for one in declared.kustomizations)
    policies = {
        one.shown: about(declared.policies, one.object.namespace, one.object.metadata.labels)
        for one in declared.kustomizations
        if declared.policies and counted[one.shown] == 1
    }
    return [_predicted(record, policies.get(_applied_by(record), ())) for record in records]


def _applied_by(record: ChangeRecord) -> str:
    """The Kustomization of the object itself comes first; those of its users follow."""
    named = record.impact.kustomizations if record.object.kind != "File" else ()
    return named[0] if named else ""


def _predicted(record: ChangeRecord, policies: Sequence[ChangePolicy]) -> ChangeRecord:
    floats = record.new is not None and record.new.pinned is False and record.reason.code != "ignored"
    strict = next((one.name for one in policies if floats and record.kind in one.spec.require_pinned), "")
    if strict:
        told = f"a reference that floats: name a commit, digest or version (requirePinned of ChangePolicy {strict})"
        return replace(record, action="gate", reason=Reason("require-pinned", told))
    return overruled(policies, record) if policies else record
