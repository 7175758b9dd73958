"""The scenarios of one repository with an app, and a Kustomization, for each of N numbers.

Each takes an implementation and gives rows of results: what was done, and what it cost.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Sequence
from typing import Any

from bench.implementation import Implementation
from bench.lab import KS, Cost, Lab, lab
from bench.repository import NAMESPACE, app, monorepo, never_ready, own, shared
from bench.scrape import total

Row = dict[str, Any]
PATIENCE = 1800.0  # seconds; Flux needs minutes for 200 apps


async def monorepo_scenario(implementation: Implementation, apps: int, *, repeats: int = 5) -> list[Row]:
    """First sync; a commit to one app, several times; one to all apps; one to the base that all apps share."""
    rows = []
    numbers = range(apps)
    async with lab(implementation) as at:
        commit = at.repository().commit(monorepo(apps))
        async with at.measured() as cost:
            await at.source()
            await at.kustomizations_of(numbers)
            await at.all_ready(numbers, commit, PATIENCE)
        rows.append(_row(implementation, apps, "first sync", cost))
        rows.append(await _one_app(implementation, at, numbers, repeats))
        for what, files in (
            ("all apps changed", {path: text for n in numbers for path, text in own(n, "all").items()}),
            ("shared base changed", shared("base")),
        ):
            commit = at.repository().commit(files)
            async with at.measured() as cost:
                await at.request()
                await at.all_ready(numbers, commit, PATIENCE)
            rows.append(_row(implementation, apps, what, cost))
    return rows


async def _one_app(implementation: Implementation, at: Lab, numbers: range, repeats: int, what: str = "") -> Row:
    """A commit that changes one app, its place in the order being another one each time; medians of the repeats."""
    costs, applied = [], []
    for attempt in range(repeats):
        number = numbers[(attempt * 37 + len(numbers) // 2) % len(numbers)]
        commit = at.repository().commit(own(number, f"one-{attempt}"))
        async with at.measured() as cost:
            asked = await at.request()
            moment = await at.value(f"{app(number)}-own", f"one-{attempt}", PATIENCE)
            applied.append(moment - asked)
            await at.all_ready(numbers, commit, PATIENCE)
        costs.append(cost)
    middle = sorted(costs, key=lambda cost: cost.seconds)[len(costs) // 2]
    row = _row(implementation, len(numbers), what or "one app changed", middle)
    return row | {
        "applied_after_seconds": round(statistics.median(applied), 3),
        "applied_after_seconds_each": [round(seconds, 3) for seconds in applied],
        "all_ready_seconds_each": [round(cost.seconds, 2) for cost in costs],
        "cpu_seconds_each": [round(cost.cpu, 2) for cost in costs],
        "repeats": repeats,
    }


async def stuck_scenario(implementation: Implementation, apps: int, stuck: int) -> list[Row]:
    """One app changes while some of the others wait for a Deployment that never becomes ready."""
    healthy = range(stuck, apps)
    async with lab(implementation) as at:
        files = monorepo(apps)
        for number in range(stuck):
            files |= never_ready(number)
        commit = at.repository().commit(files)
        await at.source()
        await at.kustomizations_of(range(stuck), wait=True, timeout="30m")
        await at.kustomizations_of(healthy)
        await at.all_ready(healthy, commit, PATIENCE)
        return [await _one_app(implementation, at, healthy, 5, f"one app changed, {stuck} others stuck")]


async def idle_scenario(implementation: Implementation, apps: int, *, seconds: float, interval: int) -> list[Row]:
    """Nothing changes, while every Kustomization has its passes at an interval of so many seconds."""
    numbers = range(apps)
    async with lab(implementation) as at:
        commit = at.repository().commit(monorepo(apps))
        await at.source()
        await at.kustomizations_of(numbers, interval=f"{interval}s")
        await at.all_ready(numbers, commit, PATIENCE)
        await asyncio.sleep(interval)  # what first sync has left to be written
        before = _passes(await at.agent.metrics())
        async with at.measured() as cost:
            await asyncio.sleep(seconds)
        passes = _passes(await at.agent.metrics()) - before
        row = _row(implementation, apps, f"nothing changes, interval {interval} s", cost) | {"passes": int(passes)}
        if passes:
            each = cost.cpu / passes
            row |= {"cpu_ms_each_pass": round(each * 1000, 2), "core_percent_at_1m": round(each * apps / 60 * 100, 1)}
    return [row]


def _passes(metrics: str) -> float:
    return total(metrics, "controller_runtime_reconcile_total", controller="kustomization")


async def drift_scenario(implementation: Implementation, apps: int, drifts: int) -> list[Row]:
    """Somebody edits objects of many apps within a moment, and deletes some."""
    numbers = range(apps)
    async with lab(implementation) as at:
        commit = at.repository().commit(monorepo(apps))
        await at.source()
        await at.kustomizations_of(numbers)
        await at.all_ready(numbers, commit, PATIENCE)
        rows = []
        for what, count in (("one object edited", 1), (f"{drifts} objects edited", drifts)):
            async with at.measured() as cost:
                times = await asyncio.gather(*(_put_right(at, number) for number in range(count)))
            row = _row(implementation, apps, what, cost)
            rows.append(row | {"put_right_p50": _middle(times), "put_right_last": round(max(times), 3)})
    return rows


async def _put_right(at: Lab, number: int) -> float:
    """Seconds from the edit of an app's ConfigMap to its correction."""
    name = f"{app(number)}-own"
    edited = time.monotonic()
    patched = await at.admin.patch("v1", "ConfigMap", NAMESPACE, name, {"data": {"value": "drifted"}})
    version = patched["metadata"]["resourceVersion"]

    def corrected() -> bool:
        seen = at.config_maps.objects[name]
        return int(seen.metadata.resource_version) > int(version) and seen.data["value"] == "0"

    return await at.config_maps.until(corrected, PATIENCE) - edited


def _middle(values: Sequence[float]) -> float:
    return round(statistics.median(values), 3)


async def many_repositories_scenario(implementation: Implementation, apps: int) -> list[Row]:
    """A small repository for each app: all new, then one of them changed."""
    async with lab(implementation) as at:
        for number in range(apps):
            files = monorepo(0) | {path: text for path, text in monorepo(number + 1).items() if app(number) in path}
            at.repository(app(number)).commit(files)
        async with at.measured() as cost:
            for number in range(apps):
                await at.source(app(number))
                await at.kustomizations_of(range(number, number + 1), source=app(number))
            await at.all_ready(range(apps), "", PATIENCE)
        rows = [_row(implementation, apps, "many repositories: first sync", cost)]
        commit = at.repository(app(0)).commit(own(0, "one"))
        async with at.measured() as cost:
            asked = await at.request(app(0))
            applied = await at.value(f"{app(0)}-own", "one", PATIENCE) - asked
            await at.all_ready(range(1), commit, PATIENCE)
        row = _row(implementation, apps, "many repositories: one changed", cost)
        return [*rows, row | {"applied_after_seconds": round(applied, 3)}]


async def memory_scenario(implementation: Implementation, apps: int, commits: int) -> list[Row]:
    """Commit after commit, each to one app; the memory after a tenth of them and at the end."""
    numbers = range(apps)
    async with lab(implementation) as at:
        commit = at.repository().commit(monorepo(apps))
        await at.source()
        await at.kustomizations_of(numbers)
        await at.all_ready(numbers, commit, PATIENCE)
        rows = []
        for start, end in ((0, commits // 10), (commits // 10, commits)):
            async with at.measured() as cost:
                for count in range(start, end):
                    number = count % apps
                    commit = at.repository().commit(own(number, f"commit-{count}"))
                    await at.request()
                    await at.value(f"{app(number)}-own", f"commit-{count}", PATIENCE)
                await at.all_ready(numbers, commit, PATIENCE)
            rows.append(_row(implementation, apps, f"commits {start + 1} to {end}", cost))
    return rows


async def asked_scenario(implementation: Implementation, apps: int) -> list[Row]:
    """A person asks for a pass of one Kustomization: every object is verified."""
    async with lab(implementation) as at:
        commit = at.repository().commit(monorepo(apps))
        await at.source()
        await at.kustomizations_of(range(apps))
        await at.all_ready(range(apps), commit, PATIENCE)
        async with at.measured() as cost:
            await at.request(app(0), KS)
            await asyncio.sleep(3)
        return [_row(implementation, apps, "a pass that a person asked for", cost)]


def _row(implementation: Implementation, apps: int, what: str, cost: Cost) -> Row:
    return {"implementation": implementation.name, "apps": apps, "what": what} | cost.as_row()
