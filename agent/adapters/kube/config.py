"""Where the API server is and who we are there.

In-cluster configuration and plain kubeconfigs (token, tokenFile, basic, client certificate, CA file or data, proxy,
tls-server-name) are read here, with PyYAML and `ssl` alone. `kubernetes_asyncio` is imported only for users with an
`exec` plugin or an `auth-provider` (see `plugins`): importing it costs 37 MiB of memory and a second of CPU, as
measured with 36.1 on Python 3.11, which an agent that runs as a Pod need not pay.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import os
import ssl
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from agent.core.yamldocument import parsed
from agent.errors import AuthenticationError, ConfigurationError

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
TOKEN_REREAD = 60.0
"""Seconds. Projected tokens are replaced well before they expire; client-go rereads them each minute as well."""


class Credentials(Protocol):
    """Who we are, as an Authorization header that may change over time."""

    async def authorization(self) -> str | None:
        """The header's value, or None. Raises AuthenticationError."""

    def reject(self) -> bool:
        """The server refused the last value. True if asking again may give another."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """Everything a connection needs. Equality and repr leave the credentials out."""

    server: str
    credentials: Credentials = field(repr=False, compare=False)
    tls: ssl.SSLContext | None = field(default=None, repr=False, compare=False)
    server_name: str | None = None
    proxy: str | None = field(default=None, repr=False)
    namespace: str = "default"
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Trust:
    """What a kubeconfig may ask for beyond what it holds itself.

    `files` to be read (auth providers keep tokens in some), `programs` to be run for credentials, `unverified` servers
    to be talked to. What it asks for in vain is left out, as Flux does, and told as the cluster's `hint` once a
    connection fails.
    """

    files: bool = False
    programs: bool = False
    unverified: bool = False


OWN = Trust(files=True, programs=True, unverified=True)
"""For the kubeconfig of whoever starts the agent."""


class FixedCredentials:
    """A header that never changes, or none (client certificates)."""

    def __init__(self, value: str | None = None) -> None:
        self._value = value

    async def authorization(self) -> str | None:
        return self._value

    def reject(self) -> bool:
        return False


class TokenFile:
    """A bearer token in a file that something else keeps fresh."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._value: str | None = None
        self._read = 0.0

    async def authorization(self) -> str | None:
        now = time.monotonic()
        if self._value is None or now - self._read > TOKEN_REREAD:
            try:
                text = await asyncio.to_thread(self._path.read_text)
            except OSError as error:
                # The old token may still be good; without one there is nothing to try.
                if self._value is None:
                    raise AuthenticationError(f"token file {self._path}: {error.strerror}") from None
            else:
                self._value = f"Bearer {text.strip()}"
            self._read = now
        return self._value

    def reject(self) -> bool:
        self._read = -TOKEN_REREAD
        return self._value is not None


async def load(kubeconfig: str | None = None, context: str | None = None, *, master: str = "") -> Cluster:
    """The configuration to use, looked for in the order of controller-runtime.

    That is: the given file, the files of $KUBECONFIG, the service account of the Pod, ~/.kube/config. `master` is the
    URL of a server to be asked instead of the one found there. Raises ConfigurationError.
    """
    found = await _found(kubeconfig, context)
    return replace(found, server=_url(master, "--master").rstrip("/")) if master else found


async def _found(kubeconfig: str | None, context: str | None) -> Cluster:
    paths = kubeconfig or os.environ.get("KUBECONFIG", "")
    if not paths and "KUBERNETES_SERVICE_HOST" in os.environ:
        return await asyncio.to_thread(in_cluster)
    document = await asyncio.to_thread(_merged, (paths or "~/.kube/config").split(os.pathsep))
    return await from_kubeconfig(document, context=context, trust=OWN)


def in_cluster(folder: Path = SERVICE_ACCOUNT, environ: Mapping[str, str] = os.environ) -> Cluster:
    """The configuration of a Pod: its projected service account token and the cluster's CA. Blocking file reads."""
    host, port = environ.get("KUBERNETES_SERVICE_HOST"), environ.get("KUBERNETES_SERVICE_PORT", "443")
    if not host:
        raise ConfigurationError("KUBERNETES_SERVICE_HOST is not set: not running in a Pod")
    ca, namespace = folder / "ca.crt", folder / "namespace"
    try:
        tls = ssl.create_default_context(cafile=str(ca))
        home = namespace.read_text().strip() if namespace.exists() else "default"
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError(f"service account files in {folder}: {error}") from None
    address = f"[{host}]" if ":" in host else host
    return Cluster(f"https://{address}:{port}", TokenFile(folder / "token"), tls, namespace=home)


async def from_kubeconfig(
    document: bytes | Mapping[str, Any], *, context: str | None = None, trust: Trust = Trust()
) -> Cluster:
    """The configuration that a kubeconfig describes, without what `trust` does not allow.

    Raises ConfigurationError, and AuthenticationError when a plugin fails.
    """
    config = _parsed(document) if isinstance(document, bytes) else document
    try:
        name = context or config.get("current-context")
        chosen = _named(config, "contexts", name)["context"]
        cluster = _named(config, "clusters", chosen["cluster"])["cluster"]
        user = _named(config, "users", chosen["user"])["user"] if chosen.get("user") else {}
        server = _url(cluster["server"], "the kubeconfig's server").rstrip("/")
        proxy = (
            _url(cluster["proxy-url"], "the kubeconfig's proxy-url", secret=True) if cluster.get("proxy-url") else None
        )
    except (KeyError, TypeError, AttributeError):
        raise ConfigurationError("the kubeconfig has no complete current context") from None
    cluster, user, hint = _trusted(cluster, user or {}, trust)
    credentials: Credentials
    certificate = None
    if user.get("exec") or user.get("auth-provider"):
        from agent.adapters.kube.plugins import plugin_credentials  # noqa: PLC0415 - heavy, and seldom needed

        credentials, certificate = await plugin_credentials(user)
    else:
        credentials = await asyncio.to_thread(_credentials, user)
    tls = await asyncio.to_thread(_tls, cluster, user, certificate) if server.startswith("https") else None
    return Cluster(
        server,
        credentials,
        tls,
        cluster.get("tls-server-name"),
        proxy,
        chosen.get("namespace") or "default",
        hint,
    )


_FILES = ("certificate-authority", "client-certificate", "client-key", "tokenFile")
_UNVERIFIED = "insecure-skip-tls-verify"


def _trusted(
    cluster: Mapping[str, Any], user: Mapping[str, Any], trust: Trust
) -> tuple[Mapping[str, Any], Mapping[str, Any], str]:
    """Cluster and user without what may not be used, and a hint that names it, "" if nothing was left out."""
    excluded = {
        **({} if trust.files else dict.fromkeys(_FILES, "put the content inline (…-data, token)")),
        **({} if trust.files else {"auth-provider": "use a token or a client certificate"}),
        **({} if trust.programs else {"exec": "use a token or a client certificate"}),
        **({} if trust.unverified else {_UNVERIFIED: "add certificate-authority-data"}),
    }
    flags = {"exec": "--insecure-kubeconfig-exec", _UNVERIFIED: "--insecure-kubeconfig-tls"}
    told = [
        f"{key} ({remedy}{f', or start the agent with {flags[key]}' if key in flags else ''})"
        for key, remedy in excluded.items()
        if cluster.get(key) or user.get(key)
    ]
    hint = f"the kubeconfig's {', '.join(told)} was not used" if told else ""
    kept = {key: value for key, value in cluster.items() if key not in excluded}
    return kept, {key: value for key, value in user.items() if key not in excluded}, hint


def _url(value: object, name: str, *, secret: bool = False) -> str:
    """A URL that can be connected to; a proxy's may hold credentials, a server's would be shown in metrics."""
    try:
        parts = urlsplit(str(value))
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        usable = False
    if not usable or (parts.username is not None and not secret):
        raise ConfigurationError(f"{name} is not of the form https://host:port")
    return str(value)


def place_of(document: bytes) -> tuple[str, str]:
    """Server and authority (PEM) of a kubeconfig's current context. Raises ConfigurationError."""
    config = _parsed(document)
    try:
        chosen = _named(config, "contexts", config["current-context"])["context"]
        cluster = _named(config, "clusters", chosen["cluster"])["cluster"]
        inline = {"certificate-authority-data": cluster.get("certificate-authority-data")}
        authority = _content(inline, "certificate-authority") or b""
        return _url(cluster["server"], "the kubeconfig's server").rstrip("/"), authority.decode()
    except (KeyError, TypeError, UnicodeDecodeError):
        raise ConfigurationError("the kubeconfig has no complete current context") from None


def _parsed(document: bytes) -> Mapping[str, Any]:
    try:
        config = parsed(document)
    except ValueError:
        raise ConfigurationError("the kubeconfig is not valid YAML") from None
    if not isinstance(config, Mapping):
        raise ConfigurationError("the kubeconfig is not a mapping")
    return config


def _merged(names: list[str]) -> Mapping[str, Any]:
    """Several kubeconfigs as one, as kubectl merges them: the first to set a value wins."""
    merged: dict[str, Any] = {"clusters": [], "users": [], "contexts": []}
    found = False
    for path in [Path(name).expanduser() for name in names if name]:
        try:
            config = _parsed(path.read_bytes())
        except FileNotFoundError:
            continue
        except OSError as error:
            raise ConfigurationError(f"kubeconfig {path}: {error.strerror}") from None
        found = True
        for section, inner in (("clusters", "cluster"), ("users", "user"), ("contexts", "context")):
            known = {entry.get("name") for entry in merged[section]}
            for entry in config.get(section) or ():
                if entry.get("name") not in known:
                    merged[section].append({**entry, inner: _absolute(entry.get(inner) or {}, path.parent)})
        if config.get("current-context"):
            merged.setdefault("current-context", config["current-context"])
    if not found:
        raise ConfigurationError(f"no kubeconfig at {', '.join(names)}: name one with --kubeconfig or KUBECONFIG")
    return merged


def _absolute(entry: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    files = {key: str((folder / str(entry[key])).absolute()) for key in _FILES if entry.get(key)}
    return {**entry, **files}


def _named(config: Mapping[str, Any], section: str, name: object) -> Mapping[str, Any]:
    for entry in config[section]:
        if entry["name"] == name:
            return dict(entry)
    raise KeyError(section)


def _credentials(user: Mapping[str, Any]) -> Credentials:
    if user.get("tokenFile"):
        return TokenFile(Path(user["tokenFile"]))
    if user.get("token"):
        return FixedCredentials(f"Bearer {user['token']}")
    if user.get("username") and user.get("password"):
        pair = f"{user['username']}:{user['password']}"
        return FixedCredentials("Basic " + base64.b64encode(pair.encode()).decode())
    return FixedCredentials()


def _tls(
    cluster: Mapping[str, Any], user: Mapping[str, Any], certificate: tuple[bytes, bytes] | None
) -> ssl.SSLContext:
    try:
        authority = _content(cluster, "certificate-authority")
        context = ssl.create_default_context(cadata=authority.decode() if authority else None)
        if cluster.get("insecure-skip-tls-verify"):
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        chain = certificate or (_content(user, "client-certificate"), _content(user, "client-key"))
        if chain[0] and chain[1]:
            _load_chain(context, chain[0] + b"\n" + chain[1])
    except (OSError, ValueError) as error:
        # ssl.SSLError and binascii.Error are among these; neither quotes key material.
        raise ConfigurationError(f"the kubeconfig's certificates cannot be used: {error}") from None
    return context


def _content(section: Mapping[str, Any], key: str) -> bytes | None:
    data = section.get(f"{key}-data")
    if data:
        try:
            return base64.b64decode(data, validate=False)
        except (binascii.Error, TypeError):
            raise ConfigurationError(f"the kubeconfig's {key}-data is not base64") from None
    path = section.get(key)
    return Path(path).read_bytes() if path else None


def _load_chain(context: ssl.SSLContext, pem: bytes) -> None:
    """Load certificate and key, which `ssl` only takes from a file; in memory where the system can."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("client-certificate", os.MFD_CLOEXEC)
        try:
            with os.fdopen(os.dup(descriptor), "wb") as file:
                file.write(pem)
            context.load_cert_chain(f"/proc/self/fd/{descriptor}", password=_no_passphrase)
        finally:
            os.close(descriptor)
        return
    with tempfile.NamedTemporaryFile() as file:
        file.write(pem)
        file.flush()
        context.load_cert_chain(file.name, password=_no_passphrase)


def _no_passphrase() -> str:
    """Without it, OpenSSL would ask whoever sits at the agent's terminal, and wait."""
    raise ConfigurationError("the kubeconfig's client-key is encrypted: store it without a passphrase")
