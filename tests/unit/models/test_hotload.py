"""Which adapters a server can load while it runs, and when nothing but adapters differs."""

from __future__ import annotations

from typing import Any

import pytest

from agent.core.models.hotload import adapter_change, hot_server, template_hash
from agent.core.objects import ObjectKey
from tests.unit.models.manifests import container, deployment, vllm

KEY = ObjectKey("apps", "Deployment", "ml", "chat")
ENV = [{"name": "VLLM_ALLOW_RUNTIME_LORA_UPDATING", "value": "True"}]


def server(*args: str, env: Any = ENV, **fields: Any) -> dict[str, Any]:
    return vllm("--model", "org/m", *args, env=env, **fields)


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (
            ["--lora-modules", "sql=org/sql", "chat=/adapters/chat", "--seed", "1"],
            {"sql": "org/sql", "chat": "/adapters/chat"},
        ),
        (["--lora-modules=sql=org/sql"], {"sql": "org/sql"}),
        (["--lora_modules", '{"name": "sql", "path": "org/sql"}'], {"sql": "org/sql"}),
        ([], {}),
    ],
)
def test_adapters_are_read_from_the_words(args: list[str], expected: dict[str, str]) -> None:
    found = hot_server(KEY, server(*args))
    assert found is not None
    assert (dict(found.adapters), found.pointer) == (expected, "/spec/template/spec/containers/0/args")


@pytest.mark.parametrize(
    ("ports", "args", "expected"),
    [
        ({}, [], 8000),
        ({"ports": [{"containerPort": 9000}]}, [], 9000),
        ({"ports": [{"containerPort": 9000}]}, ["--port", "7000"], 7000),
        ({}, ["--port=7000"], 7000),
        ({"ports": "nonsense"}, ["--port"], 8000),
    ],
)
def test_where_the_server_listens(ports: dict[str, Any], args: list[str], expected: int) -> None:
    found = hot_server(KEY, server(*args, **ports))
    assert found is not None
    assert found.port == expected


@pytest.mark.parametrize(
    "manifest",
    [
        server(env=[]),  # the server would refuse
        server("--ssl-certfile", "/tls/tls.crt"),
        server("--lora-modules", "sql=$(PATH_OF_SQL)"),
        server("--lora-modules", 7),  # type: ignore[arg-type]  # malformed on purpose
        deployment(container("proxy", "nginx")),
        {"spec": {"template": {"spec": {"containers": "nonsense"}}}},
        {},
    ],
)
def test_no_telling_is_no_server(manifest: dict[str, Any]) -> None:
    assert hot_server(KEY, manifest) is None


def test_sglang_has_the_same_calls_elsewhere() -> None:
    words = ["python", "-m", "sglang.launch_server", "--model-path", "org/m", "--lora-paths", "sql=org/sql"]
    found = hot_server(KEY, deployment(container("server", "lmsysorg/sglang:v0.5", command=words)))
    assert found is not None
    assert (found.prefix, found.port, found.pointer[-8:], dict(found.adapters)) == (
        "",
        30000,
        "/command",
        {"sql": "org/sql"},
    )


def test_only_adapters_may_differ() -> None:
    old = server("--lora-modules", "a=org/a", "b=org/b")
    change = adapter_change(KEY, old, server("--lora-modules", "a=org/a2", "c=org/c"))
    assert change is not None
    assert (dict(change.wanted), change.gone) == ({"a": "org/a2", "c": "org/c"}, {"b"})
    none = adapter_change(KEY, old, server())
    assert none is not None
    assert (dict(none.wanted), none.gone) == ({}, {"a", "b"})
    assert adapter_change(KEY, old, server("--seed", "1", "--lora-modules", "a=org/a")) is None
    assert adapter_change(KEY, old, server("--lora-modules", "a=org/a", tty=True)) is None
    assert adapter_change(KEY, old, server(env=[])) is None
    assert template_hash(old) != template_hash(server())
