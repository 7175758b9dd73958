"""The Canary controller: reads the world, asks the machine of `agent.core.rollout`, does what it says."""

from agent.controllers.canary.alerts import AlertSink, ChatAlerts, SilentAlerts
from agent.controllers.canary.metrics import FlaggerMetrics
from agent.controllers.canary.reconciler import CanaryReconciler, CanarySettings
from agent.controllers.canary.rollouts import RolloutLog
from agent.controllers.canary.triggers import applied_watcher, watch_canaries, watch_workloads, workload_watcher

__all__ = [
    "AlertSink",
    "CanaryReconciler",
    "CanarySettings",
    "ChatAlerts",
    "FlaggerMetrics",
    "RolloutLog",
    "SilentAlerts",
    "applied_watcher",
    "watch_canaries",
    "watch_workloads",
    "workload_watcher",
]
