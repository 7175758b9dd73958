"""The canary Ingress: a copy of the clients' one, with a share said in annotations."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.api.canary import Canary
from agent.core.rollout import ingress
from agent.core.rollout.actions import HOME, Weights

P = ingress.PREFIX
SOURCE = {
    "metadata": {
        "name": "front",
        "namespace": "prod",
        "labels": {"team": "search", "kustomize.toolkit.fluxcd.io/name": "apps"},
        "annotations": {
            f"{P}/rewrite-target": "/",
            f"{P}/canary-weight": "7",
            "kubectl.kubernetes.io/last-applied-configuration": "{}",
        },
    },
    "spec": {
        "ingressClassName": "nginx",
        "rules": [
            {"host": "only-default.example"},
            {
                "host": "chat.example",
                "http": {
                    "paths": [
                        {"path": "/", "backend": {"service": {"name": "chat", "port": {"number": 80}}}},
                        {"path": "/docs", "backend": {"service": {"name": "docs", "port": {"number": 80}}}},
                        {"path": "/files", "backend": {"resource": {"kind": "Bucket", "name": "files"}}},
                    ]
                },
            },
        ],
    },
}


def canary(*, ref="front", **analysis) -> Canary:
    return Canary.from_object(
        {
            "metadata": {"name": "chat", "namespace": "prod", "uid": "u1"},
            "spec": {
                "provider": "nginx",
                "targetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "chat"},
                "ingressRef": {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "name": ref},
                "service": {"port": 80},
                "analysis": analysis,
            },
        }
    )


def test_the_copy_sends_to_the_canary_and_takes_nothing():
    made = ingress.new_ingress(canary(), SOURCE, P)
    paths = made["spec"]["rules"][1]["http"]["paths"]
    assert [path["backend"].get("service", {}).get("name") for path in paths] == ["chat-canary", "docs", None]
    assert made["metadata"]["name"] == "front-canary"
    assert made["metadata"]["labels"] == {"team": "search"}
    annotations = made["metadata"]["annotations"]
    assert annotations[f"{P}/canary"] == "true"
    assert annotations[f"{P}/canary-weight"] == "0"
    assert annotations[f"{P}/rewrite-target"] == "/"
    assert not [key for key in annotations if "last-applied" in key]
    assert SOURCE["spec"]["rules"][1]["http"]["paths"][0]["backend"]["service"]["name"] == "chat"
    assert ingress.weights_of(canary(), made, P) == HOME


@given(weight=st.integers(0, 100))
def test_weights_are_read_as_written(weight):
    live = ingress.new_ingress(canary(), SOURCE, P)
    wanted = Weights(100 - weight, weight)
    live["metadata"]["annotations"] |= ingress.annotations_patch(canary(), live, wanted, P)
    assert ingress.weights_of(canary(), live, P) == wanted
    assert ingress.annotations_patch(canary(), live, wanted, P) == {}


@pytest.mark.parametrize(
    ("headers", "wanted"),
    [
        ({"x-user": {"exact": "insider"}}, {"canary-by-header": "x-user", "canary-by-header-value": "insider"}),
        ({"x-user": {"regex": "in.*"}}, {"canary-by-header": "x-user", "canary-by-header-pattern": "in.*"}),
        ({"cookie": {"exact": "canary"}}, {"canary-by-cookie": "canary"}),
    ],
)
def test_ab_testing_by_annotation_and_back(headers, wanted):
    found = canary(iterations=2, match=[{"headers": headers}])
    live = ingress.new_ingress(found, SOURCE, P)
    change = ingress.annotations_patch(found, live, Weights(0, 100), P)
    assert change == {f"{P}/{name}": value for name, value in wanted.items()}
    live["metadata"]["annotations"] |= change
    assert ingress.weights_of(found, live, P) == Weights(0, 100)
    assert ingress.annotations_patch(found, live, HOME, P) == dict.fromkeys(change)


@pytest.mark.parametrize(
    "match",
    [
        [{"headers": {"a": {"exact": "1"}}}, {"headers": {"b": {"exact": "2"}}}],
        [{"headers": {"cookie": {"regex": "a.*"}}}],
        [{"headers": {"a": {"prefix": "1"}}}],
        [{"sourceLabels": {"app": "tester"}}],
    ],
)
def test_what_nginx_cannot_match_is_refused(match):
    with pytest.raises(ingress.IngressError, match="Invalid request matching selectors: nginx"):
        ingress.taking(canary(iterations=2, match=match), Weights(0, 100), P)


def test_an_ingress_without_the_service_is_refused():
    other = {**SOURCE, "spec": {"rules": []}}
    with pytest.raises(ingress.IngressError, match="backend chat not found in ingress front"):
        ingress.new_ingress(canary(), other, P)
    with pytest.raises(ingress.IngressError, match="ingress selector is empty"):
        ingress.canary_name(canary(ref=""))


def test_a_weight_of_somebody_else_is_not_believed():
    live = {"metadata": {"annotations": {f"{P}/canary-weight": "many"}}}
    with pytest.raises(ingress.IngressError, match="'many' is not a percentage"):
        ingress.weights_of(canary(), live, P)
