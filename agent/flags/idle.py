"""Flags that manifests of Flux and Flagger may carry and that change nothing here; those given are in the log."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

_KLOG = (
    "--v",
    "--vmodule",
    "--logtostderr",
    "--alsologtostderr",
    "--stderrthreshold",
    "--log_backtrace_at",
    "--log_dir",
    "--log_file",
    "--log_file_max_size",
    "--one_output",
    "--add_dir_header",
    "--skip_headers",
    "--skip_log_headers",
)
WITHOUT_EFFECT = {
    "--no-remote-bases": "nothing is fetched while building",
    "--helm-index-max-size": "there are no Helm sources",
    "--helm-chart-max-size": "there are no Helm sources",
    "--helm-chart-file-max-size": "there are no Helm sources",
    "--helm-cache-max-size": "there are no Helm sources",
    "--helm-cache-ttl": "there are no Helm sources",
    "--helm-cache-purge-interval": "there are no Helm sources",
    "--control-loop-interval": "Canaries are followed by a watch",
    "--threadiness": "no worker waits for an analysis",
    "--ingress-class": "Contour is not supported",
    "--kubeconfig-service-mesh": "the router's objects are in the same cluster",
    "--kubeconfig-qps": "see --kube-api-qps",
    "--kubeconfig-burst": "see --kube-api-burst",
    "--port": "see --metrics-addr and --health-addr",
    "--zap-replace-globals": "there is one logger",
    "--zap-encoding": "see --log-encoding",
    **dict.fromkeys(_KLOG, "there is no klog, see --log-level"),
}


def add(parser: argparse.ArgumentParser) -> None:
    """Add the group's flags; the names of those that are given are collected."""
    group = parser.add_argument_group("accepted for manifests of Flux and Flagger, without effect")
    for name, why in WITHOUT_EFFECT.items():
        group.add_argument(name, dest="idle_flags", action=_Collect, nargs="?", default=(), metavar="VALUE", help=why)


class _Collect(argparse.Action):
    def __call__(
        self,
        _parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        _values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        setattr(namespace, self.dest, (*getattr(namespace, self.dest), option_string))
