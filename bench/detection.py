"""What reading commits as changes of models costs: `python -m bench.detection`.

Memory: 1,000 Kustomizations with 10,000 references under a policy that follows all of them, beside the rendered
objects, which are there anyway. Time: the share that detection has in passes that change something, and in those that
do not, of a whole agent on a control plane.
"""

from __future__ import annotations

import asyncio
import gc
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from agent.adapters.kube.config import load
from agent.api.changepolicy import ChangePolicy
from agent.api.kustomization import Kustomization
from agent.app import serve
from agent.controllers.applied import Applied, AppliedObjects
from agent.controllers.changes import ChangeRecorder
from agent.controllers.floats import Floats
from agent.controllers.kustomization.reconciler import KustomizationReconciler
from agent.core.models import Digest, Identity, Ref
from agent.settings import Address, Settings
from agent.telemetry import logging
from bench.lab import KS, REPO
from testbed.controlplane import ControlPlane
from testbed.git import GitHTTPServer
from testbed.kube import Admin, condition
from testbed.ports import free_port

KUSTOMIZATIONS = 1000
SERVERS = 5
"""Objects of a Kustomization, with two references each."""
OBJECTS = 20
COMMITS = 30
_PAGE = 4096
_MIB = 1024 * 1024


def server(name: str, revision: str, *, namespace: str = "") -> dict[str, Any]:
    """A model server without pods: an image and a model."""
    container = {
        "name": "vllm",
        "image": f"registry.example/{name}:v1",
        "args": ["--model", f"org/{name}", "--revision", revision],
    }
    labels = {"app": name}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name} | ({"namespace": namespace} if namespace else {}),
        "spec": {
            "replicas": 0,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
        },
    }


class _Hub:
    """Knows the content of everything."""

    async def resolved(self, refs: Iterable[Ref], _policies: Any, **_: Any) -> dict[str, Ref]:
        """A digest for each."""
        known = Identity(resolved_at="2026-11-29T12:00:00Z", revision="0" * 40)
        return {
            ref.canonical: replace(
                ref, identity=known, digest=Digest("sha256", f"{hash(ref.canonical):064x}", "files", "x")
            )
            for ref in refs
        }


async def memory() -> float:
    """MiB for following all references, beside the objects themselves."""
    rendered = [
        tuple(
            json.dumps(server(f"s{number}-{place}", "main", namespace=f"team-{number}")).encode()
            for place in range(SERVERS)
        )
        for number in range(KUSTOMIZATIONS)
    ]
    spec = {"resolution": {"interval": "10m", "registries": [{"scheme": "hf"}, {"scheme": "oci"}]}}
    policy = ChangePolicy.from_object({"metadata": {"namespace": "team", "name": "p"}, "spec": spec})
    hub: Any = _Hub()
    applied, target = AppliedObjects(), None

    async def nothing(*_: Any) -> None:
        return None

    before = _resident()
    floats = Floats(hub, nothing, remembered=lambda _name: {}, looked=nothing)
    for number, objects in enumerate(rendered):
        kustomization = Kustomization.from_object(
            {
                "metadata": {"namespace": f"team-{number}", "name": "app"},
                "spec": {"interval": "10m", "prune": True, "sourceRef": {"kind": "GitRepository", "name": "repo"}},
            }
        )
        some: Any = target
        floats.follow(kustomization, "main@sha1:1", objects, [policy], target=some)
        applied.put((f"team-{number}", "app"), Applied("main@sha1:1", "sha256:1", objects, frozenset()))
    await floats.look()
    found = sum(len(floats.known((f"team-{number}", "app"))) for number in range(KUSTOMIZATIONS))
    assert found == KUSTOMIZATIONS * SERVERS * 2, found
    return _resident() - before


def _resident() -> float:
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE / _MIB


@dataclass(slots=True)
class Spent:
    """Seconds of each pass, and of the detection in it."""

    passes: list[float] = field(default_factory=list)
    detections: list[float] = field(default_factory=list)

    def row(self) -> dict[str, float]:
        """Medians in ms."""
        whole, part = (statistics.median(values or [0.0]) * 1000 for values in (self.passes, self.detections))
        return {"pass_ms": round(whole, 1), "detection_ms": round(part, 1), "detections": len(self.detections)}


def _timed(spent: Spent) -> None:
    """Have this process's passes timed."""
    reconcile, detect = KustomizationReconciler.reconcile, ChangeRecorder.detect

    async def pass_timed(self: Any, key: Any) -> Any:
        began = time.perf_counter()
        result = await reconcile(self, key)
        spent.passes.append(time.perf_counter() - began)
        return result

    async def detect_timed(self: Any, *arguments: Any) -> Any:
        began = time.perf_counter()
        result = await detect(self, *arguments)
        spent.detections.append(time.perf_counter() - began)
        return result

    replaced: list[tuple[Any, str, Any]] = [
        (KustomizationReconciler, "reconcile", pass_timed),
        (ChangeRecorder, "detect", detect_timed),
    ]
    for owner, name, timed in replaced:
        setattr(owner, name, timed)


async def share() -> list[dict[str, Any]]:
    """Passes of one Kustomization of 20 objects: commits that change one model, then passes over the same commit."""
    spent = Spent()
    _timed(spent)
    with tempfile.TemporaryDirectory(prefix="weir-bench-") as name:
        folder = Path(name)
        async with (
            ControlPlane() as plane,
            GitHTTPServer(folder) as git,
            Admin(plane.url, plane.ca_file, plane.admin_token) as admin,
        ):
            await admin.apply_files(sorted((Path(__file__).parents[1] / "config" / "crd").glob("*.*_*.yaml")))
            await admin.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "bench"}})
            stop = asyncio.Event()
            async with asyncio.TaskGroup() as group:
                group.create_task(serve(_settings(folder), await load(str(plane.kubeconfig)), stop))
                rows = await _play(admin, git, spent)
                stop.set()
    return rows


async def _play(admin: Admin, git: GitHTTPServer, spent: Spent) -> list[dict[str, Any]]:
    repository = git.repository("repo")
    files = {f"s{place}.yaml": json.dumps(server(f"s{place}", "0" * 40)) for place in range(OBJECTS)}
    commit = repository.commit(files)
    source = {"url": git.url("repo"), "interval": "60m", "ref": {"branch": "main"}}
    reference = {"kind": "GitRepository", "name": "repo"}
    spec = {"interval": "60m", "prune": True, "path": "./", "targetNamespace": "bench", "sourceRef": reference}
    metadata = {"name": "repo", "namespace": "bench"}
    await admin.apply({"apiVersion": REPO[0], "kind": REPO[1], "metadata": metadata, "spec": source})
    await admin.apply({"apiVersion": KS[0], "kind": KS[1], "metadata": metadata, "spec": spec})
    await _applied(admin, commit)
    rows = []
    for what in ("changes one model", "changes nothing"):
        spent.passes.clear()
        spent.detections.clear()
        for number in range(COMMITS):
            if what == "changes one model":
                commit = repository.commit({"s0.yaml": json.dumps(server("s0", f"{number + 1:040x}"))})
                await _ask(admin, REPO, commit)
            else:
                commit = repository.commit({"README.md": str(number)})
                await _ask(admin, REPO, commit)
            await _applied(admin, commit)
        rows.append({"a pass that": what, **spent.row()})
    return rows


async def _ask(admin: Admin, kind: Sequence[str], value: str) -> None:
    patch = {"metadata": {"annotations": {"reconcile.fluxcd.io/requestedAt": value}}}
    await admin.patch(kind[0], kind[1], "bench", "repo", patch)


async def _applied(admin: Admin, commit: str) -> None:
    await admin.wait_for(
        *KS,
        "bench",
        "repo",
        lambda found: (
            condition(found, "Ready") == "True"
            and commit in (found or {}).get("status", {}).get("lastAppliedRevision", "")
        ),
        timeout=60,
    )


def _settings(folder: Path) -> Settings:
    addresses = [Address(host="127.0.0.1", port=free_port()) for _ in range(4)]
    return Settings(
        storage_path=folder / "weir",
        runtime_namespace="bench",
        storage_addr=addresses[0],
        storage_adv_addr=str(addresses[0]),
        health_addr=addresses[1],
        metrics_addr=addresses[2],
        api_addr=addresses[3],
        interval_jitter=0.0,
        log_level="error",
    )


def main() -> None:
    """Measure, and print one JSON line for each figure."""
    logging.configure("error", sys.stderr)
    followed = asyncio.run(memory())
    count = KUSTOMIZATIONS * SERVERS * 2
    print(json.dumps({"references": count, "kustomizations": KUSTOMIZATIONS, "mib": round(followed, 1)}))
    for row in asyncio.run(share()):
        print(json.dumps(row))


if __name__ == "__main__":
    main()
