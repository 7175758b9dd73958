"""Pod templates: servers, settings, adapters, images, volumes, environments."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.unit.models.manifests import (
    DIGEST_A,
    A,
    canonicals,
    compare,
    config_map,
    container,
    deployment,
    extracted,
    obj,
    only,
    refs,
    secret,
    vllm,
)

HF_A, HF_MAIN = f"hf://org/m@{A}", "hf://org/m@main"

SERVERS: list[tuple[str, dict[str, Any], str]] = [
    ("vllm positional", {"image": "vllm/vllm-openai:v1", "args": ["org/m", "--revision", A]}, HF_A),
    ("vllm flag", {"image": "vllm/vllm-openai:v1", "args": [f"--revision={A}", "--model=org/m"]}, HF_A),
    ("vllm command", {"command": ["vllm", "serve", "--enforce-eager", "org/m", "--port", "8000"]}, HF_MAIN),
    ("vllm module", {"command": ["python3", "-m", "vllm.entrypoints.openai.api_server"], "args": ["--model", "org/m"]},
     HF_MAIN),
    ("vllm in a shell", {"command": ["/bin/sh", "-c"], "args": [f"exec vllm serve org/m \\\n  --revision {A} 2>&1"]},
     HF_A),
    ("vllm after other commands",
     {"command": ["bash", "-ec", "set -x; export MODEL='org/m' # which\nnvidia-smi && vllm serve $MODEL --port 1"]},
     HF_MAIN),
    ("vllm with variables", {"image": "vllm/vllm-openai:v1", "args": ["--model=$(MODEL)", "--revision=$(REV)"],
                             "env": [{"name": "MODEL", "value": "org/m"}, {"name": "REV", "value": A}]}, HF_A),
    ("sglang", {"command": ["python", "-m", "sglang.launch_server"], "args": ["--model-path", "org/m"]}, HF_MAIN),
    ("tgi flag over variable", {"image": "ghcr.io/huggingface/text-generation-inference:3",
                                "args": ["--model-id", "org/m", "--revision", A],
                                "env": [{"name": "MODEL_ID", "value": "org/other"}]}, HF_A),
    ("tgi variables", {"image": "ghcr.io/huggingface/text-generation-inference:3",
                       "env": [{"name": "MODEL_ID", "value": "org/m"}, {"name": "REVISION", "value": A}]}, HF_A),
    ("tei", {"image": "ghcr.io/huggingface/text-embeddings-inference:1", "args": ["--model-id", "org/m"]}, HF_MAIN),
    ("triton", {"command": ["tritonserver"], "args": ["--model-repository=s3://b/repo"]}, "s3://b/repo"),
    ("tensorflow serving", {"image": "tensorflow/serving:2", "args": ["--model_base_path=gs://b/m"]}, "gs://b/m"),
    ("torchserve", {"image": "pytorch/torchserve:1", "args": ["torchserve", "--start", "--model-store", "/store"]},
     "file:///store"),
    ("mlserver", {"image": "seldonio/mlserver:1", "env": [{"name": "MLSERVER_MODEL_URI", "value": "s3://b/m"}]},
     "s3://b/m"),
    ("llama.cpp", {"image": "ghcr.io/ggml-org/llama.cpp:server", "args": ["-hf", "org/m:Q4"]},
     "hf://org/m@main#Q4"),
    ("llama.cpp variable", {"command": ["llama-server"], "env": [{"name": "LLAMA_ARG_HF_REPO", "value": "org/m"}]},
     HF_MAIN),
    ("ollama", {"command": ["sh", "-c", "ollama serve & ollama pull llama3:8b && wait"]}, "ollama://library/llama3:8b"),
    ("kserve huggingfaceserver", {"command": ["python", "-m", "huggingfaceserver"],
                                  "args": ["--model_id=org/m", f"--model_revision={A}"]}, HF_A),
    ("dynamo", {"command": ["python3", "-m", "dynamo.vllm"], "args": ["--model", "org/m"]}, HF_MAIN),
    ("a shell in a shell", {"command": ["sh", "-c", "cd /x; exec bash -lc 'vllm serve org/m'"]}, HF_MAIN),
    ("tei, as inference endpoints name it", {"image": "ghcr.io/huggingface/text-embeddings-inference:1",
                                             "env": [{"name": "HF_MODEL_ID", "value": "org/m"},
                                                     {"name": "HF_REVISION", "value": A}]}, HF_A),
    ("llama.cpp file", {"image": "ghcr.io/ggml-org/llama.cpp:server", "args": ["-hf", "org/m:Q4", "-hff", "x.gguf"]},
     f"{HF_MAIN}/x.gguf"),
    ("llama.cpp file variable", {"command": ["llama-server"], "env": [{"name": "LLAMA_ARG_HF_REPO", "value": "org/m"},
                                 {"name": "LLAMA_ARG_HF_FILE", "value": "x.gguf"}]}, f"{HF_MAIN}/x.gguf"),
    ("another hub", {"image": "vllm/vllm-openai:v1", "args": ["--model=org/m"],
                     "env": [{"name": "VLLM_USE_MODELSCOPE", "value": "True"}]}, "modelscope://org/m@master"),
    ("parameters of a script", {"command": ["sh", "-c", 'exec vllm serve "$@"', "--"],
                                "args": ["org/m", "--revision", A]}, HF_A),
    ("one file of a repository", {"command": ["hf", "download", "org/m", "x.gguf", "--revision", A]},
     f"{HF_A}/x.gguf"),
    ("several files of a repository", {"command": ["hf", "download", "org/m", "a", "b"]}, HF_MAIN),
    ("flags before the verb", {"command": ["aws", "--endpoint-url", "http://m:9000", "s3", "--region=x", "sync"],
                               "args": ["s3://b/m", "/m"]}, "s3://b/m"),
    ("a switch before the verb", {"command": ["gsutil", "-m", "cp", "-r", "gs://b/m", "/m"]}, "gs://b/m"),
    ("nim", {"image": "nvcr.io/nim/meta/llama:1", "env": [{"name": "NIM_MODEL_NAME", "value": "org/m"}]}, HF_MAIN),
    ("unknown server, flag", {"command": ["./serve"], "args": ["--model-uri", "models:/m/3"]}, "models:/m/3"),
    ("unknown server, variable", {"env": [{"name": "MODEL_URI", "value": "s3://b/m"}]}, "s3://b/m"),
    ("download with revision",
     {"command": ["hf", "download", "org/m", "--revision", A, "--local-dir", "/m"]}, HF_A),
    ("object store copy", {"command": ["sh", "-c", "aws s3 sync s3://b/m /models --no-progress"]}, "s3://b/m"),
    ("storage initializer", {"image": "kserve/storage-initializer:v1", "args": [f"hf://org/m:{A}", "/mnt/models"]},
     HF_A),
]  # fmt: skip


@pytest.mark.parametrize(("fields", "expected"), [row[1:] for row in SERVERS], ids=[row[0] for row in SERVERS])
def test_servers_name_their_model(fields: dict[str, Any], expected: str) -> None:
    found = canonicals(deployment({"name": "c", "image": "registry.example/app:1", **fields}))
    assert found["container[c].model"] == expected


VARIABLES: list[tuple[dict[str, str], dict[str, tuple[str, str]]]] = [
    ({"MODEL_NAME": "churn", "MODEL_URI": "s3://b/m"},
     {"model": ("model", "s3://b/m"), "env[MODEL_NAME]": ("config", "churn")}),
    ({"BASE_MODEL": "org/m", "MODEL_URI": "s3://b/m"},
     {"model": ("model", "s3://b/m"), "env[BASE_MODEL]": ("model", HF_MAIN)}),
    ({"MODEL_NAME": "churn", "MODEL_PATH": "/m", "MODEL_VERSION": "3"},
     {"model": ("model", "file:///m@3"), "env[MODEL_NAME]": ("config", "churn")}),
    ({"HF_MODEL_ID": "org/m", "HF_REVISION": A}, {"model": ("model", HF_A)}),
    ({"MODEL_NAME": "org/m"}, {"model": ("model", HF_MAIN)}),
]  # fmt: skip


@pytest.mark.parametrize(("variables", "expected"), VARIABLES, ids=[",".join(row[0]) for row in VARIABLES])
def test_no_usual_variable_is_lost_beside_another(
    variables: dict[str, str], expected: dict[str, tuple[str, str]]
) -> None:
    given = [{"name": name, "value": value} for name, value in variables.items()]
    found = extracted(deployment(container("c", env=given))).slots
    slots = {name.removeprefix("container[c]."): (slot.kind, slot.ref.canonical) for name, slot in found.items()}
    assert {name: slot for name, slot in slots.items() if name != "image"} == expected


def test_short_and_long_names_of_flags_are_the_same() -> None:
    assert compare([vllm("--model=o/m", "-tp", "2", "-q", "awq")],
                   [vllm("--model=o/m", "--tensor-parallel-size=2", "--quantization=awq")]) == []  # fmt: skip
    record = only(compare([vllm("--model=o/m", "-tp", "2")], [vllm("--model=o/m", "-tp", "4")]))
    assert (record.slot, record.action) == ("container[vllm].--tensor-parallel-size", "rollout")
    assert record.location.json_path.endswith(".args[2]")


@pytest.mark.parametrize(
    ("flag", "kind"),
    [("--max-batch-prefill-tokens", "config"), ("--tokenizer-pool-size", "config"), ("--api-key", "credential"),
     ("--hf-token", "credential"), ("--ssl-keyfile", "credential")],
)  # fmt: skip
def test_numbers_of_tokens_are_no_credentials(flag: str, kind: str) -> None:
    assert only(compare([vllm("--model=o/m", flag, "1")], [vllm("--model=o/m", flag, "2")])).kind == kind


SETTINGS: list[tuple[str, list[str], dict[str, tuple[str, str]]]] = [
    ("vllm/vllm-openai:v1", ["--generation-config", "vllm"], {"--generation-config": ("config", "vllm")}),
    ("vllm/vllm-openai:v1", ["--generation-config", "org/g"], {"--generation-config": ("config", "hf://org/g@main")}),
    ("ghcr.io/ggml-org/llama.cpp:server", ["-md", "/d", "--lora", "/x", "--lora", "/y"],
     {"--model-draft": ("model", "file:///d"), "adapter[/x]": ("adapter", "file:///x"), "adapter[/y]": ("adapter", "file:///y")}),
    ("pytorch/torchserve:1", ["torchserve", "--models", "a=a.mar", "b=https://h.example/b.mar"],
     {"model[a]": ("model", "file://a.mar"), "model[b]": ("model", "https://h.example/b.mar")}),
    ("kserve/storage-initializer:v1", ["s3://b/x", "/x", "gs://b/y", "/y"],
     {"model[s3://b/x]": ("model", "s3://b/x"), "model[gs://b/y]": ("model", "gs://b/y")}),
    ("lmsysorg/sglang:v1", ["--lora-paths", '{"lora_name": "sql", "lora_path": "o/a", "pinned": true}'],
     {"adapter[sql]": ("adapter", "hf://o/a@main")}),
    ("python:3", ["hf", "download", "org/m", "--include", "*.gguf", "*.json", "--revision", A],
     {"model": ("model", HF_A), "--include": ("config", "*.gguf,*.json")}),
    ("amazon/aws-cli:2", ["s3", "cp", "/out/model", "s3://b/x"], {}),
]  # fmt: skip


@pytest.mark.parametrize(("image", "args", "expected"), SETTINGS, ids=[f"{r[0]} {r[1][-1]}" for r in SETTINGS])
def test_what_else_a_command_says(image: str, args: list[str], expected: dict[str, tuple[str, str]]) -> None:
    found = extracted(deployment(container("c", image, args=args))).slots
    slots = {name.removeprefix("container[c]."): (slot.kind, slot.ref.canonical) for name, slot in found.items()}
    assert {name: slot for name, slot in slots.items() if name != "image"} == expected


HERE = "cat > {file} <<'EOF'\n{body}\nEOF\n{then}"
HERE_DOCUMENTS: list[tuple[str, str | None]] = [
    (HERE.format(file="/x.json", body='{"it\'s": 1}', then="vllm serve org/m"), HF_MAIN),
    (HERE.format(file="/run.sh", body="vllm serve org/x", then="vllm serve org/m"), HF_MAIN),
    (HERE.format(file="/run.sh", body="vllm serve org/m", then="exec bash /run.sh"), HF_MAIN),
    ("bash <<-END\n\tvllm serve org/m\n\tEND\n", HF_MAIN),
    ("python - <<EOF\nvllm serve org/m\nEOF\n", None),
    ("vllm serve org/m # <<EOF\n", HF_MAIN),
]


@pytest.mark.parametrize(("script", "expected"), HERE_DOCUMENTS, ids=range(len(HERE_DOCUMENTS)))
def test_here_documents_are_read_where_they_run(script: str, expected: str | None) -> None:
    found = canonicals(deployment(container("c", command=["sh", "-c", script])))
    assert {name: ref for name, ref in found.items() if ".model" in name} == (
        {"container[c].model": expected} if expected else {}
    )


def test_a_part_of_a_setting_that_is_a_document_changes_answers() -> None:
    old, new = (vllm("--model=o/m", f"--speculative-config.model=o/{draft}") for draft in ("a", "b"))
    assert only(compare([old], [new])).action == "rollout"


def test_another_file_of_settings_changes_answers() -> None:
    assert only(compare([vllm("--config", "/a.yaml")], [vllm("--config", "/b.yaml")])).action == "rollout"


PLACES: list[tuple[str, dict[str, Any], dict[str, str]]] = [
    ("flag and value in one", {"args": ["--model=org/m", "--max_model_len=9"]},
     {"model": "args[0]", "--max-model-len": "args[1]"}),
    ("value after the flag", {"args": ["--model", "org/m", "--revision", A, "--dtype", "half"]},
     {"model": "args[1]", "--dtype": "args[5]"}),
    ("flag in the command, value in the arguments", {"command": ["vllm", "serve", "--model"], "args": ["org/m"]},
     {"model": "args[0]"}),
    ("no flag", {"command": ["vllm", "serve"], "args": ["--seed=1", "org/m"]},
     {"model": "args[1]", "--seed": "args[0]"}),
    ("the last of two counts", {"args": ["--model=org/x", "--model=org/m"]}, {"model": "args[1]"}),
    ("a variable in an argument", {"args": ["--model=$(M)"], "env": [{"name": "M", "value": "org/m"}]},
     {"model": "args[0]"}),
    ("adapters of one flag", {"args": ["--model=m/m", "--lora-modules", "a=org/a", '{"name": "b", "path": "org/b"}']},
     {"adapter[a]": "args[2]", "adapter[b]": "args[3]"}),
    ("a script", {"command": ["sh", "-c", "cd /x && exec vllm serve org/m \\\n --dtype half"]},
     {"model": "command[2]", "--dtype": "command[2]"}),
    ("a script with a variable of the container",
     {"command": ["sh", "-c"], "args": ["vllm serve $M"], "env": [{"name": "M", "value": "org/m"}]},
     {"model": "args[0]"}),
    ("variables", {"image": "ghcr.io/huggingface/text-generation-inference:3",
                   "env": [{"name": "QUANTIZE", "value": "awq"}, {"name": "MODEL_ID", "value": "org/m"},
                           {"name": "HF_HOME", "value": "/cache"}]},
     {"model": "env[1].value", "--quantize": "env[0].value", "cache[HF_HOME]": "env[2].value"}),
    ("a hook", {"lifecycle": {"postStart": {"exec": {"command": ["ollama", "pull", "m:1"]}}}},
     {"model": "lifecycle.postStart.exec.command[2]"}),
    ("a revision of the tokenizer alone", {"args": ["--tokenizer-revision", A, "--model=org/m"]},
     {"--tokenizer": "args[1]", "model": "args[2]"}),
]  # fmt: skip


@pytest.mark.parametrize(("fields", "expected"), [row[1:] for row in PLACES], ids=[row[0] for row in PLACES])
def test_records_point_at_the_word_that_says_so(fields: dict[str, Any], expected: dict[str, str]) -> None:
    found = extracted(deployment(container("c", **{"image": "vllm/vllm-openai:v1", **fields}))).slots
    places = {name.removeprefix("container[c]."): slot.path for name, slot in found.items()}
    start = "$.spec.template.spec.containers[0]."
    assert {name: places[name] for name in expected} == {name: start + place for name, place in expected.items()}


def test_volumes_point_at_the_field_that_names_their_content() -> None:
    bucket = {"driver": "gcsfuse.csi.storage.gke.io",
              "volumeAttributes": {"bucketName": "b", "mountOptions": "implicit-dirs,only-dir=models/m"}}  # fmt: skip
    artifact = {
        "driver": "model.csi.modelpack.org",
        "volumeAttributes": {"model.csi.modelpack.org/reference": "r.io/m:1"},
    }
    pod = deployment(
        container("c"),
        volumes=[
            {"name": "a", "image": {"reference": "r.io/m:1"}},
            {"name": "b", "persistentVolumeClaim": {"claimName": "c"}},
            {"name": "c", "hostPath": {"path": "/h"}},
            {"name": "d", "csi": bucket},
            {"name": "e", "csi": artifact},
            {"name": "f", "csi": {"driver": "other.example", "volumeAttributes": {"x": "y"}}},
        ],
    )
    found = {name: slot for name, slot in extracted(pod).slots.items() if name.startswith("volume")}
    shown = [(slot.kind, slot.ref.canonical, slot.path.partition(".volumes")[2]) for slot in found.values()]
    assert shown == [
        ("model", "oci://r.io/m:1", "[0].image.reference"),
        ("data", "pvc://c", "[1].persistentVolumeClaim.claimName"),
        ("data", "hostPath:///h", "[2].hostPath.path"),
        ("data", "gs://b/models/m", "[3].csi.volumeAttributes.bucketName"),
        ("model", "oci://r.io/m:1", "[4].csi.volumeAttributes['model.csi.modelpack.org/reference']"),
        ("data", "csi://other.example?x=y", "[5].csi"),
    ]


def test_both_spellings_of_vllm_flags_and_its_settings() -> None:
    found = extracted(
        vllm(
            "--model=org/m", "--max_model_len", "4096", "--trust-remote-code", "--tokenizer=org/t",
            f"--tokenizer_revision={A}", "--quantization", "awq", "--served-model-name", "a", "b",
            "--chat-template", "./t.jinja", "--hf-overrides", '{"b": 1, "a": 2}',
        )
    ).slots  # fmt: skip
    kinds = {name.removeprefix("container[vllm]."): (slot.kind, slot.ref.canonical) for name, slot in found.items()}
    assert kinds == {
        "image": ("code-image", "oci://docker.io/vllm/vllm-openai:v0.11.0"),
        "model": ("model", HF_MAIN),
        "--max-model-len": ("config", "4096"),
        "--trust-remote-code": ("config", "true"),
        "--tokenizer": ("tokenizer", f"hf://org/t@{A}"),
        "--quantization": ("quantization", "awq"),
        "--served-model-name": ("config", "a,b"),
        "--chat-template": ("chat-template", "file://./t.jinja"),
        "--hf-overrides": ("config", '{"a":2,"b":1}'),
    }


def test_scripts_as_people_write_them() -> None:
    script = f"""set -euo pipefail
# it's a comment with a quote
if [ -z "$X" ]; then echo "vllm serve none"; fi
exec vllm serve $(MODEL) \\
  --revision {A} --tensor-parallel-size $((1 + 1)) --port $(cat /port | head -1) \\
  --speculative-config '{{"model": "org/draft", "n": 3}}' > >(tee -a /log) 2>&1
"""
    env = [{"name": "MODEL", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]
    found = canonicals(deployment(container("c", command=["/bin/bash", "-c"], args=[script], env=env)))
    assert {name.removeprefix("container[c]."): value for name, value in found.items()} == {
        "image": "oci://registry.example/app:1",
        "env[MODEL]": "secret://ml/s#k",
        "model": f"secret://ml/s#k@{A}",
        "--tensor-parallel-size": "$((1 + 1))",
        "--port": "$(cat /port | head -1)",
        "--speculative-config": '{"model":"org/draft","n":3}',
    }


def test_arguments_from_a_variable_of_a_script() -> None:
    env = [{"name": "EXTRA", "value": "--dtype half --seed 1"}]
    found = canonicals(deployment(container("c", command=["sh", "-c", 'eval "vllm serve org/m ${EXTRA}"'], env=env)))
    plain = canonicals(deployment(container("c", command=["sh", "-c", "vllm serve org/m ${EXTRA} --port 1"], env=env)))
    for slots in (found, plain):
        assert slots["container[c].model"] == HF_MAIN
        assert (slots["container[c].--dtype"], slots["container[c].--seed"]) == ("half", "1")


@pytest.mark.parametrize("name", ["STORAGE_URI", "MODEL_URI"])
def test_what_is_delivered_into_the_folder_is_the_model(name: str) -> None:
    env = [{"name": name, "value": "s3://b/m"}]
    args = ["--model", "/mnt/models", "--port", "1"]
    known = deployment(
        container("c", command=["python3", "-m", "vllm.entrypoints.openai.api_server"], args=args, env=env)
    )
    other = deployment(container("c", command=["./serve"], args=args, env=env))
    assert canonicals(known)["container[c].model"] == canonicals(other)["container[c].model"] == "s3://b/m"


def test_one_model_and_one_data_set_need_no_keys() -> None:
    script = f"pip install x; huggingface-cli download org/m --revision {A} && hf download --repo-type dataset org/d"
    found = canonicals(deployment(container("c", command=["sh", "-c", script])))
    assert found["container[c].model"] == HF_A
    assert found["container[c].data"] == "hf://datasets/org/d@main"


def test_a_volume_that_a_server_loads_from_holds_a_model() -> None:
    mounts = [{"name": "w", "mountPath": "/srv/w"}, {"name": "x", "mountPath": "/srv/wide"}]
    server = container("v", "vllm/vllm-openai:v1", args=["--model", "/srv/w/v1"], volumeMounts=mounts)
    claims = [{"name": name, "persistentVolumeClaim": {"claimName": name}} for name in ("w", "x")]
    found = extracted(deployment(server, volumes=claims)).slots
    assert (found["volume[w]"].kind, found["volume[x]"].kind) == ("model", "data")


@pytest.mark.parametrize("value", ['{"name": "x"}', "{", "[]", '{"name": 3, "path": []}', "="])
def test_adapters_that_cannot_be_read_do_not_count_as_removed(value: str) -> None:
    records = compare([vllm("--model=o/m", "--lora-modules", "a=o/a")], [vllm("--model=o/n", "--lora-modules", value)])
    assert sorted(record.op for record in records) == ["changed", "parse-error"]
    assert only([record for record in records if record.op == "parse-error"]).location.json_path.endswith(".args[2]")


SCRIPT = "#!/usr/bin/env bash\nset -e\nexec vllm serve org/m\n"


@pytest.mark.parametrize(
    ("command", "text", "expected"),
    [
        (["/bin/sh", "-e", "/run/start.sh"], SCRIPT, HF_MAIN),
        (["/run/start.sh"], SCRIPT, HF_MAIN),
        (["/run/start.sh", "--model-id=org/x"], SCRIPT.replace("bash", "python"), "hf://org/x@main"),
        (["bash", "/other/start.sh"], SCRIPT, None),
    ],
)
def test_a_script_from_a_config_map_is_read(command: list[str], text: str, expected: str | None) -> None:
    server = container("c", command=command, volumeMounts=[{"name": "v", "mountPath": "/run"}])
    pod = deployment(server, volumes=[{"name": "v", "configMap": {"name": "settings"}}])
    assert canonicals(pod, config_map({"start.sh": text})).get("container[c].model") == expected


def test_adapters_in_both_forms() -> None:
    args = ("org/m", "--lora-modules", "sql=org/sql", '{"name": "fr", "path": "s3://b/fr", "base_model_name": "m"}')
    found = canonicals(vllm(*args, "--port", "1"))
    assert found["container[vllm].adapter[sql]"] == "hf://org/sql@main"
    assert found["container[vllm].adapter[fr]"] == "s3://b/fr"


def test_unlisted_flags_never_become_slots() -> None:
    found = refs(vllm("org/m", "--api-key", "hunter2", env=[{"name": "HF_TOKEN", "value": "hunter2"}]))
    assert "hunter2" not in repr(found)


def test_several_repositories_of_one_server_are_told_apart_without_positions() -> None:
    one = deployment(container("t", command=["tritonserver", "--model-repository=s3://b/x", "--model-store", "/y"]))
    two = deployment(container("t", command=["tritonserver", "--model-store", "/y", "--model-repository=s3://b/x"]))
    assert canonicals(one) == canonicals(two)
    assert {"container[t].model[s3://b/x]", "container[t].model[file:///y]"} <= canonicals(one).keys()


def test_environment_through_config_maps() -> None:
    manifest = deployment(
        container(
            "tgi", "ghcr.io/huggingface/text-generation-inference:3",
            envFrom=[{"configMapRef": {"name": "settings"}}],
            env=[{"name": "REVISION", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "rev"}}}],
        )
    )  # fmt: skip
    settings = config_map({"MODEL_ID": "org/m", "rev": A, "QUANTIZE": "awq"})
    found = canonicals(manifest, settings)
    assert found["container[tgi].model"] == HF_A
    assert found["container[tgi].--quantize"] == "awq"


@pytest.mark.parametrize("source", ["configMapKeyRef", "secretKeyRef"])
def test_values_that_were_not_rendered_stay_opaque(source: str) -> None:
    env = [{"name": "MODEL_ID", "valueFrom": {source: {"name": "where", "key": "model"}}}]
    ref = refs(
        deployment(container("tgi", "ghcr.io/huggingface/text-generation-inference:3", env=env)),
        secret({"model": "aHVudGVyMg=="}, "where"),
    )["container[tgi].model"]
    assert ref.canonical == f"{'secret' if source == 'secretKeyRef' else 'configmap'}://ml/where#model"
    assert ref.unresolved is not None
    assert "aHVudGVyMg" not in repr(ref)


def test_a_variable_from_a_secret_in_an_argument_stays_opaque() -> None:
    env = [{"name": "MODEL", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]
    assert canonicals(vllm("--model", "$(MODEL)", env=env))["container[vllm].model"] == "secret://ml/s#k"


def test_variables_that_double_each_other_do_not_explode() -> None:
    env = [{"name": "V0", "value": "x" * 100}]
    env += [{"name": f"V{i}", "value": f"$(V{i - 1})$(V{i - 1})"} for i in range(1, 60)]
    assert len(repr(refs(vllm("--model", "$(V59)", env=env)))) < 50_000


def test_volumes() -> None:
    manifest = deployment(
        container("c", volumeMounts=[{"name": "claim", "mountPath": "/mnt/models"}]),
        volumes=[
            {"name": "weights", "image": {"reference": f"reg.example/m@{DIGEST_A}"}},
            {"name": "claim", "persistentVolumeClaim": {"claimName": "store"}},
            {"name": "logs", "hostPath": {"path": "/var/log"}},
            {"name": "bucket", "csi": {"driver": "csi.example", "volumeAttributes": {"b": "2", "accessToken": "x"}}},
            {"name": "card", "csi": {"driver": "model.csi", "volumeAttributes": {"modelRef": "reg.example/m:v1"}}},
            {"name": "scratch", "emptyDir": {}},
        ],
    )
    found = {name: (s.kind, s.ref.canonical, s.ref.pinned) for name, s in extracted(manifest).slots.items()}
    assert found["volume[weights]"] == ("model", f"oci://reg.example/m@{DIGEST_A}", True)
    assert found["volume[claim]"] == ("model", "pvc://store", "opaque")
    assert found["volume[logs]"] == ("data", "hostPath:///var/log", "opaque")
    assert found["volume[bucket]"] == ("data", "csi://csi.example?b=2", False)
    assert found["volume[card]"] == ("model", "oci://reg.example/m:v1", False)
    assert "volume[scratch]" not in found


def test_a_template_file_from_a_config_map_is_known_by_its_content() -> None:
    def manifest(key: str) -> dict[str, Any]:
        return deployment(
            container(
                "vllm", "vllm/vllm-openai:v1", args=["org/m", "--chat-template", "/etc/t/chat.jinja"],
                volumeMounts=[{"name": "t", "mountPath": "/etc/t/"}],
            ),
            volumes=[{"name": "t", "configMap": {"name": "t", "items": [{"key": key, "path": "chat.jinja"}]}}],
        )  # fmt: skip

    data = config_map({"one": "{{ a }}", "two": "{{ b }}"}, "t")
    one, two = (refs(manifest(key), data)["container[vllm].--chat-template"] for key in ("one", "two"))
    assert one.pinned is True
    assert one.digest is not None
    assert one.digest != two.digest


def test_accelerators_are_apart_from_other_resources() -> None:
    found = canonicals(
        deployment(
            container("c", resources={"limits": {"nvidia.com/gpu": 2, "memory": "8Gi"}, "requests": {"cpu": "1"}}),
            nodeSelector={"gpu": "a100"},
        )
    )
    assert found["container[c].accelerators"] == "nvidia.com/gpu=2"
    assert found["container[c].resources"] == "requests.cpu=1,limits.memory=8Gi"
    assert found["nodeSelector"] == "gpu=a100"


POD = {"containers": [{"name": "vllm", "image": "vllm/vllm-openai:v1", "args": ["org/m"]}]}
ROOTS: list[tuple[str, str, dict[str, Any], str]] = [
    ("v1", "Pod", POD, ""),
    ("apps/v1", "StatefulSet", {"template": {"spec": POD}}, ""),
    ("apps/v1", "DaemonSet", {"template": {"spec": POD}}, ""),
    ("batch/v1", "Job", {"template": {"spec": POD}}, ""),
    ("batch/v1", "CronJob", {"jobTemplate": {"spec": {"template": {"spec": POD}}}}, ""),
    ("argoproj.io/v1alpha1", "Rollout", {"template": {"spec": POD}}, ""),
    ("serving.knative.dev/v1", "Service", {"template": {"spec": POD}}, ""),
    ("leaderworkerset.x-k8s.io/v1", "LeaderWorkerSet",
     {"leaderWorkerTemplate": {"leaderTemplate": {"spec": POD}, "workerTemplate": {"spec": POD}}}, "worker."),
    ("jobset.x-k8s.io/v1alpha2", "JobSet",
     {"replicatedJobs": [{"name": "w", "template": {"spec": {"template": {"spec": POD}}}}]}, "job[w]."),
    ("ray.io/v1", "RayCluster", {"workerGroupSpecs": [{"groupName": "g", "template": {"spec": POD}}]}, "worker[g]."),
    ("ray.io/v1", "RayJob", {"rayClusterSpec": {"headGroupSpec": {"template": {"spec": POD}}}}, "head."),
    ("orchestration.aibrix.ai/v1alpha1", "StormService",
     {"template": {"spec": {"roles": [{"name": "r", "template": {"spec": POD}}]}}}, "role[r]."),
    ("kubeflow.org/v1", "PyTorchJob", {"pytorchReplicaSpecs": {"Worker": {"template": {"spec": POD}}}},
     "replica[Worker]."),
    ("machinelearning.seldon.io/v1", "SeldonDeployment",
     {"predictors": [{"name": "p", "componentSpecs": [{"spec": POD}]}]}, "predictor[p]."),
    ("mlops.seldon.io/v1alpha1", "Server", {"podSpec": POD}, ""),
    ("example.com/v1", "SomethingNew", {"template": {"spec": POD}}, ""),
]  # fmt: skip


@pytest.mark.parametrize(("api_version", "kind", "spec", "prefix"), ROOTS, ids=[row[1] for row in ROOTS])
def test_every_kind_with_pods_is_walked(api_version: str, kind: str, spec: dict[str, Any], prefix: str) -> None:
    assert canonicals(obj(api_version, kind, spec))[f"{prefix}container[vllm].model"] == HF_MAIN


def test_the_kind_alone_decides_nothing() -> None:
    assert canonicals(obj("example.com/v1", "Pod", POD)) == {}


@pytest.mark.parametrize(
    ("pod", "path"),
    [
        ({"containers": "none"}, "$.spec.template.spec.containers"),
        ({"containers": ["x"]}, "$.spec.template.spec.containers[0]"),
        ({"containers": [{"name": "c", "args": [{}]}]}, "$.spec.template.spec.containers[0].args[0]"),
        ({"containers": [{"name": "c", "image": ["x"]}]}, "$.spec.template.spec.containers[0].image"),
        ({"containers": [{"name": "c", "env": {"A": "b"}}]}, "$.spec.template.spec.containers[0].env"),
        ({"volumes": [{"name": "v", "image": "x"}]}, "$.spec.template.spec.volumes[0].image"),
    ],
)
def test_fields_of_the_wrong_type_are_named(pod: dict[str, Any], path: str) -> None:
    found = extracted(obj("apps/v1", "Deployment", {"replicas": 3, "template": {"spec": pod}}))
    assert [failure.path for failure in found.failures] == [path]
    assert "replicas" in found.slots  # the other extractors went on


@pytest.mark.parametrize("field", ["serviceAccountName", "imagePullSecrets"])
def test_whom_a_pod_acts_as_is_a_credential(field: str) -> None:
    def as_(name: str) -> dict[str, Any]:
        return deployment(container(), **{field: name if field == "serviceAccountName" else [{"name": name}]})

    (record,) = compare([as_("a")], [as_("b")])
    assert (record.kind, record.op, record.slot, record.action) == ("credential", "changed", field, "apply")


LONG = 200_000


@pytest.mark.parametrize(
    "script",
    [
        pytest.param("vllm serve org/m" + " " * LONG + "--seed 1", id="spaces"),
        pytest.param("vllm serve org/m" + "\n" * LONG + "true", id="lines"),
        pytest.param("echo '" + " #" * (LONG // 2) + "'\nvllm serve org/m", id="comments"),
    ],
)
def test_long_scripts_are_read_in_the_time_that_their_length_takes(script: str) -> None:
    # What takes the square of the length takes minutes here.
    started = time.process_time()
    found = canonicals(deployment(container(image="vllm/vllm-openai:v1", command=["sh", "-c", script])))
    assert found["container[server].model"] == HF_MAIN
    assert time.process_time() - started < 15
