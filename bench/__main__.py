"""`make bench`, or `python -m bench [scenario …] [--apps 20,200]`: measures, prints, and writes the results as JSON."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from bench.implementation import Implementation, weir
from bench.large import fetch_scenario, large_scenario
from bench.scenarios import (
    asked_scenario,
    drift_scenario,
    idle_scenario,
    many_repositories_scenario,
    memory_scenario,
    monorepo_scenario,
    stuck_scenario,
)

Row = dict[str, Any]
Scenario = Callable[[Implementation, int], Awaitable[list[Row]]]

SCENARIOS: dict[str, Scenario] = {
    "monorepo": monorepo_scenario,
    "many": many_repositories_scenario,
    "idle": lambda implementation, apps: idle_scenario(implementation, apps, seconds=60, interval=10),
    "asked": asked_scenario,
    "drift": lambda implementation, apps: drift_scenario(implementation, apps, max(apps // 2, 1)),
    "stuck": lambda implementation, apps: stuck_scenario(implementation, apps, apps // 4),
    "large": lambda implementation, _: large_scenario(implementation),
    "memory": lambda implementation, apps: memory_scenario(implementation, apps, 1000),
}
_HELP = "may hold {kubeconfig}, {folder} and {port:name}"


def main() -> None:
    """Measure what the command line names."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="What a commit, an hour, and a drift cost.")
    parser.add_argument("scenarios", nargs="*", choices=[[], *SCENARIOS], help="all if none is named")
    parser.add_argument("--apps", default="20", help="numbers of apps, as 20,200,1000 (default: %(default)s)")
    parser.add_argument("--peer", default="", help="name of another implementation, measured beside Weir")
    parser.add_argument("--command", action="append", default=[], help=f"one of the peer's controllers; {_HELP}")
    parser.add_argument("--crds", action="append", default=[], type=Path, help="folder of the peer's definitions")
    parser.add_argument("--only-peer", action="store_true", help="leave out Weir")
    parser.add_argument("--fetch", action="store_true", help="measure Weir's Git adapter alone, and nothing else")
    parser.add_argument("--weir-flag", action="append", default=[], help="a flag for Weir")
    parser.add_argument("--json", type=Path, help="where the rows go, added to those that are there")
    chosen = parser.parse_args()
    if chosen.fetch:
        _tell("fetch", asyncio.run(fetch_scenario()), chosen.json)
        return
    implementations = [] if chosen.only_peer else [weir(*chosen.weir_flag)]
    if chosen.peer:
        implementations.append(Implementation(chosen.peer, tuple(chosen.command), tuple(chosen.crds)))
    sizes = [int(size) for size in chosen.apps.split(",")]
    asyncio.run(_measure(chosen.scenarios or list(SCENARIOS), implementations, sizes, chosen.json))


async def _measure(
    scenarios: list[str], implementations: list[Implementation], sizes: list[int], path: Path | None
) -> None:
    for name in scenarios:
        for apps in sizes:
            for implementation in implementations:
                _tell(name, await SCENARIOS[name](implementation, apps), path)


def _tell(scenario: str, rows: list[Row], path: Path | None) -> None:
    """Print the rows, and add them to those of the file, with the load that the machine had from others."""
    known = json.loads(path.read_text()) if path is not None and path.exists() else []
    load = {"load_average": round(os.getloadavg()[0], 1)}
    told = [{"scenario": scenario} | row | load for row in rows]
    for row in told:
        print(json.dumps(row), flush=True)
    if path is not None:
        path.write_text(json.dumps([*known, *told], indent=1) + "\n")


if __name__ == "__main__":
    main()
