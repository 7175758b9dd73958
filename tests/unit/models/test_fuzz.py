"""No input makes the comparison fail: what cannot be read becomes a record."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.core.models import Blob, ChangeRecord, FileChange, Grammar, RenderedSet, changes, parse
from agent.core.models.extract.argv import commands, flags
from agent.core.models.extract.document import SIZE_LIMIT
from agent.core.models.extract.files import DOCUMENTS
from agent.core.models.extract.pointers import SUBMODULE, SYMLINK
from agent.core.models.hotload import adapter_change
from agent.core.models.redact import MAX_LENGTH
from agent.core.models.ref import Ref
from agent.core.models.rules import ContainerRule, FileRule, ObjectRule, Rules, steps
from agent.core.objects import ObjectKey
from tests.unit.models.manifests import A, compare, config_map, container, deployment, obj, secret, vllm
from tests.unit.models.test_families import ROWS, workspace
from tests.unit.models.test_files import BROKEN, dvc, lock, pointer

QUICK = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])

SAMPLES: list[dict[str, Any]] = [
    *(obj(api_version, kind, spec) for api_version, kind, spec, _ in ROWS),
    workspace(inference={"preset": {"name": "a/b"}, "adapters": [{"source": {"image": "i"}}]}, tuning={"input": {}}),
    obj("serving.kserve.io/v1beta1", "InferenceService",
        {"predictor": {"model": {"storageUri": "s3://b/m", "args": ["--x"], "modelFormat": {"name": "huggingface"}},
                       "storageUris": [{"uri": "s3://b/n"}], "containers": [container()]}}),
    obj("serving.kserve.io/v1alpha1", "LLMInferenceService",
        {"model": {"uri": "hf://o/m", "lora": {"adapters": [{"name": "a", "uri": "s3://b/a"}]}},
         "router": {"route": {"weight": 1}}, "template": {"containers": [container()]}}),
    deployment(
        container("c", "vllm/vllm-openai:v1", command=["sh", "-c", "vllm serve $M --lora-modules a=b"],
                  env=[{"name": "M", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "k"}}}],
                  envFrom=[{"configMapRef": {"name": "settings"}}], volumeMounts=[{"name": "v", "mountPath": "/v"}]),
        volumes=[{"name": "v", "configMap": {"name": "settings", "items": [{"key": "k", "path": "k"}]}},
                 {"name": "w", "csi": {"driver": "d", "volumeAttributes": {"uri": "s3://b/m"}}}],
    ),
    config_map({"k": "org/m"}),
    config_map({
        "model-settings.json": '{"name": "m", "parameters": {"uri": "s3://b/m", "version": "v1"}}',
        "models": 'model_config_list { config { name: "m" base_path: "s3://b/m" } }',
        "adapters.yaml": "vLLMLoRAConfig: {ensureExist: {models: [{id: a, source: o/a}]}}",
        "feature_store.yaml": "project: p\nregistry: {path: 's3://b/r.db'}",
        "adapter_config.json": '{"base_model_name_or_path": "o/m", "revision": "main", "r": 8}',
    }),
    secret({"k": "dg=="}),
    {**vllm("o/m"), "metadata": {"name": "chat", "namespace": "ml", "annotations": {
        "weir.dev/model-ref.extra": "s3://b/m", "weir.dev/model-digest.extra": f"sha256:{'a' * 64}",
        "weir.dev/model-role": "adapter", "weir.dev/data-ref.set": "s3://b/d", "weir.dev/ignore-change": "scale",
        "weir.dev/data-digest": f"sha256:{'b' * 64}", "weir.dev/on-data-change": "job"}}},
    deployment(
        container("c", "vllm/vllm-openai:v1", args=["--model=o/m", "--config", "/v/k", "--chat-template", "/v/k",
                  "--lora-modules", '{"name": "a", "path": "o/a"}', "--speculative-config", '{"model": "o/d"}',
                  "--port", "8000"],
                  env=[{"name": "VLLM_ALLOW_RUNTIME_LORA_UPDATING", "value": "1"}, {"name": "W", "value": "s3://b/w"}],
                  volumeMounts=[{"name": "v", "mountPath": "/v"}, {"name": "p", "mountPath": "/p", "subPath": "s"}]),
        initContainers=[
            container("get", command=["sh", "-c", "aws s3 cp --recursive s3://b/m /m && hf download o/m --revision x"]),
            container("storage-initializer", args=["gs://b/m", "/mnt/models"]),
        ],
        volumes=[{"name": "v", "configMap": {"name": "settings"}}, {"name": "p", "persistentVolumeClaim":
                 {"claimName": "models"}}, {"name": "h", "hostPath": {"path": "/m"}}, {"name": "i", "image":
                 {"reference": "r.example/m:1", "pullPolicy": "Always"}}],
    ),
    obj("argoproj.io/v1alpha1", "WorkflowTemplate", {"arguments": {"parameters": [{"name": "p", "value": "s3://b/d"}]},
        "templates": [{"name": "t", "container": container(), "inputs": {"artifacts": [
            {"name": "a", "s3": {"bucket": "b", "key": "k"}}, {"name": "g", "gcs": {"bucket": "b", "key": "k"}},
            {"name": "h", "http": {"url": "https://h/x"}}, {"name": "r", "git": {"repo": "https://h/r.git",
             "revision": "main"}}]}}]}),
    obj("ml.example/v1", "Scorer", {"models": [{"name": "big", "uri": "hf://o/m", "rev": A}]}),
    obj("flagger.app/v1beta1", "Canary", {"targetRef": {"kind": "Deployment", "name": "chat"}}),
]  # fmt: skip

RULES = Rules(
    (ObjectRule("ml.example", "Scorer", "$.spec.models[*].uri", "model", revision="rev"),),
    (ContainerRule("*", "weights", "--weights", "W", role="adapter"),),
    (FileRule("*.bin", "model"),),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)
NUMBERED = (
    "models:/m/",
    "s3://b/t?versionAsOf=",
    "delta://c/t@v",
    "gs://b/m#",
    "iceberg://c/t@",
    "as://a/c/b?snapshot=",
)
NUMBERS = st.builds(
    lambda head, digit, times: head + digit * times,
    st.sampled_from(NUMBERED),
    st.sampled_from("9²٣"),
    st.sampled_from([1, 18, 19, 5000]),
)
TEXT = (
    st.text(max_size=60) | st.from_regex(r"[a-z]{1,8}:/{0,2}[-a-zA-Z0-9@:/?#=&._%\[\]]{0,30}", fullmatch=True) | NUMBERS
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """All paths of a JSON value."""
    found = [path] if path else []
    if isinstance(value, dict):
        for key in value:
            found += places(value[key], (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            found += places(item, (*path, index))
    return found


def mended(text: str) -> st.SearchStrategy[str]:
    """A text, such as YAML or JSON in a field, without a piece of it, or with another one in its place."""
    places = st.integers(0, len(text))
    return st.builds(lambda start, piece, end: text[:start] + piece + text[end:], places, st.text(max_size=6), places)


@st.composite
def damaged(draw: st.DrawFn) -> tuple[dict[str, Any], dict[str, Any]]:
    """A good manifest and the same with up to three values replaced by anything, or texts that are cut or mended."""
    good = draw(st.sampled_from(SAMPLES))
    bad = copy.deepcopy(good)
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from(places(bad)))
        parent: Any = bad
        for step in path[:-1]:
            parent = parent[step]
        was = parent[path[-1]]
        parent[path[-1]] = draw(JSON | TEXT | mended(was)) if isinstance(was, str) else draw(JSON | TEXT)
    return good, bad


def masked(records: Iterable[ChangeRecord]) -> list[str]:
    """What a reader stumbled over instead of saying what is wrong."""
    return [record.reason.message for record in records if "cannot be read (" in record.reason.message]


@QUICK
@given(damaged(), st.booleans())
def test_damaged_manifests(pair: tuple[dict[str, Any], dict[str, Any]], backwards: bool) -> None:
    good, bad = reversed(pair) if backwards else pair
    rest = [config_map({"k": "org/m"})]
    records = compare([good, *rest], [bad, *rest], rules=RULES)
    adapter_change(ObjectKey("apps", "Deployment", "ml", "chat"), good, bad)
    assert len({record.id for record in records}) == len(records)
    for record in records:
        assert record.describe()
        msgspec.json.encode(record)
    assert not masked(records)


@QUICK
@given(st.lists(JSON, max_size=4), st.lists(JSON, max_size=4))
def test_anything_as_objects(old: list[Any], new: list[Any]) -> None:
    for record in changes(RenderedSet(old), RenderedSet(new)):
        assert record.describe()
        assert record.op == "parse-error" or record.object.kind


@QUICK
@given(TEXT, st.sampled_from(list(Grammar)), st.none() | TEXT)
def test_any_spelling(spelling: str, grammar: Grammar, revision: str | None) -> None:
    ref = parse(spelling, grammar, revision=revision)
    assert isinstance(ref, Ref)
    assert len(ref.canonical) <= MAX_LENGTH
    assert parse(spelling, grammar, revision=revision) == ref
    assert ref.pinned is not True or ref.identity is not None


@pytest.mark.parametrize("head", NUMBERED)
def test_numbers_of_any_length_keep_an_object_readable(head: str) -> None:
    records = compare([], [vllm(f"{head}{'9' * 5000}")])
    assert {record.kind for record in records} == {"model", "code-image"}


@QUICK
@given(st.sampled_from(list(Grammar)), st.sampled_from(["@", ":", "#", "?versionId=", "/"]), TEXT)
def test_only_whole_hashes_pin_hub_models(grammar: Grammar, separator: str, tail: str) -> None:
    ref = parse(f"hf://org/m{separator}{tail}", grammar)
    if ref.scheme == "hf-model" and ref.pinned is True:
        assert ref.identity is not None
        assert ref.identity.revision is not None
        assert len(ref.identity.revision) == 40


@QUICK
@given(st.lists(TEXT, max_size=6), st.lists(TEXT, max_size=6))
def test_any_command_line(command: list[str], arguments: list[str]) -> None:
    found = commands({"command": ["sh", "-c", *command], "args": arguments}, "$", {"A": "b"})
    for argv in found:
        taken = flags(argv, frozenset({"a"}), frozenset({"b"}))
        assert all(isinstance(word, str) for word in taken.positional)


SECRET = "XsEcReTX"
PASSWORDS = st.builds(lambda *around: SECRET.join(around), *[st.text("abz019-_.~%!$&+=:", max_size=6)] * 2)
HOSTS = ("host", "host:8443", "host.example/", "bucket/k", "h/a@v1", f"h/m@{A}", "h/m?x=1", "h/m#f")
SCHEMES = (
    "http",
    "https",
    "git",
    "ssh",
    "s3",
    "oci",
    "docker",
    "gs",
    "hdfs",
    "webhdfs",
    "minio",
    "lakefs",
    "delta+s3",
    "HTTPS",
)


@QUICK
@given(st.sampled_from(SCHEMES), st.sampled_from(list(Grammar)), PASSWORDS, st.sampled_from(HOSTS))
def test_any_password(scheme: str, grammar: Grammar, password: str, host: str) -> None:
    assert SECRET not in str(parse(f"{scheme}://user:{password}@{host}", grammar))


@QUICK
@given(st.text("$.[]*'abc-_0 ", max_size=20).map(lambda text: f"$.{text}") | TEXT)
def test_any_path_of_a_rule(path: str) -> None:
    try:
        assert steps(path)[-1] != "*"
    except ValueError as error:
        assert "path " in str(error)  # noqa: PT017 - either of the two is right


STARTS = [pointer("a").data, dvc("aa").data, lock().data, *(data for _, data in BROKEN), b"/annex/objects/", b""]
PATHS = st.sampled_from(["a.bin", "x.dvc", "evals/x.json", "croissant-1.json", *DOCUMENTS])


@st.composite
def blobs(draw: st.DrawFn) -> Blob:
    data = draw(st.sampled_from(STARTS))
    cut = draw(st.integers(0, len(data)))
    tail = draw(st.binary(max_size=40) | TEXT.map(lambda text: text.encode("utf-8", "surrogatepass")))
    return Blob(data[:cut] + tail + data[cut:], draw(st.sampled_from([0o100644, SYMLINK, SUBMODULE])))


@QUICK
@given(PATHS, st.none() | blobs(), st.none() | blobs())
def test_any_file(path: str, old: Blob | None, new: Blob | None) -> None:
    records = compare([], [], [FileChange(path, old, new)])
    assert len({record.id for record in records}) == len(records)
    assert not masked(records)


def test_huge_and_nested_input_is_refused_quickly() -> None:
    deep = b"a: " + b"[" * 5000
    bomb = b"a: &a [x, x]\n" + b"".join(b"%c: &%c [*%c, *%c]\n" % (98 + i, 98 + i, 97 + i, 97 + i) for i in range(25))
    for data in (deep, b"x" * (SIZE_LIMIT + 1), b"outs: *missing"):
        records = compare([], [], [FileChange("x.dvc", None, Blob(data))])
        assert [record.op for record in records] == ["parse-error"]
    for name in ("x.dvc", "dvc.lock", "dvc.yaml"):
        records = compare([], [], [FileChange(name, None, Blob(bomb + b"schema: '2.0'\nstages: {s: {params: *z}}\n"))])
        assert [record.op for record in records] == ["parse-error"]
    nested: Any = "x"
    for _ in range(5000):
        nested = [nested]
    compare([deployment(container(args=nested))], [deployment(container(args=["--model", A]))])
    cycle: dict[str, Any] = {"name": "p", "graph": {"name": "g", "modelUri": "s3://b/m"}}
    cycle["explainer"] = {"modelUri": "gs://b/e", "self": cycle}
    compare([], [obj("machinelearning.seldon.io/v1", "SeldonDeployment", {"predictors": [cycle]})])


@QUICK
@given(st.text(alphabet="{}<>[]:\"'#\\/a7 \n", max_size=60))
def test_protocol_buffer_text(text: str) -> None:
    found = compare([], [config_map({"served": f"model_config_list {text}"})])
    assert {record.slot for record in found if record.op != "parse-error"} == {"data[served]"}
