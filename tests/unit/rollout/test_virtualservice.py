"""Istio's objects: ours made of the Canary, routes of others kept."""

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rollout_world import make_plan

from agent.api.canary import Canary
from agent.core.rollout import virtualservice
from agent.core.rollout.actions import HOME, Weights
from agent.core.rollout.affinity import Cookies, cookies_of
from agent.core.rollout.status import Status

FOREIGN = {"match": [{"uri": {"prefix": "/docs"}}], "route": [{"destination": {"host": "docs"}}]}
COOKIES = Cookies(canary="side=abc", primary="home=xyz", previous="side=old")
BOTH = [
    {"destination": {"host": "chat-primary"}, "weight": 100},
    {"destination": {"host": "chat-canary"}, "weight": 0},
]


def canary(*, service=None, **analysis) -> Canary:
    return Canary.from_object(
        {
            "metadata": {"name": "chat", "namespace": "prod", "uid": "u1"},
            "spec": {
                "provider": "istio",
                "targetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "chat"},
                "service": {"port": 80, **(service or {})},
                "analysis": {"interval": "30s", **analysis},
            },
        }
    )


def stored(**spec):
    return {"metadata": {"name": "chat", "namespace": "prod"}, "spec": spec}


def test_a_new_one_leads_to_the_primary_inside_the_mesh():
    made = virtualservice.new_virtual_service(canary())
    assert made["spec"] == {"hosts": ["chat"], "gateways": ["mesh"], "http": [{"route": BOTH}]}
    assert made["metadata"]["annotations"]["kustomize.toolkit.fluxcd.io/reconcile"] == "disabled"
    assert virtualservice.weights_of(canary(), made) == HOME


def test_all_of_the_service_section_is_in_the_route():
    service = {
        "hosts": ["chat.example"],
        "gateways": ["istio-system/edge"],
        "portDiscovery": True,
        "match": [{"uri": {"prefix": "/v1"}}],
        "rewrite": {"uri": "/", "type": "ReplacePrefixMatch"},
        "timeout": "10s",
        "retries": {"attempts": 3, "perTryTimeout": "1s", "retryOn": "5xx"},
        "headers": {"request": {"add": {"x-a": "b"}}},
        "corsPolicy": {"allowOrigin": ["https://a.example"], "allowMethods": ["GET"], "maxAge": "1h"},
    }
    spec = virtualservice.new_virtual_service(canary(service=service))["spec"]
    port = {"number": 80}
    assert spec["hosts"] == ["chat.example", "chat"]
    assert spec["gateways"] == ["istio-system/edge"]
    assert spec["http"] == [
        {
            "match": [{"uri": {"prefix": "/v1"}}],
            "rewrite": {"uri": "/"},
            "timeout": "10s",
            "retries": service["retries"],
            "corsPolicy": service["corsPolicy"],
            "headers": service["headers"],
            "route": [
                {"destination": {"host": "chat-primary", "port": port}, "weight": 100},
                {"destination": {"host": "chat-canary", "port": port}, "weight": 0},
            ],
        }
    ]


@given(weight=st.integers(0, 100), mirrored=st.booleans(), before=st.integers(0, 2), after=st.integers(0, 2))
def test_weights_are_read_as_written_and_routes_of_others_stay(weight, mirrored, before, after):
    own = virtualservice.new_virtual_service(canary())["spec"]["http"]
    live = stored(http=[*[FOREIGN] * before, *own, *[FOREIGN] * after], exportTo=["."])
    wanted = Weights(100 - weight, weight, mirrored)
    spec = virtualservice.routed(canary(), live, wanted)
    assert virtualservice.weights_of(canary(), {"spec": spec}) == wanted
    assert [route == FOREIGN for route in spec["http"]] == [True] * before + [False] + [True] * after
    assert spec["exportTo"] == ["."]
    shares = [item["weight"] for route in spec["http"] if route != FOREIGN for item in route["route"]]
    assert sum(shares) == 100
    assert virtualservice.routed(canary(), {"spec": copy.deepcopy(spec)}, wanted) == spec


def test_tcp_is_weighed_by_port():
    found = canary(service={"appProtocol": "TCP", "match": [{"port": 5432}]})
    live = stored(http=[{"route": [{"destination": {"host": "chat.prod.svc.cluster.local"}}]}])
    spec = virtualservice.routed(found, live, Weights(70, 30))
    assert "http" not in spec
    assert spec["tcp"][0]["match"] == [{"port": 5432}]
    assert virtualservice.weights_of(found, {"spec": spec}) == Weights(70, 30)


def test_mirroring_a_part():
    spec = virtualservice.routed(canary(mirror=True, mirrorWeight=20), stored(), Weights(100, 0, mirrored=True))
    assert spec["http"][0]["mirror"] == {"host": "chat-canary"}
    assert spec["http"][0]["mirrorPercentage"] == {"value": 20}


def test_ab_testing_matches_headers_and_callers_before_all_others():
    match = [{"headers": {"x-user": {"prefix": "in"}}}, {"sourceLabels": {"app": "tester"}}]
    found = canary(service={"match": [{"uri": {"prefix": "/v1"}}]}, iterations=3, match=match)
    tested, rest = virtualservice.routed(found, stored(), Weights(0, 100))["http"]
    assert tested["match"] == [
        {"uri": {"prefix": "/v1"}, "headers": {"x-user": {"prefix": "in"}}},
        {"uri": {"prefix": "/v1"}, "sourceLabels": {"app": "tester"}},
    ]
    assert rest["match"] == [{"uri": {"prefix": "/v1"}}]
    assert rest["route"] == [{"destination": {"host": "chat-primary"}, "weight": 100}]
    assert virtualservice.weights_of(found, stored(http=[tested, rest])) == Weights(0, 100)


def test_cookies_keep_callers_where_they_are_in_a_run():
    found = canary(sessionAffinity={"cookieName": "side", "primaryCookieName": "home", "secure": True, "path": "/"})
    spec = virtualservice.routed(found, stored(), Weights(70, 30), COOKIES)
    on_canary, on_primary, weighed = spec["http"]
    assert on_canary["match"] == [{"headers": {"Cookie": {"regex": ".*side.*abc.*"}}}]
    assert [item["weight"] for item in on_canary["route"]] == [0, 100]
    assert on_primary["match"] == [{"headers": {"Cookie": {"regex": ".*home.*xyz.*"}}}]
    assert [item["weight"] for item in on_primary["route"]] == [100, 0]
    handed = [item["headers"]["response"]["add"]["Set-Cookie"] for item in weighed["route"]]
    assert handed == ["home=xyz; Max-Age=30; Path=/; Secure", "side=abc; Max-Age=86400; Path=/; Secure"]
    assert virtualservice.weights_of(found, {"spec": spec}) == Weights(70, 30)


def test_cookies_of_a_former_run_are_taken_away():
    found = canary(sessionAffinity={"cookieName": "side"}, stepWeight=10)
    former, weighed = virtualservice.routed(found, stored(), HOME, COOKIES)["http"]
    assert former["headers"]["response"]["add"] == {"Set-Cookie": "side=old; Max-Age=-1"}
    assert former["route"] == weighed["route"] == BOTH


def test_the_cookie_follows_from_the_revision():
    plan = make_plan(canary_cookie="side", primary_cookie="home")
    first, again = Status(last_applied_spec="v2:a"), Status(last_applied_spec="v2:a", failed_checks=1)
    assert cookies_of(plan, first) == cookies_of(plan, again)
    assert cookies_of(plan, first).canary != cookies_of(plan, Status(last_applied_spec="v2:b")).canary
    assert cookies_of(make_plan(), first) == Cookies()


def test_a_delegate_has_no_hosts():
    assert "hosts" not in virtualservice.new_virtual_service(canary(service={"delegation": True}))["spec"]
    with pytest.raises(virtualservice.MeshRouteError, match="cannot have hosts and gateways when delegation enabled"):
        virtualservice.new_virtual_service(canary(service={"delegation": True, "hosts": ["a"]}))


def test_the_original_is_kept_and_comes_back():
    live = stored(hosts=["chat"], http=[{"route": [{"destination": {"host": "chat"}}]}])
    spec = virtualservice.routed(canary(), live, HOME)
    note = virtualservice.metadata_patch(canary(), live, spec)
    taken = {"metadata": {"name": "chat", "namespace": "prod", **note}, "spec": spec}
    assert virtualservice.metadata_patch(canary(), taken, spec) == {}
    assert virtualservice.restored(canary(), taken) == live["spec"]


def test_without_an_original_our_routes_lead_to_the_clients_service():
    spec = virtualservice.restored(canary(), stored(http=[FOREIGN, {"route": BOTH}]))
    assert spec["http"] == [FOREIGN, {"route": [{"destination": {"host": "chat"}}]}]


def test_destination_rules_follow_the_policy_and_keep_subsets():
    policy = {"loadBalancer": {"simple": "LEAST_REQUEST"}}
    found = canary(service={"trafficPolicy": policy})
    rule = virtualservice.destination_rule(found, "chat-canary")
    assert rule["spec"] == {"host": "chat-canary", "trafficPolicy": policy}
    assert virtualservice.destination_rule_patch(found, rule, "chat-canary") == {}
    other = {**rule, "spec": {"host": "chat", "subsets": [{"name": "a"}]}}
    change = virtualservice.destination_rule_patch(found, other, "chat-canary")
    assert change == {"spec": {"host": "chat-canary", "trafficPolicy": policy}}
    assert virtualservice.destination_rule_patch(canary(), rule, "chat-canary") == {"spec": {"trafficPolicy": None}}
