"""Who a build is to key services, as values."""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from agent.adapters.decryptor import VaultLogin
from agent.errors import BuildError


class Nobody:
    """The agent's own identity, where no Vault server is trusted."""

    account = ""

    def annotations(self) -> Mapping[str, str]:
        raise BuildError("there is no ServiceAccount")

    def token(self, audience: str) -> str:
        raise BuildError("there is no ServiceAccount")

    def vault(self, address: str) -> VaultLogin:
        raise BuildError("no server is trusted")


@dataclass
class Account:
    """A ServiceAccount with annotations, trusted by the Vault servers in `servers` (login path by address)."""

    account: str
    notes: Mapping[str, str] = field(default_factory=dict)
    servers: Mapping[str, str] = field(default_factory=dict)

    @property
    def subject(self) -> str:
        """What its tokens say."""
        return "system:serviceaccount:" + self.account.replace("/", ":")

    def annotations(self) -> Mapping[str, str]:
        return self.notes

    def token(self, audience: str) -> str:
        claims = json.dumps({"sub": self.subject, "aud": audience}).encode()
        return f"e30.{base64.urlsafe_b64encode(claims).decode().rstrip('=')}.unsigned"

    def vault(self, address: str) -> VaultLogin:
        return VaultLogin(self.servers[address], self.account.replace("/", "_"), self.token(address))
