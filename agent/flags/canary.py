"""Flags of the canary role, by Flagger's names."""

from __future__ import annotations

import argparse
import os

from agent.flags.values import duration, switch, words


def add(parser: argparse.ArgumentParser) -> None:
    """Add the group's flags."""
    group = parser.add_argument_group("canary")
    group.add_argument("--metrics-server", default="http://prometheus:9090", help="Prometheus (default: %(default)s)")
    group.add_argument(
        "--event-webhook",
        default=os.environ.get("EVENT_WEBHOOK_URL", ""),
        help="URL for events of Canaries without an event hook (environment: EVENT_WEBHOOK_URL)",
    )
    group.add_argument("--mesh-provider", default="gatewayapi:v1", help="where a Canary names none")
    group.add_argument(
        "--selector-labels",
        type=words,
        default="app,name,app.kubernetes.io/name",
        help="labels that select a target's pods, the first found counts (default: %(default)s)",
    )
    group.add_argument(
        "--minimum-analysis-interval", type=duration, default=10.0, help="shortest interval between checks (10s)"
    )
    group.add_argument(
        "--include-label-prefix",
        dest="include_label_prefixes",
        type=words,
        default="",
        help="labels copied to the primary",
    )
    group.add_argument("--namespace", dest="canary_namespace", default="", help="the only one whose Canaries count")
    group.add_argument(
        "--ingress-annotations-prefix",
        default="nginx.ingress.kubernetes.io",
        help="of ingress-nginx' annotations (default: %(default)s)",
    )
    switch(group, "--enable-config-tracking", True, "false: ConfigMaps and Secrets are neither tracked nor copied")
    _alerts(parser)


def _alerts(parser: argparse.ArgumentParser) -> None:
    """The chat for Canaries that name no provider. What is secret in it belongs into the environment."""
    group = parser.add_argument_group("alerts of Canaries that name no provider")
    group.add_argument("--cluster-name", default="", help="named in all alerts")
    for name, what in (
        ("--slack-url", "Slack's incoming webhook"),
        ("--slack-token", "Slack's bot token"),
        ("--slack-proxy-url", "HTTP proxy on the way to Slack"),
        ("--msteams-url", "incoming webhook of MS Teams, which comes before Slack's"),
        ("--msteams-proxy-url", "HTTP proxy on the way to MS Teams"),
    ):
        variable = name.removeprefix("--").replace("-", "_").upper()
        group.add_argument(name, default=os.environ.get(variable, ""), help=f"{what} (environment: {variable})")
    group.add_argument("--slack-user", default="flagger", help="name to write under (default: %(default)s)")
    group.add_argument("--slack-channel", default="", help="channel to write to")
