"""Logging in to GitHub as an App: a short-lived token for one installation, asked for with a signed statement."""

from __future__ import annotations

import dataclasses
import datetime as dt
import hashlib
import time
from collections.abc import Mapping
from urllib.parse import quote, urlsplit

import msgspec

from agent.adapters.identity.errors import IdentityError
from agent.adapters.identity.login import Login
from agent.adapters.identity.statements import signed_statement
from agent.adapters.identity.web import SYSTEM_TLS, TLS, Answer, request

PUBLIC_API = "https://api.github.com"
_USER = "x-access-token"
_CLOCK_SKEW = 30.0
_STATEMENT_SECONDS = 120.0
_ID, _KEY, _BASE = "githubAppID", "githubAppPrivateKey", "githubAppBaseURL"
_INSTALLATION, _OWNER = "githubAppInstallationID", "githubAppInstallationOwner"


@dataclasses.dataclass(frozen=True, slots=True, repr=False)
class GitHubApp:
    """An App and one of its installations, by id or by the organisation or user that has it (`owner`).

    `api` is the root of GitHub's REST interface.
    """

    app_id: int
    private_key: bytes
    installation: int = 0
    owner: str = ""
    api: str = PUBLIC_API
    tls: TLS = SYSTEM_TLS

    @classmethod
    def from_secret(cls, data: Mapping[str, bytes]) -> GitHubApp:
        """Reads Flux's keys. Raises ValueError that names the key at fault."""
        for key in (_ID, _KEY):
            if not data.get(key):
                raise ValueError(f"key '{key}' is missing")
        if bool(data.get(_INSTALLATION)) == bool(data.get(_OWNER)):
            raise ValueError(f"it must contain exactly one of '{_OWNER}' or '{_INSTALLATION}'")
        return cls(
            app_id=_number(data, _ID),
            private_key=data[_KEY],
            installation=_number(data, _INSTALLATION) if data.get(_INSTALLATION) else 0,
            owner=data.get(_OWNER, b"").decode(errors="replace").strip(),
            api=_root(data.get(_BASE, b"").decode(errors="replace").strip()),
            tls=TLS(
                authorities=data.get("ca.crt") or data.get("caFile") or b"",
                certificate=data.get("tls.crt", b""),
                key=data.get("tls.key", b""),
            ),
        )

    @property
    def identity(self) -> str:
        """Names the installation and the key, without showing the key."""
        parts = (self.private_key, self.tls.authorities, self.tls.certificate, self.tls.key)
        key = hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]
        return f"github:{self.api}:{self.app_id}:{self.installation or self.owner}:{key}"

    async def login(self, *, proxy: str) -> Login:
        """A token of the installation. Raises IdentityError."""
        statement = self._statement()
        installation = self.installation or await self._installation_of_owner(statement, proxy)
        path = f"/app/installations/{installation}/access_tokens"
        answer = await self._ask("POST", path, statement, proxy)
        if answer.status != 201:
            raise IdentityError(f"no token for installation {installation}: {_refusal(answer)}")
        issued = answer.decoded(_Issued, "GitHub")
        if not issued.token:
            raise IdentityError("GitHub answered without a token")
        return Login(self.identity, issued.expires_at.timestamp(), username=_USER, password=issued.token)

    def _statement(self) -> str:
        """A JSON Web Token (RS256) that says which App this is."""
        issued = int(time.time() - _CLOCK_SKEW)
        claims = {"iat": issued, "exp": issued + int(_STATEMENT_SECONDS), "iss": str(self.app_id)}
        return signed_statement(claims, self.private_key, _KEY)

    async def _installation_of_owner(self, statement: str, proxy: str) -> int:
        """An organisation's installation, else a user's of that name."""
        refusals = []
        for kind, name in (("orgs", "organization"), ("users", "user")):
            answer = await self._ask("GET", f"/{kind}/{quote(self.owner, safe='')}/installation", statement, proxy)
            if answer.status == 200:
                return answer.decoded(_Installation, "GitHub").id
            refusals.append(f"failed to find {name} installation: {_refusal(answer)}")
        raise IdentityError("; ".join(refusals))

    async def _ask(self, method: str, path: str, statement: str, proxy: str) -> Answer:
        headers = {
            "Authorization": f"Bearer {statement}",
            "Accept": "application/vnd.github+json",
            "X-GitHub-Api-Version": "2022-11-28",
            "User-Agent": "weir",
        }
        url = self.api + path
        return await request(method, url, headers=headers, proxy=proxy, tls=self.tls)

    def __repr__(self) -> str:
        return f"GitHubApp({self.app_id})"


class _Issued(msgspec.Struct):
    token: str
    expires_at: dt.datetime


class _Installation(msgspec.Struct):
    id: int


class _Refusal(msgspec.Struct):
    message: str = ""


def _refusal(answer: Answer) -> str:
    try:
        said = msgspec.json.decode(answer.body, type=_Refusal).message
    except msgspec.MsgspecError:
        said = answer.complaint
    return f"{answer.status} {said}".rstrip()


def _root(text: str) -> str:
    """The root of the interface, as given: for GitHub Enterprise Server it ends in `/api/v3`."""
    if not text:
        return PUBLIC_API
    parts = urlsplit(text)
    # Behind a question mark the paths of the interface would be no paths, and the request one for anything.
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.username or "?" in text or "#" in text:
        raise ValueError(f"'{_BASE}' is not an http or https URL without credentials and query")
    return text.rstrip("/")


def _number(data: Mapping[str, bytes], key: str) -> int:
    text = data[key].decode(errors="replace").strip()
    if not (text.isascii() and text.isdigit()) or int(text) == 0:
        raise ValueError(f"key '{key}' is not a number")
    return int(text)
