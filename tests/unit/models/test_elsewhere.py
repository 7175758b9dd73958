"""Who uses an object from another build, and that nobody looks at more than that needs."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.models import RenderedSet, changes
from agent.core.models.elsewhere import AppliedBuilds, Elsewhere
from agent.core.models.impact import ImpactIndex
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


def put(applied: AppliedBuilds, kustomization: str, documents: tuple[bytes, ...]) -> None:
    applied.put(kustomization, applied.read(kustomization, documents))


def elsewhere(**builds: Any) -> Elsewhere:
    applied = AppliedBuilds()
    for name, objects in builds.items():
        put(applied, f"team/{name}", tuple(map(msgspec.json.encode, objects)))
    return Elsewhere(applied, "flux-system/platform")


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
    others = elsewhere(app=[obj("serving.kserve.io/v1alpha1", "InferenceGraph", {"nodes": {}})])
    assert others.users_of(ObjectKey("apps", "Deployment", "ml", "chat"), deployment()) == {}


def test_what_cannot_be_read_uses_nothing() -> None:
    applied = AppliedBuilds()
    put(applied, "team/app", (b'{"settings": ', b'"settings"', msgspec.json.encode(mounting("settings", "server"))))
    found = Elsewhere(applied, "").users_of(ObjectKey("", "ConfigMap", "ml", "settings"), config_map({}))
    assert {key.name for key in found["team/app"]} == {"server"}


def mounting(config: str, name: str, namespace: str = "ml") -> dict[str, Any]:
    workload = deployment({"name": "server", "image": "registry.example/s:1"}, name=name)
    workload["spec"]["template"]["spec"]["volumes"] = [{"name": "v", "configMap": {"name": config}}]
    workload["metadata"]["namespace"] = namespace
    return workload


def in_namespace(manifest: dict[str, Any], namespace: str) -> dict[str, Any]:
    return manifest | {"metadata": manifest["metadata"] | {"namespace": namespace}}


def cache(kind: str) -> dict[str, Any]:
    return obj(f"{KSERVE}/v1alpha1", kind, {"sourceModelUri": "s3://models/m/"}, "shared")


NAMESPACES = st.sampled_from(["ml", "other"])
GENERATED = "settings-2456789bcd"
OBJECTS = st.one_of(
    st.builds(mounting, st.sampled_from(["settings", GENERATED, "own"]), st.sampled_from(["a", "b"]), NAMESPACES),
    st.builds(
        in_namespace,
        st.one_of(
            st.sampled_from([config_map({}), config_map({}, GENERATED), runtime("r:1"), cache("LocalModelCache")]),
            st.sampled_from([service("named", runtime="shared"), service("chosen"), service("s", storageUri="x://y")]),
            st.just(obj(f"{KSERVE}/v1alpha1", "TrainedModel", {"inferenceService": "chosen"}, "trained")),
        ),
        NAMESPACES,
    ),
)
BUILDS = st.lists(OBJECTS, max_size=4).map(lambda objects: tuple(map(msgspec.json.encode, objects)))
HISTORIES = st.lists(st.tuples(st.sampled_from("abc"), st.none() | BUILDS), max_size=8)
SHARED_OBJECTS = [
    config_map({}),
    config_map({}, GENERATED),
    runtime("r:1"),
    runtime("r:1", kind="ClusterServingRuntime"),
    service("chosen"),
    cache("LocalModelCache"),
    cache("LocalModelNamespaceCache"),
]


@given(HISTORIES, st.sampled_from(SHARED_OBJECTS))
def test_after_any_history_the_index_finds_what_looking_into_all_builds_finds(
    history: list[tuple[str, tuple[bytes, ...] | None]], shared: dict[str, Any]
) -> None:
    applied, builds = AppliedBuilds(), dict[str, tuple[bytes, ...]]()
    for name, documents in history:
        if documents is None:
            applied.forget(name)
            builds.pop(name, None)
        else:
            put(applied, name, documents)
            builds[name] = documents
    ((key, _),) = RenderedSet([shared]).entries.items()
    sets = {name: RenderedSet([shared, *map(msgspec.json.decode, documents)]) for name, documents in builds.items()}
    looked = {name: ImpactIndex(rendered, "").users_of(key) for name, rendered in sets.items() if name != "c"}
    assert Elsewhere(applied, "c").users_of(key, shared) == {name: users for name, users in looked.items() if users}
    anew = AppliedBuilds()
    for name, documents in builds.items():
        put(anew, name, documents)
    assert list(applied.candidates(key, shared)) == list(anew.candidates(key, shared)), "nothing is left of old builds"


def test_a_cache_of_a_namespace_is_for_the_services_in_it() -> None:
    services = [in_namespace(service("chosen"), "ml"), in_namespace(service("chosen"), "other")]
    found = elsewhere(app=services).users_of(
        ObjectKey(KSERVE, "LocalModelNamespaceCache", "ml", "shared"), cache("LocalModelNamespaceCache")
    )
    assert {key.namespace for key in found["team/app"]} == {"ml"}


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
