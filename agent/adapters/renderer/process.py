"""One renderer process and the conversation with it. Everything here blocks and runs in a worker thread."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import msgspec

from agent.adapters.programs import Program, encode
from agent.adapters.renderer.protocol import (
    MESSAGES,
    Answer,
    DecryptQuestion,
    Failure,
    Format,
    ListQuestion,
    Message,
    Observation,
    Question,
    ReadQuestion,
    Result,
)
from agent.core.tree import Tree, clean
from agent.errors import BuildError


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds of one build, in bytes where nothing else is said."""

    memory: int = 512 << 20
    output: int = 64 << 20
    file: int = 16 << 20
    """The largest single file."""
    read: int = 256 << 20
    """All files together."""
    entries: int = 20_000
    """Entries of a single folder."""


class Decryption(Protocol):
    """Whoever can read what is encrypted in one build. Blocks; `kill` may be called from any thread."""

    def decrypt(self, text: bytes, read: Format, write: Format) -> bytes:
        """The plain text. Raises BuildError with a reason that holds nothing secret, and whatever else goes wrong."""

    def kill(self) -> None:
        """Ends a `decrypt` under way with an error."""

    def close(self) -> None:
        """Forgets the keys."""


class Materials(msgspec.Struct, frozen=True):
    """What a build is made from: files, and the means to read those that are encrypted."""

    tree: Tree
    decryption: Decryption | None = None


class RendererProcess(Program[Message]):
    """A running renderer. `kill` may be called from any thread; the rest from one at a time."""

    def __init__(self, binary: Path, limits: Limits) -> None:
        """Starts the process with an empty environment. Raises OSError."""
        self._limits = limits
        super().__init__(
            binary,
            [f"-memory={limits.memory}", f"-output={limits.output}"],
            messages=MESSAGES,
            max_body=limits.output + (1 << 20),
        )

    def ask(self, request: msgspec.Struct, body: bytes, materials: Materials) -> tuple[Result | Failure, bytes]:
        """Sends a request and answers questions until the result is there.

        Raises ProcessDiedError, or what the tree raised, in which case the process can be used again.
        """
        session = _Session(materials, self._limits)
        self.begin(encode(request, body))
        while True:
            message, data = self.receive()
            if isinstance(message, Result | Failure):
                if session.fault is not None:
                    raise session.fault
                return message, data
            self.send(session.answer(message, data))


class _Session:
    """Answers the questions of one request."""

    def __init__(self, materials: Materials, limits: Limits) -> None:
        self._tree = materials.tree
        self._decryption = materials.decryption
        self._limits = limits
        self._read = 0
        self.fault: Exception | None = None

    def answer(self, question: Question, body: bytes) -> bytes:
        try:
            if isinstance(question, DecryptQuestion):
                return self._plain(question, body)
            return self._observed(question)
        except Exception as err:  # noqa: BLE001 - whatever goes wrong is raised again once the process is done
            self.fault = err
            return encode(Answer(refused="the source cannot be read"))

    def _observed(self, question: Observation) -> bytes:
        paths = [clean(path) for path in question.paths]
        if isinstance(question, ReadQuestion):
            return self._content(paths[0])
        if isinstance(question, ListQuestion):
            return self._entries(paths[0])
        stats = [self._tree.stat(path) for path in paths]
        return encode(Answer(kinds=tuple(stat.kind if stat else None for stat in stats)))

    def _plain(self, question: DecryptQuestion, body: bytes) -> bytes:
        assert self._decryption is not None, "nobody asked for decryption"
        try:
            return encode(Answer(), self._decryption.decrypt(body, question.input, question.output))
        except BuildError as err:
            return encode(Answer(refused=err.message))

    def _entries(self, path: str) -> bytes:
        entries = self._tree.list(path)
        if len(entries) > self._limits.entries:
            most = self._limits.entries
            return encode(Answer(refused=f"folder {path or '.'} has {len(entries)} entries; the limit is {most}"))
        return encode(Answer(entries=entries))

    def _content(self, path: str) -> bytes:
        stat = self._tree.stat(path)
        if stat is None or stat.kind == "dir":
            return encode(Answer(kinds=(stat.kind if stat else None,)))
        self._read += stat.size
        if stat.size > self._limits.file:
            return encode(Answer(refused=f"file {path} has {stat.size} bytes; the limit is {self._limits.file}"))
        if self._read > self._limits.read:
            return encode(Answer(refused=f"the build reads more than the {self._limits.read} bytes allowed"))
        return encode(Answer(kinds=("file",)), self._tree.read(path))
