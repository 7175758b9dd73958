"""Access to other clusters without a stored secret: an identity of this cluster or of the cloud is known over there.

With the provider `generic`, the other API server trusts the issuer of this cluster's tokens, and gets one of a
ServiceAccount that was issued for it alone. With `aws`, `azure` and `gcp` the cloud vouches, for the identity of a
ServiceAccount or of the agent.

Whoever can write a ConfigMap chooses where a token goes. So the agent's own Kubernetes token goes nowhere, and its
identity at a cloud is used only where everybody may act as the agent anyway, that is without a default account.
"""

from __future__ import annotations

import asyncio
import hashlib
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Any, Protocol
from urllib.parse import urlsplit

import msgspec

from agent.adapters.identity.errors import IdentityError
from agent.adapters.identity.login import ServiceAccount
from agent.adapters.kube.client import JSON, KubeClient
from agent.adapters.kube.clouds import CLOUDS, ManagedClusters, Token
from agent.adapters.kube.config import Cluster
from agent.adapters.kube.errors import ApiError, NotFound, decoded
from agent.adapters.kube.resource import SERVICE_ACCOUNTS
from agent.errors import AuthenticationError, ConfigurationError

GENERIC = "generic"
_RENEW = 0.8  # of a token's life; kubelets renew at this age, too


@dataclass(frozen=True, slots=True)
class RemoteIdentity:
    """Where another cluster is, and who it knows.

    `cluster` is its name at the cloud, `server` its URL ("": the cloud knows), `account` a ServiceAccount's name ("":
    the agent itself), `authority` PEM ("": the cloud's word, or the system's own).
    """

    provider: str
    cluster: str
    server: str
    namespace: str
    account: str
    audiences: tuple[str, ...]
    authority: str = ""

    @classmethod
    def parse(cls, data: Mapping[str, Any], namespace: str) -> RemoteIdentity:
        """From the keys of Flux's ConfigMap. Raises ConfigurationError naming the key that is missing or wrong."""
        provider, address = data.get("provider", ""), data.get("address", "").strip()
        if provider not in (GENERIC, *CLOUDS):
            raise ConfigurationError(f"provider '{provider}' not implemented")
        if provider == GENERIC and not address:
            raise ConfigurationError("address is required for provider 'generic'")
        audiences = tuple(line.strip() for line in data.get("audiences", "").splitlines() if line.strip())
        return cls(
            provider=provider,
            cluster=data.get("cluster", "").strip(),
            server=server_url(address) if address else "",
            namespace=namespace,
            account=data.get("serviceAccountName", "").strip(),
            audiences=audiences or ((address,) if provider == GENERIC else ()),
            authority=data.get("ca.crt", ""),
        )

    @property
    def digest(self) -> str:
        """A hash of everything that the connection depends on."""
        return hashlib.sha256(msgspec.json.encode(self)).hexdigest()


class WorkloadClusters:
    """Connects as such identities.

    `enabled` is Flux's feature gate ObjectLevelWorkloadIdentity, `default_account` takes the place of a ServiceAccount
    that is not named, and `own_identity` says whether that of the agent may.
    """

    def __init__(
        self,
        client: KubeClient,
        clouds: Mapping[str, ManagedClusters],
        *,
        enabled: bool,
        default_account: str = "",
        own_identity: bool = True,
    ) -> None:
        self._client = client
        self._clouds = clouds
        self._enabled = enabled
        self._default = default_account
        self._own_identity = own_identity

    def identity(self, data: Mapping[str, Any], namespace: str) -> RemoteIdentity:
        """What a ConfigMap of that namespace asks for. Raises ConfigurationError for what it may not have."""
        identity = RemoteIdentity.parse(data, namespace)
        if identity.provider != GENERIC:
            self._check(identity)
        identity = replace(identity, account=identity.account or self._default)
        if identity.account and not self._enabled:
            raise ConfigurationError("ObjectLevelWorkloadIdentity feature gate is not enabled")
        if not identity.account and (identity.provider == GENERIC or not self._own_identity):
            raise ConfigurationError(
                "serviceAccountName is required: Weir does not act as itself on that cluster; name a ServiceAccount of "
                "this namespace, or start the agent with --default-kubeconfig-service-account"
            )
        return identity

    async def cluster(self, identity: RemoteIdentity) -> Cluster:
        """The connection's settings. Raises ConfigurationError, and AuthenticationError if no token is issued."""
        credentials = RenewedToken(partial(self._issue, identity))
        await credentials.authorization()
        identity = await self._placed(identity)
        try:
            tls = await asyncio.to_thread(ssl.create_default_context, cadata=identity.authority or None)
        except (OSError, ValueError):
            raise ConfigurationError("ca.crt holds no certificates in PEM") from None
        return Cluster(identity.server, credentials, tls, namespace=identity.namespace)

    def _check(self, identity: RemoteIdentity) -> None:
        # AWS is asked about a cluster's name in any case, the others only to find it
        if identity.provider == "aws" or not (identity.server and identity.authority):
            try:
                self._clouds[identity.provider].check(identity.cluster)
            except IdentityError as error:
                raise ConfigurationError(str(error)) from None

    async def _placed(self, identity: RemoteIdentity) -> RemoteIdentity:
        """With server and authority, as the cloud knows them where the ConfigMap does not say."""
        if identity.provider == GENERIC or (identity.server and identity.authority):
            return identity
        try:
            place = await self._clouds[identity.provider].place(identity.cluster, _account(identity), identity.server)
        except IdentityError as error:
            raise AuthenticationError(str(error)) from None
        return replace(identity, server=server_url(place.server), authority=identity.authority or place.authority)

    async def _issue(self, identity: RemoteIdentity) -> Token:
        if identity.provider == GENERIC:
            return await self._of_account(identity)
        try:
            return await self._clouds[identity.provider].token(identity.cluster, _account(identity))
        except IdentityError as error:
            raise AuthenticationError(f"failed to get access token for cluster: {error}") from None

    async def _of_account(self, identity: RemoteIdentity) -> Token:
        who = f"service account '{identity.namespace}/{identity.account}'"
        request = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"audiences": identity.audiences},
        }
        try:
            answer = await self._client.raw(
                "POST",
                SERVICE_ACCOUNTS.path(identity.namespace, identity.account, "token"),
                body=msgspec.json.encode(request),
                headers=(("Content-Type", JSON),),
                resource="serviceaccounts/token",
            )
            issued = decoded(answer, _TokenRequest, "create serviceaccounts/token").status
        except NotFound:
            raise AuthenticationError(f"failed to get {who}: it does not exist") from None
        except ApiError as error:
            raise AuthenticationError(f"failed to create kubernetes token for {who}: {error.message}") from None
        return Token(issued.token, issued.expiration_timestamp.timestamp())


class _Issued(msgspec.Struct, rename="camel"):
    token: str
    expiration_timestamp: datetime


class _TokenRequest(msgspec.Struct):
    status: _Issued


class Issue(Protocol):
    """Gives a new token."""

    async def __call__(self) -> Token:
        """Raises AuthenticationError."""


class RenewedToken:
    """Credentials: a bearer token that is issued again before it ends, and after it was refused."""

    def __init__(self, issue: Issue) -> None:
        self._issue = issue
        self._turn = asyncio.Lock()
        self._value: str | None = None
        self._renew = 0.0

    async def authorization(self) -> str | None:
        """The header. Raises AuthenticationError if a token is due and none is issued."""
        async with self._turn:
            now = time.time()
            if self._value is None or now >= self._renew:
                token = await self._issue()
                self._value = f"Bearer {token.value}"
                self._renew = now + _RENEW * (token.expires - now)
            return self._value

    def reject(self) -> bool:
        """The next one is a new one."""
        self._value = None
        return True


def _account(identity: RemoteIdentity) -> ServiceAccount | None:
    return ServiceAccount(identity.namespace, identity.account) if identity.account else None


def server_url(address: str) -> str:
    """An API server's address as a URL; https unless it says so, and nothing else. Raises ConfigurationError."""
    url = address if "://" in address else f"https://{address}"
    try:
        parts = urlsplit(url)
        port = parts.port or 443
    except ValueError:
        raise ConfigurationError(f"address '{address}' is no address of an API server") from None
    if parts.scheme != "https" or not parts.hostname or parts.username is not None:
        raise ConfigurationError(f"the Kubernetes API server address '{address}' must use https scheme")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"https://{host}:{port}"
