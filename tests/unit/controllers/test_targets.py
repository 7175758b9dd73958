"""Who reads what a Kustomization refers to in this cluster: the team, or the agent where nobody stands for the team."""

from __future__ import annotations

from typing import Any, cast

import pytest

from agent.adapters.kube.client import KubeClient
from agent.adapters.kube.clusters import RemoteClusters
from agent.adapters.kube.config import Cluster, FixedCredentials
from agent.adapters.kube.discovery import Discovery
from agent.adapters.kube.live import LiveIndex
from agent.adapters.kube.memory import Memory
from agent.adapters.kube.target import Target
from agent.api.kustomization import Kustomization
from agent.controllers.kustomization.kubeconfig import KubeConfigs
from agent.controllers.kustomization.targets import Targets
from agent.core.claims import same_cluster
from agent.errors import ConfigurationError

ELSEWHERE = {"secretRef": {"name": "far"}}


def kustomization(namespace: str = "team", **spec: Any) -> Kustomization:
    source = {"kind": "GitRepository", "name": "repo"}
    return Kustomization.from_object(
        {
            "metadata": {"namespace": namespace, "name": "app"},
            "spec": {"interval": "10m", "prune": True, "sourceRef": source, **spec},
        }
    )


def targets(default_account: str = "", *, tenant_reads_variables: bool = True) -> Targets:
    """Those of an agent that has no other clusters yet."""
    client = KubeClient(Cluster("https://here", FixedCredentials()))
    agent = Target(client, Discovery(client), LiveIndex(client, on_problem=lambda *_: None), Memory())
    clusters = RemoteClusters(
        lambda _: lambda *_: None, may_write=lambda: True, on_problem=lambda *_: None, on_open=lambda _: None
    )
    return Targets(
        agent,
        clusters,
        cast("KubeConfigs", None),
        default_account=default_account,
        tenant_reads_variables=tenant_reads_variables,
    )


@pytest.mark.parametrize(
    ("spec", "default", "reader"),
    [
        ({}, "", ""),
        ({"serviceAccountName": "own"}, "", "system:serviceaccount:team:own"),
        ({}, "common", "system:serviceaccount:team:common"),
        ({"serviceAccountName": "own"}, "common", "system:serviceaccount:team:own"),
        ({"kubeConfig": ELSEWHERE}, "", ""),
        ({"kubeConfig": ELSEWHERE, "serviceAccountName": "own"}, "", ""),
        ({"kubeConfig": ELSEWHERE}, "common", "system:serviceaccount:team:common"),
    ],
)
def test_who_reads_variables(spec: dict[str, Any], default: str, reader: str) -> None:
    assert targets(default).home(kustomization(**spec)).acting_as == reader
    assert targets(default, tenant_reads_variables=False).home(kustomization(**spec)).acting_as == ""


@pytest.mark.parametrize("name", ["../x", "a/b", "UPPER", "a:b", "-a"])
async def test_no_other_identity_can_be_spelled_as_an_account(name: str) -> None:
    for ask in (targets().home, targets().account):
        with pytest.raises(ConfigurationError, match="no name that a ServiceAccount can have"):
            ask(kustomization(serviceAccountName=name))
    with pytest.raises(ConfigurationError):
        await targets().of(kustomization(serviceAccountName=name), None)


def test_the_same_reference_in_another_namespace_is_another_cluster() -> None:
    far = kustomization(kubeConfig=ELSEWHERE)
    assert same_cluster(kustomization(), kustomization("other"))
    assert same_cluster(far, kustomization(kubeConfig=ELSEWHERE))
    assert not same_cluster(far, kustomization())
    assert not same_cluster(far, kustomization("other", kubeConfig=ELSEWHERE))
