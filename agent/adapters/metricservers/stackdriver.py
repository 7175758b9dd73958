"""Google Cloud Monitoring: a query in MQL, with the key of a service account or the machine's own identity."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from urllib.parse import quote

import msgspec

from agent.adapters.identity.errors import IdentityError
from agent.adapters.identity.statements import signed_statement
from agent.adapters.identity.web import Answer, request
from agent.adapters.metricservers.source import ask, refusal
from agent.core.rollout.exchanges import Ask, UnusableError, address, required, stackdriver_value
from agent.core.rollout.judgement import Sample, Source

_SCOPE = "https://www.googleapis.com/auth/monitoring.read"
_GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_KEY = "serviceAccountKey"
_SECONDS = 600


class _Account(msgspec.Struct):
    client_email: str
    private_key: str
    token_uri: str = "https://oauth2.googleapis.com/token"  # noqa: S105 - an address


class _Token(msgspec.Struct):
    access_token: str = ""


class Stackdriver:
    """See the module. `GCE_METADATA_HOST` in the environment names another metadata server."""

    def __init__(self, environment: Mapping[str, str], now: Callable[[], float]) -> None:
        self._environment = environment
        self._now = now

    async def query(self, source: Source, query: str, credentials: Mapping[str, str] | None = None) -> Sample:
        """The newest value of the first series."""
        try:
            status, body = await self._send(source, query, credentials or {})
            if status != 200:
                raise refusal(status, body, credentials or {})
            return Sample(stackdriver_value(body))
        except UnusableError as error:
            return Sample(error=f"error requesting stackdriver: {error}")

    async def online(self, source: Source, credentials: Mapping[str, str] | None = None) -> str:
        """An empty query is refused as such (400) by a service that would answer a real one."""
        try:
            status, body = await self._send(source, "", credentials or {})
        except UnusableError as error:
            return str(error)
        return "" if status in {200, 400} else str(refusal(status, body, credentials or {}))

    async def _send(self, source: Source, query: str, credentials: Mapping[str, str]) -> tuple[int, bytes]:
        project = required(source, credentials, "project", "a project id")
        root = address(source, "https://monitoring.googleapis.com")
        try:
            token = await self._token(credentials)
        except IdentityError as error:
            raise UnusableError(str(error)) from None
        headers = (("Authorization", f"Bearer {token}"), ("Content-Type", "application/json"))
        url = f"{root}/v3/projects/{quote(project, safe='')}/timeSeries:query"
        body = msgspec.json.encode({"query": query})
        return await ask(
            source, Ask(url=url, method="POST", headers=headers, body=body), {**credentials, "issued": token}
        )

    async def _token(self, credentials: Mapping[str, str]) -> str:
        text = credentials.get(_KEY, "")
        if not text:
            return await self._of_machine()
        try:
            account = msgspec.json.decode(text, type=_Account)
        except msgspec.MsgspecError:
            raise IdentityError(f"'{_KEY}' is no key of a service account") from None
        issued = int(self._now())
        claims = {
            "iss": account.client_email,
            "scope": _SCOPE,
            "aud": account.token_uri,
            "iat": issued,
            "exp": issued + _SECONDS,
        }
        statement = signed_statement(claims, account.private_key.encode(), _KEY)
        form = {"grant_type": _GRANT, "assertion": statement}
        return _issued(await request("POST", account.token_uri, form=form), "the token endpoint")

    async def _of_machine(self) -> str:
        host = self._environment.get("GCE_METADATA_HOST") or "metadata.google.internal"
        url = f"http://{host}/computeMetadata/v1/instance/service-accounts/default/token"
        return _issued(await request("GET", url, headers={"Metadata-Flavor": "Google"}), "the metadata server")


def _issued(answer: Answer, what: str) -> str:
    if answer.status != 200:
        raise IdentityError(f"{what} issues no token: {answer.status}")
    token = answer.decoded(_Token, what).access_token
    if not token:
        raise IdentityError(f"{what} answered without a token")
    return token
