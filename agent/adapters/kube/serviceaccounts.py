"""The cluster's ServiceAccounts, as those who prove to a cloud who they are."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from agent.adapters.identity.errors import IdentityError
from agent.adapters.identity.login import ServiceAccount
from agent.adapters.kube.client import KubeClient
from agent.adapters.kube.resource import SERVICE_ACCOUNTS
from agent.errors import WeirError

_SECONDS = 3600


class ClusterServiceAccounts:
    """Implements `identity.ServiceAccounts` with the API server's TokenRequest."""

    def __init__(self, client: KubeClient) -> None:
        self._client = client

    async def annotations(self, account: ServiceAccount) -> Mapping[str, str]:
        """The annotations of a ServiceAccount. Raises IdentityError."""
        try:
            found = await self._client.get(SERVICE_ACCOUNTS, account.namespace, account.name, metadata_only=True)
        except WeirError as error:
            raise IdentityError(f"failed to get service account '{account}': {error.message}") from None
        return dict(found["metadata"].get("annotations") or {})

    async def token(self, account: ServiceAccount, audience: str) -> str:
        """A token that says to `audience` who the ServiceAccount is. Raises IdentityError."""
        path = SERVICE_ACCOUNTS.path(account.namespace, account.name, "token")
        wanted = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"audiences": [audience], "expirationSeconds": _SECONDS},
        }
        headers = (("Content-Type", "application/json"), ("Accept", "application/json"))
        try:
            body = await self._client.raw(
                "POST", path, body=msgspec.json.encode(wanted), headers=headers, resource="serviceaccounts"
            )
            return msgspec.json.decode(body, type=_Request).status.token
        except WeirError as error:
            problem = error.message
        except msgspec.MsgspecError:
            problem = "the answer cannot be read"
        raise IdentityError(f"failed to create kubernetes token for service account '{account}': {problem}")


class _Status(msgspec.Struct):
    token: str


class _Request(msgspec.Struct):
    status: _Status
