"""A model in a repository that is rejected, and what Git says afterwards."""

import base64
import json
import time

import pygit2
from canary_cluster import CRDS, FLAGGER, Rollouts
from canary_gitops import KUSTOMIZATION, REPOSITORY

from testbed.git import GitRepository
from testbed.kube import Object

CANARY = (FLAGGER, "Canary")
ALLOWED = {"write_back": "commit", "write_back_secret": "writer", "write_back_branch": "main"}
GOOD, BAD = "hf://acme/chat@" + "1" * 40, "hf://acme/chat@" + "2" * 40
TARGET = """\
# The chat model.   Ask the platform team before you change it.
apiVersion: apps/v1
kind: Deployment
metadata: {name: chat, namespace: NAMESPACE}   # flow style stays
spec:
  replicas: 1
  selector:
    matchLabels: {app: chat}

  template:
    metadata:
      labels:
        app: chat
    spec:
      terminationGracePeriodSeconds: 2
      containers:
        - name: server
          image: "sleeper:1.0"
          args:
            - --model=REFERENCE   # evaluated in June
"""


class Story:
    """One namespace, one repository, one agent. `judge` is what Git says of the Canary's."""

    judge = "compatibility"

    def __init__(self, rollouts: Rollouts, git: GitRepository, hook: str) -> None:
        self.rollouts = rollouts
        self.git = git
        self._hook = hook

    def target(self, reference: str, note: str = "") -> str:
        text = TARGET.replace("NAMESPACE", self.rollouts.namespace).replace("REFERENCE", reference)
        return text.replace("        app: chat\n", f"        app: chat\n        note: {note}\n") if note else text

    def files(self, reference: str, note: str = "") -> dict[str, str]:
        hooks = [{"name": "judge", "type": "rollout", "url": self._hook}]
        analysis = {"stepWeight": None, "maxWeight": None, "iterations": 2, "threshold": 1, "webhooks": hooks}
        canary = self.rollouts.canary(annotations={"weir.dev/judge": self.judge}, analysis=analysis)
        canary["spec"]["provider"] = "kubernetes"
        canary["spec"]["service"] = {"port": 80, "targetPort": 8080}
        return {"target.yaml": self.target(reference, note), "canary.yaml": json.dumps(canary)}

    async def begin(self, url: str, **annotations: str) -> None:
        """The first model is served; whoever owns the repository lets Weir write."""
        await self.rollouts.admin.apply_files(sorted(CRDS.glob("*toolkit*.yaml")))
        self.git.commit(self.files(GOOD), "Serve the first model\n")
        metadata = {"name": "app", "namespace": self.rollouts.namespace}
        source = {"url": url, "interval": "1m", "ref": {"branch": "main"}}
        spec = {"interval": "10m", "prune": True, "path": "./", "sourceRef": {"kind": REPOSITORY[1], "name": "app"}}
        noted = {f"weir.dev/{key.replace('_', '-')}": value for key, value in annotations.items()}
        await self.rollouts.apply(
            {
                "apiVersion": REPOSITORY[0],
                "kind": REPOSITORY[1],
                "metadata": {**metadata, "annotations": noted},
                "spec": source,
            },
            {"apiVersion": KUSTOMIZATION[0], "kind": KUSTOMIZATION[1], "metadata": metadata, "spec": spec},
        )
        await self.rollouts.phase("Initialized")

    async def annotate(self, kind: tuple[str, str], name: str, **annotations: str | None) -> None:
        changed = {f"weir.dev/{key.replace('_', '-')}": value for key, value in annotations.items()}
        patch = {"metadata": {"annotations": changed}}
        await self.rollouts.admin.patch(*kind, self.rollouts.namespace, name, patch)

    async def secret(self, **data: str) -> None:
        encoded = {key: base64.b64encode(value.encode()).decode() for key, value in data.items()}
        metadata = {"name": "writer", "namespace": self.rollouts.namespace}
        await self.rollouts.apply({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": encoded})

    async def push(self, reference: str, note: str = "") -> str:
        commit = self.git.commit(self.files(reference, note), f"Serve {reference}\n")
        await self.pull()
        return commit

    async def pull(self) -> None:
        """Somebody's webhook says that there is news."""
        asked = {"metadata": {"annotations": {"reconcile.fluxcd.io/requestedAt": self.git.head()}}}
        await self.rollouts.admin.patch(*REPOSITORY, self.rollouts.namespace, "app", asked)

    async def look(self) -> None:
        """Somebody asks for another look at the Canary."""
        asked = {"metadata": {"annotations": {"reconcile.fluxcd.io/requestedAt": str(time.monotonic_ns())}}}
        await self.rollouts.admin.patch(*CANARY, self.rollouts.namespace, "chat", asked)

    async def annotations(self) -> dict[str, str]:
        found = await self.rollouts.get("Canary", "chat", FLAGGER)
        return dict((found or {}).get("metadata", {}).get("annotations") or {})

    async def result(self, *states: str) -> Object:
        """What became of the write-back."""
        return await self._result("state", states)

    async def proposal(self, state: str) -> Object:
        """The same once there is a pull request in that state."""
        return await self._result("proposal", (state,))

    async def _result(self, field: str, wanted: tuple[str, ...]) -> Object:
        def there(found: Object | None) -> bool:
            noted = ((found or {}).get("metadata", {}).get("annotations") or {}).get("weir.dev/write-back-status")
            return noted is not None and json.loads(noted).get(field) in wanted

        found = await self.rollouts.admin.wait_for(FLAGGER, "Canary", self.rollouts.namespace, "chat", there)
        assert found is not None
        result: Object = json.loads(found["metadata"]["annotations"]["weir.dev/write-back-status"])
        return result

    def message(self) -> str:
        return self.commit(self.git.head()).message

    def commit(self, oid: str) -> pygit2.Commit:
        return pygit2.Repository(str(self.git.path))[oid].peel(pygit2.Commit)

    async def starts(self) -> int:
        return sum(text.startswith("New revision detected!") for text in await self.rollouts.events())
