"""Git LFS: a real server (giftless) on loopback, and the real `git lfs` that pushes to it."""

import asyncio
import base64
import hashlib
import hmac
import json
import os
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from testbed.binaries import ensure
from testbed.git.repository import GitRepository
from testbed.ports import free_port
from testbed.pythonprograms import programs_python
from testbed.webserver import web_server


class GitLfs:
    """A running server that asks for tokens; `url` is its address without a path. Repositories are ``owner/name``."""

    def __init__(self, url: str, folder: Path, key: str, programs: Path) -> None:
        self.url = url
        self._folder = folder
        self._key = key
        self._programs = programs

    def remote(self, repository: str) -> str:
        """The address of a repository, as Git would have it."""
        return f"{self.url}/{repository}"

    def token(self, repository: str, *actions: str) -> str:
        """A token for a repository, for everything or for some of ``read``, ``write``."""
        scope = f"obj:{repository}/*" + (f":{','.join(actions)}" if actions else "")
        signed = ".".join(map(_base64, ({"alg": "HS256", "typ": "JWT"}, {"sub": "tester", "scopes": [scope]})))
        signature = hmac.digest(self._key.encode(), signed.encode(), hashlib.sha256)
        return f"{signed}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"

    async def push(self, repository: str, files: Mapping[str, bytes], into: GitRepository) -> None:
        """Commit files that `git lfs` tracks and push them: pointers `into` a bare repository, content to the server.

        Raises AssertionError with what git says.
        """
        work = self._folder / "work" / secrets.token_hex(4)
        await self._git(self._folder, "init", "--quiet", "--initial-branch=main", work)
        await self._git(work, "lfs", "install", "--local")
        remote = self.remote(repository).replace("://", f"://_jwt:{self.token(repository)}@")
        await self._git(work, "config", "lfs.url", f"{remote}.git/info/lfs")
        for name, content in files.items():
            await self._git(work, "lfs", "track", name)
            await asyncio.to_thread((work / name).write_bytes, content)
        await self._git(work, "add", ".")
        await self._git(work, "commit", "--quiet", "--message=content that is too big for Git")
        await self._git(work, "push", "--quiet", "--force", into.path, "main")

    async def lose(self, repository: str, content: bytes) -> None:
        """Take content away behind the server's back, as a broken disk would."""
        path = self._folder / "objects" / repository / hashlib.sha256(content).hexdigest()
        await asyncio.to_thread(path.unlink)

    async def _git(self, folder: Path, *arguments: str | Path) -> None:
        author = {
            f"GIT_{who}_{what}": "tester@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")
        }
        process = await asyncio.create_subprocess_exec(
            "git",
            *arguments,
            cwd=folder,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env={
                "PATH": f"{self._programs}{os.pathsep}{os.environ['PATH']}",
                "HOME": str(self._folder),
                "GIT_CONFIG_NOSYSTEM": "1",
                "GIT_TERMINAL_PROMPT": "0",
                **author,
            },
        )
        said, _ = await process.communicate()
        assert process.returncode == 0, said.decode()


@asynccontextmanager
async def git_lfs(folder: Path) -> AsyncIterator[GitLfs]:
    """A server that keeps everything in `folder`. Raises ProcessError or BuildError."""
    python = await asyncio.to_thread(programs_python)
    program = (await asyncio.to_thread(ensure, "git-lfs"))["git-lfs"]
    key = secrets.token_hex(32)
    stored = {"factory": "giftless.transfer.basic_streaming:factory"}
    options = {"storage_options": {"path": str(folder / "objects")}}
    login = {"factory": "giftless.auth.jwt:factory", "options": {"algorithm": "HS256", "private_key": key}}
    configuration = {
        "AUTH_PROVIDERS": [login],
        "TRANSFER_ADAPTERS": {"basic": {**stored, "options": options}},
        "LEGACY_ENDPOINTS": False,
    }
    port = free_port()
    argv: list[str | Path] = [python, "-m", "flask", "--app", "giftless.wsgi_entrypoint", "run", "--port", str(port)]
    environment = {**os.environ, "GIFTLESS_CONFIG_STR": json.dumps(configuration)}
    url = f"http://127.0.0.1:{port}"
    log = folder / "git-lfs.log"
    # It has no page that says so when it is ready.
    async with web_server(argv, name="git-lfs", log=log, probe=url, status=404, timeout=120, env=environment):
        yield GitLfs(url, folder, key, program.parent)


def _base64(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()
