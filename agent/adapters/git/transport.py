"""Transfers: the `git` program, one process per operation, ended with all its children at the deadline.

Credentials reach it through the environment (headers, the proxy's address) or through files of mode 0600 in a folder
that lives as long as the process; never through arguments. The user's and the machine's Git configuration is ignored.
Why not libgit2 for this: docs/decisions/git-transport.md.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import re
import shutil
import signal
import ssl
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from agent.adapters.git.auth import GitRemote, HTTPAuth, SSHAuth
from agent.adapters.git.environment import SSHAlgorithms, environment_for
from agent.adapters.git.errors import GitOperationError, GitTimeoutError, PushDeclinedError, redact

# A listing of a million references is about 70 MB; beyond that a server is not worth believing.
_MAX_OUTPUT_BYTES = 128 * 1024 * 1024
_MAX_ERROR_BYTES = 64 * 1024
_GRACE_SECONDS = 2.0

_ASKPASS = "#!/bin/sh\nprintf '%s\\n' \"$WEIR_SSH_PASSPHRASE\"\n"


class GitTransport:
    """Runs the `git` program for remotes, at most `concurrency` processes at once.

    `scratch` is a folder of its own for the credentials in use; whatever an earlier process left there is removed.
    """

    def __init__(self, scratch: Path, *, concurrency: int, ssh: SSHAlgorithms) -> None:
        self._scratch = scratch
        self._ssh = ssh
        self._slots = asyncio.Semaphore(concurrency)

    def clear(self) -> None:
        """Remove what a killed process may have left behind (blocking)."""
        shutil.rmtree(self._scratch, ignore_errors=True)

    async def run(self, remote: GitRemote, *arguments: str, timeout: float, folder: Path | None = None) -> bytes:
        """Run `git <arguments>` with the remote's credentials and return what it prints.

        The deadline of `timeout` seconds starts when a slot is free. Raises GitTimeoutError when it passes and
        GitOperationError with git's own last words, redacted, when git fails; PushDeclinedError if a hook was why.
        """
        async with self._slots:
            with self._credentials(remote) as credentials:
                status, output, errors = await self._execute(remote, credentials, arguments, timeout, folder)
        if status != 0:
            said = redact(errors.decode(errors="replace"), remote.secrets)
            failure = PushDeclinedError if is_declined(said) else GitOperationError
            raise failure(describe_failure(said))
        return output

    async def _execute(
        self, remote: GitRemote, credentials: Path, arguments: tuple[str, ...], timeout: float, folder: Path | None
    ) -> tuple[int, bytes, bytes]:
        # Files rather than pipes: in Python 3.11 a process whose pipes were not all connected when its start was
        # cancelled is waited for without end.
        printed, complaints = credentials / "stdout", credentials / "stderr"
        with printed.open("wb") as output, complaints.open("wb") as errors:
            environment = environment_for(remote, credentials, self._ssh)
            process = await _spawn(arguments, environment, folder or credentials, output, errors)
        try:
            async with asyncio.timeout(timeout):
                status = await process.wait()
        except TimeoutError:
            await _end(process)
            raise GitTimeoutError(f"context deadline exceeded: no answer within {timeout:g}s") from None
        except BaseException:
            await _end(process)
            raise
        if printed.stat().st_size > _MAX_OUTPUT_BYTES:
            raise GitOperationError(f"the answer is larger than {_MAX_OUTPUT_BYTES} bytes")
        with complaints.open("rb") as errors:
            return status, printed.read_bytes(), errors.read(_MAX_ERROR_BYTES)

    @contextlib.contextmanager
    def _credentials(self, remote: GitRemote) -> Iterator[Path]:
        """A folder with the remote's files, a few small ones: quicker than handing them to a thread."""
        self._scratch.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(dir=self._scratch))
        try:
            match remote.auth:
                case HTTPAuth() as auth:
                    if auth.ca_certificates:
                        _write(folder / "ca.crt", _system_certificates() + b"\n" + auth.ca_certificates)
                    if auth.client_certificate:
                        _write(folder / "tls.crt", auth.client_certificate)
                        _write(folder / "tls.key", auth.client_key)
                case SSHAuth() as auth:
                    _write(folder / "identity", auth.identity.rstrip() + b"\n")
                    _write(folder / "known_hosts", auth.known_hosts.rstrip() + b"\n")
                    if auth.passphrase:
                        _write(folder / "askpass", _ASKPASS.encode(), mode=0o700)
                case None:
                    pass
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def describe_failure(errors: str) -> str:
    """Turn what git printed into one line, in the words Flux's Git client uses where it has some."""
    for marker, words in _KNOWN_FAILURES:
        if marker in errors:
            return words
    lines = [line.strip() for line in errors.splitlines() if line.strip()]
    telling = [line for line in lines if line.startswith(("fatal:", "error:", "remote:", "ssh:"))]
    return "; ".join(line.removeprefix("fatal:").strip() for line in telling or lines) or "git failed without a word"


def is_declined(errors: str) -> bool:
    """Whether a rule of the server was why a push has failed, by what git printed; not so where a hook of the server
    itself has failed."""
    return _DECLINED.search(errors) is not None and _OUTAGE.search(errors) is None


BRANCH_MOVED = "the branch has moved"
_DECLINED = re.compile(
    r"^ ! \[remote rejected\] .{1,500} \(((\S{1,20} ){0,3}hook declined|push declined due to [\w -]{1,80})\)$",
    re.MULTILINE,
)
"""Of a hook, a protected branch or a rule; what else a server says stands behind `remote:`."""
_OUTAGE = re.compile(
    r"^remote: .{0,80}\b(internal (server|api)|unable to contact|unreachable)\b", re.IGNORECASE | re.MULTILINE
)
"""The hooks of GitLab and Gitea ask their own server, and decline where it fails: `GitLab: 500 Internal Server Error`,
`GitLab: Internal API unreachable`, `Unable to contact gitea`."""

_KNOWN_FAILURES = (
    ("! [rejected]", BRANCH_MOVED),
    ("(cannot lock ref", BRANCH_MOVED),
    ("(failed to update ref", BRANCH_MOVED),
    ("(incorrect old value provided", BRANCH_MOVED),
    ("Bad SSH2 KexAlgorithms", "ssh: --ssh-kex-algos names an algorithm that OpenSSH does not know"),
    ("Bad key types", "ssh: --ssh-hostkey-algos names an algorithm that OpenSSH does not know"),
    ("Unsupported KEX algorithm", "ssh: --ssh-kex-algos names an algorithm that OpenSSH does not know"),
    ("no matching key exchange method found", "ssh: handshake failed: ssh: no common algorithm for key exchange"),
    ("no matching host key type found", "ssh: handshake failed: ssh: no common algorithm for host key"),
    ("REMOTE HOST IDENTIFICATION HAS CHANGED", "ssh: handshake failed: knownhosts: key mismatch"),
    ("host key is known for", "ssh: handshake failed: knownhosts: key is unknown"),
    ("Host key verification failed", "ssh: handshake failed: knownhosts: key is unknown"),
    (
        "Permission denied (",
        "ssh: handshake failed: ssh: unable to authenticate, no supported methods remain",
    ),
    ("terminal prompts disabled", "authentication required"),
    ("Authentication failed for", "authentication required"),
    ("The requested URL returned error: 401", "authentication required"),
    ("The requested URL returned error: 403", "authorization failed"),
    ("Repository not found", "repository not found"),
)


@functools.cache
def _system_certificates() -> bytes:
    """The authorities of the system: a Secret's `ca.crt` adds to them, as in Flux."""
    bundle = ssl.get_default_verify_paths().cafile
    return Path(bundle).read_bytes() if bundle else b""


def _write(path: Path, content: bytes, *, mode: int = 0o600) -> None:
    with open(path, "wb", opener=lambda name, flags: os.open(name, flags | os.O_EXCL, mode)) as file:
        file.write(content)


async def _spawn(
    arguments: tuple[str, ...], environment: dict[str, str], folder: Path, output: IO[bytes], errors: IO[bytes]
) -> asyncio.subprocess.Process:
    starting = asyncio.ensure_future(
        asyncio.create_subprocess_exec(
            "git",
            *arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=errors,
            env=environment,
            cwd=folder,
            start_new_session=True,
        )
    )
    try:
        return await asyncio.shield(starting)
    except FileNotFoundError as error:
        raise GitOperationError(f"the git program cannot be run: {error.filename} is missing") from error
    except asyncio.CancelledError:
        # Its children are only found through it.
        await _end(await starting)
        raise


async def _end(process: asyncio.subprocess.Process) -> None:
    """End the process and everything it started, which is a process group of its own.

    They are asked first, so that git removes its lock files.
    """
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    try:
        async with asyncio.timeout(_GRACE_SECONDS):
            await process.wait()
    except TimeoutError:
        pass
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
