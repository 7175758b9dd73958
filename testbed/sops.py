"""What a person encrypts with: the real `sops`, and keys made for the occasion."""

from __future__ import annotations

import asyncio
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pysequoia import Tsk

from testbed.binaries import ensure


@dataclass(frozen=True, slots=True)
class AgeKey:
    """An age key: the text of its identity file, which is secret, and the recipient that others encrypt for."""

    identity: str = field(repr=False)
    recipient: str


@dataclass(frozen=True, slots=True)
class PGPKey:
    """A PGP key: the armored private one, the fingerprint, and the public one as a key ring for encrypting."""

    private: str = field(repr=False)
    fingerprint: str
    ring: bytes = field(repr=False)

    @classmethod
    def generate(cls) -> PGPKey:
        """A new key without passphrase."""
        made = Tsk.generate(user_id="Weir <weir@example.com>")
        public = made.extract_certificate()
        return cls(str(made), public.fingerprint.upper(), bytes(public))


class Sops:
    """Runs `sops` in an environment without keys. Raises AssertionError with what it says when it fails."""

    def __init__(self, programs: Mapping[str, Path]) -> None:
        self._programs = programs

    @classmethod
    async def ready(cls) -> Sops:
        """With the programs built first, where needed."""
        return cls(await asyncio.to_thread(ensure, "sops", "age-keygen"))

    async def age_key(self, *, post_quantum: bool = False) -> AgeKey:
        """A new key, on request one that also withstands quantum computers."""
        arguments = ["-pq"] if post_quantum else []
        text = (await _run([self._programs["age-keygen"], *arguments], {})).decode()
        found = re.search(r"public key: (age1\S+)", text)
        assert found is not None, "age-keygen names no recipient"
        return AgeKey(text, found[1])

    async def encrypt(
        self,
        text: str | bytes,
        name: str,
        *arguments: str,
        age: Sequence[AgeKey] = (),
        pgp: PGPKey | None = None,
        config: Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> str:
        """The text as `sops encrypt` leaves it in a file of that name, whose ending decides the format."""
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, name)
            await asyncio.to_thread(file.write_bytes, text if isinstance(text, bytes) else text.encode())
            recipients = ["--age", ",".join(key.recipient for key in age)] if age else []
            if pgp is not None:
                # SOPS reads this file by itself, so that no gpg is needed.
                await asyncio.to_thread(Path(folder, "pubring.gpg").write_bytes, pgp.ring)
                recipients += ["--pgp", pgp.fingerprint]
            command: list[str | Path] = [self._programs["sops"]]
            if config is not None:
                command += ["--config", config]
            command += ["encrypt", *recipients, *arguments, file]
            return (await _run(command, {"HOME": folder, "GNUPGHOME": folder, **(environment or {})})).decode()


async def _run(command: Sequence[str | Path], environment: Mapping[str, str]) -> bytes:
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={"PATH": "/usr/bin:/bin", **environment},
    )
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    return out
