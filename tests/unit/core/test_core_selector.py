"""Selectors of drift-ignore rules: anchored patterns and Kubernetes' label selectors."""

from __future__ import annotations

import time

import pytest
from core_values import manifest
from hypothesis import given
from hypothesis import strategies as st

from agent.api.kustomization import IgnoreRule, Selector
from agent.core.selector import check_rules, ignored_fields, labels_match, selects

DEPLOYMENT = manifest(
    "Deployment", "chat-api", "apps/v1", metadata={"labels": {"app": "chat"}, "annotations": {"team": "ml"}}
)


@pytest.mark.parametrize(
    ("selector", "matches"),
    [
        (None, True),
        (Selector(), True),
        (Selector(kind="Deployment"), True),
        (Selector(kind="Deploy"), False),
        (Selector(kind="Deployment|StatefulSet"), True),
        (Selector(name="chat"), False),
        (Selector(name="chat-.*"), True),
        (Selector(name="x|chat-api"), True),
        (Selector(group="apps", version="v1", namespace="apps"), True),
        (Selector(group="batch"), False),
        (Selector(version="v1beta1"), False),
        (Selector(namespace="other"), False),
        (Selector(kind="Deployment", name="other"), False),
        (Selector(label_selector="app=chat"), True),
        (Selector(label_selector="app=other"), False),
        (Selector(annotation_selector="team in (ml, web)"), True),
        (Selector(annotation_selector="app=chat"), False),
        (Selector(kind="Deployment", label_selector="!app"), False),
    ],
)
def test_every_given_part_has_to_match(selector: Selector | None, matches: bool) -> None:
    assert selects(selector, DEPLOYMENT) is matches


def test_the_core_group_and_the_cluster_scope_have_no_name() -> None:
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "x"}}
    assert selects(Selector(kind="Namespace", version="v1"), namespace)
    assert not selects(Selector(group=".+"), namespace)
    assert not selects(Selector(namespace=".+"), namespace)


LABELS = {"a": "1", "b": "2", "example.org/c": "x.y_z-0", "empty": ""}


@pytest.mark.parametrize(
    ("text", "matches"),
    [
        ("a=1", True),
        ("a==1", True),
        ("a=2", False),
        ("a!=1", False),
        ("a!=2", True),
        ("absent!=2", True),
        ("absent=", False),
        ("empty=", True),
        ("a", True),
        ("absent", False),
        ("!a", False),
        ("!absent", True),
        ("! absent", True),
        ("a in (1)", True),
        ("a in (0,1, 2)", True),
        ("a in (0)", False),
        ("absent in (0)", False),
        ("a notin (0)", True),
        ("a notin (1,0)", False),
        ("absent notin (0)", True),
        ("a=1,b=2", True),
        (" a = 1 , b != 3 ", True),
        ("a=1,b=3", False),
        ("a in (1,2),!absent,b", True),
        ("example.org/c=x.y_z-0", True),
        ("a>0,a<2", True),
        ("a>1", False),
        ("absent<1", False),
        ("", True),
    ],
)
def test_label_selectors(text: str, matches: bool) -> None:
    assert labels_match(text, LABELS) is matches


@pytest.mark.parametrize(
    "text", ["=", "a=1 b=2", "a in", "a in (1", "a in 1", "!", "a=(1)", "a=1,,b=2", "!a=1", "a<>1", "z=0,="]
)
def test_unreadable_label_selectors_are_errors(text: str) -> None:
    with pytest.raises(ValueError, match="label selector"):
        labels_match(text, LABELS)


def test_unreadable_patterns_are_errors() -> None:
    with pytest.raises(ValueError, match="not a regular expression"):
        selects(Selector(name="("), DEPLOYMENT)


NAMES = st.sampled_from("abc")
VALUES = st.sampled_from("123")


@given(st.dictionaries(NAMES, VALUES), NAMES, VALUES)
def test_a_requirement_and_its_opposite(labels: dict[str, str], name: str, value: str) -> None:
    assert labels_match(f"{name}={value}", labels) is not labels_match(f"{name}!={value}", labels)
    assert labels_match(name, labels) is not labels_match(f"!{name}", labels)
    assert labels_match(f"{name} in ({value})", labels) is labels_match(f"{name}={value}", labels)
    assert labels_match(f"{name} notin ({value})", labels) is labels_match(f"{name}!={value}", labels)


@given(st.dictionaries(NAMES, VALUES), st.lists(st.tuples(NAMES, VALUES), min_size=1, max_size=4))
def test_requirements_are_all_meant(labels: dict[str, str], wanted: list[tuple[str, str]]) -> None:
    text = ",".join(f"{name}={value}" for name, value in wanted)
    assert labels_match(text, labels) is all(labels.get(name) == value for name, value in wanted)


def test_fields_of_all_rules_that_select_an_object_add_up() -> None:
    service = manifest("Service")
    rules = (
        IgnoreRule(paths=("/spec/replicas",), target=Selector(kind="Deployment")),
        IgnoreRule(paths=("/metadata/annotations/x", "/spec/y")),
    )
    assert ignored_fields(rules, DEPLOYMENT, {}) == ("/spec/replicas", "/metadata/annotations/x", "/spec/y")
    assert ignored_fields(rules, service, {}) == ("/metadata/annotations/x", "/spec/y")
    assert ignored_fields((), DEPLOYMENT, {}) == ()


def test_labels_that_the_live_object_has_from_others_count_where_git_says_nothing() -> None:
    live = manifest("Service", metadata={"labels": {"by": "hand", "app": "old"}})
    desired = manifest("Service", metadata={"labels": {"app": "new"}})
    for text, matches in (("by=hand", True), ("app=new", True), ("app=old", False)):
        rule = IgnoreRule(paths=("/spec",), target=Selector(label_selector=text))
        assert ignored_fields((rule,), desired, live) == (("/spec",) if matches else ())


@pytest.mark.parametrize(
    "selector", [Selector(kind="("), Selector(namespace="[", name="x"), Selector(label_selector="absent,a in")]
)
def test_rules_that_cannot_be_read_are_found_without_an_object(selector: Selector) -> None:
    with pytest.raises(ValueError, match="selector"):
        check_rules((IgnoreRule(paths=("/spec",), target=selector),))


def test_rules_that_can_be_read_are_no_error() -> None:
    check_rules((IgnoreRule(paths=("/spec",)), IgnoreRule(paths=("/x",), target=Selector(kind="A|B"))))


def test_no_selector_of_a_team_keeps_everybody_busy() -> None:
    started = time.process_time()
    with pytest.raises(ValueError, match="cannot be read"):
        labels_match("a" + " " * 100_000 + "?", LABELS)
    assert time.process_time() - started < 1


def test_no_expression_of_a_team_keeps_everybody_busy() -> None:
    started = time.process_time()
    assert not selects(
        Selector(name="(a+)+b"), {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a" * 250}}
    )
    assert time.process_time() - started < 1
