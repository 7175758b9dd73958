"""A registry's tag moves and no commit says so: it is seen, resolved, judged by what clients get, and held if bad."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from canary_cluster import CRDS, Rollouts, traffic
from canary_gitops import KUSTOMIZATION, REPOSITORY, whole_agent

from testbed.controlplane import ControlPlane
from testbed.gateway import ProcessGateway
from testbed.git import GitHTTPServer
from testbed.kube import Admin, Object, condition
from testbed.node import Access, Image, ProcessNode, python_module
from testbed.ociregistry import OciRegistry, oci_registry
from testbed.processes import until
from testbed.prometheus import Prometheus

REFERENCE = "registry.example/team/chat:stable"
NOTE = "weir.dev/model-digest.volume-model"
IMAGES: dict[str, Image] = {"model-server": python_module("testbed.model_server")}


@pytest.fixture(scope="module")
async def node(access: Access, admin: Admin, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ProcessNode]:
    """A node that pulls what `Tag.move` has pushed."""
    await admin.apply_files(sorted(CRDS.glob("*.yaml"), key=lambda path: path.name == "kustomization.yaml")[:-1])
    workdir = tmp_path_factory.mktemp("node")
    async with ProcessNode(access, workdir=workdir, images=IMAGES, name="moved-tag") as running:
        yield running
    await admin.delete("v1", "Node", None, running.name)


@pytest.fixture
async def registry(tmp_path: Path) -> AsyncIterator[OciRegistry]:
    async with oci_registry(tmp_path) as running:
        yield running


class Tag:
    """The tag, in the registry and on the node."""

    def __init__(self, registry: OciRegistry, folder: Path) -> None:
        self._registry = registry
        self._folder = folder

    async def move(self, version: str, **chaos: float) -> str:
        """Push another model under the tag; its digest."""
        model = {"name": "adder", "version": version, "weights": [1, 1], "chaos": chaos}
        content = self._folder / version
        content.mkdir()
        (content / "model.json").write_text(json.dumps(model))
        IMAGES[REFERENCE] = Image(content=content)
        return await self._registry.push("team/chat", "stable", {"application/json": json.dumps(model).encode()})


def manifests(rollouts: Rollouts, note: str = "") -> dict[str, str]:
    container = rollouts.server("/models/model.json")
    container["volumeMounts"] = [{"name": "model", "mountPath": "/models"}]
    container["env"] = [{"name": "NOTE", "value": note}]
    volume = {"name": "model", "image": {"reference": REFERENCE, "pullPolicy": "Always"}}
    target = rollouts.target(container, volumes=[volume])
    quick = {"weir.dev/warm-up": "1s", "weir.dev/min-requests": "100"}
    analysis = {"interval": "1s", "threshold": 1, "stepWeight": 50, "maxWeight": 50}
    canary = rollouts.canary(annotations=quick, analysis=analysis)
    return {"target.yaml": yaml.safe_dump(target), "canary.yaml": yaml.safe_dump(canary)}


def policy(namespace: str, registry: OciRegistry) -> Object:
    resolution = {"interval": "1s", "registries": [{"scheme": "oci", "endpoint": registry.url}]}
    rules = [{"action": "canary", "kinds": ["model"], "operations": ["floated"]}]
    return {
        "apiVersion": "weir.dev/v1alpha1",
        "kind": "ChangePolicy",
        "metadata": {"name": "tags", "namespace": namespace},
        "spec": {"resolution": resolution, "rules": rules},
    }


async def synced(rollouts: Rollouts, commit: str) -> None:
    for api, kind in (REPOSITORY, KUSTOMIZATION):
        patch = {"metadata": {"annotations": {"reconcile.fluxcd.io/requestedAt": commit}}}
        await rollouts.admin.patch(api, kind, rollouts.namespace, "app", patch)
    await rollouts.admin.wait_for(
        *KUSTOMIZATION,
        rollouts.namespace,
        "app",
        lambda found: (
            condition(found, "Ready") == "True"
            and commit in (found or {}).get("status", {}).get("lastAppliedRevision", "")
        ),
    )


async def tried(rollouts: Rollouts, digest: str) -> None:
    """Wait until the target's pods are made for that content."""

    def made(found: Object | None) -> bool:
        return bool(found) and found["spec"]["template"]["metadata"]["annotations"].get(NOTE) == digest

    await rollouts.admin.wait_for("apps/v1", "Deployment", rollouts.namespace, "chat", made)


async def told(rollouts: Rollouts, text: str) -> None:
    async def is_told() -> bool:
        return any(text in line for line in await rollouts.events("app", "Kustomization"))

    await until(is_told, timeout=60, what=text)


async def quarantine(rollouts: Rollouts) -> list[dict[str, Any]]:
    found = await rollouts.get("Canary", "chat", "flagger.app/v1beta1")
    assert found is not None
    return list(json.loads(found["metadata"]["annotations"].get("weir.dev/quarantine", "[]")))


async def test_a_tag_that_moves_is_judged_and_what_is_worse_is_held(
    control_plane: ControlPlane,
    rollouts: Rollouts,
    edge: ProcessGateway,
    prometheus: Prometheus,
    registry: OciRegistry,
    tmp_path: Path,
) -> None:
    tag = Tag(registry, tmp_path)
    first = await tag.move("v1")
    async with GitHTTPServer(tmp_path / "git") as server:
        git = server.repository(rollouts.namespace)
        commit = git.commit(manifests(rollouts))
        metadata = {"name": "app", "namespace": rollouts.namespace}
        source = {"url": server.url(rollouts.namespace), "interval": "10m", "ref": {"branch": "main"}}
        spec = {"interval": "10m", "prune": True, "path": "./", "sourceRef": {"kind": "GitRepository", "name": "app"}}
        await rollouts.apply(
            policy(rollouts.namespace, registry),
            {"apiVersion": REPOSITORY[0], "kind": REPOSITORY[1], "metadata": metadata, "spec": source},
            {"apiVersion": KUSTOMIZATION[0], "kind": KUSTOMIZATION[1], "metadata": metadata, "spec": spec},
        )
        agent = whole_agent(control_plane, rollouts.namespace, tmp_path / "weir", metrics_server=prometheus.url)
        async with agent, traffic(edge, rollouts.host) as clients:
            await synced(rollouts, commit)
            await rollouts.phase("Initialized")

            # the tag moves: seen, resolved, judged by counts, rejected
            worse = await tag.move("v2", error_rate=0.5)
            await told(rollouts, f"({first[:19]}) -> oci://{REFERENCE} ({worse[:19]}) (floated)")
            await tried(rollouts, worse)
            status = await rollouts.phase("Failed", "Succeeded", within=120)
            assert (status["phase"], status["judge"]["mode"], status["judge"]["verdict"]) == (
                "Failed",
                "guarded",
                "fail",
            )
            (entry,) = [one for one in await quarantine(rollouts) if one["slot"] == "volume[model]"]
            assert (entry["rejected"], entry["digest"].split()) == (
                REFERENCE,
                [f"oci://{REFERENCE}", worse],
            )

            # held: a commit that restarts the pods does not slip the same content through
            commit = git.commit(manifests(rollouts, note="later"))
            await synced(rollouts, commit)
            await rollouts.until(lambda status: "Quarantined" in str(status.get("conditions")))
            assert (await rollouts.status())["phase"] == "Failed"
            assert await rollouts.weights() == (100, 0)

            # better content under the same tag is let in, and answers
            better = await tag.move("v3")
            await tried(rollouts, better)
            await rollouts.phase("Succeeded", within=120)
            primary = await rollouts.get("Deployment", "chat-primary")
            assert primary is not None
            assert primary["spec"]["template"]["metadata"]["annotations"][NOTE] == better
            before = clients.versions["v3"]

            async def answers() -> bool:
                return clients.versions["v3"] > before

            await until(answers, timeout=60, what="an answer of the better model")
