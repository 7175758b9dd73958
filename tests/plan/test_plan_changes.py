"""What `weir plan` says about the usual changes of a repository."""

from typing import NamedTuple

import pytest

from tests.plan.plan_repository import Files, PlanRepository, deployment, dvc, kustomization, lfs, service

SHA_A, SHA_B = "a" * 40, "b" * 40
DIGEST = f"sha256:{'c' * 64}"


class Case(NamedTuple):
    name: str
    old: Files
    new: Files
    told: set[tuple[str, str, str]]


CASES = [
    Case(
        "model in the arguments of a server",
        {"app/server.yaml": deployment("vllm", "serve", "org/model", "--revision", SHA_A)},
        {"app/server.yaml": deployment("vllm", "serve", "org/model", "--revision", SHA_B)},
        {("model", "changed", "container[vllm].model")},
    ),
    Case(
        "model in the environment, by way of a ConfigMap",
        {
            "app/kustomization.yaml": kustomization(
                "server.yaml", more="configMapGenerator:\n- name: settings\n  literals: [MODEL=org/one]\n"
            ),
            "app/server.yaml": deployment(
                "vllm", "serve", "$(MODEL)", extra="          envFrom: [{configMapRef: {name: settings}}]\n"
            ).replace("namespace: ml", "labels: {}"),
        },
        {
            "app/kustomization.yaml": kustomization(
                "server.yaml", more="configMapGenerator:\n- name: settings\n  literals: [MODEL=org/two]\n"
            )
        },
        {
            ("model", "changed", "container[vllm].model"),
            ("config", "changed", "data[MODEL]"),
            ("config", "changed", "container[vllm].envFrom[settings]"),
        },
    ),
    Case(
        "InferenceService",
        {"app/service.yaml": service("s3://bucket/one")},
        {"app/service.yaml": service("s3://bucket/two")},
        {("model", "changed", "predictor.model")},
    ),
    Case(
        "server image by kustomize",
        {
            "app/kustomization.yaml": kustomization(
                "server.yaml", more="images: [{name: vllm/vllm-openai, newTag: v1}]\n"
            ),
            "app/server.yaml": deployment("vllm", "serve", "org/model"),
        },
        {
            "app/kustomization.yaml": kustomization(
                "server.yaml", more="images: [{name: vllm/vllm-openai, newTag: v2}]\n"
            )
        },
        {("code-image", "changed", "container[vllm].image")},
    ),
    Case(
        "respelled image",
        {"app/server.yaml": deployment("vllm", "serve", "m/m", image=f"vllm/vllm-openai@{DIGEST}")},
        {"app/server.yaml": deployment("vllm", "serve", "m/m", image=f"docker.io/vllm/vllm-openai:v1@{DIGEST}")},
        {("code-image", "respelled", "container[vllm].image")},
    ),
    Case(
        "DVC",
        {"data/train.csv.dvc": dvc("a")},
        {"data/train.csv.dvc": dvc("b")},
        {("data", "changed", "out[train.csv]")},
    ),
    Case("Git LFS", {"data/x.bin": lfs("a")}, {"data/x.bin": lfs("b")}, {("data", "changed", "content")}),
    Case("Git LFS pointer added", {"README": "x"}, {"data/x.bin": lfs("b")}, {("data", "added", "content")}),
    Case(
        "deleted application",
        {"app/service.yaml": service("s3://bucket/one"), "README": "x"},
        {"app/service.yaml": None},
        {("model", "removed", "predictor.model")},
    ),
    Case(
        "added application",
        {"README": "x"},
        {"app/service.yaml": service("s3://bucket/one")},
        {("model", "added", "predictor.model")},
    ),
    Case(
        "renamed folder of a kustomization",
        {"one/kustomization.yaml": kustomization("s.yaml"), "one/s.yaml": service("s3://bucket/one")},
        {
            "one/kustomization.yaml": None,
            "one/s.yaml": None,
            "two/kustomization.yaml": kustomization("s.yaml"),
            "two/s.yaml": service("s3://bucket/one"),
        },
        {("model", "moved", "predictor.model")},
    ),
    Case(
        "renamed folder of manifests, and another model at once",
        {"one/s.yaml": service("s3://bucket/one"), "one/d.yaml": deployment("vllm", "serve", "org/m")},
        {
            "one/s.yaml": None,
            "one/d.yaml": None,
            "two/s.yaml": service("s3://bucket/one"),
            "two/d.yaml": deployment("vllm", "serve", "org/n"),
        },
        {
            ("model", "moved", "predictor.model"),
            ("model", "changed", "container[vllm].model"),
            ("code-image", "moved", "container[vllm].image"),
        },
    ),
    Case(
        "moved pointer",
        {"a/x.bin": lfs("a")},
        {"a/x.bin": None, "b/x.bin": lfs("a")},
        {("data", "moved", "content")},
    ),
    Case("text around", {"README.md": "one", "app/s.yaml": service("s3://b/a")}, {"README.md": "two"}, set()),
    Case(
        "a comment in a manifest",
        {"app/s.yaml": service("s3://b/a")},
        {"app/s.yaml": "# why\n" + service("s3://b/a")},
        set(),
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_change_of_the_repository_is_told(repository: PlanRepository, case: Case) -> None:
    repository.history(case.old, case.new)
    output = repository.plan()
    assert output.status == 0
    assert output.told == case.told
    assert output.errors == []
    assert output.err == ""


def test_records_have_exactly_the_fields_of_the_specification(repository: PlanRepository) -> None:
    repository.history({"a/s.yaml": service(f"hf://org/m:{SHA_A}")}, {"a/s.yaml": service("s3://bucket/m")})
    output = repository.plan()
    assert output.document.keys() == {"changes", "errors"}
    (record,) = output.changes
    assert list(record) == [
        *("id", "kind", "op", "object", "slot", "location", "old", "new", "cause", "commit", "direction", "impact"),
        *("action", "reason"),
    ]
    reference = ["spelling", "scheme", "canonical", "pinned", "identity", "digest", "size", "provenance"]
    assert list(record["old"]) == list(record["new"]) == reference
    assert record["object"] == {
        "group": "serving.kserve.io",
        "version": "v1beta1",
        "kind": "InferenceService",
        "namespace": "ml",
        "name": "sentiment",
    }
    assert record["location"] == {
        "jsonPath": "$.spec.predictor.model.storageUri",
        "file": "a/s.yaml",
        "line": 7,
    }
    assert record["commit"] == {
        "old": repository.git("rev-parse", "HEAD~1"),
        "new": repository.git("rev-parse", "HEAD"),
        "author": "Ada <ada@example.org>",
    }
    assert (record["old"]["pinned"], record["new"]["pinned"]) == (True, False)
    assert (record["action"], record["reason"]["code"]) == ("gate", "unpinned")
    assert record["impact"] == {"kustomizations": [], "canaries": [], "objects": [], "jobs": []}
    assert record["direction"] == "unknown"
    assert record["cause"] == "commit"


def test_ids_are_unique_and_the_same_in_every_run(repository: PlanRepository) -> None:
    old = {f"app-{i}/s.yaml": service("s3://bucket/one", name=f"s{i}") for i in range(5)}
    new = {path: service("s3://bucket/two", name=f"s{path[4]}") for path in old}
    repository.history({**old, "x.dvc": dvc("a")}, {**new, "x.dvc": dvc("b")})
    first, second = repository.plan(), repository.plan()
    assert first.out == second.out
    ids = [change["id"] for change in first.changes]
    assert len(set(ids)) == len(ids) == 6


def test_equal_objects_of_two_overlays_are_two_records(repository: PlanRepository) -> None:
    for where in ("prod", "staging"):
        repository.write({f"{where}/kustomization.yaml": kustomization("../base")})
    repository.history(
        {"base/kustomization.yaml": kustomization("s.yaml"), "base/s.yaml": service("s3://bucket/one")},
        {"base/s.yaml": service("s3://bucket/two")},
    )
    changes = repository.plan().changes
    assert [change["op"] for change in changes] == ["changed", "changed"]
    assert len({change["id"] for change in changes}) == 2
    assert {change["location"]["file"] for change in changes} == {"base/s.yaml"}


def test_values_of_secrets_are_printed_nowhere(repository: PlanRepository) -> None:
    secret = "apiVersion: v1\nkind: Secret\nmetadata: {{name: s, namespace: ml}}\nstringData: {{token: {}}}\n"
    generated = kustomization("d.yaml", more="secretGenerator: [{{name: g, literals: [key={}]}}]\n")
    repository.history(
        {
            "a/s.yaml": secret.format("hunter2-old"),
            "b/kustomization.yaml": generated.format("hunter2-old"),
            "b/d.yaml": deployment("vllm", "serve", "org/m"),
            "c/s.yaml": service("https://user:hunter2-old@host.example/m.tgz"),
        },
        {
            "a/s.yaml": secret.format("hunter2-new"),
            "b/kustomization.yaml": generated.format("hunter2-new"),
            "c/s.yaml": service("https://user:hunter2-new@host.example/n.tgz"),
            "d/kustomization.yaml": generated.format("hunter2-new") + "patches: [{patch: 'kind: [hunter2'}]\n",
        },
    )
    outputs = [repository.plan(output=form) for form in ("json", "text", "markdown")]
    assert {change["op"] for change in outputs[0].changes if change["kind"] == "credential"} == {"changed"}
    for output in outputs:
        assert output.status == 0
        assert "hunter2" not in output.out + output.err
        assert "aHVudGVyMi" not in output.out


def test_errors_about_generated_secrets_show_no_literal(repository: PlanRepository) -> None:
    generator = "secretGenerator: [{name: g, literals: ['token: hunter2']}]\n"
    repository.history({}, {"kustomization.yaml": generator})
    for form in ("json", "text", "markdown"):
        output = repository.plan("--fail-on=errors", output=form)
        assert output.status == 3
        assert "hunter2" not in output.out + output.err


def test_what_an_earlier_commit_had_is_recognised(repository: PlanRepository) -> None:
    first = repository.commit({"app/s.yaml": service("s3://b/one"), "x.dvc": dvc("a")})
    repository.commit({"app/s.yaml": service("s3://b/two"), "x.dvc": dvc("b"), "README": "unrelated"})
    repository.commit({"app/s.yaml": service("s3://b/one"), "x.dvc": dvc("a")})
    changes = {change["kind"]: change for change in repository.plan().changes}
    assert {kind: change["direction"] for kind, change in changes.items()} == {
        "model": f"revert-to:{first}",
        "data": f"revert-to:{first}",
    }
    assert {kind: (change["action"], change["reason"]["code"]) for kind, change in changes.items()} == {
        "model": ("rollout", "revert"),
        "data": ("job", "revert"),
    }


def test_a_way_that_was_not_taken_before_is_unknown(repository: PlanRepository) -> None:
    repository.commit({"app/s.yaml": service("s3://b/one"), "x.dvc": dvc("a"), "gone/s.yaml": service("s3://b/g", "g")})
    repository.commit({"app/s.yaml": service("s3://b/two"), "x.dvc": dvc("b")})
    repository.commit({"app/s.yaml": service("s3://b/three"), "x.dvc": dvc("c"), "gone/s.yaml": None})
    changes = repository.plan().changes
    assert len(changes) == 3
    assert {change["direction"] for change in changes} == {"unknown"}


@pytest.mark.parametrize(
    "broken",
    ["stringData:\n  {{hunter2: x}: y}\n", "stringData: {a: *hunter2}\n", "stringData: {a: !!int hunter2}\n",
     "stringData: hunter2\n", "data: [hunter2]\n", "stringData: {a: hunter2\n", "data: {a: 'hunter2\n"],
)  # fmt: skip
@pytest.mark.parametrize("kustomized", [True, False])
def test_errors_about_secrets_show_no_value(repository: PlanRepository, broken: str, kustomized: bool) -> None:
    if kustomized:
        repository.write({"a/kustomization.yaml": kustomization("s.yaml", "t.yaml")})
    secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\n"
    repository.history(
        {"a/t.yaml": service("s3://b/one"), "a/s.yaml": secret},
        {"a/t.yaml": service("s3://b/two"), "a/s.yaml": secret + broken},
    )
    for form in ("json", "text", "markdown"):
        output = repository.plan("--fail-on=errors", output=form)
        assert output.status == 3
        assert "hunter2" not in output.out + output.err
        assert "s3://b/two" in output.out
