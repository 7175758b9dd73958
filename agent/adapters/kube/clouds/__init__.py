"""Access to the managed clusters of the clouds, by an identity of the cloud instead of a stored secret."""

from agent.adapters.kube.clouds.managed import CLOUDS, ManagedClusters, Place, Token, managed_clusters

__all__ = ["CLOUDS", "ManagedClusters", "Place", "Token", "managed_clusters"]
