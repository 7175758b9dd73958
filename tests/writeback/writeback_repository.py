"""A repository with a rejected model in it, and a writer: real Git, real builds, no cluster."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pygit2

from agent.adapters.forges import Forges
from agent.adapters.git import GitMirrors, GitRemote
from agent.adapters.identity import Login
from agent.adapters.kube.client import KubeClient
from agent.api.kustomization import Kustomization
from agent.controllers.gitrepository.history import GitHistory
from agent.controllers.gitrepository.recipe import Recipe
from agent.controllers.kustomization.build import Builder
from agent.controllers.sources import SourceSnapshot
from agent.controllers.writeback.locating import Place
from agent.controllers.writeback.variables import Origin
from agent.controllers.writeback.writing import Task, Writer
from agent.core.composition import Composition
from agent.core.gitref import GitReference
from agent.core.models import FileChange
from agent.core.objects import ObjectKey
from agent.core.rollout.quarantine import Rejected
from agent.core.tree import Tree
from agent.core.writeback.policy import Policy
from agent.core.writeback.result import Written
from testbed.git import GitRepository

TIMEOUT = 60.0
GOOD, BAD = "hf://acme/chat@" + "1" * 40, "hf://acme/chat@" + "2" * 40
TARGET = ObjectKey("apps", "Deployment", "models", "chat")
COMMIT = Policy(mode="commit", secret=("models", "writer"), branch="main")
DEPLOYMENT = """\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: chat
  namespace: models
spec:
  selector: {matchLabels: {app: chat}}
  template:
    metadata: {labels: {app: chat}}
    spec:
      containers:
        - name: server
          image: IMAGE
          args: ["--model=REFERENCE"]   # asked for by the search team
"""


def deployment(reference: str, image: str = "acme/server:v1") -> str:
    return DEPLOYMENT.replace("REFERENCE", reference).replace("IMAGE", image)


def rejected(bad: str = BAD, good: str = GOOD, slot: str = "container[server].model", **meaning: str) -> Rejected:
    """What the quarantine says of a slot; `digest` and `restore_digest` where they are not as they are spelled."""
    given = {"digest": bad, "restore_digest": good, **meaning}
    return Rejected(
        slot=slot,
        kind="model",
        rejected=bad,
        restore=good,
        revision="v2:0123",
        at=datetime(2026, 1, 2, tzinfo=UTC),
        verdict="Halt chat.models advancement errors 12.00 > 1",
        **given,
    )


def rejected_image(bad: str, good: str) -> Rejected:
    """The same for the server's image."""
    slot = "container[server].image"
    return rejected(bad, good, slot, digest=f"oci://docker.io/{bad}", restore_digest=f"oci://docker.io/{good}")


def kustomization(name: str = "chat", path: str = "./", **spec: object) -> Kustomization:
    reference = {"kind": "GitRepository", "name": "apps"}
    return Kustomization.from_object(
        {
            "metadata": {"name": name, "namespace": "flux-system"},
            "spec": {"interval": "1m", "prune": True, "path": path, "sourceRef": reference, **spec},
        }
    )


class Interrupting:
    """The history of a source in which something happens each time that a commit is about to be looked at."""

    def __init__(self, history: GitHistory, happens: Callable[[], object]) -> None:
        self._history = history
        self._happens = happens

    async def tree_at(self, revision: str) -> Tree | None:
        found = await self._history.tree_at(revision)
        self._happens()
        return found

    async def files_changed(self, old: str) -> tuple[FileChange, ...] | None:
        return await self._history.files_changed(old)

    async def files(self) -> tuple[FileChange, ...]:
        return await self._history.files()


@dataclass
class Rollback:
    """One rejection and everything that writing it back needs."""

    git: GitRepository
    url: str
    mirrors: GitMirrors
    builder: Builder
    forges: Forges
    client: KubeClient
    neighbours: list[Kustomization] = field(default_factory=list)
    origins: list[Origin] = field(default_factory=list)
    spec: dict[str, object] = field(default_factory=dict)
    meanwhile: Callable[[], object] = lambda: None

    async def write(
        self,
        *entries: Rejected,
        policy: Policy = COMMIT,
        target: ObjectKey = TARGET,
        path: str = "./",
        secret: Mapping[str, bytes] | None = None,
        url: str = "",
        verified: bool = False,
        login: Login | None = None,
    ) -> Written:
        """As a pass of the controller does it."""
        place = Place(
            kustomization=kustomization(path=path, **self.spec),
            target=target,
            neighbours=self.neighbours,
            origins=self.origins,
            home=lambda _: self.client,
        )
        task = Task(
            canary=("models", "chat"),
            entries=entries or (rejected(),),
            policy=policy,
            place=place,
            source=await self._source(),
            url=url or self.url,
            timeout=TIMEOUT,
            secret=secret or {},
            proxy=None,
            verified=verified,
            login=login,
        )
        return await Writer(self.mirrors, self.forges, self.builder).write(task)

    async def _source(self) -> SourceSnapshot:
        remote = GitRemote(self.url)
        commit = await self.mirrors.checkout(remote, GitReference(branch="main"), TIMEOUT)
        history = GitHistory(
            self.mirrors, remote, commit.tree, Recipe(composition=Composition(), submodules=False), TIMEOUT
        )
        return SourceSnapshot(
            revision=commit.revision,
            digest="",
            tree=commit.tree,
            history=Interrupting(history, self.meanwhile),
        )

    def commit(self, branch: str = "main") -> pygit2.Commit:
        """The tip of a branch."""
        return pygit2.Repository(str(self.git.path))[self.git.head(branch)].peel(pygit2.Commit)

    def changed(self, branch: str = "main") -> Sequence[str]:
        """Paths that the tip of a branch changes."""
        tip = self.commit(branch)
        return [delta.new_file.path for delta in tip.parents[0].tree.diff_to_tree(tip.tree).deltas]
