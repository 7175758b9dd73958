"""Spelling -> reference, by the grammar of the resource that holds the text."""

from __future__ import annotations

import pytest

from agent.core.models import Grammar, parse
from agent.core.models.redact import MAX_LENGTH
from agent.core.models.ref import MALFORMED
from tests.unit.models.manifests import DIGEST_A, A

G = Grammar

SPELLINGS = [
    # grammar, spelling, scheme, canonical, pinned
    (G.KSERVE, "hf://org/m", "hf-model", "hf://org/m@main", False),
    (G.KSERVE, f"hf://org/m:{A}", "hf-model", f"hf://org/m@{A}", True),
    (G.KSERVE, "hf://org/m:v1.0", "hf-model", "hf://org/m@v1.0", False),
    (G.DYNAMO, f"hf://org/m@{A}", "hf-model", f"hf://org/m@{A}", True),
    (G.OME, "hf://org/m@main", "hf-model", "hf://org/m@main", False),
    (G.GENERIC, "hf://datasets/org/d@v2/train.parquet", "hf-dataset", "hf://datasets/org/d@v2/train.parquet", False),
    (G.GENERIC, "hf://org/m@refs/pr/7/weights.safetensors", "hf-model", "hf://org/m@refs/pr/7/weights.safetensors",
     False),
    (G.AIBRIX, "huggingface://org/m", "hf-model", "hf://org/m@main", False),
    (G.HUB, "org/m", "hf-model", "hf://org/m@main", False),
    (G.HUB, "gpt2", "hf-model", "hf://gpt2@main", False),
    (G.HUB, "org/m-GGUF:Q4_K_M", "hf-model", "hf://org/m-GGUF@main#Q4_K_M", False),
    (G.HUB, f"https://huggingface.co/org/m/resolve/{A}/model.gguf", "hf-model", f"hf://org/m@{A}/model.gguf", True),
    (G.HUB, "/mnt/models", "file", "file:///mnt/models", "opaque"),
    (G.LLAMA_CPP, "user/repo:Q8_0", "hf-model", "hf://user/repo@main#Q8_0", False),
    (G.IMAGE, "nginx", "oci", "oci://docker.io/library/nginx:latest", False),
    (G.IMAGE, "org/app:v1", "oci", "oci://docker.io/org/app:v1", False),
    (G.IMAGE, "index.docker.io/nginx:1", "oci", "oci://docker.io/library/nginx:1", False),
    (G.IMAGE, "localhost:5000/app", "oci", "oci://localhost:5000/app:latest", False),
    (G.IMAGE, f"ghcr.io/org/app:v1@{DIGEST_A}", "oci", f"oci://ghcr.io/org/app@{DIGEST_A}", True),
    (G.KSERVE, "oci://reg.example/m:v1", "oci", "oci://reg.example/m:v1", False),
    (G.KSERVE, f"oci+native://reg.example/m@{DIGEST_A}", "oci", f"oci://reg.example/m@{DIGEST_A}", True),
    (G.KSERVE, "oci+fetch://reg.example/m:v1", "oci", "oci://reg.example/m:v1", False),
    (G.OME, "oci://n/space/b/bucket/o/models/m/", "oci-object", "oci-object://space/bucket/models/m", False),
    (G.KSERVE, "s3://bucket/m/", "s3", "s3://bucket/m", False),
    (G.KSERVE, "s3://bucket/m?versionId=abc", "s3", "s3://bucket/m?versionId=abc", True),
    (G.KUBEAI, "oss://bucket/m", "s3", "oss://bucket/m", False),
    (G.KSERVE, "gs://bucket/m#1700000000", "gs", "gs://bucket/m#1700000000", True),
    (G.AIBRIX, "gcs://bucket/m", "gs", "gs://bucket/m", False),
    (G.KSERVE, "https://acct.blob.core.windows.net/c/m?versionid=2024", "azure", "azure://acct/c/m?version=2024", True),
    (G.KSERVE, "https://acct.z11.blob.storage.azure.net/c/m", "azure", "azure://acct/c/m", False),
    (G.KSERVE, "abfss://c@acct.dfs.core.windows.net/m", "azure", "azure://acct/c/m", False),
    (G.GENERIC, "as://acct/c/m", "azure", "azure://acct/c/m", False),
    (G.KSERVE, "https://Example.com:443/m.tar?b=2&a=1", "http", "https://example.com/m.tar?a=1&b=2", False),
    (G.KSERVE, "https://git.example/org/m.git", "git", "https://git.example/org/m.git", False),
    (G.GENERIC, f"https://github.com/o/r/archive/{A}.zip", "http", f"https://github.com/o/r/archive/{A}.zip", True),
    (G.KSERVE, "hdfs://nn/m", "hdfs", "hdfs://nn/m", False),
    (G.KSERVE, "pvc://claim/m", "pvc", "pvc://claim/m", "opaque"),
    (G.OME, "pvc://ns:claim/m", "pvc", "pvc://ns:claim/m", "opaque"),
    (G.OME, "local:///data/m", "hostPath", "hostPath:///data/m", "opaque"),
    (G.GENERIC, "models:/name/7", "mlflow-version", "models:/name/7", True),
    (G.GENERIC, "models:/name@champion", "mlflow-alias", "models:/name@champion", False),
    (G.GENERIC, "models:/name/Production", "mlflow-stage", "models:/name/Production", False),
    (G.GENERIC, "models:/m-0123abcd", "mlflow-version", "models:/m-0123abcd", True),
    (G.GENERIC, "models:/cat.schema.name/7", "mlflow-version", "models:/cat.schema.name/7", True),
    (G.GENERIC, "runs:/0a1b/model", "mlflow-run", "runs:/0a1b/model", "soft"),
    (G.GENERIC, "mlflow-artifacts:///1/r/m", "mlflow-run", "mlflow-artifacts:/1/r/m", "soft"),
    (G.GENERIC, "mlflow-artifacts://host:5000/1/r/m", "mlflow-run", "mlflow-artifacts://host:5000/1/r/m", "soft"),
    (G.GENERIC, "wandb-artifact://e/p/m:v3", "wandb", "wandb-artifact://e/p/m:v3", True),
    (G.GENERIC, "wandb-artifact://e/p/m:best", "wandb", "wandb-artifact://e/p/m:best", False),
    (G.GENERIC, f"wandb-artifact://e/p/m@{'f' * 32}", "wandb", f"wandb-artifact://e/p/m@{'f' * 32}", True),
    (G.WANDB, "e/p/m", "wandb", "wandb-artifact://e/p/m:latest", False),
    (G.WANDB, "e/p/m.json:v2", "wandb", "wandb-artifact://e/p/m.json:v2", True),
    (G.GENERIC, f"modelscope://o/m:{A}", "modelscope", f"modelscope://o/m@{A}", True),
    (G.GENERIC, "ngc://nim/meta/llama:1.2", "ngc", "ngc://nim/meta/llama:1.2", True),
    (G.GENERIC, "ngc://nim/meta/llama:1.2?file=a/b:c", "ngc", "ngc://nim/meta/llama:1.2?file=a/b:c", True),
    (G.NGC, "org/team/m", "ngc", "ngc://org/team/m:latest", False),
    (G.GENERIC, "Delta+S3://bucket/t@v3", "delta", "delta+s3://bucket/t@v3", True),
    (G.GENERIC, "s3://bucket/t?versionAsOf=3", "delta", "delta+s3://bucket/t@v3", True),
    (G.GENERIC, "delta+abfss://c@a.dfs.core.windows.net/t", "delta", "delta+abfss://c@a.dfs.core.windows.net/t", False),
    (G.GENERIC, "https://h.example/t?x=1&timestampAsOf=2026-01-01", "delta",
     "delta+https://h.example/t?timestampAsOf=2026-01-01", "soft"),
    (G.GENERIC, f"lakefs://repo/{'d' * 64}/m", "lakefs", f"lakefs://repo/{'d' * 64}/m", True),
    (G.GENERIC, "lakefs://repo/main/m", "lakefs", "lakefs://repo/main/m", False),
    (G.GENERIC, f"pfs://p/repo@{'e' * 32}:/m", "pachyderm", f"pfs://p/repo@{'e' * 32}:/m", True),
    (G.KUBEAI, "ollama://llama3", "ollama", "ollama://library/llama3:latest", False),
    (G.OLLAMA, "hf.co/user/repo:Q4", "ollama", "ollama://hf.co/user/repo:Q4", False),
    (G.KSERVE, "model-registry://m/v1", "model-registry", "model-registry://m/v1", True),
    (G.KSERVE, "model-registry://m", "model-registry", "model-registry://m", False),
    (G.KSERVE, "model-registry://h.x.svc:80/m", "model-registry", "model-registry://h.x.svc:80/m", False),
    (G.KSERVE, "model-registry://h:80/m/v1?x=y", "model-registry", "model-registry://h:80/m/v1", True),
    (G.OME, "vendor://x/y", "vendor", "vendor://x/y", False),
    (G.GENERIC, "newthing://x/y", "unknown", "newthing://x/y", False),
]  # fmt: skip


@pytest.mark.parametrize(
    ("grammar", "spelling", "canonical", "pinned"),
    [
        (G.WANDB, "e/p/m", "wandb-artifact://e/p/m:v3", True),
        (G.WANDB, "e/p/m:best", "wandb-artifact://e/p/m:best", False),
        (G.KSERVE, "model-registry://m", "model-registry://m/v3", True),
        (G.KSERVE, "model-registry://h:80/m", "model-registry://h:80/m/v3", True),
        (G.KSERVE, "model-registry://m/v1", "model-registry://m/v1", True),
        (G.NGC, "org/m", "ngc://org/m:v3", True),
        (G.MODELSCOPE, "org/m", "modelscope://org/m@v3", False),
    ],
)
def test_a_revision_in_another_field(grammar: Grammar, spelling: str, canonical: str, pinned: object) -> None:
    ref = parse(spelling, grammar, revision="v3")
    assert (ref.canonical, ref.pinned) == (canonical, pinned)


@pytest.mark.parametrize(("grammar", "spelling", "scheme", "canonical", "pinned"), SPELLINGS, ids=lambda v: str(v)[:60])
def test_spelling(grammar: Grammar, spelling: str, scheme: str, canonical: str, pinned: object) -> None:
    ref = parse(spelling, grammar)
    assert (ref.scheme, ref.canonical, ref.pinned) == (scheme, canonical, pinned)
    assert (ref.unresolved is None) == (pinned in {True, "soft"})


@pytest.mark.parametrize(
    ("grammar", "spelling"),
    [
        (G.KSERVE, "hf://org"),
        (G.KSERVE, "hf://org/m/extra"),
        (G.KSERVE, f"hf://org/m@{A}"),  # the separator of other resources: KServe would look for a model of that name
        (G.IMAGE, "reg.example/App With Blank"),
        (G.IMAGE, "reg.example/app@sha256:abc"),
        (G.OME, "oci://reg.example/m:v1"),  # a registry, where OME expects object storage
        (G.HUB, ""),
        (G.HUB, "org/modèle"),
        (G.GENERIC, "s3://"),
        (G.GENERIC, "https:///path"),
        (G.GENERIC, "models:/name"),
    ],
)
def test_what_breaks_its_grammar_is_never_a_pin(grammar: Grammar, spelling: str) -> None:
    ref = parse(spelling, grammar)
    assert ref.pinned is False
    assert ref.unresolved == MALFORMED


def test_a_revision_flag_is_part_of_the_reference() -> None:
    assert parse("org/m", Grammar.HUB, revision=A).canonical == parse(f"hf://org/m@{A}", Grammar.DYNAMO).canonical
    assert parse("org/m", Grammar.HUB, revision=A).pinned is True
    assert parse("org/m", Grammar.HUB, revision="main").canonical == parse("org/m", Grammar.HUB).canonical


def test_a_digest_gives_identity_and_digest() -> None:
    ref = parse(f"app:v1@{DIGEST_A}", Grammar.IMAGE)
    assert ref.digest is not None
    assert str(ref.digest) == DIGEST_A
    assert ref.identity is not None
    assert ref.identity.revision == DIGEST_A


@pytest.mark.parametrize(
    "spelling",
    [
        "https://user:hunter2@host.example/m",
        "https://hunter2@host.example/m",
        "s3://AKIA:hunter2@bucket/m",
        "delta://AKIA:hunter2@bucket/t@v7",
        "delta://hunter2@bucket@v7",
        "delta+s3://AKIA:hunter2@bucket/t",
        "iceberg://me:hunter2@catalog/ns.t@12",
        "ICEBERG+https://hunter2@catalog/ns.t#audit",
        "git+https://user:hunter2@host.example/m.git",
        "https://acct.blob.core.windows.net/c/m?sv=2022&sig=hunter2",
        "https://host.example/m?X-Amz-Signature=hunter2&X-Amz-Credential=hunter2",
        "https://host.example/m?token=hunter2",
        "newthing://host/m?api_key=hunter2",
    ],
)
def test_credentials_in_addresses_are_hidden(spelling: str) -> None:
    ref = parse(spelling)
    assert "hunter2" not in repr(ref)
    assert ref.scheme != ""


@pytest.mark.parametrize(
    ("spelling", "canonical"),
    [
        ("delta://AKIA:hunter2@bucket/t@v7", "delta://bucket/t@v7"),
        ("delta+s3://AKIA:hunter2@bucket/t", "delta+s3://bucket/t"),
        ("delta://bucket@v7", "delta://bucket@v7"),
        ("iceberg://me:hunter2@catalog/ns.t@12", "iceberg://catalog/ns.t@12"),
        ("iceberg://me:hunter2@catalog/ns.t#audit", "iceberg://catalog/ns.t#audit"),
    ],
)
def test_a_table_is_the_same_whoever_reads_it(spelling: str, canonical: str) -> None:
    assert parse(spelling).canonical == canonical


def test_another_signature_is_the_same_reference() -> None:
    one, two = (parse(f"https://host.example/m?X-Amz-Signature={value}") for value in ("x", "y"))
    assert one == two


def test_encrypted_values_are_opaque() -> None:
    one, two = (parse(f"ENC[AES256_GCM,data:{value},type:str]") for value in ("aa", "bb"))
    assert (one.pinned, one.spelling) == ("opaque", "ENC[…]")
    assert one.canonical != two.canonical


def test_long_spellings_are_kept_apart_and_short() -> None:
    start = "s3://bucket/" + "ü" * 5000
    one, two = parse(start + "1"), parse(start + "2")
    assert max(map(len, (one.spelling, one.canonical))) <= MAX_LENGTH
    assert one.canonical != two.canonical
