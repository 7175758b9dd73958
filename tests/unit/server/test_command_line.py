"""The command line: Flux's flag names and defaults, Go's spellings, clear refusals."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent import __version__, cli
from agent.settings import CONTROLLERS, Address, ElectionSettings, Settings

ENVIRONMENT = ("RUNTIME_NAMESPACE", "STORAGE_PATH", "STORAGE_ADDRESS", "STORAGE_ADV_ADDR")
EITHER = ("METRICS_ADDR", "EVENTS_ADDR")


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ENVIRONMENT + EITHER:
        monkeypatch.delenv(name, raising=False)


def settings(*flags: str) -> Settings:
    return cli.settings_from(cli._parser().parse_args(["run", *flags]))


def refusal(capsys: pytest.CaptureFixture[str], *flags: str) -> str:
    """The last line that the command prints when it refuses."""
    with pytest.raises(SystemExit) as ended:
        cli.main(["run", *flags])
    assert ended.value.code == cli.EXIT_USAGE
    return capsys.readouterr().err.splitlines()[-1]


def test_without_flags_the_settings_are_their_own_defaults() -> None:
    assert settings() == Settings()


def test_the_defaults_are_flux_s() -> None:
    plain = settings()
    assert (plain.concurrent_ssa, plain.requeue_dependency, plain.interval_jitter) == (4, 30, 0.05)
    assert (plain.workers("kustomize"), plain.workers("source")) == (4, 2)
    assert [str(address) for address in (plain.metrics_addr, plain.health_addr, plain.storage_addr)] == [
        "0.0.0.0:8080",
        "0.0.0.0:9440",
        "0.0.0.0:9090",
    ]
    assert plain.election == ElectionSettings(enabled=False, lease_duration=35, renew_deadline=30, retry_period=5)
    assert (plain.watch_all_namespaces, plain.watch_label_selector, plain.log_level) == (True, "", "info")
    assert (plain.no_cross_namespace_refs, plain.default_service_account) == (False, "")
    assert (plain.storage_path, plain.artifact_retention_ttl, plain.artifact_retention_records) == (
        Path("/data"),
        60,
        2,
    )


@pytest.mark.parametrize(
    ("flag", "attribute", "value"),
    [
        ("--concurrent=20", "concurrent", 20),
        ("--concurrent-ssa=8", "concurrent_ssa", 8),
        ("--requeue-dependency=1m30s", "requeue_dependency", 90.0),
        ("--requeue-dependency=500ms", "requeue_dependency", 0.5),
        ("--interval-jitter-percentage=0", "interval_jitter", 0.0),
        ("--watch-all-namespaces=false", "watch_all_namespaces", False),
        ("--watch-all-namespaces", "watch_all_namespaces", True),
        ("--watch-label-selector=sharding.fluxcd.io/key=a,!b", "watch_label_selector", "sharding.fluxcd.io/key=a,!b"),
        ("--no-cross-namespace-refs=T", "no_cross_namespace_refs", True),
        ("--no-cross-namespace-refs=0", "no_cross_namespace_refs", False),
        ("--default-service-account=applier", "default_service_account", "applier"),
        ("--custom-apply-stage-kinds=a/B,c/D", "custom_apply_stage_kinds", frozenset({"a/B", "c/D"})),
        ("--artifact-retention-ttl=1h", "artifact_retention_ttl", 3600.0),
        ("--artifact-retention-records=5", "artifact_retention_records", 5),
        ("--storage-path=/cache", "storage_path", Path("/cache")),
        ("--storage-addr=127.0.0.1:1", "storage_addr", Address(host="127.0.0.1", port=1)),
        ("--storage-adv-addr=source.example", "storage_adv_addr", "source.example"),
        ("--metrics-addr=[::1]:9", "metrics_addr", Address(host="::1", port=9)),
        ("--health-addr=:7", "health_addr", Address(host="0.0.0.0", port=7)),
        ("--api-addr=localhost:8", "api_addr", Address(host="localhost", port=8)),
        ("--log-level=trace", "log_level", "trace"),
        ("--shutdown-grace=2m", "shutdown_grace", 120.0),
        ("--renderers=1", "renderers", 1),
        ("--controllers=canary, source,canary", "controllers", ("canary", "source")),
        ("--metrics-server=http://p:9", "metrics_server", "http://p:9"),
        ("--event-webhook=http://chat.example/events", "event_webhook", "http://chat.example/events"),
        ("--mesh-provider=kubernetes", "mesh_provider", "kubernetes"),
        ("--selector-labels=a,b", "selector_labels", ("a", "b")),
        ("--include-label-prefix=x,y/", "include_label_prefixes", ("x", "y/")),
        ("--minimum-analysis-interval=1s", "minimum_analysis_interval", 1.0),
        ("--kubeconfig=/k", "kubeconfig", "/k"),
        ("--runtime-namespace=weir", "runtime_namespace", "weir"),
    ],
)
def test_a_flag_decides_its_setting_and_no_other(flag: str, attribute: str, value: object) -> None:
    chosen, plain = settings(flag), Settings()
    assert getattr(chosen, attribute) == value
    others = [name for name in Settings.__dataclass_fields__ if name != attribute]
    assert [getattr(chosen, name) for name in others] == [getattr(plain, name) for name in others]


def test_the_election_is_timed_by_flags() -> None:
    chosen = settings(
        "--enable-leader-election",
        "--leader-election-lease-duration=1m",
        "--leader-election-renew-deadline=40s",
        "--leader-election-retry-period=2.5s",
    )
    assert chosen.election == ElectionSettings(enabled=True, lease_duration=60, renew_deadline=40, retry_period=2.5)
    assert settings("--enable-leader-election=false").election.enabled is False


def test_the_environment_gives_defaults_that_flags_override(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in zip(ENVIRONMENT, ("gitops", "/e", ":1", "e.example"), strict=True):
        monkeypatch.setenv(name, value)
    chosen = settings()
    assert (chosen.runtime_namespace, chosen.storage_path) == ("gitops", Path("/e"))
    assert (chosen.storage_addr.port, chosen.advertised()) == (1, "e.example")
    assert settings("--storage-path=/f").storage_path == Path("/f")


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        (["--controllers=source,helm"], "argument --controllers: 'helm': choose from source, kustomize, canary"),
        (["--controllers="], "argument --controllers: '': choose from"),
        (["--concurrent=0"], "argument --concurrent: '0' is not a number of at least 1"),
        (["--renderers=-1"], "argument --renderers: '-1' is not a number of at least 1"),
        (["--requeue-dependency=30"], "argument --requeue-dependency: '30' is not a duration"),
        (["--shutdown-grace=-1s"], "argument --shutdown-grace: '-1s' is negative"),
        (["--metrics-addr=8080"], "argument --metrics-addr: address '8080' is not of the form"),
        (["--watch-all-namespaces=maybe"], "argument --watch-all-namespaces: 'maybe' is neither true nor false"),
        (
            ["--interval-jitter-percentage=100"],
            "'100' is not a number from 0 to 99",
        ),
        (["--log-level=warn"], "argument --log-level: invalid choice: 'warn'"),
        (["--leader-election-renew-deadline=40s"], "leader election: the lease's duration has to exceed"),
        (["--no-such-flag=1"], "unrecognized arguments: --no-such-flag=1"),
        (["--concur=1"], "unrecognized arguments: --concur=1"),
    ],
)
def test_a_wrong_flag_is_refused_by_name(capsys: pytest.CaptureFixture[str], flags: list[str], text: str) -> None:
    assert text in refusal(capsys, *flags)


def test_a_wrong_address_in_the_environment_is_refused_too(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STORAGE_ADDRESS", "nowhere")
    assert "argument --storage-addr: address 'nowhere'" in refusal(capsys)


def test_version_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["version"]) == 0
    assert capsys.readouterr().out == f"weir {__version__}\n"


def test_help_explains_every_flag() -> None:
    for action in _run_parser()._actions:
        assert action.help, action.option_strings
    text = " ".join(_run_parser().format_help().split())
    for part in ("--enable-leader-election", ",".join(CONTROLLERS), "RUNTIME_NAMESPACE", "STORAGE_ADV_ADDR", ":9440"):
        assert part in text


def _run_parser() -> argparse.ArgumentParser:
    commands = next(a for a in cli._parser()._actions if isinstance(a, argparse._SubParsersAction))
    parser: argparse.ArgumentParser = commands.choices["run"]
    return parser


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        (":80", "0.0.0.0", 80),
        ("127.0.0.1:0", "127.0.0.1", 0),
        ("[::]:65535", "::", 65535),
        ("weir.svc:1", "weir.svc", 1),
    ],
)
def test_addresses(text: str, host: str, port: int) -> None:
    assert Address.parse(text) == Address(host=host, port=port)


@pytest.mark.parametrize(
    "text", ["", ":", "80", "host", "host:", "h:65536", "h:-1", "h:²", "::1:80", "[::1]", "[h]:80"]
)
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(ValueError, match="is not of the form"):
        Address.parse(text)


@given(
    host=st.ip_addresses().map(str) | st.from_regex(r"[a-z][a-z0-9.-]{0,20}", fullmatch=True),
    port=st.integers(0, 65535),
)
def test_an_address_is_parsed_from_what_it_prints(host: str, port: int) -> None:
    address = Address(host=host, port=port)
    assert Address.parse(str(address)) == address


def test_agents_with_other_roles_do_not_keep_each_other_from_leading() -> None:
    names = [Settings(controllers=(role,)).object_name("leader-election") for role in CONTROLLERS]
    assert names == [f"weir-{role}-leader-election" for role in CONTROLLERS]
    assert (
        Settings(controllers=("canary", "source", "kustomize")).object_name("leader-election") == "weir-leader-election"
    )


def test_shards_elect_a_leader_each() -> None:
    assert Settings().object_name("leader-election") == "weir-leader-election"
    shard = Settings(watch_label_selector="sharding.fluxcd.io/key=shard1").object_name("leader-election")
    # printf %s sharding.fluxcd.io/key=shard1 | sha256sum
    assert shard == "weir-leader-election-73fdc1be"
    assert shard != Settings(watch_label_selector="!sharding.fluxcd.io/key").object_name("leader-election")
