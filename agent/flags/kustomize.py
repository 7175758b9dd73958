"""Flags of the kustomize role."""

from __future__ import annotations

import argparse
import os

from agent.flags.values import count, number, switch, word_set


def add(parser: argparse.ArgumentParser) -> None:
    """Add the group's flags."""
    group = parser.add_argument_group("kustomize")
    group.add_argument("--concurrent-ssa", type=count, default=4, help="dry runs at once in one pass")
    group.add_argument("--renderers", type=count, default=2, help="renderer processes (default: %(default)s)")
    switch(group, "--verify", False, "skip nothing, and tell where skipping would have had another outcome (a test)")
    group.add_argument(
        "--http-retry",
        type=number(0),
        default=9,
        help="repetitions of a failed download of an artifact (default: %(default)s)",
    )
    group.add_argument("--custom-apply-stage-kinds", type=word_set, default="", help="group/Kind, comma-separated")
    group.add_argument(
        "--override-manager",
        dest="override_managers",
        action="append",
        default=[],
        metavar="MANAGER",
        help="field manager whose changes to applied objects are taken back (repeatable)",
    )
    # Only variables of the environment in Flux: for an agent that runs outside of the cluster.
    parser.set_defaults(
        source_controller_localhost=os.environ.get("SOURCE_CONTROLLER_LOCALHOST", ""),
        source_watcher_localhost=os.environ.get("SOURCE_WATCHER_LOCALHOST", ""),
    )
    _tenancy(parser)
    _secrets(parser)


def _tenancy(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("tenancy")
    switch(group, "--no-cross-namespace-refs", False, "refuse sources of other namespaces")
    group.add_argument("--default-service-account", default="", help="to impersonate where the spec names none")
    group.add_argument(
        "--default-decryption-service-account",
        default="",
        help="for decryption with an object's own identity, where the spec names none (needs the gate "
        "ObjectLevelWorkloadIdentity)",
    )
    group.add_argument(
        "--default-kubeconfig-service-account",
        default="",
        help="for clusters reached with an object's own identity, where the spec names none (needs the gate "
        "ObjectLevelWorkloadIdentity)",
    )
    switch(
        group,
        "--tenant-reads-variables",
        False,
        "read what substituteFrom names as the Kustomization's ServiceAccount (Flux: as the controller)",
    )
    switch(group, "--insecure-kubeconfig-exec", False, "run the commands that kubeconfigs of Kustomizations name")
    switch(group, "--insecure-kubeconfig-tls", False, "obey insecure-skip-tls-verify in kubeconfigs of Kustomizations")


def _secrets(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("decryption")
    group.add_argument(
        "--sops-age-secret",
        default="",
        help="Secret in the agent's own namespace with age keys for Kustomizations that have none that fits",
    )
    group.add_argument(
        "--sops-vault-configmap",
        default="",
        help="ConfigMap in the agent's own namespace with the Vault servers that are trusted",
    )
