"""One running program and its pipes. Everything here blocks and runs in a worker thread."""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Generic, TypeVar

import msgspec

from agent.adapters.programs.frames import receive

_STDERR_KEPT = 4096
"""Bytes of the end of standard error that go into an error message."""

M = TypeVar("M")


class ProcessDiedError(Exception):
    """The process ended, or said something that is not in the protocol. `spoke` is True if it answered before."""

    def __init__(self, message: str, *, spoke: bool) -> None:
        super().__init__(message)
        self.spoke = spoke


class Program(Generic[M]):
    """A running program whose messages are of type M. `kill` may be called from any thread; the rest from one."""

    def __init__(
        self,
        binary: Path,
        arguments: Sequence[str],
        *,
        messages: msgspec.json.Decoder[M],
        max_body: int,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Starts the process, with no other environment than the one given. Raises OSError."""
        self._name = binary.name
        self._messages = messages
        self._max_body = max_body
        self._process = subprocess.Popen(  # noqa: S603 - our own program with numbers as arguments
            [str(binary.absolute()), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            env=dict(environment or {}),
            cwd="/",
            start_new_session=True,  # a Ctrl-C is for the agent, which ends its work in order
        )
        self._stdin = _descriptor(self._process.stdin)
        self._stdout = _descriptor(self._process.stdout)
        self._stderr = _descriptor(self._process.stderr)
        os.set_blocking(self._stderr, False)
        self._poll = select.poll()
        self._poll.register(self._stdout, select.POLLIN)
        self._poll.register(self._stderr, select.POLLIN)
        self._complaints = b""
        self._spoke = False
        self._killed = False

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """True while the process runs and nobody has killed it."""
        return not self._killed and self._process.poll() is None

    def kill(self) -> None:
        """Ends the process at once; a conversation under way fails with ProcessDiedError."""
        self._killed = True
        self._process.kill()

    def close(self, grace: float = 2.0) -> None:
        """Ends the process, waiting `grace` seconds for it to leave by itself, and frees the pipes."""
        with contextlib.suppress(OSError):
            assert self._process.stdin
            self._process.stdin.close()
        try:
            self._process.wait(grace)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for pipe in (self._process.stdout, self._process.stderr):
            if pipe is not None:
                pipe.close()

    def begin(self, frame: bytes) -> None:
        """Sends the first frame of a request. Raises ProcessDiedError."""
        self._spoke = False
        self.send(frame)

    def send(self, frame: bytes) -> None:
        """Raises ProcessDiedError."""
        view = memoryview(frame)
        try:
            while view:
                view = view[os.write(self._stdin, view) :]
        except (BrokenPipeError, ValueError) as err:
            raise self._died() from err

    def receive(self) -> tuple[M, bytes]:
        """The next message and its body. Raises ProcessDiedError."""
        try:
            message, data = receive(self._read, self._messages, max_body=self._max_body)
        except (ValueError, msgspec.DecodeError) as err:
            self.kill()
            raise ProcessDiedError(f"{self._name} does not follow the protocol: {err}", spoke=True) from err
        self._spoke = True
        return message, data

    def _read(self, size: int) -> bytes:
        chunks: list[bytes] = []
        while size:
            ready = dict(self._poll.poll())
            if self._stderr in ready and not self._drain():
                self._poll.unregister(self._stderr)
            if self._stdout not in ready:
                continue
            chunk = os.read(self._stdout, min(size, 1 << 20))
            if not chunk:
                raise self._died()
            chunks.append(chunk)
            size -= len(chunk)
        return b"".join(chunks)

    def _drain(self) -> bool:
        """Takes what is on standard error; False at its end."""
        try:
            while chunk := os.read(self._stderr, 65536):
                # The beginning says what happened, the rest of a Go trace where.
                self._complaints = (self._complaints + chunk)[:_STDERR_KEPT]
        except BlockingIOError:
            return True
        return False

    def _died(self) -> ProcessDiedError:
        try:
            status = self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            status = self._process.wait()
        self._drain()
        how = f"signal {-status}" if status < 0 else f"exit status {status}"
        said = self._complaints.decode(errors="replace").strip()
        return ProcessDiedError(f"{how}: {said}" if said else how, spoke=self._spoke)


def _descriptor(pipe: IO[bytes] | None) -> int:
    assert pipe is not None
    return pipe.fileno()
