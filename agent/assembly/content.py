"""What follows content through the cluster beside the passes: policies, and what moved with no commit."""

from __future__ import annotations

from functools import partial

from agent.adapters.kube.blob import LIMIT, ConfigMapBlob
from agent.api.changepolicy import ChangePolicy
from agent.assembly.shared import Shared
from agent.controllers.changepolicy.reconciler import ChangePolicyReconciler
from agent.controllers.fresh import Fresh
from agent.controllers.history import History
from agent.controllers.triggers import watch_objects
from agent.runtime.queue import Priority, WorkQueue

Key = tuple[str, str]


def follow_content(shared: Shared, kustomizations: WorkQueue[Key]) -> None:
    """Wire it; `kustomizations` are woken where something is to be said on them."""
    wake = partial(kustomizations.add, priority=Priority.SPEC)
    shared.changes.moves.wake = shared.serving.wake = wake
    reconciler = ChangePolicyReconciler(shared.client, Fresh(shared.policies), shared.triggers, shared.events)
    controller = shared.passes.controller("kustomize", ChangePolicy, reconciler.reconcile)
    watch_objects(shared.policies, controller.queue)


def history_of(shared: Shared) -> History:
    """The change log, kept in the agent's own namespace; agents with a lease of their own have one of their own."""
    blob = ConfigMapBlob(shared.client, shared.settings.runtime_namespace, shared.settings.object_name("changes"))
    return History(shared.changelog, blob, limit=LIMIT)
