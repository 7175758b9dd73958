"""Real Git repositories for plans, and the command as a user runs it."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from agent.cli import main

Files = Mapping[str, str | bytes | None]
"""Content by path; None takes the file away."""


@dataclasses.dataclass(frozen=True)
class Output:
    """What a run of the command left behind."""

    status: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        return json.loads(self.out)

    @property
    def changes(self) -> list[dict[str, Any]]:
        return self.document["changes"]

    @property
    def errors(self) -> list[dict[str, str]]:
        return self.document["errors"]

    @property
    def told(self) -> set[tuple[str, str, str]]:
        """(kind, operation, slot) of the records."""
        return {(change["kind"], change["op"], change["slot"]) for change in self.changes}

    def the(self, kind: str) -> dict[str, Any]:
        """The only record of a kind."""
        (found,) = [change for change in self.changes if change["kind"] == kind]
        return found


class PlanRepository:
    """A work tree whose commits a test makes."""

    def __init__(self, folder: Path, capture: pytest.CaptureFixture[bytes]) -> None:
        self.folder = folder
        self._capture = capture
        folder.mkdir(parents=True, exist_ok=True)
        self.git("init", "--quiet", "--initial-branch=main")

    def git(self, *arguments: str) -> str:
        """Run git in the folder, whatever the machine's own settings say."""
        done = subprocess.run(
            ["git", "-c", "user.name=Ada", "-c", "user.email=ada@example.org", *arguments],
            cwd=self.folder,
            env={**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull},
            check=True,
            capture_output=True,
        )
        return done.stdout.decode(errors="replace").strip()

    def write(self, files: Files) -> None:
        """Put files into the work tree, or take them away."""
        for path, content in files.items():
            place = self.folder / path
            if content is None:
                place.unlink()
                continue
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content.encode() if isinstance(content, str) else content)

    def commit(self, files: Files, message: str = "change") -> str:
        """Write files and commit everything; returns the commit."""
        self.write(files)
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", message)
        return self.git("rev-parse", "HEAD")

    def history(self, old: Files, new: Files) -> None:
        """Two commits, the second on top of the first."""
        self.commit(old)
        self.commit(new)

    def plan(self, *arguments: str, output: str = "json", where: Path | None = None) -> Output:
        """Run `weir plan` on the repository."""
        self._capture.readouterr()
        try:
            status = main(["plan", *arguments, "--repo", str(where or self.folder), "-o", output])
        except SystemExit as left:
            status = int(str(left.code))
        captured = self._capture.readouterr()
        return Output(status, captured.out.decode(), captured.err.decode())


def deployment(*args: str, image: str = "vllm/vllm-openai:v0.11.0", name: str = "chat", extra: str = "") -> str:
    """A vLLM server."""
    listed = "".join(f"            - {json.dumps(arg)}\n" for arg in args)
    return (
        f"apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: {name}, namespace: ml}}\nspec:\n  template:\n"
        f"    spec:\n      containers:\n        - name: vllm\n          image: {image}\n          args:\n"
        f"{listed}{extra}"
    )


def service(uri: str, name: str = "sentiment", namespace: str = "ml") -> str:
    """A KServe InferenceService."""
    return (
        "apiVersion: serving.kserve.io/v1beta1\nkind: InferenceService\n"
        f"metadata: {{name: {name}, namespace: {namespace}}}\n"
        f"spec:\n  predictor:\n    model:\n      storageUri: {uri}\n"
    )


def kustomization(*resources: str, more: str = "") -> str:
    """A kustomization file."""
    listed = "".join(f"  - {resource}\n" for resource in resources)
    return f"apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources:\n{listed}{more}"


def flux(name: str, path: str, more: str = "", source: str = "GitRepository") -> str:
    """A Flux Kustomization."""
    return (
        "apiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\n"
        f"metadata: {{name: {name}, namespace: flux-system}}\nspec:\n  interval: 10m\n  prune: true\n"
        f"  path: {path}\n  sourceRef: {{kind: {source}, name: flux-system}}\n{more}"
    )


def lfs(oid: str, size: int = 12) -> str:
    """A Git LFS pointer."""
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{oid * 64}\nsize {size}\n"


def dvc(md5: str, path: str = "train.csv") -> str:
    """A .dvc file."""
    return f"outs:\n- md5: {md5 * 32}\n  size: 5\n  hash: md5\n  path: {path}\n"
