"""Every flag of Flux's kustomize-controller and source-controller: accepted, with Flux's default, into its setting."""

from __future__ import annotations

from dataclasses import fields
from operator import attrgetter

import pytest

from agent import cli
from agent.gates import FeatureGates, parse_bool
from agent.settings import Settings

COMMON = [
    ("--concurrent=7", "concurrent", None, 7),
    ("--watch-all-namespaces=false", "watch_all_namespaces", True, False),
    ("--watch-label-selector=a=b", "watch_label_selector", "", "a=b"),
    (
        "--watch-configs-label-selector=owner!=helm",
        "watch_configs_label_selector",
        "reconcile.fluxcd.io/watch=Enabled",
        "owner!=helm",
    ),
    ("--requeue-dependency=5s", "requeue_dependency", 30.0, 5.0),
    ("--interval-jitter-percentage=99", "interval_jitter", 0.05, 0.99),
    ("--min-retry-delay=1s", "min_retry_delay", 0.75, 1.0),
    ("--max-retry-delay=1m", "max_retry_delay", 900.0, 60.0),
    ("--kube-api-qps=12.5", "kube_api_qps", 50.0, 12.5),
    ("--kube-api-qps=-1", "kube_api_qps", 50.0, -1.0),
    ("--kube-api-burst=3", "kube_api_burst", 300, 3),
    ("--events-addr=http://nc.flux-system./", "events_addr", "", "http://nc.flux-system./"),
    ("--metrics-addr=:1", "metrics_addr.port", 8080, 1),
    ("--health-addr=:1", "health_addr.port", 9440, 1),
    ("--log-level=debug", "log_level", "info", "debug"),
    ("--log-encoding=console", "log_encoding", "json", "console"),
    ("--enable-leader-election", "election.enabled", False, True),
    ("--leader-election-lease-duration=1m", "election.lease_duration", 35.0, 60.0),
    ("--leader-election-renew-deadline=20s", "election.renew_deadline", 30.0, 20.0),
    ("--leader-election-retry-period=1s", "election.retry_period", 5.0, 1.0),
    ("--leader-election-release-on-cancel=false", "election.release_on_cancel", True, False),
    ("--feature-gates=GroupChangeLog=true", "gates.group_change_log", False, True),
]
KUSTOMIZE = [
    ("--no-cross-namespace-refs", "no_cross_namespace_refs", False, True),
    ("--default-service-account=a", "default_service_account", "", "a"),
    ("--http-retry=0", "http_retry", 9, 0),
    ("--concurrent-ssa=1", "concurrent_ssa", 4, 1),
    ("--override-manager=kubectl", "override_managers", (), ("kubectl",)),
    ("--custom-apply-stage-kinds=g/K", "custom_apply_stage_kinds", frozenset(), frozenset({"g/K"})),
    ("--sops-age-secret=age", "sops_age_secret", "", "age"),
    ("--sops-vault-configmap=vaults", "sops_vault_configmap", "", "vaults"),
    ("--insecure-kubeconfig-exec", "insecure_kubeconfig_exec", False, True),
    ("--insecure-kubeconfig-tls=1", "insecure_kubeconfig_tls", False, True),
]
SOURCE = [
    ("--storage-path=/s", "storage_path.name", "data", "s"),
    ("--storage-addr=:1", "storage_addr.port", 9090, 1),
    ("--storage-adv-addr=a:1", "storage_adv_addr", "", "a:1"),
    ("--artifact-retention-ttl=2m", "artifact_retention_ttl", 60.0, 120.0),
    ("--artifact-retention-records=9", "artifact_retention_records", 2, 9),
    ("--artifact-digest-algo=sha512", "artifact_digest_algo", "sha256", "sha512"),
    ("--ssh-kex-algos=x,y", "ssh_kex_algos", (), ("x", "y")),
    ("--token-cache-max-size=0", "token_cache_max_size", 100, 0),
    ("--token-cache-max-duration=5m", "token_cache_max_duration", 3600.0, 300.0),
    ("--ssh-hostkey-algos=rsa-sha2-512", "ssh_hostkey_algos", (), ("rsa-sha2-512",)),
]
IDENTITY = "--feature-gates=ObjectLevelWorkloadIdentity=true"
GATES = {
    "CacheSecretsAndConfigMaps": False,
    "DisableStatusPollerCache": True,
    "DisableFailFastBehavior": False,
    "StrictPostBuildSubstitutions": True,
    "GroupChangeLog": False,
    "AdditiveCELDependencyCheck": False,
    "ExternalArtifact": False,
    "CancelHealthCheckOnNewRevision": False,
    "DisableConfigWatchers": False,
    "DirectSourceFetch": False,
    "MigrateAPIVersion": False,
    "ObjectLevelWorkloadIdentity": False,
}


def settings(*flags: str) -> Settings:
    return cli.settings_from(cli._parser().parse_args(["run", *flags]))


def refusal(capsys: pytest.CaptureFixture[str], *flags: str) -> str:
    with pytest.raises(SystemExit) as ended:
        cli.main(["run", *flags])
    assert ended.value.code == cli.EXIT_USAGE
    return capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(("flag", "setting", "default", "value"), COMMON + KUSTOMIZE + SOURCE)
def test_a_flag_of_flux_has_its_default_and_is_read(flag: str, setting: str, default: object, value: object) -> None:
    read = attrgetter(setting)
    assert (read(settings()), read(settings(flag))) == (default, value)
    name, _, text = flag.partition("=")
    if text:
        assert read(settings(name, text)) == value, "the value may be an argument of its own"


@pytest.mark.parametrize("subject", ["decryption", "kubeconfig"])
def test_default_identities_need_their_gate(capsys: pytest.CaptureFixture[str], subject: str) -> None:
    flag = f"--default-{subject}-service-account=cloud"
    assert getattr(settings(flag, IDENTITY), f"default_{subject}_service_account") == "cloud"
    assert "need --feature-gates=ObjectLevelWorkloadIdentity=true" in refusal(capsys, flag)


def test_a_manager_to_override_is_named_with_each_mention() -> None:
    assert settings("--override-manager=a", "--override-manager", "b").override_managers == ("a", "b")


def test_each_role_has_its_own_default_concurrency_and_one_flag_sets_both() -> None:
    assert [settings().workers(role) for role in ("source", "kustomize")] == [2, 4]
    assert [settings("--concurrent=9").workers(role) for role in ("source", "kustomize")] == [9, 9]


@pytest.mark.parametrize(
    "flag",
    [
        "--no-remote-bases",
        "--no-remote-bases=true",
        "--helm-index-max-size=1",
        "--helm-chart-max-size=1",
        "--helm-chart-file-max-size=1",
        "--helm-cache-max-size=10",
        "--helm-cache-ttl=60m",
        "--helm-cache-purge-interval=5m",
    ],
)
def test_a_flag_without_a_meaning_here_is_accepted_and_remembered(flag: str) -> None:
    assert settings(flag).idle_flags == (flag.partition("=")[0],)
    assert settings().idle_flags == ()


def test_environment_of_kustomize_controller(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_CONTROLLER_LOCALHOST", "localhost:8080")
    monkeypatch.setenv("SOURCE_WATCHER_LOCALHOST", "localhost:8081")
    chosen = settings()
    assert (chosen.source_controller_localhost, chosen.source_watcher_localhost) == ("localhost:8080", "localhost:8081")


def test_every_setting_can_be_made_from_outside() -> None:
    read = vars(cli._parser().parse_args(["run"]))
    assert {one.name for one in fields(Settings)} - read.keys() == {"election"}  # has flags for its parts


def test_environment_of_source_controller(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METRICS_ADDR", ":81")
    monkeypatch.setenv("EVENTS_ADDR", "http://events.example/")
    chosen = settings()
    assert (chosen.metrics_addr.port, chosen.events_addr) == (81, "http://events.example/")
    assert settings("--events-addr=").events_addr == ""


@pytest.mark.parametrize(("name", "default"), GATES.items())
def test_a_gate_has_flux_s_default_and_can_be_turned(name: str, default: bool) -> None:
    turned = settings(f"--feature-gates={name}={str(not default).lower()}").gates
    assert turned != FeatureGates()
    assert settings(f"--feature-gates={name}={str(default).lower()}").gates == FeatureGates()


@pytest.mark.parametrize(
    "flags",
    [
        ("--watch-all-namespaces=true", "--log-level=info", "--log-encoding=json", "--enable-leader-election"),
        (
            "--events-addr=http://notification-controller.flux-system.svc.cluster.local./",
            "--storage-path=/data",
            "--storage-adv-addr=source-controller.flux-system.svc.cluster.local.",
        ),
        ("--concurrent=10", "--requeue-dependency=5s", "--kube-api-qps=500", "--kube-api-burst=1000"),
        ("--no-cross-namespace-refs=true", "--no-remote-bases=true", "--default-service-account=default"),
        ("--helm-cache-max-size=10", "--helm-cache-ttl=60m", "--helm-cache-purge-interval=5m"),
        ("--watch-label-selector=!sharding.fluxcd.io/key",),
    ],
)
def test_what_manifests_for_flux_say_is_understood(flags: tuple[str, ...]) -> None:
    assert settings(*flags) != Settings()


def test_several_gates_at_once() -> None:
    gates = settings("--feature-gates=ExternalArtifact=true, MigrateAPIVersion=1,StrictPostBuildSubstitutions=F").gates
    assert gates == FeatureGates(
        external_artifact=True, migrate_api_version=True, strict_post_build_substitutions=False
    )


def test_gates_that_change_nothing_are_named_when_they_are_turned() -> None:
    text = "DirectSourceFetch=true,DisableStatusPollerCache=false,CacheSecretsAndConfigMaps=false,GroupChangeLog=true"
    assert FeatureGates.parse(text).without_effect() == ("DisableStatusPollerCache", "DirectSourceFetch")


def test_an_unknown_gate_ends_the_start_and_the_known_ones_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    line = refusal(capsys, "--feature-gates=GroupChangeLog=true,Helm=true")
    assert "feature-gate 'Helm' not supported" in line
    assert all(name in line for name in GATES)


@pytest.mark.parametrize(
    ("flag", "text"),
    [
        ("--feature-gates=GroupChangeLog", "feature-gate 'GroupChangeLog' has no value"),
        ("--feature-gates=GroupChangeLog=yes", "feature-gate 'GroupChangeLog': 'yes' is neither true nor false"),
        ("--watch-label-selector=a in", "label selector 'a in' cannot be read from position 0"),
        ("--watch-configs-label-selector=a=b,=", "label selector 'a=b,=' cannot be read from position 4"),
        ("--kube-api-qps=fast", "argument --kube-api-qps: 'fast' is not a number other than 0"),
        ("--kube-api-qps=0", "argument --kube-api-qps: '0' is not a number other than 0"),
        ("--kube-api-burst=0", "argument --kube-api-burst: '0' is not a number of at least 1"),
        ("--http-retry=-1", "argument --http-retry: '-1' is not a number of at least 0"),
        ("--min-retry-delay=20m", "--min-retry-delay exceeds --max-retry-delay"),
        ("--ssh-kex-algos=-oProxyCommand=x", "--ssh-kex-algos: '-oProxyCommand=x' is not the name of an algorithm"),
        ("--artifact-digest-algo=md5", "argument --artifact-digest-algo: invalid choice: 'md5'"),
        ("--log-encoding=xml", "argument --log-encoding: invalid choice: 'xml'"),
        ("--insecure-kubeconfig-exec=tRuE", "argument --insecure-kubeconfig-exec: 'tRuE' is neither true nor false"),
    ],
)
def test_a_wrong_value_is_refused_by_name(capsys: pytest.CaptureFixture[str], flag: str, text: str) -> None:
    assert text in refusal(capsys, flag)


@pytest.mark.parametrize("text", ["1", "t", "T", "TRUE", "true", "True"])
def test_go_s_spellings_of_true(text: str) -> None:
    assert parse_bool(text) is True
    assert parse_bool({"1": "0", "t": "f", "T": "F", "TRUE": "FALSE", "true": "false", "True": "False"}[text]) is False
