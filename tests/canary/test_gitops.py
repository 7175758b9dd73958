"""The whole way: a commit changes the target, the rollout owns what it owns, a rollback survives every later sync."""

from pathlib import Path
from typing import Any

import yaml
from canary_agent import eventually
from canary_cluster import CRDS, Rollouts
from canary_gitops import KUSTOMIZATION, REPOSITORY, Judge, whole_agent

from testbed.controlplane import ControlPlane
from testbed.git import GitHTTPServer, GitRepository
from testbed.kube import Object, condition


class Repository:
    """Git with the target and its Canary, and the agent's view of it."""

    def __init__(self, git: GitRepository, rollouts: Rollouts, hook: str) -> None:
        self.git = git
        self.rollouts = rollouts
        self.hook = hook
        self.pulls = 0

    def files(self, version: str, *, replicas: int = 2, note: str = "") -> dict[str, str]:
        target = self.rollouts.target(self.rollouts.sleeper(version), replicas=replicas)
        if note:
            target["metadata"]["annotations"] = {"note": note}
        canary = self.rollouts.canary(
            analysis={
                "stepWeight": None,
                "maxWeight": None,
                "iterations": 2,
                "webhooks": [{"name": "judge", "type": "rollout", "url": self.hook}],
            }
        )
        canary["spec"]["provider"] = "kubernetes"
        canary["spec"]["service"] = {"port": 80, "targetPort": 8080}
        return {"target.yaml": yaml.safe_dump(target), "canary.yaml": yaml.safe_dump(canary)}

    async def push(self, version: str, **changes: Any) -> None:
        """Commit and wait until the commit is applied."""
        commit = self.git.commit(self.files(version, **changes))
        await self.sync(commit)

    async def sync(self, commit: str) -> None:
        self.pulls += 1
        await self._request(*REPOSITORY, str(self.pulls))
        await self.rollouts.admin.wait_for(
            *KUSTOMIZATION, self.rollouts.namespace, "app", lambda found: _applied(found, commit)
        )

    async def again(self) -> None:
        """Another pass over the same commit, asked for by a person."""
        self.pulls += 1
        await self._request(*KUSTOMIZATION, str(self.pulls))
        await self.rollouts.admin.wait_for(
            *KUSTOMIZATION,
            self.rollouts.namespace,
            "app",
            lambda found: (found or {}).get("status", {}).get("lastHandledReconcileAt") == str(self.pulls),
        )

    async def _request(self, api: str, kind: str, value: str) -> None:
        patch = {"metadata": {"annotations": {"reconcile.fluxcd.io/requestedAt": value}}}
        await self.rollouts.admin.patch(api, kind, self.rollouts.namespace, "app", patch)


def _applied(found: Object | None, commit: str) -> bool:
    status = (found or {}).get("status", {})
    return condition(found, "Ready") == "True" and commit in status.get("lastAppliedRevision", "")


async def test_a_rollback_survives_the_sync(
    control_plane: ControlPlane, rollouts: Rollouts, judge: tuple[Judge, str], tmp_path: Path
) -> None:
    verdict, hook = judge
    await rollouts.admin.apply_files(sorted(CRDS.glob("*toolkit*.yaml")))
    async with GitHTTPServer(tmp_path / "git") as server:
        repository = Repository(server.repository(rollouts.namespace), rollouts, hook)
        commit = repository.git.commit(repository.files("1"))
        metadata = {"name": "app", "namespace": rollouts.namespace}
        source = {"url": server.url(rollouts.namespace), "interval": "10m", "ref": {"branch": "main"}}
        reference = {"kind": "GitRepository", "name": "app"}
        spec = {"interval": "10m", "prune": True, "path": "./", "sourceRef": reference}
        await rollouts.apply(
            {"apiVersion": REPOSITORY[0], "kind": REPOSITORY[1], "metadata": metadata, "spec": source},
            {"apiVersion": KUSTOMIZATION[0], "kind": KUSTOMIZATION[1], "metadata": metadata, "spec": spec},
        )
        async with whole_agent(control_plane, rollouts.namespace, tmp_path / "weir"):
            await repository.sync(commit)
            await rollouts.phase("Initialized")
            assert (await rollouts.replicas("chat"), await rollouts.replicas("chat-primary")) == (0, 2)
            await repository.again()
            assert await rollouts.replicas("chat") == 0

            await repository.push("2")
            await eventually(lambda: _primary_is(rollouts, "2"))
            await rollouts.phase("Succeeded")

            verdict.refuses = True
            await repository.push("3")
            rejected = await rollouts.phase("Failed")
            await eventually(lambda: _down(rollouts))
            await eventually(lambda: _gone(rollouts))
            pods = await _replica_sets(rollouts)
            await repository.again()
            await repository.push("3", note="unrelated")
            await _unmoved(rollouts, rejected)
            assert await _replica_sets(rollouts) == pods
        async with whole_agent(control_plane, rollouts.namespace, tmp_path / "weir"):
            await repository.again()
            await _unmoved(rollouts, rejected)
            assert await _replica_sets(rollouts) == pods

            await repository.push("2")
            await rollouts.phase("Succeeded")
            assert (await rollouts.version("chat-primary"), await rollouts.replicas("chat")) == ("2", 0)

            verdict.refuses = False
            await repository.push("4", replicas=3)
            await eventually(lambda: _primary_is(rollouts, "4"))
            await rollouts.phase("Succeeded")
            assert (await rollouts.replicas("chat"), await rollouts.replicas("chat-primary")) == (0, 3)
            await repository.push("4", replicas=1)
            await eventually(lambda: _primary_has(rollouts, 1))
    starts = [text for text in await rollouts.events() if text.startswith("New revision detected!")]
    assert len(starts) == 3


async def _down(rollouts: Rollouts) -> bool:
    return await rollouts.replicas("chat") == 0


async def _gone(rollouts: Rollouts) -> bool:
    return not await rollouts.admin.list("v1", "Pod", rollouts.namespace, "app=chat")


async def _primary_has(rollouts: Rollouts, replicas: int) -> bool:
    return await rollouts.replicas("chat-primary") == replicas


async def _primary_is(rollouts: Rollouts, version: str) -> bool:
    return await rollouts.version("chat-primary") == version


async def _replica_sets(rollouts: Rollouts) -> dict[str, int]:
    """Generations of the target's ReplicaSets: they grow whenever pods of it come or go."""
    found = await rollouts.admin.list("apps/v1", "ReplicaSet", rollouts.namespace, "app=chat")
    return {item["metadata"]["name"]: item["metadata"]["generation"] for item in found}


async def _unmoved(rollouts: Rollouts, status: Object) -> None:
    assert await rollouts.still(status)
    assert await rollouts.replicas("chat") == 0
    assert await rollouts.version("chat-primary") == "2"
