"""Flagger's kinds, and those that it rolls out and scales."""

from agent.adapters.kube.resource import (
    CANARIES,
    DAEMON_SETS,
    DEPLOYMENTS,
    SCALED_OBJECTS,
    SCALERS,
    Resource,
)

__all__ = ["ALERT_PROVIDERS", "AUTOSCALERS", "CANARIES", "METRIC_TEMPLATES", "WORKLOADS"]

ALERT_PROVIDERS = Resource("flagger.app", "v1beta1", "alertproviders", "AlertProvider", namespaced=True)
METRIC_TEMPLATES = Resource("flagger.app", "v1beta1", "metrictemplates", "MetricTemplate", namespaced=True)
WORKLOADS = {resource.kind: resource for resource in (DEPLOYMENTS, DAEMON_SETS)}
"""Targets of which a primary copy is made, by kind."""
AUTOSCALERS = {resource.kind: resource for resource in (SCALERS, SCALED_OBJECTS)}
