"""The `weir` command: flags with Flux's names into Settings, and off it goes."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import fields

from agent import __version__
from agent.console import command as console
from agent.exitstatus import exit_status, write
from agent.flags import canary, general, idle, kustomize, source, telemetry
from agent.flags.spelling import CommandParser
from agent.plan import command as plan
from agent.settings import ElectionSettings, Settings

EXIT_USAGE = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of the `weir` command; returns the exit status."""
    parser = _parser()
    chosen = parser.parse_args(arguments)
    if chosen.command == "version":
        return exit_status(_version)
    if chosen.command == "plan":
        return plan.run(chosen)
    if chosen.command in console.NAMES:
        return console.run(chosen)
    try:
        settings = settings_from(chosen)
    except ValueError as error:
        parser.error(str(error))
    from agent.app import run  # noqa: PLC0415 - `weir version` and `--help` need none of it

    return run(settings)


def _version() -> int:
    write(f"weir {__version__}\n".encode())
    return 0


def settings_from(chosen: argparse.Namespace) -> Settings:
    """Flags and environment as settings. Raises ValueError for values that contradict each other."""
    named = {one.name: getattr(chosen, one.name) for one in fields(Settings) if hasattr(chosen, one.name)}
    return Settings(
        **{**named, "override_managers": tuple(chosen.override_managers)},
        election=ElectionSettings(
            enabled=chosen.enable_leader_election,
            namespace=chosen.leader_election_namespace,
            lease_duration=chosen.leader_election_lease_duration,
            renew_deadline=chosen.leader_election_renew_deadline,
            retry_period=chosen.leader_election_retry_period,
            release_on_cancel=chosen.leader_election_release_on_cancel,
        ),
    )


def _parser() -> argparse.ArgumentParser:
    # No abbreviations: a flag that comes later must not change what a shorter one in somebody's manifest means.
    parser = CommandParser(prog="weir", description="GitOps agent for machine-learning serving.", allow_abbrev=False)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("version", help="print the version")
    plan.add(commands)
    console.add(commands)
    run = commands.add_parser("run", help="run the agent", allow_abbrev=False, go_flags=True)
    run.add_argument("--version", action="version", version=f"weir {__version__}", help="print the version")
    general.add(run)
    telemetry.add(run)
    kustomize.add(run)
    source.add(run)
    canary.add(run)
    general.election(run)
    idle.add(run)
    return parser


if __name__ == "__main__":
    sys.exit(main())
