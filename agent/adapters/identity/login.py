"""What a token is asked for, and what comes of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import NamedTuple, Protocol


class ServiceAccount(NamedTuple):
    """A ServiceAccount whose cloud identity is used instead of the agent's own."""

    namespace: str
    name: str

    def __str__(self) -> str:
        """`namespace/name`."""
        return f"{self.namespace}/{self.name}"


class ServiceAccounts(Protocol):
    """The cluster's ServiceAccounts."""

    async def annotations(self, account: ServiceAccount) -> Mapping[str, str]:
        """The annotations of a ServiceAccount. Raises IdentityError."""

    async def token(self, account: ServiceAccount, audience: str) -> str:
        """A token that says to `audience` who the ServiceAccount is. Raises IdentityError."""


@dataclasses.dataclass(frozen=True, slots=True, repr=False)
class Login:
    """Credentials for a Git server over https: a user and password, or a token.

    `identity` names who logs in and stays when the secrets are renewed. `expires` is in seconds since the epoch.
    """

    identity: str
    expires: float
    username: str = ""
    password: str = ""
    bearer_token: str = ""

    def __repr__(self) -> str:
        return f"Login({self.identity!r})"
