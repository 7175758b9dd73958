"""`weir plan` on the command line. Light to import: the rest is loaded when a plan is asked for."""

from __future__ import annotations

import argparse
from typing import Any


def add(commands: Any) -> None:
    """Describe the command to argparse: *commands* is what `add_subparsers` gave."""
    parser = commands.add_parser(
        "plan",
        help="what changes of models and data a commit, branch or merge request brings",
        description="Compares two revisions of a Git repository and tells what changes for models and data: which "
        "reference, where, from what to what, and what would happen. Reads Git objects only: no cluster, no network, "
        "no work tree.",
        epilog="Exit status: 0 a plan was made, 1 it could not be made, 2 wrong usage, 3 --fail-on found something.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "old",
        nargs="?",
        metavar="OLD",
        help="revision to compare with, or a range: OLD..NEW, or OLD...NEW for what NEW did since it left OLD "
        "(default: the first parent of HEAD)",
    )
    parser.add_argument("new", nargs="?", metavar="NEW", help="revision to look at (default: HEAD)")
    parser.add_argument("--repo", default=".", metavar="DIR", help="the repository, or a folder in it (default: .)")
    parser.add_argument(
        "-o", "--output", default="text", choices=("text", "markdown", "json"), help="(default: %(default)s)"
    )
    parser.add_argument(
        "--fail-on",
        type=_conditions,
        default=(),
        metavar="LIST",
        help="exit with 3 if one of these is found, comma-separated: changes, errors, unpinned (a reference whose "
        "content may change with no commit), an action (gate, rollout, job, ...), an operation (added, removed, ...) "
        "or a kind (model, data, ...)",
    )


def run(chosen: argparse.Namespace) -> int:
    """Make the plan and print it; returns the exit status."""
    from agent.plan.execution import execute  # noqa: PLC0415 - other commands need no repository

    return execute(chosen)


def _conditions(text: str) -> tuple[str, ...]:
    from agent.core.plan.findings import CONDITIONS  # noqa: PLC0415 - only who uses the flag needs the words

    wanted = tuple(filter(None, (part.strip() for part in text.split(","))))
    unknown = [part for part in wanted if part not in CONDITIONS]
    if unknown or not wanted:
        raise argparse.ArgumentTypeError(f"{', '.join(unknown) or 'nothing'}: use {', '.join(CONDITIONS)}")
    return wanted
