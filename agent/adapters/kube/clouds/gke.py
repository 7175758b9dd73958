"""Clusters of Google. They take the access tokens that Google's other services take."""

from __future__ import annotations

import base64
import re

import msgspec

from agent.adapters.identity.errors import IdentityError
from agent.adapters.identity.google import Google, accepted
from agent.adapters.identity.login import ServiceAccount
from agent.adapters.identity.web import request
from agent.adapters.kube.clouds.place import Place, Token

_CLUSTER = re.compile(r"projects/[\w.:-]{1,200}/locations/[\w-]{1,200}/clusters/[\w-]{1,200}")


class _Authority(msgspec.Struct, rename="camel"):
    cluster_ca_certificate: str


class _Cluster(msgspec.Struct, rename="camel"):
    endpoint: str
    master_auth: _Authority


class GKE:
    """By resource name: `projects/<project>/locations/<location>/clusters/<name>`."""

    def __init__(self, google: Google) -> None:
        self._google = google

    def check(self, cluster: str) -> None:
        """Raises IdentityError for what is no name of a cluster."""
        if not _CLUSTER.fullmatch(cluster):
            raise IdentityError(f"invalid GKE cluster ID: '{cluster}'. must match ^{_CLUSTER.pattern}$")

    async def place(self, cluster: str, account: ServiceAccount | None, address: str) -> Place:
        """As Google describes the cluster. Raises IdentityError."""
        self.check(cluster)
        token = await self.token(cluster, account)
        url = f"{self._google.endpoint('container')}/v1/{cluster}"
        answer = await request("GET", url, headers={"Authorization": f"Bearer {token.value}"})
        found = accepted(answer, f"failed to describe GKE cluster '{cluster}'").decoded(_Cluster, "GKE")
        try:
            authority = base64.b64decode(found.master_auth.cluster_ca_certificate, validate=True).decode()
        except ValueError:
            raise IdentityError(f"failed to describe GKE cluster '{cluster}': its authority is no PEM") from None
        return Place(address or found.endpoint, authority)

    async def token(
        self,
        cluster: str,  # noqa: ARG002 - the interface's signature
        account: ServiceAccount | None,
    ) -> Token:
        """For whatever the identity may do at Google. Raises IdentityError."""
        login = await self._google.login(account)
        return Token(login.bearer_token, login.expires)
