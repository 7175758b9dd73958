"""Files in Git that stand for data."""

from __future__ import annotations

import pytest

from agent.core.models import Blob, FileChange
from agent.core.models.extract.files import file_slots, wants
from agent.core.models.extract.pointers import SUBMODULE, SYMLINK
from agent.core.models.extract.slot import MalformedError
from agent.core.models.ref import Size
from tests.unit.models.manifests import A, B, compare, only


def pointer(character: str, size: int = 12) -> Blob:
    return Blob(f"version https://git-lfs.github.com/spec/v1\noid sha256:{character * 64}\nsize {size}\n".encode())


def dvc(md5: str, path: str = "train") -> Blob:
    hexadecimal, dot, kind = md5.partition(".")
    return Blob(
        f"outs:\n- md5: {hexadecimal * 16}{dot}{kind}\n  size: 99\n  nfiles: 3\n  hash: md5\n  path: {path}\n".encode()
    )


LOCK = """schema: '2.0'
stages:
  prepare:
    cmd: python prepare.py
    deps:
    - path: raw.csv
      md5: {dep:0<32}
      size: 10
    params:
      params.yaml:
        prepare.split: {split}
    outs:
    - path: prepared
      md5: {out:0<32}.dir
      nfiles: 2
"""


def lock(dep: str = "d1", out: str = "a1", split: str = "0.2") -> Blob:
    return Blob(LOCK.format(dep=dep, out=out, split=split).encode())


def test_an_lfs_pointer_is_its_content() -> None:
    record = only(compare([], [], [FileChange("weights/m.safetensors", pointer("a"), pointer("b", 2**40))]))
    assert (record.kind, record.op, record.action) == ("data", "changed", "job")
    assert (record.object.kind, record.object.name, record.slot) == ("File", "weights/m.safetensors", "content")
    assert record.new is not None
    assert str(record.new.digest) == f"sha256:{'b' * 64}"
    assert record.new.size is not None
    assert record.new.size.bytes == 2**40
    assert record.new.pinned is True


def test_a_dvc_file_lists_its_outputs() -> None:
    record = only(compare([], [], [FileChange("data/train.dvc", dvc("aa.dir"), dvc("bb.dir"))]))
    assert (record.kind, record.slot) == ("data", "out[train]")
    assert record.new is not None
    assert record.new.digest is not None
    assert (record.new.digest.alg, record.new.digest.scope) == ("md5", "listing")
    assert record.new.size is not None
    assert record.new.size.files == 3


def test_a_lock_file_tells_data_from_pipeline() -> None:
    records = compare([], [], [FileChange("dvc.lock", lock(), lock(dep="d2", out="a2", split="0.3"))])
    assert {(r.kind, r.slot, r.action) for r in records} == {
        ("data", "stage[prepare].dep[raw.csv]", "job"),
        ("data", "stage[prepare].out[prepared]", "job"),
        ("pipeline", "stage[prepare].params[params.yaml]", "job"),
    }


def test_an_unchanged_lock_file_is_silent() -> None:
    assert compare([], [], [FileChange("dvc.lock", lock(), Blob(lock().data + b"\n# note\n"))]) == []


def test_imports_and_cloud_versions() -> None:
    text = (
        "deps:\n- path: get-started/data.xml\n  repo:\n    url: https://git.example/r\n    rev: main\n"
        f"    rev_lock: {A}\nouts:\n- path: data.xml\n  cloud:\n    s3:\n      etag: e1\n      version_id: v1\n"
    )
    found = {slot.name: slot.ref for slot in file_slots("data.xml.dvc", Blob(text.encode()))}
    assert found["dep[get-started/data.xml].repo"].canonical == f"https://git.example/r@{A}"
    assert found["dep[get-started/data.xml].repo"].pinned is True
    assert found["out[data.xml]"].canonical == "dvc:etag:v1"


def test_a_rename_is_a_move_not_new_data() -> None:
    records = compare([], [], [FileChange("a.bin", pointer("a"), None), FileChange("b.bin", None, pointer("a"))])
    assert only(records).op == "moved"
    assert only(records).action == "apply"


def test_submodules_and_annex() -> None:
    submodule = only(
        compare([], [], [FileChange("vendor/d", Blob(A.encode(), SUBMODULE), Blob(B.encode(), SUBMODULE))])
    )
    assert (submodule.kind, submodule.slot, submodule.new and submodule.new.canonical) == ("data", "commit", f"git:{B}")
    key = f"SHA256E-s7--{'c' * 64}.bin"
    link = Blob(f"../.git/annex/objects/xx/yy/{key}/{key}".encode(), SYMLINK)
    unlocked = Blob(f"/annex/objects/{key}\n".encode())
    assert file_slots("x.bin", link)[0].ref == file_slots("x.bin", unlocked)[0].ref
    assert str(file_slots("x.bin", link)[0].ref.digest) == f"sha256:{'c' * 64}"
    worm = file_slots("x.bin", Blob(b"/annex/objects/WORM-s7-m1--name"))[0].ref
    assert (worm.pinned, worm.digest) == ("soft", None)


BROKEN = [
    ("m.bin", b"version https://git-lfs.github.com/spec/v1\noid sha256:abc\n"),
    ("m.bin", b"version https://git-lfs.github.com/spec/v1\n"),
    ("m.bin", b"version https://git-lfs.github.com/spec/v1"[:30]),
    ("m.bin", b"version https://git-lfs.github.com/spec/v1\noid sha256:\xff\xfe"),
    ("x.dvc", b"outs: [1"),
    ("x.dvc", b"- a\n- b\n"),
    ("x.dvc", b"outs: text"),
    ("x.dvc", b"outs:\n- md5: aa\n"),
    ("x.dvc", b"outs:\n- md5: 22a1\n  path: train\n"),
    ("x.dvc", b"outs:\n- md5:\n  path: train\n"),
    ("x.dvc", b"outs:\n- sha256: " + b"a" * 63 + b"\n  path: train\n"),
    ("x.dvc", b"outs:\n"),
    ("x.dvc", b"outs: []\n"),
    ("x.dvc", b"deps:\n- path: a\n  etag: e1\n"),
    ("x.dvc", b""),
    ("x.dvc", b"\x00\x01"),
    ("dvc.lock", b"schema: '2.0'\nstages: [1]\n"),
    ("dvc.lock", b""),
    ("dvc.lock", b"schema: '2.0'\n"),
    ("dvc.lock", b"schema: '2.0'\nstages:\n"),
    ("dvc.lock", b"schema: '2.0'\nstages:\n  prepare:\n"),
    ("dvc.lock", lock().data.partition(b"    - path: prepared")[0]),
    ("dvc.lock", lock().data.partition(b"params.yaml")[0]),
    ("x.bin", b"/annex/objects/nonsense"),
    ("x.bin", b"/annex/objects/MD5--aa"),
]


@pytest.mark.parametrize(("path", "data"), BROKEN)
def test_broken_files_are_named_and_nothing_counts_as_removed(path: str, data: bytes) -> None:
    with pytest.raises(MalformedError):
        file_slots(path, Blob(data))
    good = {
        "m.bin": pointer("a"),
        "x.dvc": dvc("aa"),
        "dvc.lock": lock(),
        "x.bin": Blob(b"/annex/objects/MD5--" + b"a" * 32),
    }
    record = only(compare([], [], [FileChange(path, good[path], Blob(data))]))
    assert (record.op, record.action, record.object.name) == ("parse-error", "alert", path)
    # Once mended, what the file says is new to us.
    assert {r.op for r in compare([], [], [FileChange(path, Blob(data), good[path])])} == {"added"}


def test_stages_without_outputs_are_whole() -> None:
    (slot,) = file_slots("dvc.lock", Blob(b"schema: '2.0'\nstages:\n  train:\n    cmd: python train.py\n"))
    assert slot.name == "stage[train].cmd"
    old_stage = b"cmd: make\ndeps:\n- md5: " + b"a" * 32 + b"\n  path: raw\n"
    assert [slot.name for slot in file_slots("x.dvc", Blob(old_stage))] == ["dep[raw]"]
    assert file_slots("notes", Blob(b"version ")) == []


def test_a_folder_output_without_a_hash_is_opaque() -> None:
    ref = file_slots("x.dvc", Blob(b"outs:\n- path: d\n"))[0].ref
    assert ref.pinned is False
    assert ref.unresolved == "opaque"


def test_only_what_is_needed_is_read() -> None:
    assert wants("a/dvc.lock", 100_000)
    assert wants("a/b.dvc", 2000)
    assert wants("model.bin", 133)
    assert wants("link", 0, SYMLINK)
    assert not wants("model.bin", 4_000_000_000)
    assert not wants("a/b.dvc", 4_000_000_000)
    assert file_slots("README.md", Blob(b"# hello\n")) == []


@pytest.mark.parametrize(
    ("path", "old", "new", "told"),
    [
        (
            "bento/bento.yaml",
            "name: b\nmodels:\n- {tag: 'iris:abc', module: bentoml.sklearn, creation_time: '2026-01-01'}\n",
            "name: b\nmodels:\n- {tag: 'iris:def', module: bentoml.sklearn, creation_time: '2026-01-02'}\n",
            {("model", "model[iris]", "bento://iris:def", "rollout")},
        ),
        (
            "serve/config.properties",
            "inference_address=http://[::]:8080\nmodel_store=/a\nload_models=a.mar\nkeystore_pass=hunter2\n",
            "inference_address=http://[::]:8081\r\nmodel_store=/b\r\nload_models = b.mar\r\nkeystore_pass=hunter3\r\n",
            {("model", "model", "file:///b", "rollout"), ("config", "load_models", "b.mar", "rollout")},
        ),
        ("kafka/config.properties", "retries=1\n", "retries=2\n", set()),
    ],
)
def test_files_of_servers_and_packagers(path: str, old: str, new: str, told: set[tuple[str, str, str, str]]) -> None:
    records = compare([], [], [FileChange(path, Blob(old.encode()), Blob(new.encode()))])
    assert {(r.kind, r.slot, r.new.canonical if r.new else "", r.action) for r in records} == told


def test_a_project_of_mlflow_is_a_pipeline() -> None:
    old, new = (Blob(f"name: x\nentry_points: {{main: {{command: {c}}}}}\n".encode()) for c in "ab")
    record = only(compare([], [], [FileChange("MLproject", old, new)]))
    assert (record.kind, record.op, record.action) == ("pipeline", "changed", "job")


@pytest.mark.parametrize(
    ("path", "old", "new"),
    [
        ("a/Modelfile", "FROM llama3:8b\n", "FROM llama3:70b\n"),
        ("a/models.config", 'model_config_list { config { name: "m" base_path: "s3://b/a" } }',
         'model_config_list { config { name: "m" base_path: "s3://b/b" } }'),
        ("a/model-settings.json", "{}", "{"),
        ("a/dvc.lock", "stages: {}", "stages: ["),
    ],
)  # fmt: skip
def test_a_record_of_a_text_without_fields_points_at_the_whole_file(path: str, old: str, new: str) -> None:
    record = only(compare([], [], [FileChange(path, Blob(old.encode()), Blob(new.encode()))]))
    assert (record.location.json_path, record.location.file) == ("$", path)


def test_data_sets_at_addresses_are_known_by_the_files_that_dvc_saw() -> None:
    def locked(version: str) -> Blob:
        return Blob(
            b"schema: '2.0'\ndatasets:\n- {name: d, type: url, url: s3://b/p, meta: {isdir: true}, files: ["
            b"{relpath: a.csv, meta: {version_id: %s}}, {relpath: b.csv, meta: {version_id: x}}]}\n"
            b"- {name: one, type: url, url: s3://b/one, meta: {etag: e}}\n" % version.encode()
        )

    (record,) = compare([], [], [FileChange("dvc.lock", locked("v1"), locked("v2"))])
    assert (record.kind, record.op, record.slot) == ("data", "changed", "dataset[d]")
    assert record.new is not None
    assert record.new.pinned is True


def test_a_folder_of_files_with_versions_has_their_number_and_size() -> None:
    text = b"outs:\n- path: d\n  files:\n  - {relpath: a, md5: %s, size: 3}\n  - {relpath: b, md5: %s, size: 4}\n"
    (slot,) = file_slots("d.dvc", Blob(text % (b"a" * 32, b"b" * 32)))
    assert slot.ref.size == Size(bytes=7, files=2)


def test_a_number_format_that_comes_to_a_model_s_configuration_changes_its_answers() -> None:
    plain, quantized = (
        Blob(b'{"model_type": "llama"%s}' % more) for more in (b"", b', "quantization_config": {"bits": 4}')
    )
    (record,) = compare([], [], [FileChange("m/config.json", plain, quantized)])
    assert (record.kind, record.op, record.action) == ("quantization", "added", "rollout")
    (new,) = [r for r in compare([], [], [FileChange("m/config.json", None, quantized)]) if r.kind == "quantization"]
    assert (new.op, new.action) == ("added", "apply")


@pytest.mark.parametrize("models", ["3", "{a: b}", "[3]", "[null]", "[{tag: [x]}]"])
def test_models_of_a_bento_that_cannot_be_read_do_not_count_as_removed(models: str) -> None:
    old, new = Blob(b"models: ['iris:1']"), Blob(f"models: {models}".encode())
    record = only(compare([], [], [FileChange("bentofile.yaml", old, new)]))
    assert (record.op, record.location.json_path.startswith("$.models")) == ("parse-error", True)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('"rope_scaling": null', '"rope_scaling": {"factor": 8}', [("config", "changed", "content", "rollout")]),
        ('"transformers_version": "4.1"', '"transformers_version": "4.2"', []),
        ('"hidden_size": 8, "vocab_size": 9', '"vocab_size": 9,\n  "hidden_size": 8', []),
        ('"torch_dtype": "float16"', '"torch_dtype": "bfloat16"', [("config", "changed", "torch_dtype", "rollout")]),
    ],
)
def test_all_of_a_model_s_configuration_counts_but_what_wrote_it(
    old: str, new: str, told: list[tuple[str, str, str, str]]
) -> None:
    sides = (Blob(f'{{"model_type": "llama", {fields}}}'.encode()) for fields in (old, new))
    records = compare([], [], [FileChange("m/config.json", *sides)])
    assert [(record.kind, record.op, record.slot, record.action) for record in records] == told
