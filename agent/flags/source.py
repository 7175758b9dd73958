"""Flags of the source role."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from agent.flags.values import address, count, duration, number, words
from agent.settings import DIGEST_ALGORITHMS


def add(parser: argparse.ArgumentParser) -> None:
    """Add the group's flags."""
    group = parser.add_argument_group("source")
    environment = os.environ
    group.add_argument(
        "--storage-path",
        type=Path,
        default=environment.get("STORAGE_PATH", "/data"),
        help="cache folder, which may be deleted at any time (default: %(default)s; environment: STORAGE_PATH)",
    )
    group.add_argument(
        "--storage-addr",
        type=address,
        default=environment.get("STORAGE_ADDRESS", ":9090"),
        help="serves artifacts (default: %(default)s; environment: STORAGE_ADDRESS)",
    )
    group.add_argument(
        "--storage-adv-addr",
        default=environment.get("STORAGE_ADV_ADDR", ""),
        help="host[:port] in the artifacts' URLs (environment: STORAGE_ADV_ADDR)",
    )
    _artifacts(group)
    _ssh(group)
    _tokens(group)


def _artifacts(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--artifact-retention-ttl",
        type=duration,
        default=60.0,
        help="how long an artifact stays after a newer one (1m)",
    )
    group.add_argument(
        "--artifact-retention-records",
        type=count,
        default=2,
        help="how many artifacts of a source stay at most (default: %(default)s)",
    )
    group.add_argument(
        "--artifact-digest-algo",
        default=DIGEST_ALGORITHMS[0],
        choices=DIGEST_ALGORITHMS,
        help="algorithm of the artifacts' digests (default: %(default)s)",
    )


def _ssh(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--ssh-kex-algos", type=words, default="", help="SSH key exchange algorithms, the preferred first"
    )
    group.add_argument(
        "--ssh-hostkey-algos", type=words, default="", help="SSH host key algorithms, the preferred first"
    )


def _tokens(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--token-cache-max-size",
        type=number(0),
        default=100,
        help="how many tokens of GitHub Apps and clouds are remembered at most, 0 for none (default: %(default)s)",
    )
    group.add_argument(
        "--token-cache-max-duration", type=duration, default=3600.0, help="for how long a token is used at most (1h)"
    )
