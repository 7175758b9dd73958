"""Rules that a user adds."""

from __future__ import annotations

from typing import Any

import pytest

from agent.core.models import ContainerRule, FileChange, FileRule, Grammar, ObjectRule, Rules
from agent.core.models.rules import steps
from tests.unit.models.manifests import A, B, compare, container, deployment, obj, only
from tests.unit.models.test_files import pointer


def fleet(*models: dict[str, Any]) -> dict[str, Any]:
    return obj("example.com/v1", "Fleet", {"models": list(models), "by": {"key": {"uri": "s3://b/k"}}})


RULES = Rules(
    objects=(
        ObjectRule("example.com", "Fleet", "$.spec.models[*].from", "model", grammar=Grammar.HUB, revision="rev"),
        ObjectRule("example.com", "Fleet", "$.spec.by.*.uri", "data", "data"),
    )
)


def test_fields_of_unknown_kinds() -> None:
    old, new = (fleet({"name": "m", "from": "org/m", "rev": rev}) for rev in (A, B))
    record = only(compare([old], [new], rules=RULES))
    assert (record.slot, record.kind, record.location.json_path) == ("model[m]", "model", "$.spec.models[0].from")
    assert record.new is not None
    assert record.new.canonical == f"hf://org/m@{B}"
    assert compare([old], [new]) == []
    added = compare([], [new], rules=RULES)
    assert {record.slot for record in added} == {"model[m]", "data[key]"}


@pytest.mark.parametrize("models", ["x", [1], [{"from": ["x"]}]])
def test_a_rule_that_meets_other_types_is_a_parse_error(models: Any) -> None:
    broken = obj("example.com/v1", "Fleet", {"models": models})
    assert only(compare([fleet({"name": "m", "from": "org/m"})], [broken], rules=RULES)).op == "parse-error"


@pytest.mark.parametrize("path", ["spec.x", "$", "$.a[0]", "$.a[?(@.b)]", "$.a[*]", "$..a"])
def test_paths_outside_the_subset_are_refused(path: str) -> None:
    with pytest.raises(ValueError, match="path"):
        ObjectRule("g", "K", path, "s")


def test_paths() -> None:
    assert steps("$.spec['a/b.c'][*].uri") == ("spec", "a/b.c", "*", "uri")


def test_flags_and_variables_of_containers() -> None:
    rules = Rules(
        containers=(
            ContainerRule("serve-*", "checkpoint", env="CKPT"),
            ContainerRule("serve-*", "vocabulary", flag="--vocab_file", role="tokenizer"),
        )
    )

    def build(checkpoint: str, vocabulary: str) -> dict[str, Any]:
        env = [{"name": "CKPT", "value": checkpoint}]
        return deployment(container("serve-a", command=["./run", "--vocab-file", vocabulary], env=env))

    records = compare([build("s3://b/1", "/v1")], [build("s3://b/2", "/v2")], rules=rules)
    assert {(record.slot, record.kind) for record in records} == {
        ("container[serve-a].checkpoint", "model"),
        ("container[serve-a].vocabulary", "tokenizer"),
    }


def test_files_that_are_models() -> None:
    rules = Rules(files=(FileRule("models/*", "model"),))
    files = [FileChange(path, pointer("a"), pointer("b")) for path in ("models/x/m.bin", "data/d.bin")]
    found = {record.object.name: (record.kind, record.action) for record in compare([], [], files, rules=rules)}
    assert found == {"models/x/m.bin": ("model", "rollout"), "data/d.bin": ("data", "job")}
