"""Registries of images and artifacts, by the distribution API, and Ollama's, which speaks it too.

The digest is that of the manifest that a tag leads to. It is taken from the registry's header and, where the manifest
is read for the sizes of its layers, held against the bytes.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import quote, urlencode, urlsplit

import msgspec

from agent.adapters.registries.access import Access, Answer, RegistryError, basic
from agent.adapters.registries.fetcher import Fetcher
from agent.core.models.ref import Digest, Size
from agent.core.registries.outcome import Found

_REFERENCE: Final = re.compile(r"^(?:oci|ollama)://([^/]+)/(.+?)(?:@(sha(?:256|512):[0-9a-f]+)|:([^:/@]+))$")
_DIGEST: Final = re.compile(r"^(sha256|sha512):([0-9a-f]{64,128})$")
_CHALLENGE: Final = re.compile(r'(\w+)="([^"]*)"')
_DOCKER_HUB: Final = "https://registry-1.docker.io"
_OLLAMA: Final = "registry.ollama.ai"
_MANIFESTS: Final = (
    "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, "
    "application/vnd.docker.distribution.manifest.v2+json, application/vnd.docker.distribution.manifest.list.v2+json"
)


class _Layer(msgspec.Struct):
    size: int = 0


class _Manifest(msgspec.Struct):
    layers: list[_Layer] | None = None


class _Token(msgspec.Struct):
    token: str = ""
    access_token: str = ""


class _DockerLogin(msgspec.Struct):
    auth: str = ""
    username: str = ""
    password: str = ""


class _DockerConfig(msgspec.Struct):
    auths: dict[str, _DockerLogin] = {}


async def resolve(fetcher: Fetcher, access: Access, canonical: str) -> Found:
    """The manifest that a tag or digest names. Raises RegistryError."""
    found = _REFERENCE.match(_with_host(canonical))
    if found is None:
        raise RegistryError("unsupported", "the reference names no tag or digest of a registry")
    host, repository, digest, tag = found.groups()
    public = _DOCKER_HUB if host == "docker.io" else f"https://{host}"
    url = f"{access.base(public)}/v2/{quote(repository)}/manifests/{digest or tag}"
    registry = _Registry(fetcher, access, host, repository)
    if canonical.startswith("ollama://"):
        body = (await registry.ask("GET", url)).body
        return _found(f"sha256:{hashlib.sha256(body).hexdigest()}", body)
    named = (await registry.ask("HEAD", url)).headers.get("docker-content-digest", "")
    if not _DIGEST.match(named):
        body = (await registry.ask("GET", url)).body
        return _found(f"sha256:{hashlib.sha256(body).hexdigest()}", body)
    body = (await registry.ask("GET", f"{url.rpartition('/')[0]}/{named}")).body
    algorithm, _, value = named.partition(":")
    if hashlib.new(algorithm, body).hexdigest() != value or digest not in {None, named}:
        raise RegistryError("refused", f"{host} gives out a manifest that is not the one of its digest")
    return _found(named, body)


def _with_host(canonical: str) -> str:
    """Ollama's short names are in its own registry."""
    name = canonical.removeprefix("ollama://")
    first = name.partition("/")[0]
    short = name is not canonical and name.count("/") < 2 and not ("." in first or ":" in first)
    return f"ollama://{_OLLAMA}/{name}" if short else canonical


def _found(digest: str, body: bytes) -> Found:
    algorithm, _, value = digest.partition(":")
    try:
        layers = msgspec.json.decode(body, type=_Manifest).layers
    except msgspec.MsgspecError:
        raise RegistryError("unreadable", "the registry's manifest is not JSON") from None
    # an index has no layers of its own: how much is pulled depends on the platform
    size = Size(bytes=sum(layer.size for layer in layers), files=len(layers)) if layers else None
    return Found(revision=digest, digest=Digest(algorithm, value, "manifest", algorithm), size=size)


class _Registry:
    """One conversation with a registry, which may ask for a token in the middle of it."""

    def __init__(self, fetcher: Fetcher, access: Access, host: str, repository: str) -> None:
        self._fetcher = fetcher
        self._access = access
        self._host = host
        self._repository = repository
        self._headers: dict[str, str] = {}

    async def ask(self, method: str, url: str) -> Answer:
        answer = await self._send(method, url)
        if answer.status == 401 and not self._headers:
            self._headers = await self._logged_in(answer.headers.get("www-authenticate", ""))
            answer = await self._send(method, url)
        return answer.expected(self._host, "repository, tag or digest")

    async def _send(self, method: str, url: str) -> Answer:
        headers = {"Accept": _MANIFESTS, **self._headers}
        access = self._access
        return await self._fetcher.get(
            url, endpoint=access.endpoint, headers=headers, method=method, scope=access.scope
        )

    async def _logged_in(self, challenge: str) -> dict[str, str]:
        """The header that the registry's challenge asks for. Raises RegistryError."""
        login = self._login()
        scheme, _, rest = challenge.partition(" ")
        if scheme.lower() == "basic":
            return {"Authorization": basic(*login)} if login else {}
        parts = dict(_CHALLENGE.findall(rest))
        realm = parts.get("realm", "")
        if scheme.lower() != "bearer" or urlsplit(realm).scheme not in {"https", "http"}:
            raise RegistryError("auth", f"{self._host} asks for a login of a kind that is not known")
        if login and urlsplit(realm).scheme == "http" and not self._access.endpoint.startswith("http://"):
            raise RegistryError("refused", f"{self._host} asks for credentials without https")
        scope = parts.get("scope") or f"repository:{self._repository}:pull"
        query = urlencode({"service": parts.get("service", ""), "scope": scope})
        answer = await self._fetcher.get(
            f"{realm}?{query}",
            endpoint=self._access.endpoint,
            headers={"Authorization": basic(*login)} if login else {},
            scope=self._access.scope,
        )
        if answer.status != 200:
            raise RegistryError("auth", f"{self._host} refuses the credentials")
        token = answer.json(_Token, "the registry's token server")
        return {"Authorization": f"Bearer {token.token or token.access_token}"}

    def _login(self) -> tuple[str, str] | None:
        """Name and password from `username` and `password`, or from a Docker configuration for the host."""
        secret = self._access.secret
        if "username" in secret and "password" in secret:
            return secret["username"], secret["password"]
        return _docker_login(secret, self._host) if ".dockerconfigjson" in secret else None


def _docker_login(secret: Mapping[str, str], host: str) -> tuple[str, str] | None:
    try:
        config = msgspec.json.decode(secret[".dockerconfigjson"], type=_DockerConfig)
    except msgspec.MsgspecError:
        raise RegistryError("auth", "the Secret's .dockerconfigjson is not a Docker configuration") from None
    for name, login in config.auths.items():
        if name.removeprefix("https://").partition("/")[0].replace("index.docker.io", "docker.io") != host:
            continue
        if login.username:
            return login.username, login.password
        try:
            user, _, password = base64.b64decode(login.auth, validate=True).decode().partition(":")
        except ValueError:
            raise RegistryError("auth", "an auth of the Secret's .dockerconfigjson is not base64") from None
        return user, password
    return None
