"""Flux reference 4.5: variables are put in after the build. All operators are in tests/renderer."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest

from agent.gates import FeatureGates
from tests.scenarios.conftest import RunningAgent, Story, conditions, message

CONFIG = """
apiVersion: v1
kind: ConfigMap
metadata:
  name: c
%s
data:
  text: %s
"""
SECRET = "correct-horse-battery"
OwnAgent = Callable[..., AbstractAsyncContextManager[RunningAgent]]


async def _given(story: Story, kind: str, name: str, **data: str) -> None:
    """A ConfigMap or Secret with variables."""
    field = "stringData" if kind == "Secret" else "data"
    metadata = {"name": name, "namespace": story.namespace}
    await story.admin.create({"apiVersion": "v1", "kind": kind, "metadata": metadata, field: data})


async def _app(story: Story, text: str, metadata: str = "", **post_build: Any) -> None:
    story.git.commit({"c.yaml": CONFIG % (metadata, text)})
    await story.source()
    await story.kustomization(postBuild=post_build)


async def _text(story: Story) -> str:
    await story.ready()
    found = await story.admin.get("v1", "ConfigMap", story.namespace, "c")
    return str(found["data"]["text"])


async def test_later_sources_win_and_what_is_written_in_the_spec_wins_over_all(story: Story) -> None:
    await _given(story, "ConfigMap", "first", a="first", b="first", c="first", d="first")
    await _given(story, "Secret", "second", b="second", c="second")
    sources = [{"kind": "ConfigMap", "name": "first"}, {"kind": "Secret", "name": "second"}]
    await _app(story, '"${a} ${b} ${c} ${d}"', substituteFrom=sources, substitute={"c": "spec"})
    assert await _text(story) == "first second spec first"


async def test_newlines_are_taken_out_of_values(story: Story) -> None:
    await _given(story, "ConfigMap", "vars", a="one\ntwo\n")
    await _app(
        story, '"${a}|${b}"', substituteFrom=[{"kind": "ConfigMap", "name": "vars"}], substitute={"b": "three\n"}
    )
    assert await _text(story) == "onetwo|three"


@pytest.mark.parametrize(("kind", "plural"), [("ConfigMap", "configmaps"), ("Secret", "secrets")])
async def test_a_source_that_is_missing_is_an_error_unless_it_is_optional(story: Story, kind: str, plural: str) -> None:
    await _app(story, '"${a:=default}"', substituteFrom=[{"kind": kind, "name": "none"}], substitute={"b": "x"})
    failed = await story.failed(text=f"substitute from '{kind}/none' error: {plural} \"none\" not found")
    assert conditions(failed)["Ready"][1] == "BuildFailed"
    await story.kustomization(
        postBuild={"substituteFrom": [{"kind": kind, "name": "none", "optional": True}], "substitute": {"b": "x"}}
    )
    assert await _text(story) == "default"


async def test_a_name_that_is_none(story: Story) -> None:
    await _given(story, "ConfigMap", "vars", **{"not-a-name": "x"})
    await _app(story, "plain", substituteFrom=[{"kind": "ConfigMap", "name": "vars"}])
    expected = (
        "post build failed for 'ConfigMap.v1.[noGrp]/c': envsubst error: "
        "'not-a-name' var name is invalid, must match '^[_[:alpha:]][_[:alpha:][:digit:]]*$'"
    )
    failed = await story.failed(text=expected)
    assert conditions(failed)["Ready"][1] == "BuildFailed"


async def test_a_variable_without_value_or_default_names_object_field_and_expression(story: Story) -> None:
    await _app(story, "'run ${HOME}/bin'", substitute={"a": "x"})
    failed = await story.failed(text="variable not set")
    assert message(failed) == (
        "post build failed for 'ConfigMap.v1.[noGrp]/c': envsubst error: variable substitution failed: "
        'variable not set (strict mode): "HOME" (data.text: ${HOME})'
    )
    assert conditions(failed)["Ready"][1] == "BuildFailed"
    await story.event("app", "BuildFailed: post build failed for 'ConfigMap.v1.[noGrp]/c'")
    await _app(story, "'run $${HOME}/bin'", substitute={"a": "x"})
    await story.pull("escaped")
    assert await _text(story) == "run ${HOME}/bin"


async def test_without_the_gate_it_is_empty(story: Story, own_agent: OwnAgent) -> None:
    await _app(story, "'run ${HOME}/bin'", substitute={"a": "x"})
    async with own_agent(gates=FeatureGates(strict_post_build_substitutions=False)):
        assert await _text(story) == "run /bin"


async def test_without_variables_nothing_is_put_in_unless_the_strategy_says_always(story: Story) -> None:
    await _app(story, "'${a:=default}'", substituteStrategy="WithVariables")
    assert await _text(story) == "${a:=default}"
    await story.kustomization(postBuild={"substituteStrategy": "Always"})
    await story.until(("v1", "ConfigMap"), "c", lambda found: (found or {})["data"]["text"] == "default")


@pytest.mark.parametrize(
    ("metadata", "text"),
    [
        ("  labels: {kustomize.toolkit.fluxcd.io/substitute: disabled}", "${a}"),
        ("  annotations: {kustomize.toolkit.fluxcd.io/substitute: disabled}", "${a}"),
        ("  annotations: {kustomize.toolkit.fluxcd.io/substitute: Disabled}", "x"),
    ],
)
async def test_an_object_may_opt_out(story: Story, metadata: str, text: str) -> None:
    await _app(story, "${a}", metadata, substitute={"a": "x"})
    assert await _text(story) == text


async def test_values_become_numbers_and_can_be_kept_from_it(story: Story) -> None:
    await _app(story, "${quote}${n}${quote}", substitute={"n": "123", "quote": '"'})
    assert await _text(story) == "123"
    await story.kustomization(postBuild={"substitute": {"n": "123", "quote": ""}})
    failed = await story.failed(text=f"ConfigMap/{story.namespace}/c dry-run failed")
    assert conditions(failed)["Ready"][1] == "ReconciliationFailed"
    assert "data.text" in message(failed)


async def test_values_of_secrets_stay_out_of_status_and_events(story: Story, weir: RunningAgent) -> None:
    await _given(story, "Secret", "vars", token=SECRET, broken=f'"\\q{SECRET}')
    sources = [{"kind": "Secret", "name": "vars"}]
    await _app(story, "${broken} ${token}", substituteFrom=sources)
    failed = await story.failed(text="post build failed for 'ConfigMap.v1.[noGrp]/c'")
    await story.event("app", "post build failed")
    assert SECRET not in str(failed)
    assert SECRET not in str(await story.events("app"))
    assert SECRET not in weir.log.read_text()


async def test_variables_that_would_fill_the_memory_are_an_error_of_this_object_alone(story: Story) -> None:
    story.git.commit(
        {
            "bomb/c.yaml": CONFIG % ("", "'" + "${a}" * 10_000 + "'"),
            "fine/d.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: fine}\ndata: {text: '${a:=x}'}\n",
        }
    )
    await story.source()
    await _given(story, "ConfigMap", "vars", a="x" * 100_000)
    sources = {"substituteFrom": [{"kind": "ConfigMap", "name": "vars"}]}
    await story.kustomization(path="./bomb", postBuild=sources)
    await story.kustomization("fine", path="./fine", postBuild={"substituteStrategy": "Always"})
    failed = await story.failed(text="its variables put more than")
    assert "post build failed for 'ConfigMap.v1.[noGrp]/c'" in message(failed)
    await story.ready("fine")
