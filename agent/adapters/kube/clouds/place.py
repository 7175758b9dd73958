"""What a cloud says about one of its clusters."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from agent.adapters.identity.login import ServiceAccount


class Place(NamedTuple):
    """Where an API server is, and the authority (PEM) to trust for it."""

    server: str
    authority: str


class Token(NamedTuple):
    """A bearer token, and when it ends in seconds since the epoch."""

    value: str
    expires: float

    def __repr__(self) -> str:
        return f"Token(expires={self.expires:g})"


class ManagedClusters(Protocol):
    """One cloud. Clusters are named as the cloud names them; without an account, the agent's own identity asks."""

    def check(self, cluster: str) -> None:
        """Raises IdentityError for what cannot be the name of a cluster."""

    async def place(self, cluster: str, account: ServiceAccount | None, address: str) -> Place:
        """Where it is; of several addresses the given one, where that is not empty. Raises IdentityError."""

    async def token(self, cluster: str, account: ServiceAccount | None) -> Token:
        """A token that the cluster takes. Raises IdentityError."""
