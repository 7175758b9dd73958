"""Flags of the process: what runs, what it watches, how often it tries, and how it speaks to the cluster."""

from __future__ import annotations

import argparse
import os

from agent.flags.values import controllers, count, duration, gates, number, percentage, rate, selector, switch
from agent.settings import CONTROLLERS, WATCHED_CONFIGS


def add(parser: argparse.ArgumentParser) -> None:
    """Add the group's flags."""
    group = parser.add_argument_group("general")
    group.add_argument(
        "--controllers",
        type=controllers,
        default=",".join(CONTROLLERS),
        help="which roles to run (default: %(default)s)",
    )
    group.add_argument("--kubeconfig", default="", help="default: KUBECONFIG, the Pod's ServiceAccount, ~/.kube/config")
    group.add_argument(
        "--master",
        default="",
        metavar="URL",
        help="address of the API server, instead of the kubeconfig's or the Pod's",
    )
    group.add_argument(
        "--runtime-namespace",
        default=os.environ.get("RUNTIME_NAMESPACE", "flux-system"),
        help="the agent's own namespace (environment: RUNTIME_NAMESPACE)",
    )
    group.add_argument(
        "--feature-gates",
        dest="gates",
        type=gates,
        default="",
        metavar="A=true,B=false",
        help="Flux's feature gates (docs/flags.md lists them)",
    )
    group.add_argument("--shutdown-grace", type=duration, default=20.0, help="time for passes to end on SIGTERM (20s)")
    _watches(parser)
    _pace(parser)


def _watches(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("watches")
    switch(group, "--watch-all-namespaces", True, "false: only the agent's own namespace")
    group.add_argument(
        "--watch-label-selector",
        type=selector,
        default="",
        help="only sources and Kustomizations with these labels",
    )
    group.add_argument(
        "--watch-configs-label-selector",
        type=selector,
        default=WATCHED_CONFIGS,
        help="ConfigMaps and Secrets whose changes count at once (default: %(default)s)",
    )


def _pace(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("pace")
    group.add_argument(
        "--concurrent",
        type=count,
        help="passes at once (default: 4 over Kustomizations, 2 over each kind of source)",
    )
    group.add_argument("--requeue-dependency", type=duration, default=30.0, help="wait for dependencies (30s)")
    group.add_argument(
        "--interval-jitter-percentage",
        dest="interval_jitter",
        type=percentage,
        default="5",
        metavar="0-99",
        help="spread of intervals around their value, in percent (default: %(default)s)",
    )
    group.add_argument(
        "--min-retry-delay", type=duration, default=0.75, help="wait after a first unexpected failure (750ms)"
    )
    group.add_argument("--max-retry-delay", type=duration, default=900.0, help="longest wait after failures (15m)")
    group.add_argument(
        "--kube-api-qps",
        type=rate,
        default=50.0,
        help="requests to the API server in a second, negative: no limit (default: %(default)s)",
    )
    group.add_argument(
        "--kube-api-burst", type=number(1), default=300, help="requests at once beyond that (default: %(default)s)"
    )


def election(parser: argparse.ArgumentParser) -> None:
    """Add the flags of leader election."""
    group = parser.add_argument_group("leader election")
    switch(group, "--enable-leader-election", False, "let one of several replicas work at a time")
    group.add_argument(
        "--leader-election-namespace", default="", help="where the lease is (default: the agent's own namespace)"
    )
    group.add_argument(
        "--leader-election-lease-duration", type=duration, default=35.0, help="for how long others hold back (35s)"
    )
    group.add_argument(
        "--leader-election-renew-deadline",
        type=duration,
        default=30.0,
        help="leadership is given up if not renewed for so long (30s)",
    )
    group.add_argument("--leader-election-retry-period", type=duration, default=5.0, help="time between attempts (5s)")
    switch(
        group,
        "--leader-election-release-on-cancel",
        True,
        "let others lead at once after an orderly stop (default: true)",
    )
