"""A model that is named by a variable of the Kustomization: the agent finds the file that has the variable."""

from pathlib import Path

from canary_agent import eventually
from canary_cluster import CRDS, FLAGGER, NAME, Rollouts
from canary_gitops import KUSTOMIZATION, REPOSITORY, Judge, whole_agent
from write_back_story import ALLOWED, Story

from testbed.controlplane import ControlPlane
from testbed.git import GitHTTPServer
from testbed.kube import Object

OLD, NEW, NEWER = "1" * 40, "2" * 40, "3" * 40
APP = """\
apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata: {name: app, namespace: NAMESPACE}
spec:
  interval: 10m
  prune: true
  path: ./app
  sourceRef: {kind: GitRepository, name: app}
  postBuild:
    substitute: {family: acme/chat}
    substituteFrom: [{kind: ConfigMap, name: models}]
"""
MODELS = """\
apiVersion: v1
kind: ConfigMap
metadata: {name: models, namespace: NAMESPACE, labels: {reconcile.fluxcd.io/watch: Enabled}}
data:
  revision: "REVISION"   # evaluated in June
"""


class InVariables(Story):
    """The Kustomization and its ConfigMap come from the same repository."""

    def files(self, reference: str, note: str = "") -> dict[str, str]:
        served = super().files("hf://${family}@${revision}", note)
        cluster = {"app.yaml": APP, "models.yaml": MODELS.replace("REVISION", reference)}
        return {
            **{f"app/{path}": text for path, text in served.items()},
            **{f"cluster/{path}": text.replace("NAMESPACE", self.rollouts.namespace) for path, text in cluster.items()},
        }

    async def declare(self, url: str) -> None:
        await self.rollouts.admin.apply_files(sorted(CRDS.glob("*toolkit*.yaml")))
        self.git.commit(self.files(OLD), "Serve the first model\n")
        noted = {f"weir.dev/{key.replace('_', '-')}": value for key, value in ALLOWED.items()}
        source = {"url": url, "interval": "1m", "ref": {"branch": "main"}}
        reference = {"kind": REPOSITORY[1], "name": "app"}
        spec = {"interval": "10m", "prune": False, "path": "./cluster", "sourceRef": reference}
        await self.rollouts.apply(
            self.made(REPOSITORY, "app", source, noted), self.made(KUSTOMIZATION, "cluster", spec, {})
        )
        await self.rollouts.phase("Initialized")

    def made(self, kind: tuple[str, str], name: str, spec: Object, annotations: dict[str, str]) -> Object:
        metadata = {"name": name, "namespace": self.rollouts.namespace, "annotations": annotations}
        return {"apiVersion": kind[0], "kind": kind[1], "metadata": metadata, "spec": spec}


async def test_a_variable_is_put_back_where_it_stands(
    control_plane: ControlPlane, rollouts: Rollouts, judge: tuple[Judge, str], tmp_path: Path
) -> None:
    judge[0].refuses = True
    async with GitHTTPServer(tmp_path / "git") as server:
        story = InVariables(rollouts, server.repository(rollouts.namespace), judge[1])
        await story.secret(username="weir", password="may-write")
        async with whole_agent(control_plane, rollouts.namespace, tmp_path / "weir"):
            await story.declare(server.url(rollouts.namespace))
            async with rollouts.phases() as phases:
                await story.push(NEW)
                result = await story.result("committed")
                await eventually(lambda: phases[-1] == "Succeeded")
            assert phases[-2:] == ["Failed", "Succeeded"]
            assert result["commit"] == story.git.head()
            wanted = MODELS.replace("REVISION", OLD).replace("NAMESPACE", rollouts.namespace)
            assert story.git.read("cluster/models.yaml").decode() == wanted
            assert await story.starts() == 1
            # What nobody applies from Git is named. The finalizer goes once nothing is applied any more.
            unlabelled = {"kustomize.toolkit.fluxcd.io/name": None, "kustomize.toolkit.fluxcd.io/namespace": None}
            cluster = (*KUSTOMIZATION, rollouts.namespace, "cluster")
            await rollouts.admin.delete(*cluster)
            await rollouts.admin.wait_for(*cluster, lambda found: found is None)
            await rollouts.admin.patch(
                "v1",
                "ConfigMap",
                rollouts.namespace,
                "models",
                {"metadata": {"labels": unlabelled}, "data": {"revision": NEWER}},
            )
            asked = {"metadata": {"annotations": {"reconcile.fluxcd.io/requestedAt": "now"}}}
            await rollouts.admin.patch(*KUSTOMIZATION, rollouts.namespace, "app", asked)
            refused = await story.result("refused")
            text = (
                f"hf://acme/chat@{NEWER} comes from the variable revision of ConfigMap {rollouts.namespace}/models, "
                f"which no Kustomization here applies: put hf://acme/chat@{OLD} back there by hand"
            )
            assert refused["text"] == text
            found = await rollouts.get("Canary", NAME, FLAGGER)
            assert found is not None
            assert found["status"]["phase"] == "Failed"
