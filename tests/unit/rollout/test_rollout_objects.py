"""The objects of a rollout, made of the target and the Canary."""

import copy

import pytest

from agent.api.canary import Canary
from agent.core.objects import ObjectKey
from agent.core.rollout import objects
from agent.core.rollout.objects import Selector
from agent.core.rollout.ownership import owned_fields
from agent.core.rollout.podspec import ConfigRef, config_refs, is_tracked

SELECTOR = Selector("app", "chat")
LABELS = ("app", "name")
TARGET = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {
        "name": "chat",
        "namespace": "prod",
        "labels": {"app": "chat", "team": "search", "kustomize.toolkit.fluxcd.io/name": "apps"},
        "annotations": {
            "note": "1",
            "kubectl.kubernetes.io/last-applied-configuration": "{}",
            "deployment.kubernetes.io/revision": "3",
        },
    },
    "spec": {
        "replicas": 3,
        "revisionHistoryLimit": 5,
        "strategy": {"type": "Recreate"},
        "selector": {"matchLabels": {"app": "chat"}},
        "template": {
            "metadata": {"labels": {"app": "chat", "tier": "ml"}, "annotations": {"flagger-id": "old", "a": "b"}},
            "spec": {
                "containers": [
                    {
                        "name": "server",
                        "image": "a:1",
                        "env": [
                            {"name": "A", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "a"}}},
                            {"name": "B", "valueFrom": {"secretKeyRef": {"name": "token", "key": "b"}}},
                            {"name": "C", "value": "c"},
                        ],
                        "envFrom": [{"configMapRef": {"name": "more", "optional": True}}],
                        "ports": [{"name": "http", "containerPort": 8080}, {"containerPort": 9090}],
                    }
                ],
                "initContainers": [{"name": "init", "envFrom": [{"secretRef": {"name": "init"}}]}],
                "volumes": [
                    {"name": "v", "secret": {"secretName": "files"}},
                    {"name": "p", "projected": {"sources": [{"configMap": {"name": "settings", "optional": True}}]}},
                    {"name": "e", "emptyDir": {}},
                ],
                "affinity": {
                    "podAntiAffinity": {
                        "requiredDuringSchedulingIgnoredDuringExecution": [
                            {"labelSelector": {"matchLabels": {"app": "chat"}}, "topologyKey": "zone"}
                        ]
                    }
                },
                "topologySpreadConstraints": [
                    {"labelSelector": {"matchExpressions": [{"key": "app", "operator": "In", "values": ["chat", "x"]}]}}
                ],
            },
        },
    },
}


def canary(**spec) -> Canary:
    return Canary.from_object(
        {
            "metadata": {"name": "chat", "namespace": "prod", "uid": "u1", **spec.pop("metadata", {})},
            "status": spec.pop("status", {"phase": "Initialized"}),
            "spec": {
                "targetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "chat"},
                "service": {"port": 80, "targetPort": "http", **spec.pop("service", {})},
                "analysis": {},
                **spec,
            },
        }
    )


def template(copied=()):
    return objects.primary_template(TARGET, SELECTOR, frozenset(copied), selector_labels=LABELS)


def test_configs_are_found_wherever_a_pod_can_use_them():
    assert set(config_refs(TARGET["spec"]["template"]["spec"])) == {
        ConfigRef("configmap", "settings", required=True),
        ConfigRef("secret", "token"),
        ConfigRef("configmap", "more", required=False),
        ConfigRef("secret", "init"),
        ConfigRef("secret", "files"),
    }


@pytest.mark.parametrize(
    ("kind", "found", "tracked"),
    [
        ("configmap", {}, True),
        ("configmap", {"metadata": {"annotations": {"flagger.app/config-tracking": "disabled"}}}, False),
        ("secret", {"type": "Opaque"}, True),
        ("secret", {"type": "kubernetes.io/dockerconfigjson"}, False),
    ],
)
def test_what_is_tracked(kind, found, tracked):
    assert is_tracked(kind, found) is tracked


def test_the_primary_is_the_target_under_another_label_with_its_own_configs():
    before = copy.deepcopy(TARGET)
    made = template(["configmap/settings", "secret/files"])
    assert before == TARGET
    assert made["metadata"] == {"labels": {"app": "chat-primary", "tier": "ml"}, "annotations": {"a": "b"}}
    container = made["spec"]["containers"][0]
    assert container["env"][0]["valueFrom"]["configMapKeyRef"]["name"] == "settings-primary"
    assert container["env"][1]["valueFrom"]["secretKeyRef"]["name"] == "token"
    assert made["spec"]["volumes"][0]["secret"]["secretName"] == "files-primary"
    assert made["spec"]["volumes"][1]["projected"]["sources"][0]["configMap"]["name"] == "settings-primary"
    affinity = made["spec"]["affinity"]["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    assert affinity[0]["labelSelector"]["matchLabels"] == {"app": "chat-primary"}
    spread = made["spec"]["topologySpreadConstraints"][0]["labelSelector"]["matchExpressions"]
    assert spread[0]["values"] == ["chat-primary", "x"]


def primary():
    made = objects.primary_workload(
        canary(), TARGET, SELECTOR, objects.with_identity(template(), "id-1"), replicas=3, label_prefixes=("te",)
    )
    made["metadata"]["resourceVersion"] = "7"
    return made


def test_a_new_primary():
    made = primary()
    assert made["metadata"]["labels"] == {"team": "search", "app": "chat-primary"}
    assert made["metadata"]["annotations"] == {"note": "1"}
    assert made["metadata"]["ownerReferences"][0]["uid"] == "u1"
    assert (made["spec"]["replicas"], made["spec"]["strategy"]) == (3, {"type": "Recreate"})
    assert made["spec"]["selector"] == {"matchLabels": {"app": "chat-primary"}}
    assert objects.identity_in(made) == "id-1"
    assert objects.matches_template(made, template())


def test_a_promotion_replaces_the_template_as_a_whole():
    newer = copy.deepcopy(TARGET)
    newer["spec"]["template"]["spec"]["containers"][0]["image"] = "a:2"
    newer["spec"]["minReadySeconds"] = 5
    made = objects.primary_template(newer, SELECTOR, frozenset(), selector_labels=LABELS)
    assert not objects.matches_template(primary(), made)
    patch = objects.promotion_patch(
        primary(), newer, SELECTOR, objects.with_identity(made, "id-2"), replicas=2, label_prefixes=()
    )
    assert [(item["op"], item["path"]) for item in patch] == [
        ("test", "/metadata/resourceVersion"),
        ("add", "/spec/template"),
        ("add", "/spec/minReadySeconds"),
        ("add", "/spec/replicas"),
    ]


def service(**spec):
    found = canary(**spec)
    containers = TARGET["spec"]["template"]["spec"]["containers"]
    return found, objects.service(
        found, "chat", SELECTOR, to="chat-primary", metadata=found.spec.service.apex, containers=containers
    )


def test_services():
    _, made = service(service={"portDiscovery": True, "apex": {"labels": {"a": "b"}}})
    assert made["spec"]["selector"] == {"app": "chat-primary"}
    assert made["spec"]["ports"] == [
        {"name": "http", "protocol": "TCP", "port": 80, "targetPort": "http"},
        {"name": "tcp-server-1", "protocol": "TCP", "port": 9090, "targetPort": 9090},
    ]
    assert made["metadata"]["labels"] == {"a": "b", "app": "chat"}


def test_a_service_as_wanted_is_left_alone():
    owner, made = service()
    assert objects.service_patch(owner, made, made) == {}


def test_a_service_of_others_keeps_its_metadata_but_not_its_selector():
    owner, made = service()
    live = copy.deepcopy(made)
    live["metadata"] = {"name": "chat", "labels": {"own": "1"}}
    live["spec"]["selector"] = {"app": "chat", "tier": "ml"}
    live["spec"]["ports"][0] |= {"nodePort": 30000}
    assert objects.service_patch(owner, live, made) == {"spec": {"selector": {"app": "chat-primary", "tier": None}}}


def test_unmanaged_metadata_is_left_alone():
    owner, made = service(service={"unmanagedMetadata": {"labels": ["mine"]}})
    live = copy.deepcopy(made)
    live["metadata"]["labels"] |= {"mine": "1", "stray": "2"}
    assert objects.service_patch(owner, live, made) == {"metadata": {"labels": {"stray": None}}}


def test_copies_keep_their_other_owners():
    other = {"kind": "Canary", "name": "other", "uid": "u2", "controller": True}
    old = {"metadata": {"resourceVersion": "3", "ownerReferences": [other]}}
    made = objects.config_copy(canary(), ConfigRef("configmap", "settings"), {"data": {"a": "1"}}, old)
    assert [owner["name"] for owner in made["metadata"]["ownerReferences"]] == ["chat", "other"]
    assert [owner["controller"] for owner in made["metadata"]["ownerReferences"]] == [True, False]
    assert (made["metadata"]["name"], made["data"]) == ("settings-primary", {"a": "1"})


def test_a_selector_that_cannot_tell_apart():
    target = copy.deepcopy(TARGET)
    target["spec"]["selector"]["matchLabels"] = {"tier": "ml"}
    with pytest.raises(objects.SelectorError, match=r"must contain one of \[app name\]"):
        objects.selector_of(target, LABELS)


class TestOwnedFields:
    """What the applier leaves to a rollout."""

    TARGET = ObjectKey("apps", "Deployment", "prod", "chat")

    def test_replicas_service_and_route(self):
        owned = owned_fields([canary(provider="gatewayapi:v1")])
        assert owned[self.TARGET] == {"/spec/replicas"}
        assert "/spec/selector" in owned[ObjectKey("", "Service", "prod", "chat")]
        assert "/spec/rules" in owned[ObjectKey("gateway.networking.k8s.io", "HTTPRoute", "prod", "chat")]

    def test_nothing_as_long_as_nobody_acts_on_the_canary(self):
        assert owned_fields([canary(status={})]) == {}
        assert self.TARGET in owned_fields([canary(status={"phase": "Initializing"})])

    def test_nothing_once_it_is_going(self):
        going = {"deletionTimestamp": "2026-11-23T12:00:00Z"}
        assert owned_fields([canary(metadata=going)]) == {}
        assert self.TARGET in owned_fields([canary(metadata={**going, "finalizers": ["finalizer.flagger.app"]})])

    def test_the_route_depends_on_the_provider(self):
        route = ObjectKey("gateway.networking.k8s.io", "HTTPRoute", "prod", "chat")
        assert route not in owned_fields([canary()])
        assert route in owned_fields([canary()], default_provider="gatewayapi:v1")
