"""A push that a rule of the server declines is told once, and not tried again and again."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

from agent.adapters.git import GitOperationError, PushDeclinedError
from agent.adapters.kube.resource import SECRETS
from agent.api.gitrepository import GitRepository
from agent.api.kustomization import Kustomization
from agent.controllers.writeback.reconciler import WriteBackParts, WriteBackReconciler
from agent.core.rollout.quarantine import QUARANTINE
from agent.core.writeback.result import STATUS, Written
from agent.runtime.controller import Done, RequeueAfter

KEY = ("ml", "chat")
REJECTED = {
    "slot": "container[server].model",
    "kind": "model",
    "rejected": "hf://acme/chat@2",
    "digest": "hf://acme/chat@2",
    "restore": "hf://acme/chat@1",
    "restoreDigest": "hf://acme/chat@1",
    "revision": "v2:bad",
    "at": "2026-11-29T10:00:00Z",
}
ALLOWED = {
    "weir.dev/write-back": "commit",
    "weir.dev/write-back-secret": "writer",
    "weir.dev/write-back-branch": "main",
}
SAID = "failed to push to 'https://git.example.org/apps': remote: main is protected"


class Cluster:
    """A Canary that has rejected a revision, its target, and a Secret; and a Git server that answers a push."""

    def __init__(self) -> None:
        self.annotations: dict[str, str] = {QUARANTINE: json.dumps([REJECTED])}
        self.policy = dict(ALLOWED)
        self.pushes: list[str] = []
        self.refusal: Exception | None = PushDeclinedError(SAID)
        self.told: list[str] = []

    async def find(self, resource: Any, *_key: str) -> dict[str, Any]:
        metadata = {"name": "chat", "namespace": "ml", "uid": "u1"}
        if resource.kind == "Deployment":
            owner = {"kustomize.toolkit.fluxcd.io/name": "app", "kustomize.toolkit.fluxcd.io/namespace": "ml"}
            return {"metadata": {**metadata, "labels": owner}}
        return {
            "metadata": {**metadata, "annotations": dict(self.annotations)},
            "spec": {
                "targetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "chat"},
                "service": {"port": 80},
                "analysis": {},
            },
            "status": {"phase": "Failed", "lastAppliedSpec": "v2:bad"},
        }

    async def get(self, resource: Any, *_key: str) -> dict[str, Any]:
        assert resource is SECRETS
        return {"data": {"username": "d2Vpcg==", "password": "aHVzaA=="}}

    async def merge_patch(self, *_where: Any, **_how: Any) -> dict[str, Any]:
        self.annotations |= _where[3]["metadata"]["annotations"]
        return {}

    async def write(self, task: Any) -> Written:
        self.pushes.append(task.policy.branch)
        if self.refusal is not None:
            raise self.refusal
        return Written(revision=task.revision, state="committed", text="put back", branch=task.policy.branch)

    def event(self, _about: Any, kind: str, _reason: str, text: str, **_more: str) -> None:
        self.told.append(f"{kind}: {text}")

    @property
    def result(self) -> dict[str, str]:
        return dict(json.loads(self.annotations[STATUS]))

    def reconciler(self) -> WriteBackReconciler:
        """Of a process that has just begun."""
        metadata = {"name": "app", "namespace": "ml", "annotations": self.policy}
        source = {"url": "https://git.example.org/apps", "ref": {"branch": "main"}, "interval": "1m"}
        repository = GitRepository.from_object({"metadata": metadata, "spec": source})
        spec = {"interval": "1m", "prune": True, "path": "./", "sourceRef": {"kind": "GitRepository", "name": "app"}}
        kustomization = Kustomization.from_object({"metadata": {"name": "app", "namespace": "ml"}, "spec": spec})
        parts: Any = SimpleNamespace
        return WriteBackReconciler(
            WriteBackParts(
                client=self,  # type: ignore[arg-type]
                repositories=parts(get=lambda *_key: repository),
                kustomizations=parts(get=lambda *_key: kustomization, list=lambda: [kustomization]),
                registry=parts(get=lambda _key: parts()),
                writer=self,  # type: ignore[arg-type]
                home=lambda _kustomization: self,  # type: ignore[arg-type,return-value]
                events=self,  # type: ignore[arg-type]
                wake=lambda _key: None,
            )
        )


async def test_it_is_told_with_the_remedy_and_not_pushed_again() -> None:
    cluster = Cluster()
    reconciler = cluster.reconciler()
    for _ in range(3):
        assert isinstance(await reconciler.reconcile(KEY), RequeueAfter)
    assert isinstance(await cluster.reconciler().reconcile(KEY), RequeueAfter), "nor by a process after this one"
    assert cluster.pushes == ["main"]
    (told,) = cluster.told
    assert told.startswith(
        f"Warning: the server's rules decline a push to main: {SAID}; use pull-request, or have them"
    )
    assert told.endswith("remove the annotation weir.dev/write-back-status to try again")
    assert (cluster.result["state"], cluster.result["branch"]) == ("declined", "main")


async def test_it_is_tried_again_when_a_person_says_so_or_has_another_branch() -> None:
    cluster = Cluster()
    await cluster.reconciler().reconcile(KEY)
    del cluster.annotations[STATUS]
    await cluster.reconciler().reconcile(KEY)
    cluster.policy["weir.dev/write-back-branch"] = "rollbacks"
    await cluster.reconciler().reconcile(KEY)
    assert cluster.pushes == ["main", "main", "rollbacks"]
    assert cluster.result["branch"] == "rollbacks"
    cluster.refusal = None
    cluster.policy["weir.dev/write-back-branch"] = "main"
    assert isinstance(await cluster.reconciler().reconcile(KEY), Done)
    assert (cluster.result["state"], len(cluster.pushes)) == ("committed", 4)


async def test_a_pull_request_instead_is_tried() -> None:
    cluster = Cluster()
    await cluster.reconciler().reconcile(KEY)
    cluster.policy |= {"weir.dev/write-back": "pull-request", "weir.dev/write-back-provider": "gitea"}
    await cluster.reconciler().reconcile(KEY)
    await cluster.reconciler().reconcile(KEY)
    assert len(cluster.pushes) == 2
    assert cluster.result["branch"].startswith("weir/put-back/ml-chat-")
    assert "use pull-request" not in cluster.result["text"]


async def test_what_may_pass_is_tried_again() -> None:
    cluster = Cluster()
    cluster.refusal = GitOperationError("failed to push: the server is busy")
    reconciler = cluster.reconciler()
    for _ in range(3):
        assert isinstance(await reconciler.reconcile(KEY), RequeueAfter)
    assert (len(cluster.pushes), cluster.result["state"]) == (3, "failed")


async def test_a_server_that_says_much_is_cut_short() -> None:
    cluster = Cluster()
    cluster.refusal = PushDeclinedError("x" * 5000)
    await cluster.reconciler().reconcile(KEY)
    assert len(cluster.result["text"]) < 1000
