"""The real `dvc`, which tracks files and lays out a remote."""

import asyncio
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from testbed.pythonprograms import programs_python

_CONFIGURATION = """\
[core]
    remote = store
    no_scm = true
    analytics = false
['remote "store"']
    url = ../../remote
"""


@dataclass(frozen=True, slots=True)
class DvcPushed:
    """What was pushed: the texts of `.dvc` files by what they track, and the files of a remote by path."""

    pointers: Mapping[str, str]
    remote: Mapping[str, bytes]


async def dvc_push(folder: Path, files: Mapping[str, bytes]) -> tuple[DvcPushed, DvcPushed]:
    """Track files, those in folders as folders, and push them as DVC 3 does it, then as DVC 2 did.

    Everything is kept in `folder`. Raises BuildError, and AssertionError with what dvc says.
    """
    python = await asyncio.to_thread(programs_python)
    work = folder / "work"
    tracked = sorted({name.partition("/")[0] for name in files})
    await asyncio.to_thread(_prepare, work, files)
    await _dvc(python, work, "add", *tracked)
    await _dvc(python, work, "push")
    third = await asyncio.to_thread(_pushed, work, tracked)
    await asyncio.to_thread(_as_before, work, tracked)
    await _dvc(python, work, "push")
    return third, await asyncio.to_thread(_pushed, work, tracked)


def _prepare(work: Path, files: Mapping[str, bytes]) -> None:
    (work / ".dvc").mkdir(parents=True)
    (work / ".dvc" / "config").write_text(_CONFIGURATION)
    for name, content in files.items():
        (work / name).parent.mkdir(parents=True, exist_ok=True)
        (work / name).write_bytes(content)


def _as_before(work: Path, tracked: list[str]) -> None:
    """Make of what DVC 3 has tracked what DVC 2 would have: `.dvc` files without the kind of hash, another cache."""
    for name in tracked:
        pointer = work / f"{name}.dvc"
        pointer.write_text(pointer.read_text().replace("  hash: md5\n", ""))
    cache = work / ".dvc" / "cache"
    shutil.copytree(cache / "files" / "md5", cache, dirs_exist_ok=True)
    shutil.rmtree(cache / "files")
    shutil.rmtree(work.parent / "remote")


def _pushed(work: Path, tracked: list[str]) -> DvcPushed:
    remote = work.parent / "remote"
    return DvcPushed(
        {name: (work / f"{name}.dvc").read_text() for name in tracked},
        {str(path.relative_to(remote)): path.read_bytes() for path in remote.rglob("*") if path.is_file()},
    )


async def _dvc(python: Path, work: Path, *arguments: str) -> None:
    process = await asyncio.create_subprocess_exec(
        python,
        *("-m", "dvc", *arguments, "--quiet"),
        cwd=work,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, "HOME": str(work.parent), "DVC_NO_ANALYTICS": "1"},
    )
    said, _ = await process.communicate()
    assert process.returncode == 0, said.decode()
