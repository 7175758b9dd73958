"""The real programs that tests and demo run against, built from pinned Go modules and kept in the cache.

Order of preference for a program, as the Kubernetes ecosystem does it: the folder ``KUBEBUILDER_ASSETS`` when it holds
the program, then our cache, then a build. A cache entry is named after everything that decides its content: the files
of the module, the platform, the Go version and the build command.
"""

import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from testbed.cache import cache_dir, exclusive
from testbed.toolchain import Toolchain, toolchain

MODULES = Path(__file__).parent / "go"

Progress = Callable[[str], None]
CrdSource = Literal["gateway-api", "flux-source", "flux-kustomize", "flagger"]


class BuildError(Exception):
    """A program could not be built, or a pinned module could not be obtained; carries the end of Go's own output."""


@dataclass(frozen=True, slots=True)
class Module:
    """One Go module of ours: the packages it pins by program name, and what its build needs beyond the defaults."""

    path: Path
    packages: dict[str, str]
    usual: str
    tags: str = ""
    version_of: str = ""
    symbols: dict[str, str] | None = None

    @property
    def name(self) -> str:
        """Name of the module's folder, and the first part of its cache entry's."""
        return self.path.name

    def pinned(self, required: str) -> str:
        """Version of the required module `required` as ``go.mod`` pins it, such as ``v1.36.3``."""
        match = re.search(
            rf"^\s*(?:require )?{re.escape(required)} (v\S+)", (self.path / "go.mod").read_text(), re.MULTILINE
        )
        if match is None:
            raise BuildError(f"{self.path / 'go.mod'} does not require {required}")
        return match[1]

    def build_arguments(self) -> list[str]:
        """Arguments of ``go`` up to ``-o``."""
        linker = ["-s", "-w"]
        if self.symbols:
            version = self.pinned(self.version_of)
            major, minor = version.removeprefix("v").split(".")[:2]
            values = {
                name: text.format(version=version, major=major, minor=minor) for name, text in self.symbols.items()
            }
            linker += [f"-X {name}={value}" for name, value in values.items()]
        tags = ["-tags", self.tags] if self.tags else []
        return ["build", "-v", "-mod=readonly", "-trimpath", "-buildvcs=false", *tags, "-ldflags", " ".join(linker)]


_VERSION_PACKAGE = "k8s.io/component-base/version"

_ETCD = Module(MODULES / "etcd", {"etcd": "go.etcd.io/etcd/server/v3"}, usual="1 min")
_KUBERNETES = Module(
    MODULES / "kubernetes",
    {
        "kube-apiserver": "k8s.io/kubernetes/cmd/kube-apiserver",
        "kube-controller-manager": "k8s.io/kubernetes/cmd/kube-controller-manager",
    },
    usual="8 min",
    version_of="k8s.io/kubernetes",
    # A published module does not know its release; clients such as helm decide by what /version answers.
    symbols={
        f"{_VERSION_PACKAGE}.gitVersion": "{version}",
        f"{_VERSION_PACKAGE}.gitMajor": "{major}",
        f"{_VERSION_PACKAGE}.gitMinor": "{minor}",
        f"{_VERSION_PACKAGE}.gitTreeState": "clean",
        f"{_VERSION_PACKAGE}.gitCommit": "none",
    },
)
_HELM = Module(
    MODULES / "helm",
    {"helm": "helm.sh/helm/v3/cmd/helm"},
    usual="2 min",
    version_of="helm.sh/helm/v3",
    symbols={"helm.sh/helm/v3/internal/version.version": "{version}"},
)
_PROMETHEUS = Module(
    MODULES / "prometheus",
    {"prometheus": "github.com/prometheus/prometheus/cmd/prometheus"},
    usual="2 min",
    tags="netgo,remove_all_sd",
)

_SOPS = Module(
    MODULES / "sops",
    {"sops": "github.com/getsops/sops/v3/cmd/sops", "age-keygen": "filippo.io/age/cmd/age-keygen"},
    usual="3 min",
)

_REGISTRY = Module(
    MODULES / "registry", {"registry": "github.com/google/go-containerregistry/cmd/registry"}, usual="20 s"
)

_GIT_LFS = Module(MODULES / "git-lfs", {"git-lfs": "github.com/git-lfs/git-lfs/v3"}, usual="15 s")

_MODULES = (_ETCD, _KUBERNETES, _HELM, _PROMETHEUS, _SOPS, _REGISTRY, _GIT_LFS)
_MODULE_OF = {program: module for module in _MODULES for program in module.packages}
PROGRAMS = tuple(_MODULE_OF)

# Where each pinned module keeps the manifests of its custom resource definitions.
_CRDS: dict[CrdSource, tuple[str, str]] = {
    "gateway-api": ("sigs.k8s.io/gateway-api", "config/crd/standard/*.yaml"),
    "flux-source": ("github.com/fluxcd/source-controller", "config/crd/bases/*.yaml"),
    "flux-kustomize": ("github.com/fluxcd/kustomize-controller", "config/crd/bases/*.yaml"),
    "flagger": ("github.com/fluxcd/flagger", "artifacts/flagger/crd.yaml"),
}
CRD_SOURCES = tuple(_CRDS)


def silent(_: str) -> None:
    """The default progress: none."""


def ensure(*names: str, progress: Progress = silent) -> dict[str, Path]:
    """Paths of the programs `names` (of PROGRAMS), built first where needed. Blocks, for minutes when it builds.

    Raises BuildError, ToolchainError, or ValueError for a name that is not known.
    """
    if unknown := sorted(set(names) - set(PROGRAMS)):
        raise ValueError(f"unknown program {', '.join(unknown)}; known: {', '.join(PROGRAMS)}")
    found: dict[str, Path] = {}
    for name in names:
        given = _given(name)
        found[name] = given if given is not None else built(_MODULE_OF[name], progress) / name
    return found


def built(module: Module, progress: Progress = silent) -> Path:
    """The cache entry with the programs of `module`, built first where needed; of several processes only one builds.

    Raises BuildError or ToolchainError.
    """
    go = toolchain()
    entry = _entry(module, go)
    if not entry.exists():
        with exclusive(cache_dir() / "locks" / f"{module.name}.lock"):
            if not entry.exists():
                _build(module, go, entry, progress)
    return entry


def missing() -> list[str]:
    """Programs and sources of definitions that are not there yet, without building any. Raises ToolchainError."""
    programs = [
        name for name, module in _MODULE_OF.items() if _given(name) is None and not _entry(module, toolchain()).exists()
    ]
    return programs + [source for source in CRD_SOURCES if not _crd_entry(source).exists()]


def crd_files(source: CrdSource, *, progress: Progress = silent) -> list[Path]:
    """The manifests of the custom resource definitions of `source`, sorted by name; downloaded on first use.

    Raises BuildError when the pinned module cannot be obtained.
    """
    entry = _crd_entry(source)
    if not entry.exists():
        with exclusive(cache_dir() / "locks" / f"crds-{source}.lock"):
            if not entry.exists():
                progress(f"{source}: downloading custom resource definitions")
                _fetch_crds(source, entry)
    return sorted(entry.glob("*.yaml"))


def _given(name: str) -> Path | None:
    assets = os.environ.get("KUBEBUILDER_ASSETS")
    path = Path(assets, name) if assets else None
    return path if path is not None and os.access(path, os.X_OK) else None


def _entry(module: Module, go: Toolchain) -> Path:
    key = content_key(
        _files_of(module.path), [sys.platform, platform.machine(), str(go.version), *module.build_arguments()]
    )
    return cache_dir() / "bin" / f"{module.name}-{key}"


def _crd_entry(source: CrdSource) -> Path:
    return cache_dir() / "crds" / f"{source}-{content_key(_files_of(MODULES / 'crds'), [*_CRDS[source]])}"


def _files_of(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_file())


def content_key(files: Iterable[Path], extra: Iterable[str]) -> str:
    """Name of a cache entry that follows from the content of files, and from texts."""
    digest = hashlib.sha256()
    for path in files:
        content = path.read_bytes()
        digest.update(f"{path.name} {len(content)}\n".encode())
        digest.update(content)
    for part in extra:
        digest.update(f"{len(part)} {part}\n".encode())
    return digest.hexdigest()[:20]


def _build(module: Module, go: Toolchain, entry: Path, progress: Progress) -> None:
    programs = ", ".join(module.packages)
    progress(f"{programs}: reading dependencies (a first build usually takes {module.usual})")
    total = _count_packages(module, go)
    entry.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=entry.parent, prefix=".building-") as scratch:
        target = Path(scratch, "out")
        target.mkdir()
        arguments = [*module.build_arguments(), "-o", f"{target}{os.sep}", *module.packages.values()]
        _run_reporting(go, arguments, module, total, progress)
        _rename_programs(module, target)
        target.rename(entry)
    progress(f"{programs}: built")


def _rename_programs(module: Module, target: Path) -> None:
    # `go build` names a program after the last element of its path, which a version suffix hides or does not hide.
    for name, package in module.packages.items():
        parts = package.split("/")
        named = parts[-2] if re.fullmatch(r"v\d+", parts[-1]) else parts[-1]
        if named != name:
            (target / named).rename(target / name)


def _count_packages(module: Module, go: Toolchain) -> int:
    tags = ["-tags", module.tags] if module.tags else []
    arguments = ["list", "-mod=readonly", *tags, "-deps", *module.packages.values()]
    done = subprocess.run(
        [go.command, *arguments],
        cwd=module.path,
        env=go.environment(cache_dir()),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise BuildError(f"go list in {module.path} failed:\n{last_lines(done.stderr.splitlines())}")
    return len(done.stdout.splitlines())


def _run_reporting(go: Toolchain, arguments: list[str], module: Module, total: int, progress: Progress) -> None:
    programs = ", ".join(module.packages)
    last: deque[str] = deque(maxlen=20)
    with subprocess.Popen(
        [go.command, *arguments],
        cwd=module.path,
        env=go.environment(cache_dir()),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as running:
        assert running.stderr is not None
        for compiled, line in enumerate(running.stderr, start=1):
            last.append(line.rstrip())
            progress(f"{programs}: compiled {compiled} of at most {total} packages")
    if running.returncode != 0:
        raise BuildError(f"go build in {module.path} failed:\n{last_lines(last)}")


def _fetch_crds(source: CrdSource, entry: Path) -> None:
    required, pattern = _CRDS[source]
    pins = Module(MODULES / "crds", {}, usual="1 min")
    folder = _module_folder(pins.path, f"{required}@{pins.pinned(required)}")
    entry.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=entry.parent, prefix=".copying-") as scratch:
        target = Path(scratch, "out")
        target.mkdir()
        for path in folder.glob(pattern):
            # Such folders may hold other kinds beside the definitions, such as an admission policy.
            if "kind: CustomResourceDefinition" in path.read_text():
                shutil.copyfile(path, target / path.name)
        if not any(target.iterdir()):
            raise BuildError(f"{required} holds no custom resource definition at {pattern}")
        target.rename(entry)


def _module_folder(pins: Path, required: str) -> Path:
    go = toolchain()
    done = subprocess.run(
        [go.command, "mod", "download", "-json", required],
        cwd=pins,
        env=go.environment(cache_dir()),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise BuildError(f"go mod download {required} failed:\n{last_lines((done.stdout + done.stderr).splitlines())}")
    return Path(json.loads(done.stdout)["Dir"])


def last_lines(lines: Iterable[str]) -> str:
    """What the end of a program's output says, for an error."""
    return "\n".join(list(lines)[-20:])
