"""`weir rollout`, `weir changes`, `weir models`: arguments and exit status."""

from __future__ import annotations

import argparse
import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from agent.api.duration import parse_duration
from agent.api.moment import parse_moment
from agent.exitstatus import exit_status

EXIT_FAILED: Final = 3
"""The rollout has failed, or what was asked for was refused."""
EXIT_OPEN: Final = 4
"""Still under way, or not answered in time."""
NAMES: Final = ("rollout", "changes", "models")
AGENT: Final = "flux-system/weir:api"
_STATUSES: Final = (
    "Exit status: 0 done (status: the last run was good), 1 the cluster could not be asked, 2 wrong usage, "
    "3 the rollout has failed or the command was refused, 4 still under way or not answered in time."
)
_VERBS: Final = {
    "promote": "approve what the rollout waits for: its beginning, a step, the promotion",
    "abort": "all traffic back to the primary, now; the revision counts as rejected",
    "retry": "try the rejected revision again",
    "pause": "hold the traffic where it is; nothing is judged and no run begins",
    "resume": "take the pause back",
}


def add(commands: Any) -> None:
    """Describe the commands to argparse: *commands* is what `add_subparsers` gave."""
    _add_rollout(commands.add_parser("rollout", help="look at rollouts and command them", allow_abbrev=False))
    changes = _parser(commands, "changes", "changes of models and data that the agent has seen, the newest first")
    changes.add_argument("name", nargs="?", metavar="NAME", help="changes of objects with this name only")
    changes.add_argument("--kind", default="", help="changes of this kind only: model, data, adapter, ...")
    changes.add_argument("--limit", type=_count, default=50, help="the last so many (default: %(default)s)")
    models = _parser(commands, "models", "what serves which model, since when, by which commit, verified or not")
    models.add_argument("name", nargs="?", metavar="NAME", help="objects with this name only")
    for parser in (changes, models):
        parser.add_argument("-A", "--all-namespaces", action="store_true", help="in all namespaces")


def _add_rollout(rollout: argparse.ArgumentParser) -> None:
    actions = rollout.add_subparsers(dest="action", required=True)
    status = _parser(actions, "status", "where a rollout stands; without NAME, all of the namespace", _STATUSES)
    status.add_argument("name", nargs="?", metavar="NAME", help="the Canary, as NAME or NAMESPACE/NAME")
    status.add_argument("-A", "--all-namespaces", action="store_true", help="list those of all namespaces")
    status.add_argument("-w", "--watch", action="store_true", help="follow it until the run is over")
    status.add_argument(
        "--timeout", type=_seconds, default=0.0, help="end --watch after this time, as 10m (default: never)"
    )
    for name, text in (
        ("explain", "why it went as it did: each judgement with its numbers, bounds and query"),
        ("history", "the finished runs that the agent remembers"),
    ):
        _canary(_parser(actions, name, text, _STATUSES))
    ledger = _parser(actions, "ledger", "which model answered when, at which share, by which commit", _STATUSES)
    _canary(ledger)
    ledger.add_argument(
        "--at",
        type=_moment,
        metavar="TIME",
        help="those of this time: as 2026-01-02T15:04:05Z, or 2h for two hours ago",
    )
    for name, text in _VERBS.items():
        parser = _parser(actions, name, text, _STATUSES)
        _canary(parser)
        if name == "promote":
            parser.add_argument("--full", action="store_true", help="leave out all that is left of the analysis")
        parser.add_argument("--reason", default="", help="for the events, so that others know why")
        parser.add_argument(
            "--timeout",
            type=_seconds,
            default=60.0,
            help="how long to wait until the agent has acted; 0s to not wait (default: 60s)",
        )


def _canary(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="the Canary, as NAME or NAMESPACE/NAME")


def _parser(commands: Any, name: str, text: str, epilog: str = "") -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name, help=text, description=f"{text[0].upper()}{text[1:]}.", epilog=epilog, allow_abbrev=False
    )
    parser.add_argument("-n", "--namespace", default="", help="(default: that of the kubeconfig's context)")
    parser.add_argument("-o", "--output", default="text", choices=("text", "json"), help="(default: %(default)s)")
    parser.add_argument("--kubeconfig", default=None, help="(default: $KUBECONFIG, ~/.kube/config)")
    parser.add_argument("--context", default=None, help="the kubeconfig's context to use")
    parser.add_argument(
        "--agent",
        default=AGENT,
        metavar="NAMESPACE/SERVICE:PORT",
        help="the agent's Service, asked through the API server (default: %(default)s)",
    )
    parser.add_argument("--server", default="", metavar="URL", help="the agent's API itself, in place of --agent")
    return parser


def run(chosen: argparse.Namespace) -> int:
    """Do it; returns the exit status."""
    from agent.console.performing import perform  # noqa: PLC0415 - `weir --help` needs none of it

    return exit_status(lambda: asyncio.run(perform(chosen)))


def _seconds(text: str) -> float:
    try:
        seconds = parse_duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    if seconds < 0:
        raise argparse.ArgumentTypeError(f"{text!r} is negative")
    return seconds


def _moment(text: str) -> datetime:
    now = datetime.now(UTC)
    try:
        moment = parse_moment(text)
    except ValueError:
        try:
            moment = now - timedelta(seconds=parse_duration(text))
        except (ValueError, OverflowError):
            raise argparse.ArgumentTypeError(
                f"{text!r} is no time: write it as 2026-01-02T15:04:05Z, or as 2h or 90m for so long ago"
            ) from None
    if moment > now:
        raise argparse.ArgumentTypeError(f"{text!r} is in the future")
    return moment


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < len(text) < 6 and int(text)):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return int(text)
