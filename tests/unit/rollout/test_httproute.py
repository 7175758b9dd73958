"""Rules of an HTTPRoute: ours made of the Canary, others kept."""

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.api.canary import Canary
from agent.core.rollout import httproute
from agent.core.rollout.actions import HOME, Weights

FOREIGN = {
    "matches": [{"path": {"type": "PathPrefix", "value": "/docs"}}],
    "backendRefs": [{"name": "docs", "port": 80}],
}


def canary(*, service=None, **analysis) -> Canary:
    return Canary.from_object(
        {
            "metadata": {"name": "chat", "namespace": "prod", "uid": "u1"},
            "spec": {
                "provider": "gatewayapi:v1",
                "targetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "chat"},
                "service": {"port": 80, "gatewayRefs": [{"name": "edge"}], "hosts": ["a.example"], **(service or {})},
                "analysis": analysis,
            },
        }
    )


def stored(route, **changes):
    found = copy.deepcopy(route)
    found["metadata"] |= {"generation": 2, "resourceVersion": "5"}
    found["spec"] |= changes
    return found


def test_a_new_route_leads_to_the_primary():
    route = httproute.new_route(canary())
    assert route["spec"] == {
        "parentRefs": [{"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "edge"}],
        "hostnames": ["a.example"],
        "rules": [
            {
                "matches": [{"path": {"type": "PathPrefix", "value": "/"}}],
                "backendRefs": [
                    {"group": "", "kind": "Service", "name": "chat-primary", "port": 80, "weight": 100},
                    {"group": "", "kind": "Service", "name": "chat-canary", "port": 80, "weight": 0},
                ],
            }
        ],
    }
    assert httproute.weights_of(canary(), route) == HOME


@given(weight=st.integers(0, 100), mirrored=st.booleans(), before=st.integers(0, 2), after=st.integers(0, 2))
def test_weights_are_read_as_written_and_others_rules_stay(weight, mirrored, before, after):
    found = stored(httproute.new_route(canary()))
    rules = [FOREIGN] * before + found["spec"]["rules"] + [FOREIGN] * after
    wanted = Weights(100 - weight, weight, mirrored)
    spec = httproute.with_weights(canary(), stored(found, rules=rules), wanted)
    assert httproute.weights_of(canary(), {**found, "spec": spec}) == wanted
    assert spec["rules"][:before] == [FOREIGN] * before
    assert spec["rules"][before + 1 :] == [FOREIGN] * after
    again = httproute.with_weights(canary(), {**found, "spec": spec}, wanted)
    assert again == spec


def test_a_route_that_led_to_the_service_is_taken_over():
    old = {"matches": [{"path": {"type": "PathPrefix", "value": "/"}}], "backendRefs": [{"name": "chat", "port": 80}]}
    live = stored(httproute.new_route(canary()), rules=[FOREIGN, old])
    spec = httproute.with_weights(canary(), live, HOME)
    assert spec["rules"] == [FOREIGN, *httproute.own_rules(canary(), HOME)]


def test_edits_of_the_service_keep_the_weight():
    live = stored(httproute.new_route(canary()))
    live["spec"] = httproute.with_weights(canary(), live, Weights(70, 30))
    edited = canary(service={"hosts": ["b.example"], "timeout": "5s"})
    weights = httproute.weights_of(edited, live)
    spec = httproute.with_weights(edited, live, weights)
    assert spec["hostnames"] == ["b.example"]
    assert spec["rules"][0]["timeouts"] == {"request": "5s"}
    assert httproute.weights_of(edited, {**live, "spec": spec}) == Weights(70, 30)


def test_ab_testing_splits_off_the_matched_requests():
    tested = canary(iterations=5, match=[{"headers": {"x-user": {"exact": "insider"}}}])
    rules = httproute.own_rules(tested, Weights(0, 100))
    assert list(rules[0]["matches"]) == [
        {
            "path": {"type": "PathPrefix", "value": "/"},
            "headers": [{"type": "Exact", "name": "x-user", "value": "insider"}],
        }
    ]
    assert [(ref["name"], ref["weight"]) for ref in rules[1]["backendRefs"]] == [("chat-primary", 100)]
    route = {**stored(httproute.new_route(tested))}
    route["spec"]["rules"] = rules
    assert httproute.weights_of(tested, route) == Weights(0, 100)


def test_matches_headers_and_rewrites():
    service = {
        "match": [{"uri": {"prefix": "/v1"}, "method": {"exact": "POST"}, "queryParams": {"q": {"regex": ".+"}}}],
        "headers": {"request": {"set": {"b": "2", "a": "1"}, "remove": ["c"]}},
        "rewrite": {"uri": "/", "type": "ReplacePrefixMatch"},
        "mirror": [{"backendRef": {"name": "audit", "port": 81}}],
    }
    (rule,) = httproute.own_rules(canary(service=service), HOME)
    assert rule["matches"] == [
        {
            "path": {"type": "PathPrefix", "value": "/v1"},
            "method": "POST",
            "queryParams": [{"type": "RegularExpression", "name": "q", "value": ".+"}],
        }
    ]
    assert [item["type"] for item in rule["filters"]] == ["RequestHeaderModifier", "URLRewrite", "RequestMirror"]
    assert rule["filters"][0]["requestHeaderModifier"]["set"] == [
        {"name": "a", "value": "1"},
        {"name": "b", "value": "2"},
    ]


@pytest.mark.parametrize(
    ("service", "fault"),
    [
        ({"gatewayRefs": []}, "GatewayRefs must be specified"),
        ({"match": [{"method": {"prefix": "P"}}]}, "methods exactly"),
        ({"match": [{"headers": {"x": {"prefix": "P"}}}]}, "x by exact or regex"),
    ],
)
def test_what_gateways_cannot_do_is_said(service, fault):
    with pytest.raises(httproute.RouteError, match=fault):
        httproute.new_route(canary(service=service))


def parent(status="True", observed=2):
    condition = {"type": "Accepted", "status": status, "observedGeneration": observed}
    reference = {"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "edge"}
    return {"parentRef": reference, "conditions": [condition]}


@pytest.mark.parametrize(
    ("parents", "fault"),
    [
        ([], ""),
        ([parent()], ""),
        ([parent("False")], "is not ready (status: False, observed generation: 2, current generation: 2)"),
        ([parent(observed=1)], "observed generation: 1, current generation: 2"),
    ],
)
def test_only_what_the_gateway_serves_counts(parents, fault):
    live = {**stored(httproute.new_route(canary())), "status": {"parents": parents}}
    said = httproute.not_accepted(live)
    assert fault in said
    assert bool(fault) == bool(said)


def test_a_route_that_is_left_behind_leads_to_the_service():
    live = stored(httproute.new_route(canary()))
    live["spec"] = httproute.with_weights(
        canary(), stored(live, rules=[*live["spec"]["rules"], FOREIGN]), Weights(40, 60)
    )
    spec = httproute.restored(canary(), live)
    assert [ref["name"] for ref in spec["rules"][0]["backendRefs"]] == ["chat"]
    assert spec["rules"][1] == FOREIGN
