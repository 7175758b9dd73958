"""Passwords, tokens and keys that stand in pipelines and parameters go into no record."""

from __future__ import annotations

import json

import msgspec
import pytest

from agent.core.models import Blob, FileChange
from agent.core.models.confidential import is_secret_name, told
from agent.core.models.redact import redact
from tests.unit.models.manifests import compare, obj

SECRET = "hunter2hunter2"


@pytest.mark.parametrize(
    "name", ["token", "hf_token", "HF_TOKEN", "hfToken", "api-key", "apiKey", "db.password", "pwd"]
)
def test_names_of_secrets(name: str) -> None:
    assert is_secret_name(name)


@pytest.mark.parametrize("name", ["max_tokens", "tokenizer", "partition_key", "author", "passes", "secretName", "keys"])
def test_names_of_other_things(name: str) -> None:
    assert not is_secret_name(name)


@pytest.mark.parametrize(
    "command",
    [
        f"train --token {SECRET}",
        f"train --api-key={SECRET} --epochs 3",
        f"HF_TOKEN={SECRET} train",
        f'TOKEN="{SECRET}" train',
        f"curl -H 'Authorization: Bearer {SECRET}' x",
        f"curl -u ada:{SECRET} https://h.example",
        f"curl -p --password '{SECRET}' x",
    ],
)
def test_commands_are_told_without_what_they_are_given_as_a_secret(command: str) -> None:
    assert told(command) == command.replace(f'"{SECRET}"', "***").replace(f"'{SECRET}'", "***").replace(SECRET, "***")


@pytest.mark.parametrize(
    "command", ["train --max-tokens 5 --tokenizer org/t", "python train.py --data token.csv", "a -u"]
)
def test_other_commands_stay_as_they_are(command: str) -> None:
    assert told(command) == command


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("dvc.yaml", "stages: {t: {cmd: 'train --n N --token SECRET', vars: [{password: SECRET}]}}"),
        ("dvc.lock", "schema: '2.0'\nstages: {t: {cmd: 'API_KEY=SECRET x', params: {p: {n: N, token: SECRET}}}}"),
        ("d.dvc", "deps: [{path: 'https://u:SECRET@h.example/N?sig=SECRET', etag: N}]\nouts: [{path: d, etag: N}]"),
        ("feature_store.yaml", "project: p\nprovider: x\nregistry: 'postgresql://u:SECRET@h/N'"),
        ("Modelfile", "FROM m\nADAPTER https://u:SECRET@h.example/N\n"),
        ("p.yaml", ("pipelineInfo: {}\ndeploymentSpec: {}\n"
                    "root: {inputDefinitions: {parameters: {hf_token: {defaultValue: SECRETN}}}}")),
    ],
)  # fmt: skip
def test_files_do_not_give_their_secrets_away(path: str, text: str) -> None:
    old, new = (Blob(text.replace("N", n).replace("SECRET", SECRET).encode()) for n in "12")
    records = compare([], [], [FileChange(path, old, new)])
    assert records
    assert "parse-error" not in {record.op for record in records}
    assert SECRET not in msgspec.json.encode(records).decode()


@pytest.mark.parametrize(
    ("version", "kind", "spec"),
    [
        ("argoproj.io/v1alpha1", "Workflow", {"arguments": {"parameters": [{"name": "token", "value": "SECRETN"}]}}),
        ("tekton.dev/v1", "PipelineRun", {"params": [{"name": "password", "value": "SECRETN"}]}),
        ("mlops.seldon.io/v1alpha1", "Model", {"parameters": [{"name": "api_key", "value": "SECRETN"}]}),
    ],
)  # fmt: skip
def test_another_secret_in_a_parameter_is_told_without_it(version: str, kind: str, spec: dict[str, object]) -> None:
    old, new = (
        obj(version, kind, json.loads(json.dumps(spec).replace("N", n).replace("SECRET", SECRET))) for n in "12"
    )
    (record,) = compare([old], [new])
    assert (record.kind, record.op) == ("credential", "changed")
    assert SECRET not in msgspec.json.encode(record).decode()


def test_only_passwords_are_taken_out_of_addresses_that_nobody_knows() -> None:
    assert redact("postgresql://u:hunter2@h/db") == "postgresql://***@h/db"
    assert redact("thing://name@v1/x") == "thing://name@v1/x"
