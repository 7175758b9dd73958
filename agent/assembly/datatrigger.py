"""DataTriggers, a part of the kustomize role: they look at what Kustomizations have applied."""

from __future__ import annotations

from agent.api.datatrigger import DataTrigger
from agent.assembly.shared import Shared
from agent.controllers.datatrigger import DataTriggerReconciler, watch_data
from agent.controllers.datatrigger.looking import Lookout
from agent.controllers.datatrigger.reconciler import MANAGER, TriggerParts
from agent.controllers.datatrigger.runs import Runs
from agent.controllers.fresh import Fresh
from agent.controllers.statuses import StatusWriter
from agent.core.models import Ref

Key = tuple[str, str]


def wire_triggers(shared: Shared) -> None:
    """Adds the controller."""
    fresh, applied = Fresh(shared.triggers), shared.changes.applied

    def meant(key: Key) -> dict[str, Ref]:
        return shared.changelog.known("/".join(key)) | shared.changes.moves.floats.known(key)

    parts = TriggerParts(
        objects=fresh,
        lookout=Lookout(
            shared.kustomizations,
            shared.repositories,
            applied,
            shared.registry,
            meant,
            log=shared.changelog,
        ),
        runs=Runs(shared.client, shared.discovery, default_account=shared.settings.default_service_account),
        status=StatusWriter(shared.client, DataTrigger, fresh, MANAGER),
        events=shared.events,
        metrics=shared.metrics,
    )
    controller = shared.passes.controller("kustomize", DataTrigger, DataTriggerReconciler(parts).reconcile)
    watch_data(
        shared.triggers,
        shared.kustomizations,
        applied,
        shared.registry,
        controller.queue,
        tags=shared.changes.tags,
    )
