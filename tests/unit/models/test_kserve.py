"""KServe resources."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.models.manifests import DIGEST_A, A, canonicals, container, extracted, obj

V1BETA1 = "serving.kserve.io/v1beta1"


def service(**spec: Any) -> dict[str, Any]:
    return obj(V1BETA1, "InferenceService", spec)


def predictor(**model: Any) -> dict[str, Any]:
    return service(predictor={"model": model})


def test_model_runtime_and_format() -> None:
    found = extracted(
        predictor(
            modelFormat={"name": "sklearn", "version": "1"}, storageUri=f"hf://org/m:{A}", runtime="fast",
            runtimeVersion="v2", protocolVersion="v2", image=f"reg.example/s@{DIGEST_A}",
        )
    ).slots  # fmt: skip
    assert {name: (slot.kind, slot.ref.canonical) for name, slot in found.items()} == {
        "predictor.model": ("model", f"hf://org/m@{A}"),
        "predictor.runtime": ("runtime", "servingruntime:fast"),
        "predictor.runtimeVersion": ("code-image", "image-tag:v2"),
        "predictor.modelFormat": ("config", "sklearn"),
        "predictor.modelFormat.version": ("config", "1"),
        "predictor.protocolVersion": ("config", "v2"),
        "predictor.image": ("code-image", f"oci://reg.example/s@{DIGEST_A}"),
    }
    assert found["predictor.model"].path == "$.spec.predictor.model.storageUri"


@pytest.mark.parametrize("framework", ["sklearn", "pytorch", "triton", "huggingface"])
def test_the_older_form_has_one_field_per_framework(framework: str) -> None:
    found = canonicals(service(predictor={framework: {"storageUri": "s3://b/m"}}))
    assert found["predictor.model"] == "s3://b/m"
    assert found["predictor.modelFormat"] == framework


def test_several_artifacts_are_keyed_by_their_mount() -> None:
    uris = [{"uri": "s3://b/m"}, {"uri": "s3://b/t", "mountPath": "/mnt/tokenizer"}]
    found = canonicals(service(predictor={"storageUris": uris}))
    assert found == {"predictor.model[/mnt/models]": "s3://b/m", "predictor.model[/mnt/tokenizer]": "s3://b/t"}


def test_arguments_of_the_model_block() -> None:
    found = canonicals(
        predictor(
            modelFormat={"name": "huggingface"}, args=["--model_id=org/m", f"--model_revision={A}", "--dtype=half"]
        )
    )
    assert found["predictor.model"] == f"hf://org/m@{A}"
    assert found["predictor.--dtype"] == "half"


def test_the_storage_address_wins_over_arguments() -> None:
    found = canonicals(predictor(modelFormat={"name": "huggingface"}, storageUri="s3://b/m", args=["--model_id=org/m"]))
    assert found["predictor.model"] == "s3://b/m"


def test_custom_containers_workers_and_canaries() -> None:
    found = extracted(
        service(
            predictor={
                "containers": [container("kserve-container", env=[{"name": "STORAGE_URI", "value": "hf://org/m:v1"}])],
                "workerSpec": {"containers": [container("worker", image="reg.example/w:1")]},
                "minReplicas": 1,
                "canaryTrafficPercent": 10,
            },
            canary=[{"predictor": {"name": "next", "model": {"storageUri": "s3://b/m2"}}, "trafficPercent": 5}],
            explainer={"art": {"type": "SquareAttack", "storageUri": "gs://b/e"}},
            transformer={"containers": [container("t")]},
        )
    ).slots
    assert found["predictor.container[kserve-container].model"].ref.canonical == "hf://org/m@v1"
    assert found["predictor.worker.container[worker].image"].ref.canonical == "oci://reg.example/w:1"
    assert found["predictor.canaryTrafficPercent"].kind == "traffic"
    assert found["predictor.minReplicas"].kind == "scale"
    assert found["canary[next].model"].ref.canonical == "s3://b/m2"
    assert found["canary[next].trafficPercent"].ref.canonical == "5"
    assert found["explainer.model"].ref.canonical == "gs://b/e"
    assert found["transformer.container[t].image"].kind == "code-image"


def test_a_runtime_s_image_is_a_runtime_change() -> None:
    found = extracted(
        obj("serving.kserve.io/v1alpha1", "ClusterServingRuntime", {"containers": [container("kserve-container")]})
    ).slots
    assert found["container[kserve-container].image"].kind == "runtime"


@pytest.mark.parametrize(
    ("kind", "spec", "slot", "canonical"),
    [
        ("TrainedModel", {"model": {"storageUri": "s3://b/m"}}, "model", "s3://b/m"),
        ("LocalModelCache", {"sourceModelUri": "hf://org/m:v1"}, "model", "hf://org/m@v1"),
        ("ClusterStorageContainer", {"container": {"image": "reg.example/d:1"}}, "container.image",
         "oci://reg.example/d:1"),
        ("ClusterStorageContainer", {"supportedUriFormats": [{"prefix": "b://"}, {"regex": "a.*"}]},
         "supportedUriFormats", "a.*,b://"),
        ("InferenceGraph", {"nodes": {"root": {"steps": [{"serviceName": "a", "weight": 20}]}}},
         "node[root].step[a].weight", "20"),
    ],
)  # fmt: skip
def test_other_resources(kind: str, spec: dict[str, Any], slot: str, canonical: str) -> None:
    assert canonicals(obj("serving.kserve.io/v1alpha1", kind, spec))[slot] == canonical


def test_additional_arguments_of_the_main_container() -> None:
    env = [{"name": "VLLM_ADDITIONAL_ARGS", "value": "--quantization awq --lora-modules sql=/mnt/lora/sql"}]
    spec = {"model": {"uri": "hf://org/m"}, "template": {"containers": [{"name": "main", "env": env}]}}
    assert canonicals(obj("serving.kserve.io/v1alpha2", "LLMInferenceService", spec)) == {
        "model": "hf://org/m@main",
        "container[main].--quantization": "awq",
        "container[main].adapter[sql]": "file:///mnt/lora/sql",
    }


def test_llm_inference_service() -> None:
    found = extracted(
        obj(
            "serving.kserve.io/v1alpha1",
            "LLMInferenceService",
            {
                "model": {
                    "uri": f"hf://org/m:{A}",
                    "name": "chat",
                    "lora": {"adapters": [{"name": "sql", "uri": "hf://org/sql:v1"}], "maxRank": 16},
                },
                "baseRefs": [{"name": "gpu"}],
                "replicas": 2,
                "parallelism": {"tensor": 4},
                "template": {"containers": [container("main", args=["--dtype", "half"], image="vllm/vllm-openai:v1")]},
                "worker": {"containers": [container("main")]},
                "prefill": {"replicas": 1, "template": {"containers": [container("main")]}},
                "router": {
                    "route": {"group": "g", "weight": 3},
                    "scheduler": {"template": {"containers": [container("epp")]}},
                },
            },
        )
    ).slots
    assert {name: (slot.kind, slot.ref.canonical) for name, slot in found.items() if "image" not in name} == {
        "model": ("model", f"hf://org/m@{A}"),
        "model.name": ("config", "chat"),
        "adapter[sql]": ("adapter", "hf://org/sql@v1"),
        "lora.maxRank": ("config", "16"),
        "baseRef[gpu]": ("runtime", "llminferenceserviceconfig:gpu"),
        "replicas": ("scale", "2"),
        "parallelism": ("config", "tensor=4"),
        "container[main].--dtype": ("config", "half"),
        "prefill.replicas": ("scale", "1"),
        "router.group": ("traffic", "g"),
        "router.weight": ("traffic", "3"),
    }
    images = {name for name in found if name.endswith(".image")}
    assert images == {
        "container[main].image",
        "worker.container[main].image",
        "prefill.container[main].image",
        "scheduler.container[epp].image",
    }
