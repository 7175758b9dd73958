"""Which cluster a Kustomization is for, and in whose name it is worked on there.

With `spec.serviceAccountName` (or the default) everything that is done with the objects of a Kustomization is done as
that ServiceAccount, on the cluster that the objects are on. What is the agent's own is told in
`docs/decisions/who-may-see-what.md`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

from agent.adapters.kube.client import KubeClient
from agent.adapters.kube.clouds import managed_clusters
from agent.adapters.kube.clusters import Connection, Proven, RemoteClusters, UnreachableError
from agent.adapters.kube.config import Trust
from agent.adapters.kube.serviceaccounts import ClusterServiceAccounts
from agent.adapters.kube.target import Target
from agent.adapters.kube.workload import WorkloadClusters
from agent.api.kustomization import Kustomization
from agent.controllers.kustomization.kubeconfig import KubeConfigError, KubeConfigs
from agent.errors import ConfigurationError, WaitingError
from agent.runtime.controller import WaitOutcome
from agent.settings import Settings

Key = tuple[str, str]
_ACCOUNT = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")


class UnprovenError(WaitingError):
    """Nothing was heard of the other cluster lately: `prove` asks it for a sign of life, outside of a worker."""

    def __init__(self, prove: Callable[[], Coroutine[Any, Any, Proven]]) -> None:
        super().__init__("waiting for a sign of life of the other cluster", after=0.0)
        self.prove = prove


def was_probe(ended: WaitOutcome) -> bool:
    """True if what has ended was the wait for a sign of life."""
    return isinstance(ended.error, UnreachableError) or isinstance(ended.result, Proven)


class Targets:
    """`agent` is the agent's own cluster as the agent sees it."""

    def __init__(
        self,
        agent: Target,
        clusters: RemoteClusters,
        kubeconfigs: KubeConfigs,
        *,
        default_account: str = "",
        tenant_reads_variables: bool = False,
    ) -> None:
        self._agent = agent
        self._clusters = clusters
        self._kubeconfigs = kubeconfigs
        self._default_account = default_account
        self._tenant_reads = tenant_reads_variables

    @classmethod
    def from_settings(cls, settings: Settings, agent: Target, clusters: RemoteClusters) -> Targets:
        """As the command line says whom to trust with what."""
        workload = WorkloadClusters(
            agent.client,
            managed_clusters(ClusterServiceAccounts(agent.client)),
            enabled=settings.gates.object_level_workload_identity,
            default_account=settings.default_kubeconfig_service_account,
            own_identity=not settings.default_service_account,
        )
        trust = Trust(programs=settings.insecure_kubeconfig_exec, unverified=settings.insecure_kubeconfig_tls)
        kubeconfigs = KubeConfigs(agent.client, workload, trust)
        return cls(
            agent,
            clusters,
            kubeconfigs,
            default_account=settings.default_service_account,
            tenant_reads_variables=settings.tenant_reads_variables,
        )

    def account(self, kustomization: Kustomization) -> str:
        """The ServiceAccount to act as, "" for none. Raises ConfigurationError for what cannot be the name of one."""
        account = kustomization.spec.service_account_name or self._default_account
        if account and not _ACCOUNT.fullmatch(account):
            raise ConfigurationError(f"spec.serviceAccountName {account!r} is no name that a ServiceAccount can have")
        return account

    def home(self, kustomization: Kustomization) -> KubeClient:
        """The agent's own cluster, to read the variables that the Kustomization refers to in its namespace.

        The agent reads, as in Flux; with `--tenant-reads-variables` the ServiceAccount of the Kustomization does. That
        of a Kustomization with `kubeConfig` is one of the other cluster and has no rights here: so the agent reads
        nevertheless, unless a default account says that nobody acts as the agent.
        """
        if not self._tenant_reads:
            return self._agent.client
        account = self.account(kustomization)
        remote = kustomization.spec.kube_config is not None
        if not account or (remote and not self._default_account):
            return self._agent.client
        return self._agent.client.as_service_account(kustomization.namespace, account)

    async def of(self, kustomization: Kustomization, ended: WaitOutcome | None) -> Target:
        """Where the objects go, as whom. `ended` is how the wait that led to this pass has ended.

        Raises ConfigurationError; KubeConfigError; UnprovenError before a cluster is used that was silent for a
        while, and KubeConfigError again in the pass after that if it stayed so.
        """
        key = (kustomization.namespace, kustomization.name)
        account = self.account(kustomization)
        if kustomization.spec.kube_config is None:
            self._clusters.release(key)
            target = self._agent
        else:
            connection = await self._connection(kustomization)
            _prove(connection, ended)
            target = Target(connection.client, connection.discovery, connection.live, connection.memory)
        if not account:
            return target
        return replace(target, client=target.client.as_service_account(kustomization.namespace, account))

    def release(self, key: Key) -> None:
        """The Kustomization is gone."""
        self._clusters.release(key)

    async def _connection(self, kustomization: Kustomization) -> Connection:
        assert kustomization.spec.kube_config is not None
        key = (kustomization.namespace, kustomization.name)
        try:
            access = await self._kubeconfigs.access(kustomization, kustomization.spec.kube_config)
        except KubeConfigError as error:
            if error.gone:
                self._clusters.release(key)  # taken back: not to be used for a watch either
            raise
        return await self._clusters.hold(key, access.credentials, access.read)


def _prove(connection: Connection, ended: WaitOutcome | None) -> None:
    if ended is None or not was_probe(ended):
        if not connection.answers:
            raise UnprovenError(connection.prove)
    elif ended.error is not None:
        raise KubeConfigError(ended.error.message)
