"""Metrics systems, each as a source of single numbers behind one small interface."""

from agent.adapters.metricservers.servers import MetricServers
from agent.adapters.metricservers.source import MetricSource

__all__ = ["MetricServers", "MetricSource"]
