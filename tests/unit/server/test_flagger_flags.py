"""Every flag of Flagger 1.44, with one dash as in its chart or with two: accepted, into its setting."""

from __future__ import annotations

import pytest

from agent import __version__, cli
from agent.controllers.canary import CanarySettings
from agent.core.rollout.alerting import Chat
from agent.flags.idle import WITHOUT_EFFECT
from agent.flags.spelling import CommandParser
from agent.settings import Settings

FLAGS = [
    ("--metrics-server=http://prom:1", "metrics_server", "http://prometheus:9090", "http://prom:1"),
    ("--mesh-provider=istio", "mesh_provider", "gatewayapi:v1", "istio"),
    ("--selector-labels=a,b", "selector_labels", ("app", "name", "app.kubernetes.io/name"), ("a", "b")),
    ("--namespace=prod", "canary_namespace", "", "prod"),
    ("--include-label-prefix=a.b/,*", "include_label_prefixes", (), ("a.b/", "*")),
    ("--ingress-annotations-prefix=n.io", "ingress_annotations_prefix", "nginx.ingress.kubernetes.io", "n.io"),
    ("--enable-config-tracking=false", "enable_config_tracking", True, False),
    ("--event-webhook=http://hook/", "event_webhook", "", "http://hook/"),
    ("--cluster-name=gpu-1", "cluster_name", "", "gpu-1"),
    ("--slack-url=http://s/", "slack_url", "", "http://s/"),
    ("--slack-token=t", "slack_token", "", "t"),
    ("--slack-proxy-url=http://p/", "slack_proxy_url", "", "http://p/"),
    ("--slack-user=weir", "slack_user", "flagger", "weir"),
    ("--slack-channel=c", "slack_channel", "", "c"),
    ("--msteams-url=http://t/", "msteams_url", "", "http://t/"),
    ("--msteams-proxy-url=http://p/", "msteams_proxy_url", "", "http://p/"),
    ("--no-cross-namespace-refs=true", "no_cross_namespace_refs", False, True),
    ("--log-level=debug", "log_level", "info", "debug"),
    ("--log-level=warning", "log_level", "info", "warning"),
    ("--kubeconfig=/k", "kubeconfig", "", "/k"),
    ("--master=https://api:6443", "master", "", "https://api:6443"),
]
IDLE = [
    "--control-loop-interval=10s",
    "--threadiness=2",
    "--ingress-class=contour",
    "--kubeconfig-service-mesh=/k",
    "--kubeconfig-qps=100",
    "--kubeconfig-burst=250",
    "--port=8080",
    "--zap-replace-globals",
    "--zap-encoding=json",
    "--v=4",
    "--vmodule=scheduler=4",
    "--logtostderr",
    "--alsologtostderr",
    "--stderrthreshold=2",
    "--log_backtrace_at=:0",
    "--log_dir=/l",
    "--log_file=/l/f",
    "--log_file_max_size=1800",
    "--one_output",
    "--add_dir_header",
    "--skip_headers",
    "--skip_log_headers",
]
DASHES = pytest.mark.parametrize("dashes", ["-", "--"])


def parse(*arguments: str) -> Settings:
    chosen = cli._parser().parse_args(["run", "--controllers=canary", *arguments])
    return cli.settings_from(chosen)


def spelled(flag, dashes):
    return dashes + flag.removeprefix("--")


@DASHES
@pytest.mark.parametrize(("flag", "name", "default", "given"), FLAGS)
def test_flags_decide_settings(flag, name, default, given, dashes):
    assert getattr(parse(), name) == default
    assert getattr(parse(spelled(flag, dashes)), name) == given
    assert getattr(parse(*spelled(flag, dashes).split("=", 1)), name) == given


@DASHES
@pytest.mark.parametrize("flag", IDLE)
def test_flags_without_an_effect_are_accepted_and_named(flag, dashes):
    name = flag.partition("=")[0]
    assert parse(spelled(flag, dashes)).idle_flags == (name,)
    assert WITHOUT_EFFECT[name]


@DASHES
def test_the_lease_s_namespace(dashes):
    chosen = parse(*(spelled(flag, dashes) for flag in ("--enable-leader-election", "--leader-election-namespace=ops")))
    assert (chosen.election.enabled, chosen.election.namespace) == (True, "ops")
    assert parse().election.namespace == ""


@DASHES
def test_the_version(dashes, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(["run", spelled("--version", dashes)])
    assert (ended.value.code, capsys.readouterr().out) == (0, f"weir {__version__}\n")


def test_a_single_dash_makes_no_flag_of_an_unknown_word(capsys):
    with pytest.raises(SystemExit):
        cli.main(["run", "-no-such-flag=1"])
    assert capsys.readouterr().err.endswith("unrecognized arguments: -no-such-flag=1\n")


def test_other_commands_keep_their_single_letters():
    parser = CommandParser()
    parser.add_argument("-n", dest="namespace")
    parser.add_argument("--namespace", dest="other")
    assert parser.parse_args(["-namespace"]).namespace == "amespace"


@pytest.mark.parametrize("name", ["slack_url", "slack_token", "msteams_url"])
def test_secrets_come_from_the_environment_and_are_in_no_text(monkeypatch, name):
    monkeypatch.setenv(name.upper(), "https://chat/hush")
    settings = parse()
    assert getattr(settings, name) == "https://chat/hush"
    assert "hush" not in repr(settings)


def test_one_namespace_needs_a_process_of_its_own():
    with pytest.raises(ValueError, match="--namespace needs --controllers=canary"):
        cli.settings_from(cli._parser().parse_args(["run", "--namespace=prod"]))


def test_the_chat_of_the_command_line():
    slack = ("--slack-url=http://s/", "--slack-channel=c")
    assert CanarySettings.of(parse()).chat is None
    assert CanarySettings.of(parse(*slack)).chat == Chat(kind="slack", address="http://s/", channel="c")
    both = CanarySettings.of(parse(*slack, "--msteams-url=http://t/"))
    assert both.chat == Chat(kind="msteams", address="http://t/")
