"""The clouds by name."""

from __future__ import annotations

import os
from collections.abc import Mapping

from agent.adapters.identity.aws import AWS
from agent.adapters.identity.azure import Azure
from agent.adapters.identity.google import Google
from agent.adapters.identity.login import ServiceAccounts
from agent.adapters.kube.clouds.aks import AKS
from agent.adapters.kube.clouds.eks import EKS
from agent.adapters.kube.clouds.gke import GKE
from agent.adapters.kube.clouds.place import ManagedClusters, Place, Token

__all__ = ["CLOUDS", "ManagedClusters", "Place", "Token", "managed_clusters"]

CLOUDS = ("aws", "azure", "gcp")


def managed_clusters(
    accounts: ServiceAccounts, environment: Mapping[str, str] = os.environ
) -> Mapping[str, ManagedClusters]:
    """One for each of CLOUDS. The environment is that of the clouds' own libraries."""
    return {
        "aws": EKS(AWS(accounts, environment)),
        "azure": AKS(Azure(accounts, environment), environment),
        "gcp": GKE(Google(accounts, environment)),
    }
