"""How a registry is reached, and what an answer of one is."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self, TypeVar

import msgspec

from agent.core.registries.outcome import Missing, Reason

T = TypeVar("T")


class RegistryError(Exception):
    """The registry did not tell. Holds no credentials."""

    def __init__(self, reason: Reason, message: str, after: float | None = None) -> None:
        super().__init__(message)
        self.missing = Missing(reason, message, after)


@dataclass(frozen=True, slots=True)
class Access:
    """An address (empty: the public one), the entries of a Secret, and a name that tells credentials apart.

    The host of `endpoint` may be in the cluster; other hosts have to be on the internet. `remote` is the address of a
    DVC remote, or of a folder of Delta tables. Where `refused` says why, nobody is asked.
    """

    endpoint: str = ""
    secret: Mapping[str, str] = field(default_factory=dict, repr=False)
    scope: str = ""
    remote: str = ""
    refused: Missing | None = None

    def base(self, default: str) -> str:
        """The address to ask, without a slash at its end."""
        return (self.endpoint or default).rstrip("/")

    def required(self, what: str) -> str:
        """The address where there is no public one. Raises RegistryError."""
        if not self.endpoint:
            raise RegistryError("unsupported", f"{what} has no public address: set its endpoint in the policy")
        return self.base("")

    def authorization(self) -> dict[str, str]:
        """A header from `token`, or `username` and `password`; none without them."""
        if token := self.secret.get("token", "").strip():
            return {"Authorization": f"Bearer {token}"}
        if "username" in self.secret and "password" in self.secret:
            return {"Authorization": basic(self.secret["username"], self.secret["password"])}
        return {}


@dataclass(frozen=True, slots=True)
class Answer:
    """Status, headers (lower case) and body."""

    status: int
    headers: Mapping[str, str]
    body: bytes = b""

    def expected(self, who: str, what: str, *, hides: bool = False) -> Self:
        """Itself, of status 200. *who* answers, *what* it was asked for. Raises RegistryError.

        Who *hides* what it does not have says of it, too, that it may not be read.
        """
        if self.status in {401, 403}:
            told = f"{who} refuses the credentials of the policy, or asks for some"
            raise RegistryError(
                "auth", f"{told}, or has no such {what}: it does not tell these apart" if hides else told
            )
        if self.status in {404, 410}:
            raise RegistryError("not-found", f"{who} has no such {what}")
        if self.status != 200:
            raise RegistryError("unreadable", f"{who} answers with status {self.status}")
        return self

    def is_there(self, who: str, what: str) -> bool:
        """Whether *who* has it. Raises RegistryError if that is not told."""
        return self.status not in {404, 410} and self.expected(who, what) is self

    def json(self, kind: type[T], what: str) -> T:
        """The body as that type. Raises RegistryError."""
        try:
            return msgspec.json.decode(self.body, type=kind)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            raise RegistryError("unreadable", f"the answer of {what} is not what its API describes") from None


@dataclass(frozen=True, slots=True)
class Registered:
    """A version, the run that made it, and where its files are: the registry may have to be asked about that again."""

    version: str
    run: str
    source: str


def basic(username: str, password: str) -> str:
    """The value of a header for a name and a password."""
    return f"Basic {base64.b64encode(f'{username}:{password}'.encode()).decode()}"


def in_hex(encoded: str) -> str:
    """The bytes of a base64 text in hex; empty if it is none."""
    try:
        return base64.b64decode(encoded, validate=True).hex()
    except (binascii.Error, ValueError):
        return ""
