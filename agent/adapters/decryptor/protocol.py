"""What the agent and the decryptor process say to each other, as headers of frames."""

from __future__ import annotations

from typing import Literal

import msgspec

Format = Literal["yaml", "json", "dotenv", "ini", "binary"]
"""A format of encrypted text, by SOPS' name for it."""


class UnlockRequest(msgspec.Struct, frozen=True, tag="unlock", tag_field="type"):
    """Gives the keys: the entries of a Secret by name.

    `account` is the ServiceAccount (namespace/name) whose identity counts in clouds; "" for the agent's own.
    """

    entries: dict[str, bytes]
    account: str = ""

    def __repr__(self) -> str:
        """Names only."""
        return f"UnlockRequest({sorted(self.entries)})"


class DecryptRequest(msgspec.Struct, frozen=True, tag="decrypt", tag_field="type"):
    """Asks for the plain text, in the format `output`, of the encrypted text in the body, which is in `input`."""

    input: Format
    output: Format


class Result(msgspec.Struct, frozen=True, tag="result", tag_field="type"):
    """The request worked: the body is the plain text."""


class Failure(msgspec.Struct, frozen=True, tag="error", tag_field="type"):
    """The request failed."""

    kind: str
    message: str


class AccountQuestion(msgspec.Struct, frozen=True, tag="account", tag_field="type"):
    """Which annotations does the ServiceAccount have?"""


class TokenQuestion(msgspec.Struct, frozen=True, tag="token", tag_field="type"):
    """What is a token of the ServiceAccount for this audience?"""

    audience: str


class VaultQuestion(msgspec.Struct, frozen=True, tag="vault", tag_field="type"):
    """How does one log in to the Vault server at this address, if it is to be trusted?"""

    address: str


class Answer(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    """The reply to a question."""

    annotations: dict[str, str] = {}
    token: str = ""
    login_path: str = ""
    role: str = ""
    refused: str = ""

    def __repr__(self) -> str:
        """Without the token."""
        return f"Answer(login_path={self.login_path!r}, role={self.role!r}, refused={self.refused!r})"


Question = AccountQuestion | TokenQuestion | VaultQuestion
Message = Result | Failure | Question

MESSAGES: msgspec.json.Decoder[Message] = msgspec.json.Decoder(Message)
"""Reads the header of what the decryptor sends."""
