"""References that policies name: rules for kinds, containers and files that the tables do not know."""

from __future__ import annotations

from typing import Any

import pytest

from agent.api.changepolicy import GRAMMARS, ChangePolicy
from agent.core.models import Blob, FileChange, Grammar, RenderedSet, changes
from agent.core.models.references import references
from agent.core.policy.judging import fault
from agent.core.policy.referencing import rules_of


def policy(**references: Any) -> ChangePolicy:
    return ChangePolicy.from_object({"metadata": {"name": "p", "namespace": "ml"}, "spec": {"references": references}})


FIELD = {"group": "ml.example", "kind": "Scorer", "path": "$.spec.models[*].uri", "slot": "model", "revision": "rev"}
SCORER = {
    "apiVersion": "ml.example/v1",
    "kind": "Scorer",
    "metadata": {"name": "s", "namespace": "ml"},
    "spec": {"models": [{"name": "big", "uri": "hf://org/m", "rev": "a" * 40}]},
}


def test_fields_of_unknown_kinds() -> None:
    rules = rules_of([policy(objects=[FIELD])])
    (found,) = references(RenderedSet([SCORER]), rules)
    assert (found.slot.name, found.slot.kind, found.slot.ref.canonical) == (
        "model[big]",
        "model",
        f"hf://org/m@{'a' * 40}",
    )
    assert list(references(RenderedSet([SCORER]))) == []


def test_flags_and_variables_of_containers() -> None:
    container = {"name": "run", "image": "r.example/run:1", "args": ["--weights", "s3://b/w"],
                 "env": [{"name": "VOCAB", "value": "org/vocab"}]}  # fmt: skip
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": [container]}}
    rules = rules_of(
        [
            policy(containers=[{"container": "r*", "flag": "--weights", "slot": "weights"}]),
            policy(containers=[{"container": "*", "env": "VOCAB", "slot": "vocab", "role": "tokenizer",
                                "grammar": "hub id"}]),
        ]
    )  # fmt: skip
    found = {one.slot.name: (one.slot.kind, one.slot.ref.canonical) for one in references(RenderedSet([pod]), rules)}
    assert found["container[run].weights"] == ("model", "s3://b/w")
    assert found["container[run].vocab"] == ("tokenizer", "hf://org/vocab@main")


def test_files_that_stand_for_models() -> None:
    pointer = Blob(f"version https://git-lfs.github.com/spec/v1\noid sha256:{'a' * 64}\nsize 1\n".encode())
    rules = rules_of([policy(files=[{"path": "weights/*", "role": "model"}])])
    paths = ("weights/deep/w.bin", "data/d.bin")
    records = changes(None, RenderedSet(()), [FileChange(path, None, pointer) for path in paths], rules=rules)
    assert {record.object.name: record.kind for record in records} == {paths[0]: "model", paths[1]: "data"}


@pytest.mark.parametrize(
    ("references", "said"),
    [
        ({"objects": [{**FIELD, "path": "spec.uri"}]}, "objects[0].path: path 'spec.uri' does not start with $"),
        ({"objects": [FIELD, {**FIELD, "path": "$.spec[?(@.a)]"}]}, "objects[1].path: "),
        ({"objects": [{**FIELD, "role": "weights"}]}, "objects[0].role: 'weights' is none of model, "),
        ({"objects": [{**FIELD, "grammar": "x"}]}, "objects[0].grammar: 'x' is none of generic, "),
        ({"containers": [{"container": "*", "slot": "m"}]}, "containers[0]: flag or env has to be set"),
        ({"files": [{"path": "*", "role": "x"}]}, "files[0].role: "),
        ({}, ""),
    ],
)
def test_what_cannot_be_followed_is_named(references: dict[str, Any], said: str) -> None:
    found = fault(policy(**references))
    assert found.startswith(f"spec.references.{said}" if said else "")
    assert bool(found) is bool(said)


def test_the_definition_knows_all_grammars() -> None:
    assert list(GRAMMARS) == [str(grammar) for grammar in Grammar]
