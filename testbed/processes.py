"""Local processes that are started, watched until they are ready, and stopped by their own id.

Each process leads a session of its own and writes to a log file. Everything is registered with a guard process (see
`testbed.reaper`), so that nothing stays behind, not even after SIGKILL of the run that started it.
"""

import asyncio
import atexit
import contextlib
import fcntl
import os
import signal
import subprocess
import sys
import tempfile
import threading
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import IO

from testbed import reaper
from testbed.cache import cache_dir, exclusive
from testbed.ports import free_port

__all__ = ["Process", "ProcessError", "free_port", "start", "until"]


class ProcessError(Exception):
    """A process ended, or did not become ready in time; carries the end of its log."""


class Run:
    """The registry of what this Python process has started, and the guard that outlives it."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.id = uuid.uuid4().hex
        path = folder / f"{self.id}.run"
        with exclusive(folder / "registry.lock"):
            reaper.reap_abandoned(folder)
            self._registry: IO[str] = path.open("w")
            # This lock says "alive"; it ends with this process, however that ends.
            fcntl.flock(self._registry, fcntl.LOCK_EX)
        self._write(self.id)
        self._guard = subprocess.Popen(
            [sys.executable, "-I", "-S", reaper.__file__, path],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        atexit.register(self._close)

    def register(self, pid: int) -> None:
        """Note a process that this run has to end."""
        self._write(f"process {pid} {reaper.start_time(pid)}")

    def temporary_folder(self, prefix: str) -> Path:
        """A new folder that is removed when this run is over, if not before."""
        folder = Path(tempfile.mkdtemp(prefix=prefix))
        self._write(f"folder {folder}")
        return folder

    def _write(self, line: str) -> None:
        self._registry.write(f"{line}\n")
        self._registry.flush()

    def _close(self) -> None:
        assert self._guard.stdin is not None
        self._guard.stdin.close()
        self._guard.wait(timeout=30)
        self._registry.close()


_opening = threading.Lock()


def current_run() -> Run:
    """The run of this Python process; opening it reaps what abandoned runs left."""
    with _opening:
        return _opened_run()


@cache
def _opened_run() -> Run:
    return Run(cache_dir() / "runs")


class Process:
    """A started process. `log` receives its output and error stream."""

    def __init__(self, name: str, log: Path, child: asyncio.subprocess.Process) -> None:
        self.name = name
        self.log = log
        self._child = child

    @property
    def pid(self) -> int:
        return self._child.pid

    @property
    def returncode(self) -> int | None:
        """Exit status, negative for a signal; None while it runs."""
        return self._child.returncode

    async def wait(self) -> int:
        """Exit status, once it has ended."""
        return await self._child.wait()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process itself; nothing happens when it has ended."""
        if self.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._child.send_signal(number)

    async def stop(self, grace: float = 5.0) -> int:
        """SIGTERM, after `grace` seconds SIGKILL, and SIGKILL for whatever else its process group still holds."""
        self.signal(signal.SIGTERM)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace):
                await self.wait()
        return await self.kill()

    async def kill(self) -> int:
        """SIGKILL to the whole process group; the exit status of the process."""
        reaper.kill_group(self.pid)
        return await self.wait()

    def tail(self, lines: int = 20) -> str:
        """The last lines of the log."""
        with contextlib.suppress(OSError):
            return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])
        return ""


async def start(
    argv: Sequence[str | Path],
    *,
    log: Path,
    name: str = "",
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> Process:
    """Start `argv` with its output appended to `log`; `env` replaces the inherited environment.

    Raises OSError when the program cannot be executed.
    """
    run = await asyncio.to_thread(current_run)
    environment = dict(os.environ if env is None else env) | {reaper.MARK: run.id}
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        child = await asyncio.create_subprocess_exec(
            *argv,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
            cwd=cwd,
            start_new_session=True,
        )
    run.register(child.pid)
    return Process(name or Path(argv[0]).name, log, child)


async def until(
    condition: Callable[[], Awaitable[bool]],
    *,
    timeout: float,
    what: str,
    process: Process | None = None,
    every: float = 0.05,
) -> None:
    """Ask `condition` every `every` seconds until it holds.

    Raises ProcessError when `process` ends meanwhile or `timeout` seconds pass; `what` says what was waited for.
    """
    try:
        async with asyncio.timeout(timeout):
            while not await condition():
                if process is not None and process.returncode is not None:
                    raise ProcessError(
                        f"{process.name} ended with {process.returncode} before {what}:\n{process.tail()}"
                    )
                await asyncio.sleep(every)
    except TimeoutError:
        log = f":\n{process.tail()}" if process is not None else ""
        raise ProcessError(f"not within {timeout:g} s: {what}{log}") from None
