"""Local processes that play containers: ended with all their children, and with the node itself."""

import asyncio
import shutil
import signal
from pathlib import Path
from typing import Self

from testbed import processes
from testbed.node.environment import CommandLine


class StartError(Exception):
    """The program cannot be executed (containerd's StartError)."""


class LocalProcess:
    """One running program and everything it started in its session."""

    def __init__(self, process: processes.Process) -> None:
        self._process = process
        self._code: int | None = None

    @classmethod
    async def start(cls, command: CommandLine, folder: Path, log: Path) -> Self:
        """Start the program with output appended to ``log``; StartError when it cannot be executed."""
        program = shutil.which(command.argv[0], path=command.env.get("PATH"))
        if program is None:
            raise StartError(f'exec: "{command.argv[0]}": executable file not found in $PATH')
        cwd = folder if command.cwd is None else Path(command.cwd)
        argv = (program, *command.argv[1:])
        try:
            return cls(await processes.start(argv, log=log, name=log.stem, env=command.env, cwd=cwd))
        except (OSError, ValueError) as error:  # ValueError: a NUL byte in argument or environment
            raise StartError(f"cannot start {command.argv[0]} in {cwd}: {error}") from error

    async def wait(self) -> int:
        """Wait for the program's end and end what it left; its exit code, 128 + signal number after a signal."""
        if self._code is None:
            await self._process.wait()
            code = await self._process.kill()
            self._code = 128 - code if code < 0 else code
        return self._code

    def terminate(self) -> None:
        """SIGTERM to the program itself, as a container's first process gets it."""
        self._process.signal(signal.SIGTERM)

    async def kill(self) -> int:
        """SIGKILL to the program and all it started; its exit code."""
        if self._code is None and self._process.returncode is None:
            await self._process.kill()
        return await self.wait()


async def run_briefly(command: CommandLine, folder: Path, log: Path, seconds: float) -> str | None:
    """Run a probe's or hook's command to its end; None for exit status 0, else what went wrong."""
    try:
        process = await LocalProcess.start(command, folder, log)
    except StartError as error:
        return str(error)
    try:
        async with asyncio.timeout(seconds):
            code = await process.wait()
    except TimeoutError:
        return f"command timed out after {seconds:g}s"
    finally:
        await process.kill()
    return None if code == 0 else f"command exited with status {code}"
