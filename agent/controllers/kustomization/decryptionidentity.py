"""Who a build is to key services: a ServiceAccount, or the agent. Asked in worker threads, answered by the loop."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from typing import Any, TypeVar

import msgspec

from agent.adapters.decryptor import VaultLogin
from agent.adapters.identity import ServiceAccount
from agent.adapters.kube.client import KubeClient
from agent.adapters.kube.resource import CONFIG_MAPS
from agent.adapters.kube.serviceaccounts import ClusterServiceAccounts
from agent.core.yamldocument import parsed
from agent.errors import BuildError

T = TypeVar("T")

_SECONDS = 30.0
VAULT_ENTRY = "config.yaml"


class _Instance(msgspec.Struct, rename="camel"):
    address: str
    login_path: str = ""


class _VaultServers(msgspec.Struct):
    instances: tuple[_Instance, ...] = ()


class KeyServiceIdentity:
    """Implements the decryptor's `Identity`. To be made in the loop, used in other threads.

    `servers` names the ConfigMap (namespace, name) of the Vault servers that may be trusted; no name, no server.
    """

    def __init__(self, client: KubeClient, account: ServiceAccount | None, servers: tuple[str, str]) -> None:
        self.account = str(account) if account else ""
        self._account = account
        self._client = client
        self._accounts = ClusterServiceAccounts(client)
        self._servers = servers
        self._loop = asyncio.get_running_loop()

    def annotations(self) -> Mapping[str, str]:
        """Those of the ServiceAccount. Raises IdentityError."""
        assert self._account is not None, "the agent's own identity has no annotations"
        return self._wait(self._accounts.annotations(self._account))

    def token(self, audience: str) -> str:
        """A token of the ServiceAccount. Raises IdentityError."""
        assert self._account is not None, "the agent's own identity is known to the clouds' libraries"
        return self._wait(self._accounts.token(self._account, audience))

    def vault(self, address: str) -> VaultLogin:
        """A login for a server that the ConfigMap lists. Raises WeirError."""
        return self._wait(self._vault(address))

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result(_SECONDS)
        except TimeoutError:
            future.cancel()
            raise BuildError(f"the API server has not answered within {_SECONDS:g} s") from None

    async def _vault(self, address: str) -> VaultLogin:
        namespace, name = self._servers
        if not name:
            raise BuildError("there is no entry sops.vault-token, and --sops-vault-configmap is not set")
        found = await self._client.get(CONFIG_MAPS, namespace, name)
        path = _login_path(found.get("data") or {}, address, f"{namespace}/{name}")
        account = self._account or await self._own()
        token = await self._accounts.token(account, address)
        return VaultLogin(path, f"{account.namespace}_{account.name}", token)

    async def _own(self) -> ServiceAccount:
        """The ServiceAccount that the agent itself is."""
        review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
        answer = await self._client.raw(
            "POST",
            "/apis/authentication.k8s.io/v1/selfsubjectreviews",
            body=msgspec.json.encode(review),
            headers=(("Content-Type", "application/json"), ("Accept", "application/json")),
            resource="selfsubjectreviews",
        )
        user = str(msgspec.json.decode(answer)["status"]["userInfo"]["username"])
        prefix, _, rest = user.partition("serviceaccount:")
        namespace, _, name = rest.partition(":")
        if prefix != "system:" or not name:
            raise BuildError("the agent is not a ServiceAccount: set spec.decryption.serviceAccountName")
        return ServiceAccount(namespace, name)


def _login_path(data: Mapping[str, str], address: str, where: str) -> str:
    if VAULT_ENTRY not in data:
        raise BuildError(f"Vault ConfigMap '{where}' is missing the '{VAULT_ENTRY}' key")
    try:
        servers = msgspec.convert(parsed(data[VAULT_ENTRY]) or {}, _VaultServers)
    except (ValueError, msgspec.ValidationError) as error:
        raise BuildError(f"failed to parse '{VAULT_ENTRY}' in Vault ConfigMap '{where}': {error}") from None
    paths = {instance.address: instance.login_path for instance in servers.instances}
    if not paths.get(address):
        raise BuildError(f"no Vault login path configured for address '{address}' in ConfigMap '{where}'")
    return paths[address]
