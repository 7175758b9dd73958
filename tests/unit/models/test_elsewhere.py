"""Who uses an object from another build, and that nobody looks at more than that needs."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from agent.core.models import RenderedSet, changes
from agent.core.models.elsewhere import Elsewhere, OtherBuild
from agent.core.objects import ObjectKey
from tests.unit.models.manifests import COMMIT, config_map, deployment, obj

KSERVE = "serving.kserve.io"


def service(name: str, **model: Any) -> dict[str, Any]:
    body = {"modelFormat": {"name": "sklearn"}, "storageUri": "s3://models/m", **model}
    return obj(f"{KSERVE}/v1beta1", "InferenceService", {"predictor": {"model": body}}, name)


def runtime(image: str, name: str = "shared", kind: str = "ServingRuntime") -> dict[str, Any]:
    formats = [{"name": "sklearn", "autoSelect": True}]
    spec = {"supportedModelFormats": formats, "containers": [{"name": "kserve-container", "image": image}]}
    return obj(f"{KSERVE}/v1alpha1", kind, spec, name)


def elsewhere(**builds: Any) -> Elsewhere:
    encoded = {name: tuple(map(msgspec.json.encode, objects)) for name, objects in builds.items()}
    return Elsewhere({f"team/{name}": OtherBuild(objects, frozenset({"ml"})) for name, objects in encoded.items()})


CANARY = {
    "apiVersion": "flagger.app/v1beta1",
    "kind": "Canary",
    "metadata": {"namespace": "ml", "name": "chat"},
    "spec": {"targetRef": {"apiVersion": f"{KSERVE}/v1beta1", "kind": "InferenceService", "name": "chat"}},
}


def test_a_runtime_reaches_the_services_of_other_kustomizations() -> None:
    others = elsewhere(
        named=[service("chat", runtime="shared")],
        chosen=[service("auto")],
        other=[service("own", runtime="own")],
        nothing=[config_map({"a": "shared"})],
    )
    (record,) = changes(
        RenderedSet([runtime("registry.example/r:1")]),
        RenderedSet([runtime("registry.example/r:2")]),
        (),
        COMMIT,
        "flux-system/platform",
        canaries=[CANARY],
        elsewhere=others.users_of,
    )
    assert record.impact.kustomizations == ("flux-system/platform", "team/chosen", "team/named")
    assert {name.rpartition("/")[2] for name in record.impact.objects} == {"auto", "chat"}
    assert record.impact.canaries == ("Canary/ml/chat",)
    assert record.cause == "runtime-indirect"


@pytest.mark.parametrize(
    ("pod", "uses"),
    [
        ({"volumes": [{"name": "v", "configMap": {"name": "settings"}}]}, True),
        ({"volumes": [{"name": "v", "configMap": {"name": "other"}}]}, False),
        ({"volumes": [{"name": "settings", "emptyDir": {}}]}, False),  # the name alone is not a use
    ],
)
def test_a_config_map_reaches_the_workloads_that_mount_it(pod: dict[str, Any], uses: bool) -> None:
    workload = deployment({"name": "server", "image": "registry.example/s:1"}, **pod)
    key = ObjectKey("", "ConfigMap", "ml", "settings")
    found = elsewhere(app=[workload]).users_of(key, config_map({}))
    assert (set(found) == {"team/app"}) is uses


def test_kinds_that_nobody_shares_are_not_looked_for() -> None:
    others = Elsewhere({"team/app": OtherBuild((b"not even JSON, and chat",), frozenset({"ml"}))})
    assert others.users_of(ObjectKey("apps", "Deployment", "ml", "chat"), deployment()) == {}
    # and what cannot be read is passed over
    broken = Elsewhere({"team/app": OtherBuild((b'{"settings": ', b'"settings"'), frozenset({"ml"}))})
    assert broken.users_of(ObjectKey("", "ConfigMap", "ml", "settings"), config_map({})) == {}


def test_adapters_are_placed_by_labels() -> None:
    workload = deployment({"name": "server", "image": "vllm/vllm-openai:v1"})
    workload["spec"]["template"]["metadata"] = {"labels": {"model": "base"}}
    spec = {"artifactURL": "hf://org/a", "baseModel": "base", "podSelector": {"matchLabels": {"model": "base"}}}
    adapter = obj("model.aibrix.ai/v1alpha1", "ModelAdapter", spec, "sql")
    newer = deployment({"name": "server", "image": "vllm/vllm-openai:v2"})
    newer["spec"]["template"]["metadata"] = {"labels": {"model": "base"}}
    (record,) = changes(RenderedSet([workload, adapter]), RenderedSet([newer, adapter]), (), COMMIT, "ml/app")
    assert [name.rpartition("/")[2] for name in record.impact.objects] == ["sql"]


def test_a_workspace_uses_its_config_and_its_weights() -> None:
    workspace = {
        "apiVersion": "kaito.sh/v1beta1",
        "kind": "Workspace",
        "metadata": {"name": "w", "namespace": "ml"},
        "inference": {"config": "settings", "preset": {"name": "phi-4"}},
    }
    found = changes(
        RenderedSet([workspace, config_map({"a": "1"})]), RenderedSet([workspace, config_map({"a": "2"})]), (), COMMIT
    )
    (record,) = [one for one in found if one.object.kind == "ConfigMap"]
    assert [name.rpartition("/")[2] for name in record.impact.objects] == ["w"]
