"""Clusters of Azure that know identities of Microsoft Entra."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from typing import Any

import msgspec

from agent.adapters.identity.azure import Azure
from agent.adapters.identity.errors import IdentityError
from agent.adapters.identity.files import content
from agent.adapters.identity.login import ServiceAccount
from agent.adapters.identity.web import Answer, request
from agent.adapters.kube.clouds.place import Place, Token
from agent.adapters.kube.config import place_of
from agent.errors import ConfigurationError

SERVER = "6dae42f8-4368-4678-94ff-3960e28e3630"  # the application id of all API servers of AKS
_VERSION = "api-version=2024-09-01"
_ID = re.compile(
    r"/subscriptions/[0-9a-f-]{36}/resourceGroups/[\w.()-]{1,200}"
    r"/providers/Microsoft\.ContainerService/managedClusters/[\w-]{1,200}",
    re.IGNORECASE,
)
_MANAGERS = {
    "chinacloudapi.cn": "https://management.chinacloudapi.cn",
    "microsoftonline.us": "https://management.usgovcloudapi.net",
}
_PUBLIC_MANAGER = "https://management.azure.com"


class _Environment(msgspec.Struct, rename="camel"):
    resource_manager_endpoint: str = ""
    token_audience: str = ""


class _Properties(msgspec.Struct, rename="camel"):
    aad_profile: dict[str, Any] | None = None


class _Cluster(msgspec.Struct):
    properties: _Properties


class _KubeConfig(msgspec.Struct):
    value: str


class _KubeConfigs(msgspec.Struct):
    kubeconfigs: list[_KubeConfig]


class AKS:
    """By resource id: `/subscriptions/…/providers/Microsoft.ContainerService/managedClusters/<name>`."""

    def __init__(self, azure: Azure, environment: Mapping[str, str]) -> None:
        self._azure = azure
        self._environment = environment

    def check(self, cluster: str) -> None:
        """Raises IdentityError for what is no id of a cluster."""
        if not _ID.fullmatch(cluster):
            raise IdentityError(f"invalid AKS cluster ID: '{cluster}'. must match ^{_ID.pattern}$")

    async def place(self, cluster: str, account: ServiceAccount | None, address: str) -> Place:
        """As the first kubeconfig of the cluster says, or the one with that address. Raises IdentityError."""
        self.check(cluster)
        manager, audience = self._manager()
        login = await self._azure.login(account, proxy="", resource=audience)
        headers = {"Authorization": f"Bearer {login.bearer_token}"}
        answer = await request("GET", f"{manager}{cluster}?{_VERSION}", headers=headers)
        if _of(answer, cluster).decoded(_Cluster, "Azure").properties.aad_profile is None:
            raise IdentityError(f"AKS cluster {cluster} does not have Microsoft Entra ID integration enabled")
        url = f"{manager}{cluster}/listClusterUserCredential?{_VERSION}"
        answer = await request("POST", url, headers={**headers, "Content-Length": "0"})
        places = [_place(entry.value) for entry in _of(answer, cluster).decoded(_KubeConfigs, "Azure").kubeconfigs]
        for place in places:
            if not address or place.server.lower().removesuffix(":443") == address.lower().removesuffix(":443"):
                return place
        known = ", ".join(f"'{place.server}'" for place in places)
        raise IdentityError(f"AKS cluster {cluster} has no address '{address}'. cluster addresses: [{known}]")

    async def token(
        self,
        cluster: str,  # noqa: ARG002 - the interface's signature
        account: ServiceAccount | None,
    ) -> Token:
        """For any cluster of AKS that lets the identity in. Raises IdentityError."""
        login = await self._azure.login(account, proxy="", resource=SERVER)
        return Token(login.bearer_token, login.expires)

    def _manager(self) -> tuple[str, str]:
        """The endpoint of the resource manager, and the audience of tokens for it."""
        file = self._environment.get("AZURE_ENVIRONMENT_FILEPATH", "")
        if file:
            try:
                own = msgspec.json.decode(content("AZURE_ENVIRONMENT_FILEPATH", file), type=_Environment)
            except msgspec.MsgspecError as error:
                raise IdentityError(f"AZURE_ENVIRONMENT_FILEPATH cannot be read: {error}") from None
            endpoint = own.resource_manager_endpoint.rstrip("/")
            return endpoint, own.token_audience.rstrip("/") or endpoint
        authority = self._environment.get("AZURE_AUTHORITY_HOST", "")
        manager = next((url for part, url in _MANAGERS.items() if part in authority), _PUBLIC_MANAGER)
        return manager, manager


def _of(answer: Answer, cluster: str) -> Answer:
    if answer.status != 200:
        raise IdentityError(f"failed to describe AKS cluster '{cluster}': {answer.status} {answer.complaint}")
    return answer


def _place(encoded: str) -> Place:
    try:
        return Place(*place_of(base64.b64decode(encoded, validate=True)))
    except (ValueError, ConfigurationError):
        raise IdentityError("Azure gave a kubeconfig that cannot be read") from None
