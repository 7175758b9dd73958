"""Nothing in the tables of what is read goes without a test: places of pod specs, servers, files in Git."""

from __future__ import annotations

from typing import Any

import pytest

from agent.core.models import Blob
from agent.core.models.extract.artifacts import DOCUMENTS
from agent.core.models.extract.files import file_slots
from agent.core.models.extract.slot import MalformedError
from agent.core.models.extract.workloads import ROOTS, Root
from tests.unit.models.manifests import A, canonicals, compare, container, deployment, extracted, only

SHA = "d" * 64
POD = {"containers": [container("vllm", "vllm/vllm-openai:v1", args=["--model", "org/m"])]}

PIPELINE = """pipelineInfo: {name: train}
schemaVersion: 2.1.0
root: {inputDefinitions: {parameters: {data: {defaultValue: 's3://b/d'}}}}
deploymentSpec: {executors: {exec-train: {container: {image: 't:1'}}}}
"""

TF_SERVING = """# models of the shop
model_config_list: <
  config { name: "a" base_path: 'gs://b/' "a/" model_platform: "tensorflow";
    model_version_policy { specific { versions: 7 } } version_labels { key: 'stable' value: 7 }
    logging_config { log_collector_config { filename_prefix: "p" } sampling_config { sampling_rate: -1.5e-2 } } }
  config: [
    { name: "b", base_path: "s3://b/b", model_version_policy: { specific: { versions: [6, 7] } },
      version_labels: [{ key: "canary", value: 7 }] },
    { name: "c", base_path: "s3://b/c", model_version_policy { all {} } },
    { name: "d", base_path: "s3://b/d", model_version_policy { latest { num_versions: 2 } } }
  ]
  config { name: "e" base_path: "/m/e" model_version_policy { latest {} }
    extra { [type.googleapis.com/a.B] { x: TRUE } } }
>
"""

FILES: list[tuple[str, str, dict[str, tuple[str, str]]]] = [
    ("adapter/adapter_config.json",
     f'{{"base_model_name_or_path": "org/m", "revision": "{A}", "peft_type": "LORA", "r": 8}}',
     {"base": ("model", f"hf://org/m@{A}"), "peft_type": ("config", "LORA"), "r": ("config", "8")}),
    ("m/config.json", '{"model_type": "llama", "torch_dtype": "bfloat16", "quantization_config": {"bits": 4}}',
     {"model_type": ("config", "llama"), "torch_dtype": ("config", "bfloat16"),
      "quantization": ("quantization", '{"bits":4}')}),
    ("app/config.json", '{"port": 80}', {}),
    ("iris/model-settings.json",
     ('{"name": "iris", "implementation": "mlserver_sklearn.SKLearnModel", "parameters": {"uri": "s3://b/m", '
     '"version": "v2"}}'),
     {"model": ("model", "s3://b/m@v2"), "implementation": ("runtime", "mlserver_sklearn.SKLearnModel"),
      "name": ("config", "iris")}),
    ("m/MLmodel", "artifact_path: model\nmodel_uuid: abc123\nrun_id: r1\n",
     {"model": ("model", "mlflow-model:abc123")}),
    ("Kitfile", ("manifestVersion: '1.0'\npackage: {name: p, version: 1.2.0}\nmodel: {name: m, path: ./w}\n"
                "datasets: [{name: train, path: ./d.csv}]\ncode: [{path: ./src}]\n"),
     {"model": ("model", "m ./w"), "version": ("config", "1.2.0"), "datasets[train]": ("data", "./d.csv"),
      "code[./src]": ("code-image", "./src")}),
    ("feast/feature_store.yaml", ("project: p\nprovider: local\nregistry: {registry_type: file, path: s3://b/registry.db}\n"
                                 "online_store: {type: redis, connection_string: 'hunter2'}\n"
                                 "offline_store: {type: bigquery, dataset: features, password: hunter2}\n"),
     {"registry": ("feature-store", "s3://b/registry.db"), "project": ("feature-store", "p"),
      "provider": ("feature-store", "local"), "online_store": ("feature-store", "redis"),
      "offline_store": ("feature-store", "bigquery"), "offline_store.dataset": ("feature-store", "features")}),
    ("b/bentofile.yaml", "service: s:svc\nmodels: ['iris:latest', {tag: 'x:1'}]\n",
     {"model[iris]": ("model", "bento://iris:latest"), "model[x]": ("model", "bento://x:1")}),
    ("Modelfile", 'FROM llama3:8b\nADAPTER ./sql.gguf\nPARAMETER temperature 0.2\nSYSTEM """Be brief."""\n',
     {"model": ("model", "ollama://library/llama3:8b"), "adapter[./sql.gguf]": ("adapter", "file://./sql.gguf"),
      "parameter[temperature]": ("config", "0.2"), "system": ("config", '"""Be brief."""')}),
    ("d/croissant.json", (f'{{"distribution": [{{"name": "a", "contentUrl": "https://h.ex/a", "sha256": "{SHA}"}}, '
                         '{"name": "b", "contentUrl": "s3://b/k"}]}'),
     {"distribution[a]": ("data", f"croissant:sha256:{SHA}"), "distribution[b]": ("data", "s3://b/k")}),
    ("d/metadata.json", (f'{{"conformsTo": "http://mlcommons.org/croissant/1.0", '
                        f'"distribution": [{{"name": "a", "sha256": "{SHA}"}}]}}'),
     {"distribution[a]": ("data", f"croissant:sha256:{SHA}")}),
    ("app/metadata.json", '{"distribution": [{"name": "a", "contentUrl": "s3://b/k"}]}', {}),
    ("train/train.yaml", PIPELINE,
     {"param[data]": ("data", "s3://b/d"), "executor[exec-train].image": ("code-image", "oci://docker.io/library/t:1")}),
    ("train/nested.yaml", "spec:\n" + "".join(f"  {line}\n" for line in PIPELINE.splitlines()), {}),
    ("train/my_pipeline.yaml", PIPELINE + "---\nplatforms: {kubernetes: {}}\n",
     {"param[data]": ("data", "s3://b/d"), "executor[exec-train].image": ("code-image", "oci://docker.io/library/t:1")}),
    ("tf/models.config", TF_SERVING,
     {"model[a]": ("model", "gs://b/a/7"), "model[a].label[stable]": ("model", "gs://b/a/7"),
      "model[b]": ("model", "s3://b/b"), "model[b].versions": ("config", "6,7"),
      "model[b].label[canary]": ("model", "s3://b/b/7"), "model[c]": ("model", "s3://b/c"),
      "model[c].versions": ("config", "all"), "model[d]": ("model", "s3://b/d"),
      "model[d].versions": ("config", "latest:2"), "model[e]": ("model", "file:///m/e")}),
    ("tf/models.config", "upstream = http://models.example\n", {}),
    ("azure-pipelines.yml", "steps:\n- script: |\n    {{ broken\n  - x: [\n", {}),
]  # fmt: skip

WHOLE = {
    "generation_config.json": "config",
    "chat_template.jinja": "chat-template",
    "chat_template.json": "chat-template",
    "tokenizer.json": "tokenizer",
    "tokenizer_config.json": "tokenizer",
    "tokenizer.model": "tokenizer",
    "special_tokens_map.json": "tokenizer",
    "added_tokens.json": "tokenizer",
    "model.safetensors.index.json": "model",
    "model.sig": "provenance",
    "MLproject": "pipeline",
    "config.pbtxt": "config",
    "evals/abc/results_1.json": "provenance",
}
ELSEWHERE = {"bento.yaml", "config.properties"}
"""Files with tests of their own."""

COMMANDS: list[tuple[str, dict[str, Any], str]] = [
    ("storage initializer", {"image": "kserve/storage-initializer:v1", "args": ["hf://org/m:main", "/mnt/models"]},
     "hf://org/m@main"),
    ("huggingfaceserver with a folder", {"image": "kserve/huggingfaceserver:v1", "args": ["--model_dir=/mnt/m"]},
     "file:///mnt/m"),
    ("a folder that somebody fills", {"image": "kserve/huggingfaceserver:v1", "args": ["--model_dir=/mnt/models"],
                                      "env": [{"name": "STORAGE_URI", "value": "hf://org/m"}]}, "hf://org/m@main"),
    ("python servers", {"command": ["python", "-m", "sklearnserver"], "args": ["--model_dir=s3://b/m"]}, "s3://b/m"),
    ("text embeddings", {"command": ["text-embeddings-router", "--model-id", "org/m"]}, "hf://org/m@main"),
    ("tensorflow", {"command": ["tensorflow_model_server"], "args": ["--model_base_path=gs://b/m"]}, "gs://b/m"),
    ("a base model", {"env": [{"name": "BASE_MODEL", "value": "hf://org/m"}]}, "hf://org/m@main"),
    ("the model over its base", {"env": [{"name": "BASE_MODEL", "value": "hf://org/base"},
                                         {"name": "MODEL_ID", "value": "hf://org/m"}]}, "hf://org/m@main"),
]  # fmt: skip


def test_folders_of_caches_are_settings() -> None:
    def build(cache: str) -> dict[str, Any]:
        args = ["--model", "org/m", "--revision", A]
        env = [{"name": "HF_HUB_OFFLINE", "value": "1"}, {"name": "TRANSFORMERS_CACHE", "value": cache}]
        return deployment(container("vllm", "vllm/vllm-openai:v1", args=args, env=env))

    record = only(compare([build("/one")], [build("/two")]))
    assert (record.slot, record.kind, record.action) == (
        "container[vllm].cache[TRANSFORMERS_CACHE]",
        "config",
        "rollout",
    )
    assert (record.new and record.new.canonical, record.new and record.new.pinned) == ("file:///two", "opaque")


def placed(root: Root) -> dict[str, Any]:
    """A manifest's fields with a pod spec at a root."""
    value: Any = POD
    for field in reversed(root.fields):
        if field.endswith("[]"):
            value = {field[:-2]: [{"name": "one", **value}]}
        elif field.endswith("{}"):
            value = {field[:-2]: {"one": value}}
        else:
            value = {field: value}
    return dict(value)


@pytest.mark.parametrize("key", ROOTS, ids="/".join)
def test_pods_are_found_wherever_a_kind_keeps_them(key: tuple[str, str]) -> None:
    group, kind = key
    for root in ROOTS[key]:
        head = {"apiVersion": f"{group}/v1" if group else "v1", "kind": kind, "metadata": {"name": "x"}}
        found = extracted({**head, **placed(root)})
        assert not found.failures
        models = {name: slot.ref.canonical for name, slot in found.slots.items() if name.endswith("].model")}
        assert list(models.values()) == ["hf://org/m@main"], root
        assert all(name.startswith(root.label) for name in models)


@pytest.mark.parametrize(("fields", "expected"), [row[1:] for row in COMMANDS], ids=[row[0] for row in COMMANDS])
def test_what_a_container_serves(fields: dict[str, Any], expected: str) -> None:
    made = {"image": "registry.example/app:1", **fields}
    assert canonicals(deployment({"name": "c", **made}))["container[c].model"] == expected


@pytest.mark.parametrize(("path", "text", "expected"), FILES, ids=[row[0] for row in FILES])
def test_files_that_stand_for_models_and_data(path: str, text: str, expected: dict[str, tuple[str, str]]) -> None:
    found = file_slots(path, Blob(text.encode()))
    assert {slot.name: (slot.kind, slot.ref.canonical) for slot in found} == expected
    assert "hunter2" not in repr(found)


@pytest.mark.parametrize(("path", "kind"), WHOLE.items())
def test_files_whose_content_counts_as_a_whole(path: str, kind: str) -> None:
    (one,), (other,) = (file_slots(path, Blob(data)) for data in (b"a", b"b"))
    assert (one.kind, one.name) == (kind, "content")
    assert one.ref.pinned is True
    assert one.ref.digest != other.ref.digest


def test_no_file_is_left_out() -> None:
    named = {row[0].rpartition("/")[2] for row in FILES} | {path.rpartition("/")[2] for path in WHOLE} | ELSEWHERE
    assert DOCUMENTS.keys() <= named


@pytest.mark.parametrize("path", sorted({row[0] for row in FILES} - {"Modelfile"}))
@pytest.mark.parametrize(
    "data",
    [b"[", b"- a", b"\xff\xfe", b"text", b"distribution: 1", b"models: {a: 1", b"deploymentSpec:\npipelineInfo: ["],
)
def test_files_that_cannot_be_read_say_so_or_say_nothing(path: str, data: bytes) -> None:
    try:
        found = file_slots(path, Blob(data))
    except MalformedError as error:
        found, said = [], error.path
    else:
        said = "nothing to say"
    assert found == []
    assert said
