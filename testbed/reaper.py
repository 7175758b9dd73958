"""Ends what a run of the test bed started, when the run itself can no longer do it.

``python reaper.py <registry file>`` is the guard of one run. It waits until its standard input closes, which the kernel
does when the run ends in whatever way, SIGKILL included, and then kills what is left of the run. Should the guard be
killed too, the next run finds the registry file and reaps it. This module uses the standard library only and is run by
its path, so that the guard starts quickly and depends on nothing that a test could break.

The first line of a registry file is the run's id; each further line is ``process <pid> <start time>`` or ``folder
<path>`` of a temporary folder. On Linux the environment variable `MARK`, which is inherited, finds descendants as well.
"""

import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

MARK = "WEIR_TESTBED_RUN"


def start_time(pid: int) -> str:
    """When `pid` started, in a form that only compares equal for the same process; empty when it is gone."""
    stat = Path("/proc", str(pid), "stat")
    if Path("/proc/self/stat").exists():
        try:
            # The second field is the program's name in parentheses, which may hold spaces; the 22nd is the start time.
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            return ""
        return "" if fields[0] in {"Z", "X"} else fields[19]
    done = subprocess.run(["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return done.stdout.strip().replace(" ", "_")


def marked(run: str) -> list[int]:
    """Processes whose environment carries the id `run`; always empty where there is no ``/proc``."""
    wanted = f"{MARK}={run}".encode()
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if wanted in (folder / "environ").read_bytes().split(b"\0"):
                found.append(int(folder.name))
    return found


def kill_group(pid: int) -> None:
    """SIGKILL to the process group that `pid` leads; nothing happens when there is none."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def reap(registry: Path) -> None:
    """Kill everything that the run of the file `registry` left behind, remove its temporary folders and the file."""
    with contextlib.suppress(FileNotFoundError):
        run, *lines = registry.read_text().splitlines() or [""]
        entries = [line.partition(" ")[::2] for line in lines]
        for kind, entry in entries:
            pid, _, started = entry.partition(" ")
            if kind == "process" and started and start_time(int(pid)) == started:
                kill_group(int(pid))
        if run:
            _kill_marked(run)
        for kind, entry in entries:
            if kind == "folder":
                shutil.rmtree(entry, ignore_errors=True)
        registry.unlink()


def _kill_marked(run: str) -> None:
    for _ in range(50):
        left = [pid for pid in marked(run) if pid != os.getpid()]
        if not left:
            return
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        # A process killed in the middle of a fork may leave a child that this pass could not see.
        time.sleep(0.02)


def reap_abandoned(folder: Path) -> None:
    """Reap each registry file in `folder` whose run is over; a run that lives holds the lock of its file."""
    for registry in folder.glob("*.run"):
        with contextlib.suppress(OSError), registry.open() as held:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            reap(registry)


def guard(registry: Path) -> None:
    """Wait for the end of standard input, then reap."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    while sys.stdin.buffer.read(1):
        pass
    reap(registry)


if __name__ == "__main__":
    guard(Path(sys.argv[1]))
