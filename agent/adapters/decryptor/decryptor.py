"""A decryptor process for one build, started when the first encrypted text is met and gone with the build."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import msgspec

from agent.adapters.decryptor.protocol import (
    MESSAGES,
    AccountQuestion,
    Answer,
    DecryptRequest,
    Failure,
    Format,
    Message,
    Question,
    Result,
    TokenQuestion,
    UnlockRequest,
)
from agent.adapters.programs import ProcessDiedError, Program, encode
from agent.errors import BuildError, WeirError

BINARY = Path(__file__).with_name("weir-decryptor")
"""Where the package's build puts the decryptor."""

MEMORY = 256 << 20
"""Bytes that a decryptor may use."""
LARGEST = 64 << 20
"""Bytes of a plain text."""


class Keys(msgspec.Struct, frozen=True):
    """The entries of a Secret with keys, and what people know the Secret by ("Secret 'apps/sops-age'")."""

    entries: dict[str, bytes]
    origin: str

    def __repr__(self) -> str:
        """Names only."""
        return f"Keys({self.origin}: {sorted(self.entries)})"

    def digest(self) -> str:
        """A hash that changes with the keys."""
        total = hashlib.sha256(self.origin.encode())
        for name, value in sorted(self.entries.items()):
            total.update(f"{len(name)} {name} {len(value)} ".encode() + value)
        return total.hexdigest()


class VaultLogin(msgspec.Struct, frozen=True):
    """How to log in to a Vault server: where, as what, and with which token."""

    path: str
    role: str
    token: str

    def __repr__(self) -> str:
        """Without the token."""
        return f"VaultLogin({self.path!r}, {self.role!r})"


class Identity(Protocol):
    """Who a build is to key services. The methods block, and raise WeirError.

    `account` is the ServiceAccount, as namespace/name, whose identity counts; "" for the agent's own.
    """

    account: str

    def annotations(self) -> Mapping[str, str]:
        """Those of the ServiceAccount."""

    def token(self, audience: str) -> str:
        """A token that says to the audience who the ServiceAccount is."""

    def vault(self, address: str) -> VaultLogin:
        """For a server that may be trusted."""


class Decryptor:
    """Makes sessions. It holds no process and no key itself."""

    def __init__(
        self, *, binary: Path = BINARY, memory: int = MEMORY, environment: Mapping[str, str] | None = None
    ) -> None:
        """`environment` is what a process gets to know of the agent's own identity in a cloud."""
        self._binary = binary
        self._memory = memory
        self._environment = environment or {}

    def session(self, keys: Keys, identity: Identity) -> Session:
        """For one build."""
        return Session(self._binary, self._memory, self._environment, keys, identity)


class Session:
    """Decrypts for one build, with its keys. Blocks; `kill` may be called from any thread, the rest from one."""

    def __init__(
        self, binary: Path, memory: int, environment: Mapping[str, str], keys: Keys, identity: Identity
    ) -> None:
        self._binary = binary
        self._memory = memory
        self._environment = environment
        self._keys = keys
        self._identity = identity
        self._process: Program[Message] | None = None
        self._lock = threading.Lock()
        self._ended = False

    def decrypt(self, text: bytes, read: Format, write: Format) -> bytes:
        """The plain text.

        Raises BuildError: a key that does not fit, a text that is not as SOPS writes it, or a process that cannot run.
        """
        try:
            process = self._process or self._start()
            return self._ask(process, DecryptRequest(read, write), text)
        except ProcessDiedError as error:
            raise BuildError(f"the decryptor stopped: {error}") from None
        except OSError as error:
            raise BuildError(f"the decryptor cannot be started: {error}; installing the package compiles it") from None

    def kill(self) -> None:
        """Ends the process at once; there will not be another."""
        with self._lock:
            self._ended = True
            if self._process is not None:
                self._process.kill()

    def close(self) -> None:
        """Ends the process in order; the keys are gone with it."""
        with self._lock:
            self._ended = True
            process, self._process = self._process, None
        if process is not None:
            process.close()

    def _start(self) -> Program[Message]:
        with self._lock:
            if self._ended:
                raise BuildError("the decryption was stopped")
            process = self._process = Program(
                self._binary,
                [f"-memory={self._memory}"],
                messages=MESSAGES,
                max_body=LARGEST,
                environment=self._environment,
            )
        self._ask(process, UnlockRequest(self._keys.entries, self._identity.account), b"")
        return process

    def _ask(self, process: Program[Message], request: msgspec.Struct, body: bytes) -> bytes:
        process.begin(encode(request, body))
        while True:
            message, data = process.receive()
            if isinstance(message, Result):
                return data
            if isinstance(message, Failure):
                about = f"{self._keys.origin}: " if message.kind == "key" else ""
                raise BuildError(about + message.message)
            process.send(encode(self._answer(message)))

    def _answer(self, question: Question) -> Answer:
        try:
            if isinstance(question, AccountQuestion):
                return Answer(annotations=dict(self._identity.annotations()))
            if isinstance(question, TokenQuestion):
                return Answer(token=self._identity.token(question.audience))
            login = self._identity.vault(question.address)
            return Answer(token=login.token, login_path=login.path, role=login.role)
        except WeirError as error:
            return Answer(refused=error.message)
