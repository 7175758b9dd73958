"""From `spec.kubeConfig` to the credentials for another cluster, in Flux's words where it has some."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from agent.adapters.kube.client import KubeClient
from agent.adapters.kube.config import Cluster, Trust, from_kubeconfig
from agent.adapters.kube.errors import ApiError, NotFound
from agent.adapters.kube.resource import CONFIG_MAPS, SECRETS
from agent.adapters.kube.workload import WorkloadClusters
from agent.api.kustomization import KubeConfigReference, KubeConfigSecretReference, Kustomization
from agent.errors import ApplyError, WeirError

_PLUGIN_SECONDS = 30.0
_DEFAULT_KEYS = ("value", "value.yaml")


class KubeConfigError(ApplyError):
    """There are no usable credentials. `gone` if that is because the object that held them does not exist."""

    def __init__(self, message: str, *, gone: bool = False) -> None:
        super().__init__(f"failed to build kube client: {message}")
        self.gone = gone


@dataclass(frozen=True, slots=True)
class Access:
    """Credentials that were found: a hash of them, and how to read them."""

    credentials: str
    read: Callable[[], Awaitable[Cluster]]


class KubeConfigs:
    """Reads what Kustomizations name, with the agent's own rights, in their own namespace."""

    def __init__(self, client: KubeClient, workload: WorkloadClusters, trust: Trust) -> None:
        self._client = client
        self._workload = workload
        self._trust = trust

    async def access(self, kustomization: Kustomization, reference: KubeConfigReference) -> Access:
        """The credentials as they are now. Raises KubeConfigError."""
        namespace = kustomization.namespace
        if reference.secret_ref is not None:
            return await self._from_secret(namespace, reference.secret_ref)
        if reference.config_map_ref is not None:
            return await self._from_config_map(namespace, reference.config_map_ref.name)
        raise KubeConfigError("spec.kubeConfig names neither a secretRef nor a configMapRef")

    async def _from_secret(self, namespace: str, reference: KubeConfigSecretReference) -> Access:
        where = f"KubeConfig secret '{namespace}/{reference.name}'"
        try:
            data = (await self._client.get(SECRETS, namespace, reference.name)).get("data") or {}
        except NotFound:
            missing = f'unable to read {where} error: Secret "{reference.name}" not found'
            raise KubeConfigError(missing, gone=True) from None
        except ApiError as error:
            raise KubeConfigError(f"unable to read {where} error: {error.message}") from None
        document = _document(data, reference.key, where)

        async def read() -> Cluster:
            try:
                async with asyncio.timeout(_PLUGIN_SECONDS):
                    return await from_kubeconfig(document, trust=self._trust)
            except WeirError as error:
                raise KubeConfigError(f"{where}: {error.message}") from None
            except TimeoutError:
                late = f"no credentials from its plugin within {_PLUGIN_SECONDS:g} s"
                raise KubeConfigError(f"{where}: {late}") from None

        return Access(hashlib.sha256(document).hexdigest(), read)

    async def _from_config_map(self, namespace: str, name: str) -> Access:
        where = f"configmap {namespace}/{name}"
        try:
            data = (await self._client.get(CONFIG_MAPS, namespace, name)).get("data") or {}
        except NotFound:
            missing = f'failed to get {where}: ConfigMap "{name}" not found'
            raise KubeConfigError(missing, gone=True) from None
        except ApiError as error:
            raise KubeConfigError(f"failed to get {where}: {error.message}") from None
        try:
            identity = self._workload.identity(data, namespace)
        except WeirError as error:
            raise KubeConfigError(f"{where}: {error.message}") from None

        async def read() -> Cluster:
            try:
                return await self._workload.cluster(identity)
            except WeirError as error:
                raise KubeConfigError(f"{where}: {error.message}") from None

        return Access(identity.digest, read)


def _document(data: Mapping[str, Any], key: str | None, where: str) -> bytes:
    keys = (key,) if key else _DEFAULT_KEYS
    for candidate in keys:
        if candidate in data:
            try:
                return base64.b64decode(data[candidate], validate=True)
            except binascii.Error:
                raise KubeConfigError(f"{where}: key '{candidate}' is not base64") from None
    raise KubeConfigError(f"{where} does not contain a '{keys[0]}' key with a kubeconfig")
