"""A core Service as a target: what is a revision of it, and what its copies are."""

from datetime import UTC, datetime

import pytest

from agent.api.canary import Canary
from agent.core.objects import ObjectKey
from agent.core.rollout.builtinqueries import builtin_queries
from agent.core.rollout.judgement import Check, Sample, judge
from agent.core.rollout.ownership import owned_fields
from agent.core.rollout.plan import Bounds
from agent.core.rollout.reading import plan_of
from agent.core.rollout.servicetarget import Copies, bare, copy_patch, facts, new_copy, refused_service


def canary(annotations=None, provider="istio", **spec):
    body = {
        "provider": provider,
        "targetRef": {"apiVersion": "v1", "kind": "Service", "name": "chat"},
        "service": {"port": 80},
        "analysis": {"interval": "1m", "threshold": 5, "stepWeight": 10},
        **spec,
    }
    metadata = {"name": "chat", "namespace": "prod", "uid": "u1", "annotations": annotations or {}}
    return Canary.from_object({"metadata": metadata, "spec": body, "status": {"phase": "Initialized"}})


def plan(made):
    return plan_of(made, default_provider="istio", minimum_interval=1.0)


def service(version="1", name="chat", address="10.0.0.1", node_port=30080, **spec):
    marks = {
        "kubectl.kubernetes.io/last-applied-configuration": "{}",
        "kustomize.toolkit.fluxcd.io/x": "y",
        "team": "a",
    }
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": name,
            "namespace": "prod",
            "annotations": marks,
            "labels": {"app": "chat", "kustomize.toolkit.fluxcd.io/name": "apps"},
        },
        "spec": {
            "type": "NodePort",
            "clusterIP": address,
            "clusterIPs": [address],
            "selector": {"app": "chat", "version": version},
            "ports": [{"name": "http", "port": 80, "targetPort": 8080, "nodePort": node_port}],
            **spec,
        },
    }


def test_a_copy_asks_for_addresses_and_ports_of_its_own():
    copy = new_copy(canary(), service(), "chat-primary")
    assert copy["spec"] == {
        "type": "NodePort",
        "selector": {"app": "chat", "version": "1"},
        "ports": [{"name": "http", "port": 80, "targetPort": 8080}],
    }
    assert copy["metadata"]["annotations"] == {"team": "a"}
    assert copy["metadata"]["labels"] == {"app": "chat"}
    assert copy["metadata"]["ownerReferences"][0]["name"] == "chat"


def test_a_service_without_an_address_is_copied_as_one():
    assert bare(service(address="None")["spec"])["clusterIP"] == "None"


def test_the_same_service_with_other_addresses_is_no_change():
    live = service(name="chat-primary", address="10.0.0.2", node_port=30081)
    assert copy_patch(canary(), service(), live) == {}
    target, primary, matches = facts(canary(), Copies(service(), live), plan(canary()))
    assert primary is not None
    assert matches
    assert target.hash == primary.hash
    assert primary.identity


def test_another_selector_is_a_new_revision():
    live = service(name="chat-primary", address="10.0.0.2")
    before, _, _ = facts(canary(), Copies(service()), plan(canary()))
    target, primary, matches = facts(canary(), Copies(service("2"), live), plan(canary()))
    assert primary is not None
    assert (matches, primary.identity, primary.hash) == (False, "", before.hash)
    assert target.hash != before.hash
    change = copy_patch(canary(), service("2"), live)
    assert change == {"spec": {"selector": {"app": "chat", "version": "2"}}}, "and nothing else of the copy"


def test_what_the_target_no_longer_has_goes_from_the_copy():
    live = service(name="chat-primary", sessionAffinity="ClientIP")
    live["spec"]["selector"]["track"] = "old"
    change = copy_patch(canary(), service(), live)
    assert change == {"spec": {"selector": {"app": "chat", "version": "1", "track": None}, "sessionAffinity": None}}


def test_the_canary_s_distribution_of_traffic_is_that_of_the_copies():
    made = canary(service={"port": 80, "trafficDistribution": "PreferClose"})
    live = new_copy(made, service(), "chat-primary")
    assert live["spec"]["trafficDistribution"] == "PreferClose"
    assert facts(made, Copies(service(), live), plan(made))[2]


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        (canary(service={"port": 80, "name": "front"}), "TargetNotSupported"),
        (
            canary(autoscalerRef={"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "name": "x"}),
            "AutoscalerNotSupported",
        ),
        (canary({"weir.dev/judge": "guarded"}), "JudgeNotSupported"),
        (canary({"weir.dev/judge": "compatibility"}), None),
        (canary(), None),
    ],
)
def test_what_a_service_cannot_have_is_refused(made, reason):
    refused = refused_service(made, plan(made))
    assert (refused[0] if refused else None) == reason


def test_git_keeps_the_target_and_the_rollout_the_route():
    owned = owned_fields([canary()])
    assert ObjectKey("", "Service", "prod", "chat") not in owned
    assert ObjectKey("networking.istio.io", "VirtualService", "prod", "chat") in owned


@pytest.mark.parametrize(
    ("provider", "part"),
    [
        ("istio", 'destination_service_name="{{ service }}-canary"'),
        ("gatewayapi:v1", 'kubernetes_pod_name=~"{{ target }}-'),
        ("nginx", 'ingress="{{ ingress }}"'),
    ],
)
def test_the_built_in_metrics_are_those_of_the_canary_s_service(provider, part):
    assert part in builtin_queries(plan(canary(provider=provider)).metrics_provider)["request-success-rate"]


def test_a_service_without_traffic_is_told_with_flagger_s_name_of_the_provider():
    check = Check(metric="request-success-rate", bounds=Bounds(99, None))
    found = judge(plan(canary()), check, Sample(), datetime(2026, 1, 1, tzinfo=UTC))
    assert found.text.startswith(
        "Halt advancement no values found for istio:service metric request-success-rate probably chat.prod is not"
    )


@pytest.mark.parametrize(("provider", "warned"), [("nginx", True), ("kubernetes", True), ("istio", False)])
def test_a_provider_that_leaves_clients_on_the_target_is_warned_of(provider, warned):
    told = any("get each change at once" in text for text in plan(canary(provider=provider)).warnings)
    assert told is warned
