"""Small requests to those who issue tokens. Nothing that is sent is quoted in an error."""

from __future__ import annotations

import dataclasses
import ssl
import tempfile
from collections.abc import Mapping
from typing import TypeVar
from urllib.parse import urlsplit

import aiohttp
import msgspec

from agent.adapters.bodies import whole
from agent.adapters.identity.errors import IdentityError

_SECONDS = 15.0
_MAX_BYTES = 1024 * 1024
_QUOTED = 300  # characters of a refusal that are passed on

T = TypeVar("T")


@dataclasses.dataclass(frozen=True, slots=True, repr=False)
class TLS:
    """Whom to trust beside the system's authorities, and the certificate to show; all PEM, all may be empty."""

    authorities: bytes = b""
    certificate: bytes = b""
    key: bytes = b""

    def context(self) -> ssl.SSLContext | bool:
        """What aiohttp takes. Raises IdentityError that names the key of the Secret."""
        if not self.authorities and not self.certificate:
            return True
        context = ssl.create_default_context()
        try:
            if self.authorities:
                context.load_verify_locations(cadata=self.authorities.decode())
        except (ssl.SSLError, UnicodeDecodeError):
            raise IdentityError("ca.crt holds no certificate in PEM form") from None
        if self.certificate:
            self._show(context)
        return context

    def _show(self, context: ssl.SSLContext) -> None:
        # The library takes names of files only; this one is readable to nobody else and gone in a moment.
        with tempfile.NamedTemporaryFile() as pair:
            pair.write(self.certificate + b"\n" + self.key)
            pair.flush()
            try:
                context.load_cert_chain(pair.name, password=_no_passphrase)
            except ssl.SSLError:
                raise IdentityError("tls.crt and tls.key are no certificate and its key in PEM form") from None

    def __repr__(self) -> str:
        return "TLS(…)"


def _no_passphrase() -> str:
    """Without it, OpenSSL would ask whoever sits at the agent's terminal, and wait."""
    raise IdentityError("tls.key is encrypted: store it without a passphrase")


SYSTEM_TLS = TLS()


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """Status and body."""

    status: int
    body: bytes

    def decoded(self, kind: type[T], what: str) -> T:
        """The body as JSON. Raises IdentityError."""
        try:
            return msgspec.json.decode(self.body, type=kind)
        except msgspec.MsgspecError as error:
            raise IdentityError(f"the answer of {what} cannot be read: {error}") from None

    @property
    def complaint(self) -> str:
        """What a server says of a refusal, in one line."""
        return " ".join(self.body.decode(errors="replace").split())[:_QUOTED]


async def request(
    method: str,
    url: str,
    *,
    headers: Mapping[str, str] | None = None,
    form: Mapping[str, str] | None = None,
    json: object = None,
    proxy: str = "",
    tls: TLS = SYSTEM_TLS,
) -> Answer:
    """One request, answered within 15 seconds and without following redirects.

    `proxy` replaces that of the environment. Raises IdentityError if there is no answer; a refusal is an answer.
    """
    if proxy and not proxy.startswith(("http://", "https://")):
        raise IdentityError("tokens can only be asked for through an http proxy: change spec.proxySecretRef")
    shown = _shown(url)
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_SECONDS), trust_env=not proxy) as session,
            session.request(
                method,
                url,
                headers=headers,
                data=form,
                json=json,
                proxy=proxy or None,
                ssl=tls.context(),
                allow_redirects=False,
            ) as response,
        ):
            return Answer(response.status, await whole(response.content, _MAX_BYTES))
    except TimeoutError:
        raise IdentityError(f"no answer from {shown} within {_SECONDS:g}s") from None
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise IdentityError(f"{shown} cannot be asked: {type(error).__name__}: {_reason(error)}") from None


def _reason(error: Exception) -> str:
    """The system's word for it: the library's own texts may quote the address with what is in it."""
    inner = getattr(error, "os_error", None) or error
    return getattr(inner, "strerror", None) or "the address or the answer is not valid"


def _shown(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
