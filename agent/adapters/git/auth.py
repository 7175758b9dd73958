"""Credentials of a Git remote, read from a Secret by Flux's rules for GitRepository authentication."""

from __future__ import annotations

import base64
import binascii
import dataclasses
import hashlib
import urllib.parse
from collections.abc import Mapping

from agent.adapters.git.errors import GitAuthenticationError, GitOperationError

_DEFAULT_SSH_USER = "git"
_SOCKS = "socks5://"
_PROXY_SCHEMES = ("http", "https", "socks5")
_MAX_PROXY = 2048
_OPENSSH_BEGIN = b"-----BEGIN OPENSSH PRIVATE KEY-----"
_OPENSSH_END = b"-----END OPENSSH PRIVATE KEY-----"
_OPENSSH_MAGIC = b"openssh-key-v1\0"
_ENCRYPTED_PEM = (b"-----BEGIN ENCRYPTED PRIVATE KEY-----", b"Proc-Type: 4,ENCRYPTED")


@dataclasses.dataclass(frozen=True, slots=True, repr=False)
class HTTPAuth:
    """Credentials for http and https; every field may be empty. Certificates and the key are PEM.

    `identity` says who this is where the password or token is a short-lived one, good until `expires` (seconds since
    the epoch).
    """

    username: str = ""
    password: str = ""
    bearer_token: str = ""
    ca_certificates: bytes = b""
    client_certificate: bytes = b""
    client_key: bytes = b""
    identity: str = ""
    expires: float = 0.0

    @property
    def header(self) -> str:
        """The value of the Authorization header, empty for anonymous access."""
        if self.bearer_token:
            return f"Bearer {self.bearer_token}"
        if self.username:
            return "Basic " + base64.b64encode(f"{self.username}:{self.password}".encode()).decode()
        return ""

    @property
    def secrets(self) -> tuple[str, ...]:
        """Texts that must never appear in a message."""
        return tuple(filter(None, (self.header.partition(" ")[2], self.bearer_token, self.password)))

    def __repr__(self) -> str:
        return "HTTPAuth(…)"


@dataclasses.dataclass(frozen=True, slots=True, repr=False)
class SSHAuth:
    """Credentials for ssh: a private key, the accepted host keys, and the key's passphrase if it has one."""

    username: str
    identity: bytes
    known_hosts: bytes
    passphrase: str = ""

    @property
    def secrets(self) -> tuple[str, ...]:
        """Texts that must never appear in a message."""
        return (self.passphrase,) if self.passphrase else ()

    def __repr__(self) -> str:
        return "SSHAuth(…)"


GitAuth = HTTPAuth | SSHAuth


@dataclasses.dataclass(frozen=True, slots=True, repr=False)
class GitProxy:
    """A proxy for one remote; replaces the proxy settings of the environment."""

    address: str
    username: str = ""
    password: str = ""

    @property
    def url(self) -> str:
        """The address with its credentials."""
        if not self.username:
            return self.address
        parts = urllib.parse.urlsplit(self.address)
        quoted = f"{urllib.parse.quote(self.username, safe='')}:{urllib.parse.quote(self.password, safe='')}"
        return parts._replace(netloc=f"{quoted}@{parts.netloc.rpartition('@')[2]}").geturl()

    @property
    def is_socks(self) -> bool:
        """Whether it speaks SOCKS (version 5) rather than HTTP."""
        return self.address.startswith(_SOCKS)

    def __repr__(self) -> str:
        return "GitProxy(…)"


@dataclasses.dataclass(frozen=True, slots=True)
class GitRemote:
    """An address and how to get in. Credentials inside `url` are not used: see `auth_from_secret`, which reads them."""

    url: str
    auth: GitAuth | None = None
    proxy: GitProxy | None = None

    @property
    def address(self) -> str:
        """The URL without a password, and for http without a user; fit for arguments and messages."""
        parts = urllib.parse.urlsplit(self.url)
        host = parts.netloc.rpartition("@")[2]
        if parts.scheme == "ssh":
            user = self.auth.username if isinstance(self.auth, SSHAuth) else _ssh_user(parts)
            host = f"{urllib.parse.quote(user, safe='')}@{host}"
        return parts._replace(netloc=host).geturl()

    @property
    def fingerprint(self) -> str:
        """Names the mirror: remotes share one only if address, credentials and proxy are the same.

        So a tenant never reads objects that another tenant's credentials fetched.
        """
        digest = hashlib.sha256()
        fields: tuple[object, ...] = () if self.auth is None else _fields(self.auth)
        for part in (self.address, self.proxy_url, *fields):
            data = part if isinstance(part, bytes) else str(part).encode()
            digest.update(len(data).to_bytes(8, "big") + data)
        return digest.hexdigest()[:40]

    @property
    def proxy_url(self) -> str:
        """The proxy with its credentials, empty without one."""
        return "" if self.proxy is None else self.proxy.url

    @property
    def expires(self) -> float:
        """When the credentials end, in seconds since the epoch; 0 where they have no end."""
        return self.auth.expires if isinstance(self.auth, HTTPAuth) else 0.0

    @property
    def secrets(self) -> tuple[str, ...]:
        """Texts that must never appear in a message about this remote."""
        password = urllib.parse.urlsplit(self.url).password
        own = self.auth.secrets if self.auth is not None else ()
        proxy = (self.proxy.password,) if self.proxy is not None else ()
        return tuple(filter(None, (*own, *proxy, password)))

    def __repr__(self) -> str:
        return f"GitRemote({self.address!r})"


def auth_from_secret(url: str, data: Mapping[str, bytes], secret: str = "") -> GitAuth:
    """Read the credentials for `url` from a Secret's data; an empty mapping stands for no Secret.

    `secret` is the Secret's `namespace/name`, for messages.

    Raises GitAuthenticationError for a set of keys that cannot work, GitOperationError for a URL with a password next
    to a token (Flux notices that one only when it connects).
    """
    parts = urllib.parse.urlsplit(url)
    match parts.scheme:
        case "http" | "https":
            return _http_auth(parts, data)
        case "ssh":
            return _ssh_auth(parts, data, secret)
        case scheme:
            raise _unusable(f"unknown transport '{scheme}'")


def proxy_from_secret(data: Mapping[str, bytes]) -> GitProxy:
    """Read a proxy Secret: `address`, optional `username` and `password`. Raises GitAuthenticationError."""
    address = data.get("address", b"").decode(errors="replace").strip()
    if not address:
        raise _useless_proxy("key 'address' is missing")
    try:
        parts = urllib.parse.urlsplit(address)
        usable = parts.scheme in _PROXY_SCHEMES and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        usable = False
    if not usable or len(address) > _MAX_PROXY or not address.isprintable():
        raise _useless_proxy(f"'address' is not a URL with one of the schemes {', '.join(_PROXY_SCHEMES)}")
    return GitProxy(address, _text(data, "username"), _text(data, "password"))


def _useless_proxy(problem: str) -> GitAuthenticationError:
    return GitAuthenticationError(f"failed to configure proxy options: invalid proxy secret: {problem}")


def _http_auth(parts: urllib.parse.SplitResult, data: Mapping[str, bytes]) -> HTTPAuth:
    certificate, key = data.get("tls.crt", b""), data.get("tls.key", b"")
    if bool(certificate) != bool(key):
        raise _unusable(f"invalid '{parts.scheme}' auth option: 'tls.crt' and 'tls.key' must be set together")
    token = _text(data, "bearerToken") if "bearerToken" in data else None
    username = "" if token is not None else _text(data, "username")
    password = "" if token is not None else _text(data, "password")
    username = username or urllib.parse.unquote(parts.username or "")
    password = password or urllib.parse.unquote(parts.password or "")
    if password and not username:
        raise _unusable(f"invalid '{parts.scheme}' auth option: 'password' requires 'username' to be set")
    if token and (username or password):
        raise GitOperationError(
            "failed to checkout and determine revision: basic auth and bearer token cannot be set at the same time"
        )
    return HTTPAuth(
        username=username,
        password=password,
        bearer_token=_one_line(token or "", parts.scheme, "bearerToken"),
        ca_certificates=data.get("ca.crt") or data.get("caFile") or b"",
        client_certificate=certificate,
        client_key=key,
    )


def _ssh_auth(parts: urllib.parse.SplitResult, data: Mapping[str, bytes], secret: str) -> SSHAuth:
    if not parts.hostname:
        raise _unusable("invalid 'ssh' auth option: 'host' is required")
    for name in ("identity", "known_hosts"):
        if not data.get(name):
            raise _unusable(f"invalid 'ssh' auth option: '{name}' is required")
    identity, passphrase = data["identity"], _text(data, "password")
    if is_encrypted_key(identity) and not passphrase:
        raise GitAuthenticationError(
            f"SSH identity key is encrypted but no 'password' field was provided in the secret '{secret}'"
        )
    return SSHAuth(
        username=_ssh_user(parts),
        identity=identity,
        known_hosts=data["known_hosts"],
        passphrase=_one_line(passphrase, "ssh", "password"),
    )


def is_encrypted_key(identity: bytes) -> bool:
    """Whether a private key (PEM, PKCS #8 or OpenSSH's format) needs a passphrase."""
    if any(marker in identity for marker in _ENCRYPTED_PEM):
        return True
    start, end = identity.find(_OPENSSH_BEGIN), identity.find(_OPENSSH_END)
    if start < 0 or end < start:
        return False
    try:
        body = base64.b64decode(identity[start + len(_OPENSSH_BEGIN) : end])
    except binascii.Error:
        return False
    # After the magic comes the cipher's name as a length of four bytes and that many characters.
    cipher = body[len(_OPENSSH_MAGIC) :]
    length = int.from_bytes(cipher[:4], "big")
    return body.startswith(_OPENSSH_MAGIC) and cipher[4 : 4 + length] != b"none"


def _ssh_user(parts: urllib.parse.SplitResult) -> str:
    return urllib.parse.unquote(parts.username or "") or _DEFAULT_SSH_USER


def _text(data: Mapping[str, bytes], key: str) -> str:
    return data.get(key, b"").decode(errors="replace")


def _one_line(value: str, scheme: str, key: str) -> str:
    """Headers and prompts end at a line break; a trailing one is the mark of an editor, one inside is an error."""
    value = value.rstrip("\r\n")
    if "\n" in value or "\r" in value or "\0" in value:
        raise _unusable(f"invalid '{scheme}' auth option: '{key}' must be a single line")
    return value


def _unusable(problem: str) -> GitAuthenticationError:
    return GitAuthenticationError(f"failed to configure authentication options: {problem}")


def _fields(auth: GitAuth) -> tuple[object, ...]:
    if isinstance(auth, HTTPAuth) and auth.identity:
        return auth.identity, auth.ca_certificates, auth.client_certificate, auth.client_key
    return tuple(getattr(auth, field.name) for field in dataclasses.fields(auth))
