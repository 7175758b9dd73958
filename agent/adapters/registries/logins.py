"""Logging in to the clouds' registries and stores as a workload, instead of with a stored secret.

Whoever writes a policy chooses where credentials go. So what an identity gives goes to the cloud's own addresses only:
hosts of ECR, Artifact Registry and ACR are known by their names, stores by their scheme.
"""

from __future__ import annotations

import base64
import datetime as dt
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import msgspec

from agent.adapters.identity import IdentityError, ServiceAccount
from agent.adapters.identity.aws import AWS
from agent.adapters.identity.azure import Azure
from agent.adapters.identity.cache import TokenCache
from agent.adapters.identity.google import Google
from agent.adapters.identity.login import ServiceAccounts
from agent.adapters.identity.sigv4 import Signer
from agent.adapters.identity.web import request
from agent.telemetry.tokencache import Asker, TokenCacheMetrics

_ECR: Final = re.compile(r"[0-9]{12}\.dkr\.ecr(?:-fips)?\.([a-z0-9-]+)\.amazonaws\.com(?:\.cn)?")
_ACR: Final = re.compile(r"[a-z0-9-]+\.azurecr\.(io|cn|us)")
_GAR: Final = re.compile(r"(?:[a-z0-9-]+\.)?gcr\.io|[a-z0-9-]+-docker\.pkg\.dev")
_ACR_MANAGERS: Final = {
    "io": "https://management.azure.com/",
    "cn": "https://management.chinacloudapi.cn/",
    "us": "https://management.usgovcloudapi.net/",
}
_STORAGE: Final = "https://storage.azure.com/"
_ACR_NOBODY: Final = "00000000-0000-0000-0000-000000000000"  # the name that goes with a token of ACR
_DEFAULT_REGION: Final = "us-east-1"
_PAUSE: Final = 60.0
"""Seconds for which a refusal is believed."""
PROVIDERS: Final[Mapping[str, frozenset[str]]] = {
    "aws": frozenset({"s3", "oci"}),
    "azure": frozenset({"azure", "oci"}),
    "gcp": frozenset({"gs", "oci"}),
}
"""Clouds, and the schemes of references that their identities are for."""


class Wanted(NamedTuple):
    """What a login is for. *region* is that of a bucket, empty for the agent's own."""

    provider: str
    scheme: str
    host: str = ""
    region: str = ""


@dataclass(frozen=True, slots=True)
class LoggedIn:
    """Entries as a Secret would have them, the address to ask (empty: the public one), and an end in epoch seconds."""

    entries: Mapping[str, str] = field(repr=False)
    expires: float
    endpoint: str = ""


class RegistryLogins:
    """Tokens are used until most of their life is over; who is refused is not asked for again at once.

    `at` gives the address of a registry's host.
    """

    def __init__(
        self,
        accounts: ServiceAccounts,
        metrics: TokenCacheMetrics,
        *,
        environment: Mapping[str, str],
        cache: int = 100,
        longest: float = 3600.0,
        at: Callable[[str], str] = "https://{}".format,
    ) -> None:
        self._aws = AWS(accounts, environment)
        self._azure = Azure(accounts, environment)
        self._google = Google(accounts, environment)
        self._environment = environment
        self._cache: TokenCache[LoggedIn] = TokenCache(cache, longest, metrics)
        self._refused: dict[str, tuple[float, str]] = {}
        self._at = at

    async def log_in(self, wanted: Wanted, account: ServiceAccount | None, asker: Asker) -> LoggedIn:
        """As the agent, or as a ServiceAccount. Raises IdentityError."""
        key = f"{'|'.join(wanted)}|{account or ''}"
        until, why = self._refused.get(key, (0.0, ""))
        if time.monotonic() < until:
            raise IdentityError(why)
        try:
            return await self._cache.get(key, asker, self._issue(wanted, account))
        except IdentityError as error:
            self._refused[key] = time.monotonic() + _PAUSE, str(error)
            raise

    def _issue(self, wanted: Wanted, account: ServiceAccount | None) -> Callable[[], Awaitable[LoggedIn]]:
        async def issue() -> LoggedIn:
            match wanted.provider, wanted.scheme:
                case "aws", "s3":
                    return await self._bucket_of_aws(wanted.region, account)
                case "aws", "oci":
                    return await self._ecr(wanted.host, account)
                case "azure", "azure":
                    login = await self._azure.login(account, proxy="", resource=_STORAGE.rstrip("/"))
                    return LoggedIn({"token": login.bearer_token}, login.expires)
                case "azure", "oci":
                    return await self._acr(wanted.host, account)
                case "gcp", "gs":
                    login = await self._google.login(account)
                    return LoggedIn({"token": login.bearer_token}, login.expires)
                case "gcp", "oci":
                    return await self._artifact_registry(wanted.host, account)
            raise IdentityError(f"provider {wanted.provider} has no identity for scheme {wanted.scheme}")

        return issue

    async def _bucket_of_aws(self, region: str, account: ServiceAccount | None) -> LoggedIn:
        known = self._environment
        region = region or known.get("AWS_REGION") or known.get("AWS_DEFAULT_REGION") or _DEFAULT_REGION
        keys = await self._aws.keys(account, region, proxy="")
        entries = {"accessKey": keys.key_id, "secretKey": keys.secret, "region": region}
        endpoint = self._aws.endpoint("s3", region)
        return LoggedIn(entries | ({"sessionToken": keys.session} if keys.session else {}), keys.expires, endpoint)

    async def _ecr(self, host: str, account: ServiceAccount | None) -> LoggedIn:
        match = _ECR.fullmatch(host)
        if match is None:
            raise IdentityError(_not_known("aws", host, "<account>.dkr.ecr.<region>.amazonaws.com"))
        region = match[1]
        keys = await self._aws.keys(account, region, proxy="")
        url = f"{self._aws.endpoint('ecr', region, 'api.ecr')}/"
        headers = {
            "Content-Type": "application/x-amz-json-1.1",
            "X-Amz-Target": "AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken",
        }
        signed = Signer(keys, "ecr", region, dt.datetime.now(dt.UTC)).headers("POST", url, headers, b"{}")
        answer = await request("POST", url, headers=signed, json={})
        if answer.status != 200:
            raise IdentityError(f"ECR refused a login: {answer.status} {answer.complaint}")
        data = answer.decoded(_EcrAnswer, "ECR").authorization_data
        user, _, password = _decoded(data[0].authorization_token if data else "").partition(":")
        if not password:
            raise IdentityError("the answer of ECR holds no login")
        return LoggedIn({"username": user, "password": password}, data[0].expires_at)

    async def _acr(self, host: str, account: ServiceAccount | None) -> LoggedIn:
        match = _ACR.fullmatch(host)
        if match is None:
            raise IdentityError(_not_known("azure", host, "<name>.azurecr.io"))
        login = await self._azure.login(account, proxy="", resource=_ACR_MANAGERS[match[1]].rstrip("/"))
        form = {"grant_type": "access_token", "service": host, "access_token": login.bearer_token}
        answer = await request("POST", f"{self._at(host)}/oauth2/exchange", form=form)
        if answer.status != 200:
            raise IdentityError(f"{host} refused the identity: {answer.status} {answer.complaint}")
        token = answer.decoded(_AcrAnswer, host).refresh_token
        return LoggedIn({"username": _ACR_NOBODY, "password": token}, login.expires)

    async def _artifact_registry(self, host: str, account: ServiceAccount | None) -> LoggedIn:
        if _GAR.fullmatch(host) is None:
            raise IdentityError(_not_known("gcp", host, "gcr.io or <region>-docker.pkg.dev"))
        login = await self._google.login(account)
        return LoggedIn({"username": "oauth2accesstoken", "password": login.bearer_token}, login.expires)


class _EcrLogin(msgspec.Struct, rename="camel"):
    authorization_token: str
    expires_at: float


class _EcrAnswer(msgspec.Struct, rename="camel"):
    authorization_data: list[_EcrLogin] = []


class _AcrAnswer(msgspec.Struct):
    refresh_token: str


def _decoded(text: str) -> str:
    try:
        return base64.b64decode(text, validate=True).decode()
    except ValueError:
        return ""


def _not_known(provider: str, host: str, known: str) -> str:
    return f"provider {provider} logs in to {known} only, and host is '{host}': use a secretRef"
