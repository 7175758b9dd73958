"""From values to manifests: what each value changes, what is refused, and that the plain manifests say the same."""

import pytest
import yaml

from agent.settings import Settings
from tests.chart.helm import CHART, ROOT, HelmError, only, rules


def container(objects):
    return only(objects, "Deployment")["spec"]["template"]["spec"]["containers"][0]


def arguments(objects):
    """The flags of `weir run` by name."""
    first, *flags = container(objects)["args"]
    assert first == "run"
    return dict(flag.removeprefix("--").split("=", 1) for flag in flags)


async def test_lint(helm):
    assert "0 chart(s) failed" in await helm.run("lint", "--strict", str(CHART))


async def test_the_default_deployment_is_locked_down(helm):
    objects = await helm.template()
    pod = only(objects, "Deployment")["spec"]["template"]["spec"]
    manager = container(objects)
    assert manager["name"] == "manager"
    assert manager["image"] == "weir:0.1.0"
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert manager["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    writable = {mount["mountPath"]: mount["name"] for mount in manager["volumeMounts"]}
    assert writable == {"/data": "data", "/tmp": "tmp"}
    assert pod["volumes"] == [{"name": "data", "emptyDir": {}}, {"name": "tmp", "emptyDir": {}}]
    assert manager["livenessProbe"]["httpGet"] == {"path": "/healthz", "port": "healthz"}
    assert manager["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "healthz"}
    assert pod["terminationGracePeriodSeconds"] == 60


async def test_everything_that_flux_uninstall_removes_is_labelled_for_it(helm):
    objects = await helm.template("networkPolicy.create=true", "artifacts.sourceControllerService=true")
    for obj in objects:
        expected = "weir" if obj["metadata"]["name"].endswith((".flagger.app", ".weir.dev")) else "flux"
        assert obj["metadata"]["labels"]["app.kubernetes.io/part-of"] == expected, obj["metadata"]["name"]
    template = only(objects, "Deployment")["spec"]["template"]
    assert template["metadata"]["labels"]["app.kubernetes.io/part-of"] == "flux"


async def test_selectors_pick_the_pod(helm):
    objects = await helm.template(
        "networkPolicy.create=true", "artifacts.sourceControllerService=true", "podLabels.team=serving"
    )
    labels = only(objects, "Deployment")["spec"]["template"]["metadata"]["labels"]
    assert labels["team"] == "serving"
    selectors = [only(objects, "Deployment")["spec"]["selector"]["matchLabels"]]
    selectors += [only(objects, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"]]
    selectors += [only(objects, "NetworkPolicy")["spec"]["podSelector"]["matchLabels"]]
    selectors += [only(objects, "Service", name)["spec"]["selector"] for name in ("weir", "source-controller")]
    assert all(selector.items() <= labels.items() for selector in selectors)
    ports = {port["name"] for port in container(objects)["ports"]}
    for name in ("weir", "source-controller"):
        assert {port["targetPort"] for port in only(objects, "Service", name)["spec"]["ports"]} <= ports


async def test_values_become_flags(helm):
    objects = await helm.template(
        "watchAllNamespaces=false",
        "logLevel=debug",
        "leaderElection=false",
        "concurrent=9",
        "controllers={source,kustomize}",
        "meshProvider=kubernetes",
        "logEncoding=console",
        "eventsAddress=http://nc.flux-system./",
        "featureGates.ExternalArtifact=true",
        "featureGates.StrictPostBuildSubstitutions=false",
        "noCrossNamespaceRefs=true",
        "defaultServiceAccount=deployer",
        "metricsServer=http://prom:1234",
        "bindAddress=127.0.0.1",
        "ports.health=1",
        "ports.metrics=2",
        "ports.api=3",
        "ports.artifacts=4",
        "extraArgs={--one=1}",
        namespace="serving",
    )
    assert arguments(objects) == {
        "watch-all-namespaces": "false",
        "storage-path": "/data",
        "storage-addr": "127.0.0.1:4",
        "storage-adv-addr": "weir.serving.svc.cluster.local.",
        "health-addr": "127.0.0.1:1",
        "metrics-addr": "127.0.0.1:2",
        "api-addr": "127.0.0.1:3",
        "log-level": "debug",
        "enable-leader-election": "false",
        "concurrent": "9",
        "metrics-server": "http://prom:1234",
        "mesh-provider": "kubernetes",
        "log-encoding": "console",
        "events-addr": "http://nc.flux-system./",
        "feature-gates": "ExternalArtifact=true,StrictPostBuildSubstitutions=false",
        "no-cross-namespace-refs": "true",
        "default-service-account": "deployer",
        "controllers": "source,kustomize",
        "one": "1",
    }
    assert [port["containerPort"] for port in container(objects)["ports"]] == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("settings", "address"),
    [
        ((), "weir.flux-system.svc.cluster.local."),
        (("artifacts.clusterDomain=corp.local",), "weir.flux-system.svc.corp.local."),
        (("artifacts.sourceControllerService=true",), "source-controller.flux-system.svc.cluster.local."),
        (("artifacts.address=files.example.org",), "files.example.org"),
    ],
)
async def test_the_address_at_which_others_fetch_artifacts(helm, settings, address):
    assert arguments(await helm.template(*settings))["storage-adv-addr"] == address


@pytest.mark.parametrize(
    ("settings", "image"),
    [
        ((), "weir:0.1.0"),
        (("image.repository=example/weir", "image.tag=v2"), "example/weir:v2"),
        (("image.tag=v2", f"image.digest=sha256:{'0' * 64}"), f"weir@sha256:{'0' * 64}"),
    ],
)
async def test_the_image(helm, settings, image):
    assert container(await helm.template(*settings))["image"] == image


async def test_crds_are_kept_and_can_be_left_out(helm):
    crds = [obj for obj in await helm.template() if obj["kind"] == "CustomResourceDefinition"]
    assert len(crds) == 7
    for crd in crds:
        written = yaml.safe_load(
            (ROOT / "config/crd" / f"{crd['spec']['group']}_{crd['spec']['names']['plural']}.yaml").read_text()
        )
        assert crd["spec"] == written["spec"]
        assert crd["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
        assert crd["metadata"]["annotations"].items() >= written["metadata"].get("annotations", {}).items()
    assert "CustomResourceDefinition" not in {obj["kind"] for obj in await helm.template("crds.install=false")}


def bindings_to_cluster_admin(objects):
    return [obj["metadata"]["name"] for obj in objects if obj.get("roleRef", {}).get("name") == "cluster-admin"]


async def test_by_default_the_agent_applies_with_cluster_admin_as_flux_does(helm):
    objects = await helm.template()
    assert bindings_to_cluster_admin(objects) == ["weir-cluster-reconciler"]
    own = rules(objects)
    assert ("", "serviceaccounts") in own
    assert "impersonate" not in own["", "serviceaccounts"]
    assert own["", "secrets"] == {"get", "list", "watch"}
    assert not any("*" in part for key, verbs in own.items() for part in (*key, *verbs))


async def test_with_impersonation_the_agent_may_write_little(helm):
    objects = await helm.template("rbac.applier=impersonation")
    assert bindings_to_cluster_admin(objects) == []
    assert "impersonate" in rules(objects)["", "serviceaccounts"]
    assert "create" in rules(objects)["apps", "deployments"]
    bare = rules(await helm.template("rbac.applier=impersonation", "rbac.rollouts=false"))
    assert bare["", "pods"] == {"list", "watch"}, "health is waited for without Canaries too"
    writes = {key for key, verbs in bare.items() if verbs & {"create", "update", "patch", "delete"}}
    assert writes == {
        ("source.toolkit.fluxcd.io", "gitrepositories"),
        ("source.toolkit.fluxcd.io", "gitrepositories/status"),
        ("kustomize.toolkit.fluxcd.io", "kustomizations"),
        ("kustomize.toolkit.fluxcd.io", "kustomizations/status"),
        ("flagger.app", "canaries"),
        ("flagger.app", "canaries/status"),
        ("flagger.app", "canaries/finalizers"),
        ("weir.dev", "changepolicies/status"),
        ("weir.dev", "datatriggers/status"),
        ("", "events"),
    }


@pytest.mark.parametrize(
    ("settings", "account"),
    [
        ((), None),
        (("defaultServiceAccount=deployer",), "deployer"),
        (("rbac.applier=impersonation",), "default"),
        (("rbac.applier=impersonation", "defaultServiceAccount=deployer"), "deployer"),
    ],
)
async def test_with_impersonation_nothing_is_applied_with_the_agent_s_own_rights(helm, settings, account):
    assert arguments(await helm.template(*settings)).get("default-service-account") == account


async def test_one_namespace_needs_no_cluster_role_of_its_own(helm):
    objects = await helm.template("watchAllNamespaces=false", "rbac.applier=impersonation", "rbac.aggregate=false")
    assert "ClusterRole" not in {obj["kind"] for obj in objects}
    assert "ClusterRoleBinding" not in {obj["kind"] for obj in objects}
    assert ("flagger.app", "canaries") in rules(objects, "Role")


async def test_the_lease_is_written_in_the_own_namespace_only(helm):
    objects = await helm.template()
    creation, renewal = only(objects, "Role", "weir-leader-election")["rules"]
    assert (creation["resources"], creation["verbs"]) == (["leases"], ["create"])
    assert (renewal["resourceNames"], renewal["verbs"]) == (["weir-leader-election"], ["get", "update"])
    assert ("coordination.k8s.io", "leases") not in rules(objects)


async def test_a_shard_may_renew_the_lease_that_it_asks_for(helm):
    selector = "sharding.fluxcd.io/key=shard1"
    objects = await helm.template(f"watchLabelSelector={selector}")
    assert arguments(objects)["watch-label-selector"] == selector
    renewal = only(objects, "Role", "weir-leader-election")["rules"][1]
    assert renewal["resourceNames"] == [Settings(watch_label_selector=selector).object_name("leader-election")]
    history = only(objects, "Role", "weir-history")["rules"][1]
    assert history["resourceNames"] == [Settings(watch_label_selector=selector).object_name("changes")]


async def test_an_agent_with_some_of_the_roles_may_renew_the_lease_that_it_asks_for(helm):
    objects = await helm.template("controllers={canary,source}")
    renewal = only(objects, "Role", "weir-leader-election")["rules"][1]
    assert renewal["resourceNames"] == [Settings(controllers=("canary", "source")).object_name("leader-election")]


async def test_namespace_roles_learn_the_kinds(helm):
    objects = await helm.template()
    view, edit = only(objects, "ClusterRole", "weir-flux-view"), only(objects, "ClusterRole", "weir-flux-edit")
    prefix = "rbac.authorization.k8s.io/aggregate-to-"
    assert {label for label in view["metadata"]["labels"] if label.startswith(prefix)} == {
        f"{prefix}admin",
        f"{prefix}edit",
        f"{prefix}view",
    }
    assert f"{prefix}view" not in edit["metadata"]["labels"]
    names = {obj["metadata"]["name"] for obj in await helm.template("rbac.aggregate=false")}
    assert not names & {"weir-flux-view", "weir-flux-edit"}


async def test_cluster_wide_names_of_two_releases_differ(helm):
    def cluster_wide(objects):
        return {
            obj["metadata"]["name"]
            for obj in objects
            if "namespace" not in obj["metadata"] and obj["kind"] != "CustomResourceDefinition"
        }

    first = cluster_wide(await helm.template(namespace="a"))
    second = cluster_wide(await helm.template(namespace="b"))
    assert first
    assert not first & second


async def test_options_that_are_off_by_default(helm):
    kinds = {obj["kind"] for obj in await helm.template()}
    assert not kinds & {"ServiceMonitor", "NetworkPolicy"}
    objects = await helm.template("serviceMonitor.create=true", "serviceMonitor.labels.release=prom")
    monitor = only(objects, "ServiceMonitor")
    assert monitor["metadata"]["labels"]["release"] == "prom"
    assert monitor["spec"]["endpoints"] == [{"port": "http-prom", "path": "/metrics", "interval": "30s"}]
    off = await helm.template("podDisruptionBudget.create=false", "rbac.create=false", "serviceAccount.create=false")
    assert not {obj["kind"] for obj in off} & {"PodDisruptionBudget", "ClusterRole", "Role", "ServiceAccount"}
    assert only(off, "Deployment")["spec"]["template"]["spec"]["serviceAccountName"] == "default"


async def test_the_api_can_be_opened_to_chosen_peers(helm):
    def peers(objects):
        ingress = only(objects, "NetworkPolicy")["spec"]["ingress"]
        return next(rule["from"] for rule in ingress if {"port": "api"} in rule["ports"])

    assert peers(await helm.template("networkPolicy.create=true")) == [{"podSelector": {}}]
    opened = "networkPolicy.apiFrom[0].namespaceSelector.matchLabels.team=serving"
    assert peers(await helm.template("networkPolicy.create=true", opened)) == [
        {"namespaceSelector": {"matchLabels": {"team": "serving"}}}
    ]


async def test_the_cache_can_be_limited_or_kept_in_memory(helm):
    objects = await helm.template("storage.sizeLimit=2Gi", "storage.medium=Memory")
    volumes = only(objects, "Deployment")["spec"]["template"]["spec"]["volumes"]
    assert volumes[0] == {"name": "data", "emptyDir": {"sizeLimit": "2Gi", "medium": "Memory"}}


@pytest.mark.parametrize(
    ("setting", "place"),
    [
        ("ports.api=70000", "/ports/api"),
        ("ports.api=x", "/ports/api"),
        ("replicas=-1", "/replicas"),
        ("rbac.applier=root", "/rbac/applier"),
        ("logLevel=loud", "/logLevel"),
        ("metricsServer=prometheus:9090", "/metricsServer"),
        ("image.digest=abc", "/image/digest"),
        ("image.repository=", "/image/repository"),
        ("image.repo=x", "'repo' not allowed"),
        ("unheardOf=1", "'unheardOf' not allowed"),
        ("controllers=all", "/controllers"),
        ("controllers={all}", "/controllers/0"),
        ("serviceMonitor.interval=often", "/serviceMonitor/interval"),
    ],
)
async def test_a_bad_value_is_refused_by_name(helm, setting, place):
    with pytest.raises(HelmError) as caught:
        await helm.template(setting)
    assert place in str(caught.value)


def test_every_value_is_in_the_schema():
    schema = yaml.safe_load((CHART / "values.schema.json").read_text())
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    assert set(values) == set(schema["properties"]) - {"global"}
