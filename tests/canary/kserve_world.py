"""A namespace with one KServe object named chat and its Canary, as Git has them, and questions about them."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from canary_cluster import FLAGGER, watched

from agent.api.canary import JUDGE_ANNOTATION
from agent.core.rollout.kserve.content import WANTED
from testbed.git import GitHTTPServer, GitRepository
from testbed.kserve import CRDS as KSERVE_CRDS
from testbed.kserve import StatusWriter
from testbed.kserve.status import LLM_SERVICES, SERVICES
from testbed.kube import Admin, Object, condition

CRDS = Path(__file__).resolve().parents[2] / "config" / "crd"
NAME = "chat"
KUSTOMIZATION = ("kustomize.toolkit.fluxcd.io/v1", "Kustomization")
REPOSITORY = ("source.toolkit.fluxcd.io/v1", "GitRepository")


@dataclass
class KServeStory:
    """Commits and what the cluster makes of them. `kind` is the (apiVersion, kind) of the target."""

    admin: Admin
    namespace: str
    git: GitRepository
    kind: tuple[str, str] = SERVICES
    mode: str = "Standard"
    analysis: Object = field(default_factory=dict)
    annotations: Object = field(default_factory=lambda: {JUDGE_ANNOTATION: "compatibility"})
    requests: int = 0
    adapter: str = ""
    """The version of an LLMInferenceService's adapter `sql`, if it has one."""
    store: str = "hf://org"
    """Where the models are."""

    def service(
        self, version: str, *, replicas: int = 2, note: str = "", gpus: int = 0, runtime: str = "", claims: str = ""
    ) -> Object:
        """The target with some version of the model."""
        uri = f"{self.store}/chat-{version}"
        metadata: Object = {"name": NAME, "namespace": self.namespace}
        if note:
            metadata["labels"] = {"note": note}
        if self.kind == LLM_SERVICES:
            spec: Object = {"model": {"uri": uri, "name": "chat"}, "replicas": replicas, "router": {"route": {}}}
            if self.adapter:
                spec["model"]["lora"] = {"adapters": [{"name": "sql", "uri": f"hf://org/sql-{self.adapter}"}]}
                spec["router"]["scheduler"] = {}
            if claims:
                spec["template"] = {"resourceClaims": [{"name": "gpus", "resourceClaimTemplateName": claims}]}
        else:
            metadata["annotations"] = {"serving.kserve.io/deploymentMode": self.mode}
            model: Object = {"modelFormat": {"name": "huggingface"}, "storageUri": uri}
            if runtime:
                model["runtime"] = runtime
            if gpus:
                model["resources"] = {"limits": {"example.com/gpu": str(gpus)}}
            spec = {"predictor": {"minReplicas": replicas, "maxReplicas": 4, "model": model}}
        return {"apiVersion": self.kind[0], "kind": self.kind[1], "metadata": metadata, "spec": spec}

    def canary(self) -> Object:
        """30, 60, promoted; every second."""
        analysis = {"interval": "1s", "threshold": 1, "stepWeight": 30, "maxWeight": 60, **self.analysis}
        reference = {"apiVersion": self.kind[0], "kind": self.kind[1], "name": NAME}
        return {
            "apiVersion": FLAGGER,
            "kind": "Canary",
            "metadata": {"name": NAME, "namespace": self.namespace, "annotations": self.annotations},
            "spec": {"provider": "kserve", "targetRef": reference, "analysis": analysis},
        }

    async def follow(self, server: GitHTTPServer) -> None:
        """Let the agent follow the repository."""
        metadata = {"name": "app", "namespace": self.namespace}
        source = {"url": server.url(self.namespace), "interval": "10m", "ref": {"branch": "main"}}
        spec = {"interval": "10m", "prune": True, "path": "./", "sourceRef": {"kind": "GitRepository", "name": "app"}}
        for (api, kind), what in ((REPOSITORY, source), (KUSTOMIZATION, spec)):
            await self.admin.apply({"apiVersion": api, "kind": kind, "metadata": metadata, "spec": what})

    def commit(self, version: str, **changes: Any) -> str:
        files = {"service.yaml": self.service(version, **changes), "canary.yaml": self.canary()}
        return self.git.commit({name: yaml.safe_dump(what) for name, what in files.items()})

    async def push(self, version: str, **changes: Any) -> None:
        """Commit, and wait until the Kustomization is Ready at the commit."""
        await self.sync(self.commit(version, **changes))

    async def pull(self) -> None:
        """Somebody's webhook says that there is news."""
        await self._ask(*REPOSITORY)

    async def sync(self, commit: str) -> None:
        """Have a commit applied, on which nobody puts another one meanwhile."""
        await self.pull()

        def there(found: Object | None) -> bool:
            status = (found or {}).get("status", {})
            return condition(found, "Ready") == "True" and commit in status.get("lastAppliedRevision", "")

        await self.admin.wait_for(*KUSTOMIZATION, self.namespace, "app", there)

    async def again(self) -> None:
        """Another pass over the same commit, asked for by a person."""
        value = await self._ask(*KUSTOMIZATION)
        await self.admin.wait_for(
            *KUSTOMIZATION,
            self.namespace,
            "app",
            lambda found: (found or {}).get("status", {}).get("lastHandledReconcileAt") == value,
        )

    async def _ask(self, api: str, kind: str) -> str:
        self.requests += 1
        value = str(self.requests)
        patch = {"metadata": {"annotations": {"reconcile.fluxcd.io/requestedAt": value}}}
        await self.admin.patch(api, kind, self.namespace, "app", patch)
        return value

    def watched(self, form: Callable[[Object], Any], name: str = NAME) -> AbstractAsyncContextManager[list[Any]]:
        """See `canary_cluster.watched`."""
        return watched(self.admin, self.kind, self.namespace, name, form)

    async def live(self, name: str = NAME) -> Object:
        found = await self.admin.find(*self.kind, self.namespace, name)
        assert found is not None, f"{name} is gone"
        return found

    async def serves(self, wanted: Any, form: Callable[[Object], Any]) -> bool:
        return bool(form(await self.live()) == wanted)

    async def serving(self) -> str:
        """The version of the model that the target itself serves."""
        return version_in(await self.live())

    async def wanted(self) -> str:
        """The version of the model that Git asks for, as it is noted on the target."""
        note = json.loads((await self.live())["metadata"]["annotations"][WANTED])
        model = note["model"]
        return str(model.get("storageUri") or model["uri"]).rpartition("chat-")[2]


def version_in(obj: Object) -> str:
    """The version of an InferenceService's stable predictor, or of an LLMInferenceService."""
    spec = obj["spec"]
    model = spec["model"] if "model" in spec else spec["predictor"]["model"]
    return str(model.get("storageUri") or model["uri"]).rpartition("chat-")[2]


@asynccontextmanager
async def kserve_story(
    admin: Admin, namespace: str, hook: str, folder: Path, **changes: Any
) -> AsyncIterator[tuple[KServeStory, StatusWriter]]:
    """A repository that the agent follows, with the first version of the model; KServe's part is played."""
    await admin.apply_files([*sorted(CRDS.glob("*_*.yaml")), KSERVE_CRDS])
    webhook = {"name": "judge", "type": "rollout", "url": hook}
    async with GitHTTPServer(folder / "git") as server, StatusWriter(admin, namespace) as kserve:
        git = server.repository(namespace)
        story = KServeStory(admin, namespace, git, analysis={"webhooks": [webhook]}, **changes)
        story.commit("1")
        await story.follow(server)
        yield story, kserve
