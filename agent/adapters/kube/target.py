"""A cluster as one party sees it: a client with that party's rights, and what is known of the cluster."""

from __future__ import annotations

from dataclasses import dataclass

from agent.adapters.kube.client import KubeClient
from agent.adapters.kube.discovery import Discovery
from agent.adapters.kube.live import LiveIndex
from agent.adapters.kube.memory import Memory


@dataclass(frozen=True, slots=True)
class Target:
    """Where a Kustomization applies. Discovery and metadata watches use the agent's own rights, `client` may not."""

    client: KubeClient
    discovery: Discovery
    live: LiveIndex
    memory: Memory
