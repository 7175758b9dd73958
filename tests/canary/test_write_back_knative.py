"""A rejected model of a Knative Service, put back in Git: one more revision, which is analysed and promoted."""

import json
from pathlib import Path

import pytest
from aiohttp import web
from canary_cluster import CRDS, FLAGGER, NAME, Rollouts
from canary_gitops import KUSTOMIZATION, REPOSITORY, whole_agent
from foreign_crds import KNATIVE, KNATIVE_API, serve
from knative_world import canary, controller, service
from loopback import listening

from testbed.controlplane import ControlPlane
from testbed.git import GitHTTPServer
from testbed.kube import Admin

GOOD, BAD = "hf://acme/chat@" + "1" * 40, "hf://acme/chat@" + "2" * 40


@pytest.fixture(scope="module", autouse=True)
async def knative(admin: Admin, tmp_path_factory: pytest.TempPathFactory) -> None:
    await serve(admin, tmp_path_factory.mktemp("crds"), KNATIVE)
    await admin.apply_files(sorted(CRDS.glob("*toolkit*.yaml")))


async def test_the_reference_of_a_knative_service_goes_back(
    control_plane: ControlPlane, rollouts: Rollouts, tmp_path: Path
) -> None:
    metadata = {"name": "app", "namespace": rollouts.namespace}

    async def judge(_: web.Request) -> web.Response:
        """Refuses for as long as Git asks for the worse model."""
        return web.Response(status=500 if BAD in git.read("service.yaml").decode() else 200)

    async with GitHTTPServer(tmp_path / "git") as server, controller(rollouts), listening(judge) as hook:
        git = server.repository(rollouts.namespace)
        made = canary(rollouts, threshold=1, webhooks=[{"name": "judge", "type": "rollout", "url": hook}])
        allowed = {"": "commit", "-branch": "main", "-secret": "writer"}
        made["metadata"]["annotations"] |= {f"weir.dev/write-back{key}": value for key, value in allowed.items()}
        git.commit({"service.yaml": text(rollouts, GOOD), "canary.yaml": json.dumps(made)})
        source = {"url": server.url(rollouts.namespace), "interval": "1s", "ref": {"branch": "main"}}
        spec = {"interval": "10m", "prune": True, "path": "./", "sourceRef": {"kind": REPOSITORY[1], "name": "app"}}
        await rollouts.apply(
            {
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {**metadata, "name": "writer"},
                "stringData": {"username": "weir"},
            },
            {"apiVersion": REPOSITORY[0], "kind": REPOSITORY[1], "metadata": metadata, "spec": source},
            {"apiVersion": KUSTOMIZATION[0], "kind": KUSTOMIZATION[1], "metadata": metadata, "spec": spec},
        )
        async with whole_agent(control_plane, rollouts.namespace, tmp_path / "weir"):
            await rollouts.phase("Initialized")
            git.commit({"service.yaml": text(rollouts, BAD)})
            await rollouts.admin.wait_for(
                FLAGGER, "Canary", rollouts.namespace, NAME, lambda found: '"committed"' in str(found)
            )
            assert git.read("service.yaml").decode() == text(rollouts, GOOD)
            await rollouts.phase("Succeeded")
    found = await rollouts.get("Service", NAME, KNATIVE_API)
    assert found is not None
    assert found["metadata"]["annotations"]["flagger.app/primary-revision"] == f"{NAME}-00003"
    assert found["spec"]["template"]["spec"]["containers"][0]["args"] == [f"--model={GOOD}"]
    revision = await rollouts.get("Revision", f"{NAME}-00001", KNATIVE_API)
    assert revision is not None
    assert revision["spec"] == found["spec"]["template"]["spec"]


def text(rollouts: Rollouts, model: str) -> str:
    return json.dumps(service(rollouts, "v1", f"--model={model}"), indent=2)
