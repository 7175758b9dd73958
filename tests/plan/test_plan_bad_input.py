"""Repositories that nobody should have: a plan names what it cannot read, and tells of the rest."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.plan.plan_repository import Output, PlanRepository, deployment, dvc, flux, kustomization, lfs, service

BROKEN = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: [broken\n"


def files_of(output: Output) -> list[str]:
    return [error["file"] for error in output.errors if "file" in error]


@pytest.mark.parametrize("kustomized", [True, False], ids=["kustomization", "plain"])
def test_a_file_broken_by_the_commit_is_named_and_removes_nothing(repository: PlanRepository, kustomized: bool) -> None:
    if kustomized:
        repository.write({"app/kustomization.yaml": kustomization("a.yaml", "b.yaml")})
    repository.history(
        {"app/a.yaml": service("s3://b/a", "a"), "app/b.yaml": service("s3://b/one", "b")},
        {"app/a.yaml": BROKEN, "app/b.yaml": service("s3://b/two", "b")},
    )
    output = repository.plan()
    assert [(change["op"], change["object"]["name"]) for change in output.changes] == [("changed", "b")]
    assert files_of(output) == ["app/a.yaml"]
    assert output.status == 0


def test_a_file_of_which_nothing_is_left_that_looks_like_a_manifest_is_named_and_removes_nothing(
    repository: PlanRepository,
) -> None:
    repository.history(
        {"app/a.yaml": service("s3://b/a", "a"), "app/b.yaml": service("s3://b/one", "b")},
        {"app/a.yaml": "{{{\n", "app/b.yaml": service("s3://b/two", "b")},
    )
    output = repository.plan()
    assert [(change["op"], change["object"]["name"]) for change in output.changes] == [("changed", "b")]
    assert files_of(output) == ["app/a.yaml"]


@pytest.mark.parametrize("kustomized", [True, False], ids=["kustomization", "plain"])
def test_a_file_mended_by_the_commit_is_named_too(repository: PlanRepository, kustomized: bool) -> None:
    if kustomized:
        repository.write({"app/kustomization.yaml": kustomization("a.yaml", "b.yaml")})
    repository.history(
        {"app/a.yaml": BROKEN, "app/b.yaml": service("s3://b/one", "b")},
        {"app/a.yaml": service("s3://b/a", "a"), "app/b.yaml": service("s3://b/two", "b")},
    )
    output = repository.plan()
    assert ("changed", "b") in [(change["op"], change["object"]["name"]) for change in output.changes]
    assert files_of(output) == ["app/a.yaml"]


@pytest.mark.parametrize(
    ("broken", "named"),
    [
        ({"two/kustomization.yaml": "resources: [\n"}, "two/kustomization.yaml"),
        ({"two/kustomization.yaml": kustomization("missing.yaml")}, "two/kustomization.yaml"),
        ({"two/kustomization.yaml": kustomization("../two")}, "two/kustomization.yaml"),
        ({"two/kustomization.yaml": "- a\n- b\n"}, "two/kustomization.yaml"),
        ({"two/kustomization.yaml": b"\xff\xfe\x00"}, "two/kustomization.yaml"),
        (
            {"two/kustomization.yaml": kustomization("../base"), "base/kustomization.yaml": "resources: [\n"},
            "base/kustomization.yaml",
        ),
    ],
    ids=["yaml", "missing", "cycle", "list", "binary", "base"],
)
def test_an_application_that_cannot_be_built_is_named(
    repository: PlanRepository, broken: dict[str, str | bytes], named: str
) -> None:
    repository.history(
        {
            "one/kustomization.yaml": kustomization("s.yaml"),
            "one/s.yaml": service("s3://b/one"),
            "two/kustomization.yaml": kustomization("s.yaml"),
            "two/s.yaml": service("s3://b/one", "two"),
        },
        {"one/s.yaml": service("s3://b/two"), **broken},
    )
    output = repository.plan()
    assert [(change["op"], change["object"]["name"]) for change in output.changes] == [("changed", "sentiment")]
    assert files_of(output) == [named]


def test_remote_bases_and_charts_are_named_and_the_rest_is_compared(repository: PlanRepository) -> None:
    more = "helmCharts: [{name: x, repo: https://charts.example}]\n"
    repository.history(
        {
            "one/kustomization.yaml": kustomization("s.yaml", "https://u:hunter2@git.example/x//y?ref=v1", more=more),
            "one/s.yaml": service("s3://b/one"),
            "one/t.yaml": service("s3://b/one", "t"),
        },
        {"one/s.yaml": service("s3://b/two")},
    )
    output = repository.plan()
    assert [(change["op"], change["object"]["name"]) for change in output.changes] == [("changed", "sentiment")]
    assert output.errors == [
        {
            "file": "one/kustomization.yaml",
            "message": "includes https://***@git.example/x//y?ref=v1, Helm charts: not read offline",
        }
    ]


@pytest.mark.parametrize(
    ("listed", "gone"),
    [
        ("t.yaml", ["one/t.yaml"]),
        ("../base", ["base/kustomization.yaml", "base/u.yaml"]),
        ("../../../etc", []),
        ("link.yaml", []),
        ("../vendor/x", []),
    ],
)
def test_resources_that_are_not_there_are_named_and_the_rest_is_compared(
    repository: PlanRepository, listed: str, gone: list[str]
) -> None:
    (repository.folder / "one").mkdir()
    (repository.folder / "one" / "link.yaml").symlink_to("../../../etc/passwd")
    repository.history(
        {
            "one/kustomization.yaml": kustomization("s.yaml", listed),
            "one/s.yaml": service("s3://b/one"),
            "one/t.yaml": service("s3://b/t", "t"),
            "base/kustomization.yaml": kustomization("u.yaml"),
            "base/u.yaml": service("s3://b/u", "u"),
        },
        {"one/s.yaml": service("s3://b/two"), **dict.fromkeys(gone)},
    )
    output = repository.plan()
    assert [(change["op"], change["object"]["name"]) for change in output.changes] == [("changed", "sentiment")]
    assert output.errors == [
        {
            "file": "one/kustomization.yaml",
            "message": f"lists {listed}: no file or folder of the source (links are none)",
        }
    ]


def test_a_file_that_sops_encrypted_as_a_whole_does_not_end_the_build(repository: PlanRepository) -> None:
    sealed = "apiVersion: ENC[AES256_GCM,data:{0}]\nkind: ENC[AES256_GCM,data:{0}]\nsops: {{mac: x}}\n"
    repository.write({"f.yaml": flux("a", "./a")})
    repository.history(
        {"a/s.yaml": service("s3://b/one"), "a/x.yaml": sealed.format("aa")},
        {"a/s.yaml": service("s3://b/two"), "a/x.yaml": sealed.format("bb")},
    )
    output = repository.plan()
    assert [(change["op"], change["object"]["name"]) for change in output.changes] == [("changed", "sentiment")]
    assert output.errors == [{"file": "a/x.yaml", "message": "is encrypted as a whole with SOPS: not read"}]


def test_objects_that_several_files_of_a_folder_hold_are_compared_file_by_file(repository: PlanRepository) -> None:
    repository.history(
        {
            "prod.yaml": service("s3://b/one"),
            "test.yaml": service("s3://b/one"),
            "other.yaml": service("s3://b/x", "x"),
        },
        {
            "prod.yaml": service("s3://b/two"),
            "other.yaml": service("s3://b/y", "x") + "---\n" + service("s3://b/z", "x"),
        },
    )
    output = repository.plan()
    assert {(change["op"], change["location"]["file"]) for change in output.changes} == {
        ("changed", "prod.yaml"),
        ("changed", "other.yaml"),
    }
    assert output.errors == [
        {
            "file": "other.yaml",
            "message": "has InferenceService/ml/x more than once: only the last one is looked at",
        }
    ]


def test_an_object_that_cannot_be_read_is_a_record_and_an_error(repository: PlanRepository) -> None:
    odd = service("s3://b/m").replace("    model:\n      storageUri: s3://b/m\n", "    model: [a, b]\n")
    repository.history({"a/s.yaml": service("s3://b/m")}, {"a/s.yaml": odd})
    output = repository.plan()
    assert [change["op"] for change in output.changes] == ["parse-error"]
    assert output.errors == [
        {"object": "InferenceService/ml/sentiment", "message": "$.spec.predictor.model is not a mapping"}
    ]


def test_broken_pointers_are_named_and_remove_nothing(repository: PlanRepository) -> None:
    repository.history(
        {"x.bin": lfs("a"), "y.dvc": dvc("a"), "z.dvc": dvc("a")},
        {"x.bin": "version https://git-lfs.github.com/spec/v1\noid sha", "y.dvc": "outs: {", "z.dvc": dvc("b")},
    )
    output = repository.plan()
    assert {(change["op"], change["object"]["name"]) for change in output.changes} == {
        ("parse-error", "x.bin"),
        ("parse-error", "y.dvc"),
        ("changed", "z.dvc"),
    }
    assert files_of(output) == ["x.bin", "y.dvc"]


def test_line_ends_and_byte_order_marks_do_not_matter(repository: PlanRepository) -> None:
    def windows(text: str) -> bytes:
        return b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode()

    repository.git("config", "core.autocrlf", "false")
    repository.history(
        {
            "f.yaml": windows("---\n" + flux("app", "./app") + "---\n" + flux("more", "./more")),
            "app/kustomization.yaml": windows(kustomization("d.yaml")),
            "app/d.yaml": windows(deployment("vllm", "serve", "org/one")),
            "more/s.yaml": windows(service("s3://b/one")),
            "x.dvc": windows(dvc("a")),
        },
        {
            "app/d.yaml": windows(deployment("vllm", "serve", "org/two")),
            "more/s.yaml": windows(service("s3://b/two")),
            "x.dvc": windows(dvc("b")),
        },
    )
    output = repository.plan()
    assert output.errors == []
    assert sorted(change["kind"] for change in output.changes) == ["data", "model", "model"]


def test_names_in_any_script_and_names_that_are_no_text(repository: PlanRepository) -> None:
    repository.history(
        {"данные/モデル.yaml": service("s3://b/ж"), "sp ace/x|`y`.dvc": dvc("a")},
        {"данные/モデル.yaml": service("s3://b/я"), "sp ace/x|`y`.dvc": dvc("b")},
    )
    (repository.folder / "caf\udce9.dvc").write_text(dvc("c"))
    repository.git("add", "--all")
    repository.git("commit", "--quiet", "--amend", "--no-edit")
    for form in ("json", "text", "markdown"):
        output = repository.plan(output=form)
        assert output.status == 0
        assert "данные/モデル.yaml" in output.out
        assert "caf\ufffd.dvc" in output.out


def test_links_submodules_and_binaries_are_taken_for_what_they_are(repository: PlanRepository) -> None:
    repository.write({"app/s.yaml": service("s3://b/one"), "app/b.yaml": b"\x00\x01apiVersion kind\xff", "big": "x"})
    (repository.folder / "app" / "loop").symlink_to("loop")
    (repository.folder / "app" / "up.yaml").symlink_to("../app")
    (repository.folder / "away").symlink_to("/etc")
    first = repository.commit({})
    repository.git("update-index", "--add", "--cacheinfo", f"160000,{first},vendor/weights")
    repository.git("commit", "--quiet", "-m", "submodule")
    second = repository.git("rev-parse", "HEAD")
    repository.write({"app/s.yaml": service("s3://b/two")})
    repository.git("add", "app")
    repository.git("update-index", "--cacheinfo", f"160000,{second},vendor/weights")
    repository.git("commit", "--quiet", "-m", "bump")
    output = repository.plan()
    assert output.told == {("model", "changed", "predictor.model"), ("data", "changed", "commit")}
    assert output.the("data")["new"]["canonical"] == f"git:{second}"
    assert files_of(output) == ["app/b.yaml"]


def test_huge_files_are_not_read(repository: PlanRepository) -> None:
    filler = "# " + "x" * 100 + "\n"
    repository.history(
        {"app/a.yaml": service("s3://b/one"), "app/huge.yaml": service("s3://b/h", "h"), "model.bin": b"\0"},
        {
            "app/a.yaml": service("s3://b/two"),
            "app/huge.yaml": service("s3://b/h", "h") + filler * 90_000,
            "model.bin": b"\0" * 20_000_000,
        },
    )
    output = repository.plan()
    assert [(change["op"], change["object"]["name"]) for change in output.changes] == [("changed", "sentiment")]
    assert files_of(output) == ["app/huge.yaml"]


def test_text_that_could_mislead_is_written_out(repository: PlanRepository) -> None:
    nasty = "s3://b/\x1b[31m|`x`</details>@team\u202e"
    repository.history(
        {"a/s.yaml": service("s3://b/m")},
        {"a/s.yaml": service('"' + nasty.encode("unicode_escape").decode().replace("\\x1b", "\\e") + '"')},
    )
    text, markdown = repository.plan(output="text"), repository.plan(output="markdown")
    for output in (text, markdown):
        assert "\x1b" not in output.out
        assert "\u202e" not in output.out
        assert "\\u001b" in output.out
    (row,) = [line for line in markdown.out.splitlines() if "team" in line]
    assert row.replace("\\|", "").count("|") == 5


def test_missing_objects_of_a_partial_clone_are_named(repository: PlanRepository, tmp_path: Path) -> None:
    repository.git("config", "uploadpack.allowFilter", "true")
    repository.history({"a/s.yaml": service("s3://b/one")}, {"a/s.yaml": service("s3://b/two"), "x.dvc": dvc("a")})
    clone = tmp_path / "clone"
    repository.git("clone", "--quiet", "--no-checkout", "--filter=blob:none", f"file://{repository.folder}", str(clone))
    output = repository.plan(where=clone)
    assert (output.status, output.changes) == (0, [])
    assert files_of(output) == ["a/s.yaml", "x.dvc"]
    assert "is not in the clone" in output.errors[0]["message"]


@pytest.mark.parametrize("declared", [True, False], ids=["flux", "folder"])
def test_a_missing_object_that_a_build_reads_is_named_by_its_file(repository: PlanRepository, declared: bool) -> None:
    if declared:
        repository.write({"f.yaml": flux("a", "./a"), "README": ""})
    repository.history(
        {"a/kustomization.yaml": kustomization("s.yaml", "t.yaml"), "a/s.yaml": service("s3://b/one"),
         "a/t.yaml": service("s3://b/t", "t")},
        {"a/s.yaml": service("s3://b/two")},
    )  # fmt: skip
    oid = repository.git("rev-parse", "HEAD:a/t.yaml")
    (repository.folder / ".git" / "objects" / oid[:2] / oid[2:]).unlink()
    output = repository.plan("--fail-on=errors")
    assert output.status == 3
    assert [(change["op"], change["object"]["name"]) for change in output.changes] == [("changed", "sentiment")]
    assert output.errors == [
        {"file": "a/t.yaml", "message": "is not in the clone (a partial or damaged one): its content cannot be read"}
    ]


@pytest.mark.parametrize("lost", ["HEAD~1", "HEAD"])
def test_objects_of_a_file_that_one_side_lacks_are_neither_new_nor_gone(repository: PlanRepository, lost: str) -> None:
    repository.write({"a/kustomization.yaml": kustomization("s.yaml", "t.yaml")})
    repository.history(
        {"a/s.yaml": service("s3://b/one"), "a/t.yaml": service("s3://b/t", "t")},
        {"a/s.yaml": service("s3://b/two"), "a/t.yaml": service("s3://b/t2", "t")},
    )
    oid = repository.git("rev-parse", f"{lost}:a/t.yaml")
    (repository.folder / ".git" / "objects" / oid[:2] / oid[2:]).unlink()
    output = repository.plan()
    assert [(change["op"], change["object"]["name"]) for change in output.changes] == [("changed", "sentiment")]
    assert files_of(output) == ["a/t.yaml"]


@pytest.mark.parametrize("lost", ["HEAD~1", "HEAD"])
def test_a_build_is_not_compared_without_a_patch_that_the_clone_lacks(repository: PlanRepository, lost: str) -> None:
    repository.write({"a/kustomization.yaml": kustomization("s.yaml", more="patches: [{path: p.yaml}]\n")})
    repository.history(
        {"a/s.yaml": service("s3://b/one"), "a/p.yaml": service("s3://b/p")}, {"a/p.yaml": service("s3://b/p2")}
    )
    oid = repository.git("rev-parse", f"{lost}:a/p.yaml")
    (repository.folder / ".git" / "objects" / oid[:2] / oid[2:]).unlink()
    output = repository.plan()
    assert (output.changes, files_of(output)) == ([], ["a/p.yaml"])


ANNEX = f"/annex/objects/SHA256E-s10--{'a' * 64}.csv\n"
LOCK = (
    "schema: '2.0'\nstages:\n"
    + "".join(
        f"  {name}:\n    cmd: python {name}.py\n    outs:\n    - path: {name}.csv\n      md5: {'a' * 32}\n"
        for name in ("prepare", "train")
    )
)  # fmt: skip


@pytest.mark.parametrize(
    ("files", "cut", "kept"),
    [
        *[({"w.bin": lfs("a")}, "w.bin", kept) for kept in (0, 1, 8, 60)],
        *[({"w.csv": ANNEX}, "w.csv", kept) for kept in (0, 3, 15, 40)],
        *[({"x.dvc": dvc("a")}, "x.dvc", kept) for kept in (0, 40, len(dvc("a")) - 3)],
        *[({"dvc.lock": LOCK}, "dvc.lock", kept) for kept in (0, 40, LOCK.index("train:") + 6, len(LOCK) // 2)],
        ({"Kitfile": "model:\n  name: net\ndatasets:\n- name: d\n  path: d.csv\n"}, "Kitfile", 30),
    ],
)
def test_a_file_that_breaks_off_is_named_and_removes_nothing(
    repository: PlanRepository, files: dict[str, str], cut: str, kept: int
) -> None:
    repository.history(files, {cut: files[cut][:kept]})
    output = repository.plan()
    assert [(change["op"], change["object"]["name"]) for change in output.changes] == [("parse-error", cut)]
    assert files_of(output) == [cut]


TWO = service("s3://b/one", "one") + "---\n" + service("s3://b/two", "two")
LISTED = {"a/a.yaml": service("s3://b/one", "one"), "a/b.yaml": service("s3://b/two", "two")}


@pytest.mark.parametrize(
    ("files", "cut", "kept"),
    [
        *[({"a/m.yaml": TWO}, "a/m.yaml", kept) for kept in (0, 10, TWO.index("spec:"), TWO.index("spec:") + 6)],
        *[({**LISTED, "a/kustomization.yaml": kustomization("a.yaml", "b.yaml")}, "a/kustomization.yaml", kept)
          for kept in (0, 30, 49, 90)],
        *[({**LISTED, "a/kustomization.yaml": kustomization("a.yaml", "b.yaml")}, "a/b.yaml", kept)
          for kept in (0, 80, 130, 150)],
        *[({"f.yaml": flux("one", "./one") + "---\n" + flux("two", "./two"), "one/s.yaml": service("s3://b/1", "one"),
            "two/s.yaml": service("s3://b/2", "two")}, "f.yaml", kept) for kept in (0, 30, 80, 330, 400)],
    ],
)  # fmt: skip
def test_manifests_that_break_off_are_named_and_remove_nothing(
    repository: PlanRepository, files: dict[str, str], cut: str, kept: int
) -> None:
    repository.history({**files, "z/s.yaml": service("s3://b/z")}, {cut: files[cut][:kept]})
    output = repository.plan()
    assert {change["op"] for change in output.changes} <= {"changed", "parse-error"}
    assert files_of(output) == [cut]


@pytest.mark.parametrize(
    ("old", "new", "ops"),
    [
        (TWO, service("s3://b/one", "one"), ["removed"]),
        (service("s3://b/v10", "one").rstrip(), service("s3://b/v1", "one").rstrip(), ["changed"]),
        (service("s3://b/one", "one") + "  more: 1\n", service("s3://b/one", "one"), []),
    ],
    ids=["the last object", "the end of the last line", "the last line"],
)
def test_what_somebody_took_off_the_end_is_gone(repository: PlanRepository, old: str, new: str, ops: list[str]) -> None:
    repository.history({"a/m.yaml": old}, {"a/m.yaml": new})
    output = repository.plan()
    assert ([change["op"] for change in output.changes], output.errors) == (ops, [])


_PIECES = st.sampled_from(
    [
        service("s3://b/m"), deployment("vllm", "serve", "org/m"), flux("a", "./app"), flux("b", "../.."),
        kustomization("s.yaml", "../base", "."), dvc("a"), lfs("a"), "---\n", "kind: Kustomization\n", "- a\n",
        "apiVersion: v1\nkind: List\nitems: 3\n", "a: &a [*a]\n", "? [x]\n: y\n", "\t", "\0", "{{ .Values.x }}\n",
        "metadata: null\n", "spec: []\n", "apiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\n",
        "apiVersion: v1\nkind: Secret\nstringData: [hunter2]\n",
    ]
)  # fmt: skip
_TEXTS = st.lists(_PIECES, max_size=4).map("".join) | st.text(max_size=30)
_NAMES = st.sampled_from(
    [
        "app/s.yaml",
        "app/kustomization.yaml",
        "base/kustomization.yaml",
        "base/s.yaml",
        "f.yaml",
        "x.dvc",
        "dvc.lock",
        "m",
    ]
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(_NAMES, _TEXTS, min_size=1), st.dictionaries(_NAMES, _TEXTS, min_size=1))
def test_whatever_the_files_hold_there_is_a_plan(
    repository: PlanRepository, old: dict[str, str], new: dict[str, str]
) -> None:
    for files in (old, new):
        repository.git("rm", "-rq", "--cached", "--ignore-unmatch", ".")
        repository.write({path: text.encode("utf-8", "surrogatepass") for path, text in files.items()})
        repository.git("add", "--", *files)
        repository.git("commit", "--quiet", "--allow-empty", "-m", "x")
    output = repository.plan()
    assert output.status == 0
    assert "unexpected" not in output.err
    assert "hunter2" not in output.out
    ids = [change["id"] for change in output.changes]
    assert len(set(ids)) == len(ids)


def test_kustomization_objects_that_cannot_be_read_are_named_every_time(repository: PlanRepository) -> None:
    repository.history(
        {
            "f/odd.yaml": flux("odd", "5"),
            "f/twice.yaml": flux("one", "./app") + "---\n" + flux("one", "./app"),
            "app/s.yaml": service("s3://b/one"),
        },
        {"app/s.yaml": service("s3://b/two"), "f/twice.yaml": flux("one", "./app") + "---\n" + flux("one", "app")},
    )
    output = repository.plan()
    assert [change["op"] for change in output.changes] == ["changed"]
    assert output.errors == [
        {"file": "f/odd.yaml", "message": "Kustomization odd: Expected `str | null`, got `int` - at `$.spec.path`"},
        {
            "object": "Kustomization/flux-system/one",
            "message": "is also in f/twice.yaml: only the one in f/twice.yaml is looked at",
        },
    ]


def test_sealed_manifests_are_named(repository: PlanRepository) -> None:
    sealed = "data: ENC[AES256_GCM,data:{},tag:x]\nsops: {{version: 3.9.0}}\n"
    repository.history(
        {"a/crypt.yaml": b"\0GITCRYPT\0one", "a/s.yaml": service("s3://b/one"), "a/sops.yaml": sealed.format("a")},
        {"a/crypt.yaml": b"\0GITCRYPT\0two", "a/s.yaml": service("s3://b/two"), "a/sops.yaml": sealed.format("b")},
    )
    output = repository.plan()
    assert [change["op"] for change in output.changes] == ["changed"]
    assert output.errors == [
        {"file": "a/crypt.yaml", "message": "is not text: encrypted, or binary"},
        {"file": "a/sops.yaml", "message": "is encrypted as a whole with SOPS: not read"},
    ]


@pytest.mark.parametrize("kustomized", [True, False], ids=["kustomization", "plain"])
def test_a_file_that_was_broken_before_does_not_hide_what_goes(repository: PlanRepository, kustomized: bool) -> None:
    repository.write({"app/broken.yaml": BROKEN, "app/a.yaml": service("s3://b/a", "a")})
    lists = [["a.yaml", "b.yaml", "broken.yaml"], ["a.yaml", "broken.yaml"]] if kustomized else [[], []]
    old, new = ({"app/kustomization.yaml": kustomization(*names)} if names else {} for names in lists)
    repository.history({**old, "app/b.yaml": service("s3://b/b", "b")}, {**new, "app/b.yaml": None})
    output = repository.plan()
    assert [(change["op"], change["object"]["name"]) for change in output.changes] == [("removed", "b")]
    assert files_of(output) == ["app/broken.yaml"]
