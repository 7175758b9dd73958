"""Tokens of Google: of the agent's Pod or machine, or of a ServiceAccount.

The agent's own identity is asked for at the metadata service. A ServiceAccount's token is exchanged for one of Google,
directly or for that of the Google service account in its annotation.
"""

from __future__ import annotations

import datetime as dt
import re
import time
from collections.abc import Mapping
from urllib.parse import quote

import msgspec

from agent.adapters.identity.errors import IdentityError
from agent.adapters.identity.login import Login, ServiceAccount, ServiceAccounts
from agent.adapters.identity.web import Answer, request

_PROVIDER = re.compile(r"projects/\d{1,30}/locations/global/workloadIdentityPools/[^/]{1,100}/providers/[^/]{1,100}")
_EMAIL = re.compile(r"[a-zA-Z0-9-]{1,100}@[a-zA-Z0-9-]{1,100}\.iam\.gserviceaccount\.com")
_PROVIDER_KEY, _EMAIL_KEY = "gcp.auth.fluxcd.io/workload-identity-provider", "iam.gke.io/gcp-service-account"
_SCOPES = ("https://www.googleapis.com/auth/cloud-platform", "https://www.googleapis.com/auth/userinfo.email")
_METADATA = "metadata.google.internal"


class _Token(msgspec.Struct):
    access_token: str
    expires_in: float


class _Impersonated(msgspec.Struct, rename="camel"):
    access_token: str
    expire_time: dt.datetime


class Google:
    """The endpoints of services are overridden as gcloud does it, with CLOUDSDK_API_ENDPOINT_OVERRIDES_<SERVICE>."""

    def __init__(self, accounts: ServiceAccounts, environment: Mapping[str, str]) -> None:
        self._accounts = accounts
        self._environment = environment

    async def login(self, account: ServiceAccount | None) -> Login:
        """A bearer token for whatever the identity may do at Google. Raises IdentityError."""
        if account is None:
            path = "instance/service-accounts/default/token"
            return _token(await self._metadata(path), "gcp", "the metadata service")
        annotations = await self._accounts.annotations(account)
        email = _matching(annotations, _EMAIL_KEY, _EMAIL)
        own, audience = await self._audiences(_matching(annotations, _PROVIDER_KEY, _PROVIDER))
        form = {
            "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
            "audience": audience,
            "scope": " ".join(_SCOPES),
            "requested_token_type": "urn:ietf:params:oauth:token-type:access_token",
            "subject_token": await self._accounts.token(account, own),
            "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        }
        answer = await request("POST", f"{self.endpoint('sts')}/v1/token", form=form)
        login = _token(accepted(answer, "Google STS refused a token"), f"gcp:{account}", "Google STS")
        return await self._impersonated(login, email) if email else login

    def endpoint(self, service: str) -> str:
        """The address of one of Google's services."""
        found = self._environment.get(f"CLOUDSDK_API_ENDPOINT_OVERRIDES_{service.upper()}")
        return (found or f"https://{service}.googleapis.com").rstrip("/")

    async def _impersonated(self, login: Login, email: str) -> Login:
        path = f"/v1/projects/-/serviceAccounts/{quote(email, safe='@')}:generateAccessToken"
        headers = {"Authorization": f"Bearer {login.bearer_token}"}
        url = self.endpoint("iamcredentials") + path
        answer = await request("POST", url, headers=headers, json={"scope": _SCOPES})
        told = f"no token for Google service account {email}"
        found = accepted(answer, told).decoded(_Impersonated, "Google IAM")
        return Login(login.identity, found.expire_time.timestamp(), bearer_token=found.access_token)

    async def _audiences(self, provider: str) -> tuple[str, str]:
        """For the ServiceAccount's token, and for the exchange. Without a provider, this cluster is one of Google."""
        if provider:
            audience = f"//iam.googleapis.com/{provider}"
            return audience, audience
        names = ("project/project-id", "instance/attributes/cluster-location", "instance/attributes/cluster-name")
        project, location, name = [(await self._metadata(path)).body.decode().strip() for path in names]
        pool = f"{project}.svc.id.goog"
        here = f"https://container.googleapis.com/v1/projects/{project}/locations/{location}/clusters/{name}"
        return pool, f"identitynamespace:{pool}:{here}"

    async def _metadata(self, path: str) -> Answer:
        host = self._environment.get("GCE_METADATA_HOST") or _METADATA
        url = f"http://{host}/computeMetadata/v1/{path}"
        try:
            answer = await request("GET", url, headers={"Metadata-Flavor": "Google"})
        except IdentityError as error:
            raise IdentityError(f"this agent has no identity at Google: {error}") from None
        return accepted(answer, f"the metadata service refused {path}")


def accepted(answer: Answer, otherwise: str) -> Answer:
    """The answer, if it is no refusal. Raises IdentityError that begins with *otherwise*."""
    if answer.status != 200:
        raise IdentityError(f"{otherwise}: {answer.status} {answer.complaint}")
    return answer


def _token(answer: Answer, identity: str, who: str) -> Login:
    found = answer.decoded(_Token, who)
    return Login(identity, time.time() + found.expires_in, bearer_token=found.access_token)


def _matching(annotations: Mapping[str, str], key: str, pattern: re.Pattern[str]) -> str:
    value = annotations.get(key, "")
    if value and not pattern.fullmatch(value):
        raise IdentityError(f"invalid {key} annotation: '{value}'. must match ^{pattern.pattern}$")
    return value
