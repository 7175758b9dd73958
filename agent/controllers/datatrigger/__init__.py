"""DataTriggers at work."""

from agent.controllers.datatrigger.reconciler import DataTriggerReconciler
from agent.controllers.datatrigger.watching import watch_data

__all__ = ["DataTriggerReconciler", "watch_data"]
