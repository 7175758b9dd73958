"""What processes cost, read from /proc: CPU time and memory of a process and everything below it."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_PPID, _UTIME, _CSTIME = 1, 11, 14  # positions behind the name, which may hold blanks and brackets


def tree(roots: Iterable[int]) -> set[int]:
    """The processes with these ids, and all that descend from them."""
    children: dict[int, list[int]] = {}
    for pid, fields in _all():
        children.setdefault(int(fields[_PPID]), []).append(pid)
    found, rest = set(), list(roots)
    while rest:
        pid = rest.pop()
        if pid not in found:
            found.add(pid)
            rest += children.get(pid, [])
    return found


def cpu_seconds(roots: Iterable[int]) -> float:
    """User and system time until now, with that of children that have ended."""
    ticks = 0
    for pid in tree(roots):
        fields = _stat(pid)
        if fields:
            ticks += sum(int(field) for field in fields[_UTIME : _CSTIME + 1])
    return ticks / _TICKS


def core_wait(pids: Iterable[int]) -> float:
    """Seconds for which the main threads of these processes could have run, and no core was free for them."""
    waited = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            waited += int(Path(f"/proc/{pid}/schedstat").read_text().split()[1])
    return waited / 1e9


def memory(roots: Iterable[int]) -> dict[int, float]:
    """Proportional set size of each process in MiB: shared pages count in parts, so that the sum is the truth.

    A child that runs its parent's program is about to start another one, and has all of the parent's memory until then.
    """
    sizes, first = {}, set(roots)
    for pid in tree(first):
        fields = _stat(pid)
        if not fields or (pid not in first and _program(pid) == _program(int(fields[_PPID]))):
            continue
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    sizes[pid] = int(line.split()[1]) / 1024
    return sizes


def command(pid: int) -> str:
    """The name of the program that a process runs, "" if it has ended."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


class Peak:
    """The largest sum of the processes' memory that was seen, in MiB, and by program; `last` is the one seen last."""

    def __init__(self) -> None:
        self.total = self.last = 0.0
        self.parts: dict[str, float] = {}

    def see(self, roots: Iterable[int]) -> None:
        """Look once."""
        sizes = memory(roots)
        self.last = sum(sizes.values())
        if self.last <= self.total:
            return
        self.total = self.last
        self.parts = {}
        for pid, size in sizes.items():
            name = command(pid)
            self.parts[name] = self.parts.get(name, 0.0) + size


@asynccontextmanager
async def watched(roots: Iterable[int], every: float = 1.0) -> AsyncIterator[Peak]:
    """Looks at the memory from time to time while the block runs."""
    ids, peak = tuple(roots), Peak()

    async def look() -> None:
        while True:
            await asyncio.to_thread(peak.see, ids)
            await asyncio.sleep(every)

    async with asyncio.TaskGroup() as group:
        looking = group.create_task(look())
        try:
            yield peak
        finally:
            looking.cancel()
            await asyncio.to_thread(peak.see, ids)


def _program(pid: int) -> str:
    try:
        return str(Path(f"/proc/{pid}/exe").readlink())
    except OSError:
        return f"of {pid}"


def _all() -> Iterator[tuple[int, list[str]]]:
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            fields = _stat(int(folder.name))
            if fields:
                yield int(folder.name), fields


def _stat(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []
