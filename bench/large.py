"""One repository of very many files and commits, of which an agent uses one folder: what does one more commit cost?"""

from __future__ import annotations

import asyncio
import resource
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from agent.adapters.git import GitMirrors, GitRemote
from agent.core.gitref import GitReference
from bench.implementation import Implementation
from bench.lab import lab
from bench.repository import app, monorepo, own
from testbed.git import GitHTTPServer

Row = dict[str, Any]
FILES, COMMITS = 50_000, 5_000
_FOLDER = 100  # files of a folder
_REPEATS = 5
_TIMEOUT = 600.0


def fill(path: Path) -> None:
    """Write the files and the history into a bare repository (git's own fast-import: some seconds)."""
    subprocess.run(
        ["git", f"--git-dir={path}", "fast-import", "--quiet", "--force"],
        input=b"".join(_stream()),
        check=True,
        stdout=subprocess.DEVNULL,
    )


def _stream() -> Iterator[bytes]:
    first = {path: text.encode() for path, text in monorepo(1).items()}
    first |= {f"data/{n // _FOLDER:04}/file-{n:05}.txt": b"content of file %d\n" % n for n in range(FILES)}
    for commit in range(COMMITS):
        yield b"commit refs/heads/main\ncommitter Ada <ada@example.org> %d +0000\ndata 7\ncommit\n\n" % (
            1_600_000_000 + commit
        )
        files = first if commit == 0 else {"data/log.txt": b"commit %d\n" % commit}
        for path, content in files.items():
            yield b"M 100644 inline %s\ndata %d\n%s\n" % (path.encode(), len(content), content)


async def fetch_scenario() -> list[Row]:
    """What Weir's Git adapter needs from the question for news to a readable tree of a new commit."""
    with tempfile.TemporaryDirectory(prefix="weir-bench-") as name:
        folder = Path(name)
        async with GitHTTPServer(folder) as server:
            repository = server.repository("large")
            await asyncio.to_thread(fill, repository.path)
            mirrors, remote = GitMirrors(folder / "cache"), GitRemote(server.url("large"))
            started = time.monotonic()
            await mirrors.checkout(remote, GitReference(branch="main"), _TIMEOUT)
            first, times, cpu = time.monotonic() - started, [], _cpu()
            for attempt in range(_REPEATS):
                await asyncio.to_thread(repository.commit, {"apps/app-0000/note.txt": str(attempt)})
                started = time.monotonic()
                commit = await mirrors.checkout(remote, GitReference(branch="main"), _TIMEOUT)
                assert commit.tree.read("apps/app-0000/note.txt") == str(attempt).encode()
                times.append(time.monotonic() - started)
    row: Row = {"implementation": "weir", "what": f"fetch of one commit of {COMMITS}, {FILES} files"}
    each = [round(seconds, 3) for seconds in times]
    row |= {"first_seconds": round(first, 2), "seconds": round(min(times), 3), "seconds_each": each}
    return [row | {"cpu_seconds_both_sides": round((_cpu() - cpu) / _REPEATS, 3)}]


def _cpu() -> float:
    """Of the git processes that have ended: those that fetched, and those that served."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


async def large_scenario(implementation: Implementation) -> list[Row]:
    """From the request after a push to the changed object, in a cluster."""
    rows: list[Row] = []
    async with lab(implementation) as at:
        await asyncio.to_thread(fill, at.repository().path)
        at.repository().commit(own(0, "first"))
        async with at.measured() as cost:
            await at.source()
            await at.kustomizations_of(range(1))
            await at.all_ready(range(1), at.repository().head(), _TIMEOUT)
            await at.stored("repo", at.repository().head(), _TIMEOUT)
        rows.append(cost.as_row() | {"what": "large repository: first sync"})
        applied, stored = [], []
        async with at.measured() as cost:
            for attempt in range(_REPEATS):
                commit = await asyncio.to_thread(at.repository().commit, own(0, f"one-{attempt}"))
                asked = await at.request()
                applied.append(await at.value(f"{app(0)}-own", f"one-{attempt}", _TIMEOUT) - asked)
                await at.all_ready(range(1), commit, _TIMEOUT)
                stored.append(await at.stored("repo", commit, _TIMEOUT) - asked)
        row = cost.as_row() | {"what": f"large repository: {_REPEATS} commits, one after the other"}
        row |= {"applied_after_seconds": round(statistics.median(applied), 3)}
        rows.append(row | {"archive_after_seconds": round(statistics.median(stored), 3)})
    return [{"implementation": implementation.name} | row for row in rows]
