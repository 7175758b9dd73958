"""Git over SSH: asyncssh in front of the installed git's `upload-pack` and `receive-pack`."""

from __future__ import annotations

import asyncio
import contextlib
import shlex
from pathlib import Path
from types import TracebackType
from typing import Self

import asyncssh

from testbed.git.backend import git_process
from testbed.git.repository import GitRepository

_CHUNK = 64 * 1024
_SERVICES = frozenset({"git-upload-pack", "git-receive-pack"})


class GitSSHServer:
    """Serves every `<name>.git` below `root` at `ssh://git@127.0.0.1:<port>/<name>.git`.

    Only the holder of `identity` is let in, and only the two Git services are run. `users` and `commands` record who
    asked for what; `hang` makes every command wait until the server stops.
    """

    def __init__(self, root: Path, *, key_type: str = "ssh-ed25519", client_key_type: str | None = None) -> None:
        self.root = root
        self.hang = False
        self.commands: list[str] = []
        self.users: list[str] = []
        self._host_key = asyncssh.generate_private_key(key_type)
        self._client_key = asyncssh.generate_private_key(client_key_type or "ssh-ed25519")
        self._acceptor: asyncssh.SSHAcceptor | None = None
        self._released = asyncio.Event()

    @property
    def port(self) -> int:
        assert self._acceptor is not None
        return self._acceptor.get_port()

    def url(self, name: str) -> str:
        """The clone address of a repository."""
        return f"ssh://git@127.0.0.1:{self.port}/{name}.git"

    def repository(self, name: str, *, initial_branch: str = "main") -> GitRepository:
        """Open or create the repository served under this name."""
        return GitRepository(self.root / f"{name}.git", initial_branch=initial_branch)

    @property
    def known_hosts(self) -> bytes:
        """The line a client needs to trust this server."""
        return self.known_hosts_for(self._host_key)

    def known_hosts_for(self, key: asyncssh.SSHKey) -> bytes:
        """A `known_hosts` line that claims this server has another key."""
        return f"[127.0.0.1]:{self.port} ".encode() + key.export_public_key("openssh")

    def identity(self, passphrase: str | None = None) -> bytes:
        """The authorised private key in OpenSSH's format, or encrypted in PKCS #8 where a passphrase is given."""
        return self._client_key.export_private_key("pkcs8-pem" if passphrase else "openssh", passphrase)

    async def __aenter__(self) -> Self:
        authorised = asyncssh.import_authorized_keys(self._client_key.export_public_key("openssh").decode())
        self._acceptor = await asyncssh.listen(
            "127.0.0.1",
            0,
            server_host_keys=[self._host_key],
            authorized_client_keys=authorised,
            process_factory=self._serve,
            encoding=None,
            password_auth=False,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._released.set()
        if self._acceptor is not None:
            self._acceptor.close()
            await self._acceptor.wait_closed()

    async def _serve(self, process: asyncssh.SSHServerProcess[bytes]) -> None:
        self.commands.append(process.command or "")
        self.users.append(process.get_extra_info("username"))
        words = shlex.split(process.command or "")
        if len(words) != 2 or words[0] not in _SERVICES:
            process.stderr.write(b"only Git services are available\n")
            process.exit(1)
            return
        if self.hang:
            await self._released.wait()
            process.exit(1)
            return
        folder = (self.root / words[1].lstrip("/")).resolve()
        if not folder.is_relative_to(self.root.resolve()) or not folder.is_dir():
            process.stderr.write(b"ERROR: Repository not found.\n")
            process.exit(1)
            return
        await self._run(process, words[0].removeprefix("git-"), folder)

    async def _run(self, process: asyncssh.SSHServerProcess[bytes], service: str, folder: Path) -> None:
        environment = {"GIT_PROTOCOL": process.env.get("GIT_PROTOCOL", "")}
        async with git_process(service, str(folder), home=self.root, environment=environment) as child:
            assert child.stdin is not None
            assert child.stdout is not None
            assert child.stderr is not None
            feeding = asyncio.create_task(_feed(process.stdin, child.stdin))
            try:
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(_relay(child.stdout, process.stdout))
                    tasks.create_task(_relay(child.stderr, process.stderr))
                process.exit(await child.wait())
            finally:
                feeding.cancel()
                await asyncio.gather(feeding, return_exceptions=True)


async def _feed(source: asyncssh.SSHReader[bytes], sink: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while chunk := await source.read(_CHUNK):
            sink.write(chunk)
            await sink.drain()
        sink.close()


async def _relay(source: asyncio.StreamReader, sink: asyncssh.SSHWriter[bytes]) -> None:
    while chunk := await source.read(_CHUNK):
        sink.write(chunk)
        await sink.drain()
