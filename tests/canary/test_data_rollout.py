"""The whole way of data: a commit brings a revision and the data it was made from, and it waits for the run on that."""

import json
from pathlib import Path

import yaml
from canary_agent import eventually
from canary_cluster import CRDS, Rollouts
from canary_gitops import KUSTOMIZATION, REPOSITORY, whole_agent

from testbed.controlplane import ControlPlane
from testbed.git import GitHTTPServer
from testbed.kube import Object

GOOD, BAD = f"sha256:{'2b' * 32}", f"sha256:{'3c' * 32}"


def evaluation() -> Object:
    """A Job whose report is bad for one of the data."""
    reports = (json.dumps({"metrics": {"accuracy": accuracy}}) for accuracy in (0.4, 0.95))
    script = "case $WEIR_DATA_NEW_DIGEST in {}) echo '{}';; *) echo '{}';; esac > /dev/termination-log"
    container = {"name": "evaluate", "image": "sleeper:1.0", "command": ["/bin/sh", "-c", script.format(BAD, *reports)]}
    pod = {"restartPolicy": "Never", "containers": [container]}
    return {"apiVersion": "batch/v1", "kind": "Job", "spec": {"backoffLimit": 0, "template": {"spec": pod}}}


def files(rollouts: Rollouts, version: str, data: str) -> dict[str, str]:
    target = rollouts.target(rollouts.sleeper(version))
    target["spec"]["template"]["metadata"]["annotations"]["weir.dev/data-digest"] = data
    gate = {"name": "data", "type": "pre-rollout", "url": "trigger://evaluate", "metadata": {"min.accuracy": "0.9"}}
    canary = rollouts.canary(
        provider="kubernetes", analysis={"stepWeight": None, "maxWeight": None, "iterations": 1, "webhooks": [gate]}
    )
    trigger = {
        "apiVersion": "weir.dev/v1alpha1",
        "kind": "DataTrigger",
        "metadata": {"name": "evaluate", "namespace": rollouts.namespace},
        "spec": {"selector": {"schemes": ["declared"]}, "settleFor": "0s", "template": evaluation()},
    }
    objects = {"target": target, "canary": canary, "trigger": trigger}
    return {f"{name}.yaml": yaml.safe_dump(found) for name, found in objects.items()}


async def test_a_revision_waits_for_the_evaluation_of_its_data_and_goes_as_that_goes(
    control_plane: ControlPlane, rollouts: Rollouts, tmp_path: Path
) -> None:
    await rollouts.admin.apply_files([*sorted(CRDS.glob("*toolkit*.yaml")), CRDS / "weir.dev_datatriggers.yaml"])
    metadata = {"name": "app", "namespace": rollouts.namespace}

    async def push(version: str, data: str) -> None:
        commit = git.commit(files(rollouts, version, data))
        patch = {"metadata": {"annotations": {"reconcile.fluxcd.io/requestedAt": commit}}}
        await rollouts.admin.patch(*REPOSITORY, rollouts.namespace, "app", patch)

    async with GitHTTPServer(tmp_path / "git") as server:
        git = server.repository(rollouts.namespace)
        git.commit(files(rollouts, "1", f"sha256:{'1a' * 32}"))
        source = {"url": server.url(rollouts.namespace), "interval": "10m", "ref": {"branch": "main"}}
        spec = {"interval": "10m", "prune": True, "sourceRef": {"kind": "GitRepository", "name": "app"}}
        await rollouts.apply(
            {"apiVersion": REPOSITORY[0], "kind": REPOSITORY[1], "metadata": metadata, "spec": source},
            {"apiVersion": KUSTOMIZATION[0], "kind": KUSTOMIZATION[1], "metadata": metadata, "spec": spec},
        )
        async with whole_agent(control_plane, rollouts.namespace, tmp_path / "weir"):
            await rollouts.phase("Initialized")
            await eventually(lambda: _watches(rollouts))
            await push("2", GOOD)
            await eventually(lambda: _promoted(rollouts, "2"))
            await rollouts.phase("Succeeded")
            await eventually(lambda: rollouts.told(f"Gate data of chat.{rollouts.namespace} passed: accuracy 0.95"))
            await push("3", BAD)
            await rollouts.phase("Failed")
            failed = f"Gate data of chat.{rollouts.namespace} failed: accuracy 0.4 < 0.9"
            await eventually(lambda: rollouts.told(failed))
            assert await rollouts.version("chat-primary") == "2"
            jobs = await rollouts.admin.list("batch/v1", "Job", rollouts.namespace)
            assert sorted(job["metadata"]["annotations"]["weir.dev/data"] for job in jobs) == [GOOD, BAD]


async def _watches(rollouts: Rollouts) -> bool:
    found = await rollouts.get("DataTrigger", "evaluate", "weir.dev/v1alpha1")
    return bool((found or {}).get("status", {}).get("slots"))


async def _promoted(rollouts: Rollouts, version: str) -> bool:
    return await rollouts.version("chat-primary") == version
