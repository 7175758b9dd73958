"""People command rollouts with `weir rollout`, each with the rights of their own kubeconfig."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp
import pytest
from canary_agent import eventually
from canary_cluster import NAME, Rollouts
from cli_agent import COMMAND, LOOK, Person, agent_behind_service, passes, person, requests

from testbed.controlplane import ControlPlane
from testbed.gateway import ProcessGateway
from testbed.kube import Object

SLOW = {"interval": "1s", "stepWeight": 1, "maxWeight": 99}
"""Steps so small that a person finds the time to step in."""


@pytest.fixture
async def jane(control_plane: ControlPlane, rollouts: Rollouts) -> Person:
    """May look at rollouts and command them."""
    return await person(control_plane, rollouts.admin, rollouts.namespace, "jane", *LOOK, COMMAND)


def version(rollouts: Rollouts, number: str) -> Object:
    """A container of that version, which is told to serve a model of its own."""
    return {**rollouts.sleeper(number), "args": [f"--model={model(number)}"]}


def model(number: str) -> str:
    return "hf://acme/chat@" + number * 40


async def begin(rollouts: Rollouts, **canary) -> None:
    """Version 1 serves, version 2 is on trial with some of the traffic."""
    await rollouts.apply(rollouts.target(version(rollouts, "1")), rollouts.canary(analysis=SLOW, **canary))
    await rollouts.phase("Initialized")
    await rollouts.apply(rollouts.target(version(rollouts, "2"), replicas=None))
    await rollouts.until(lambda status: status.get("canaryWeight", 0) >= 1)


@pytest.mark.timeout(900)  # some twenty commands, each a process of its own
async def test_a_rollout_is_held_aborted_tried_again_and_promoted(
    control_plane: ControlPlane, rollouts: Rollouts, edge: ProcessGateway, jane: Person, tmp_path: Path
) -> None:
    name = f"{rollouts.namespace}/{NAME}"
    who = f"system:serviceaccount:{rollouts.namespace}:jane"
    folder = tmp_path / "agent"
    async with agent_behind_service(control_plane, rollouts.admin, rollouts.namespace, folder) as api:
        await begin(rollouts)
        running = await jane.rollout("status", name)
        assert running.status == 4, running.err
        assert "Progressing" in running.out
        assert model("1") in running.out

        paused = await jane.rollout("pause", name, "--reason", "looking at traces")
        assert (paused.status, paused.err) == (0, "")
        held = (await jane.rollout("status", name, "-o", "json")).json
        assert held["paused"].startswith(f"paused by {who} at ")
        assert held["blocked"] == ["Paused", held["paused"]]
        weight = held["weight"]
        enough = await passes(api) + 3
        await eventually(lambda: _looked(api, enough), within=60)
        assert await rollouts.weights() == (100 - weight, weight)
        times = {"held": await over()}

        assert (await jane.rollout("resume", name)).status == 0
        await rollouts.until(lambda status: status.get("canaryWeight", 0) > weight)

        aborted = await jane.rollout("abort", name, "--reason", "users complain", "-o", "json")
        assert aborted.status == 0, aborted.err
        assert aborted.json | {"message": ""} == {
            "namespace": rollouts.namespace,
            "name": NAME,
            "action": "abort",
            "outcome": "done",
            "message": "",
            "phase": "Failed",
        }
        assert await rollouts.weights() == (100, 0)
        asked = f"{who} asked to abort the rollout of {NAME}.{rollouts.namespace}: users complain"
        await eventually(lambda: rollouts.told(asked))
        assert (await jane.rollout("status", name)).status == 3
        times["aborted"] = await over()
        again = await jane.rollout("abort", name)
        assert again.status == 3
        assert "nothing is being rolled out (phase Failed)" in again.out

        assert (await jane.rollout("retry", name)).status == 0
        await rollouts.until(lambda status: status.get("canaryWeight", 0) >= 1)
        times["again"] = await over()
        assert (await jane.rollout("promote", "--full", "-n", rollouts.namespace, NAME)).status == 0
        watched = await jane.rollout("status", name, "--watch", "--timeout", "120s")
        assert watched.status == 0, watched.out
        assert "Succeeded" in watched.out.splitlines()[-1]
        assert await rollouts.version("chat-primary") == "2"

        past = (await jane.rollout("history", name, "-o", "json")).json
        assert [run["phase"] for run in past] == ["Succeeded", "Failed"]
        assert "Succeeded" in (await jane.rollout("history", name)).out
        await answered_when(jane, api, name, times, weight)


async def answered_when(jane: Person, api: str, name: str, times: dict[str, datetime], weight: int) -> None:
    """The ledger of a run that was held at `weight`, aborted, begun again and promoted: as the CLI and the API tell."""

    async def at(moment: str) -> dict[str, Object]:
        told = await jane.rollout("ledger", name, "--at", moment, "-o", "json")
        assert told.status == 0, told.err
        return {one["role"]: one for one in told.json}

    async def api_at(moment: datetime) -> list[Object]:
        wanted = {"canary": name, "at": moment.isoformat()}
        async with aiohttp.ClientSession() as http, http.get(f"{api}/api/v1/ledger", params=wanted) as answer:
            return list((await answer.json())["items"])

    whole = (await jane.rollout("ledger", name, "-o", "json")).json
    assert [(one["role"], one["models"][0]["spelling"], one["outcome"]) for one in whole] == [
        ("primary", model("2"), ""),
        ("canary", model("2"), "promoted"),
        ("canary", model("2"), "rejected"),
        ("primary", model("1"), "replaced"),
    ]
    wanted = {"held": [2, 3], "aborted": [3], "again": [1, 3]}
    for moment, periods in wanted.items():
        found = await at(times[moment].isoformat())
        assert [one | {"share": None} for one in found.values()] == [whole[number] for number in periods], moment
        assert sum(one["share"] for one in found.values()) == 100
        of_api = {one["role"]: (one["revision"], one["shares"]) for one in await api_at(times[moment])}
        assert of_api == {role: (one["revision"], one["shares"]) for role, one in found.items()}
    held = await at(times["held"].isoformat())
    assert (held["primary"]["share"], held["canary"]["share"]) == (100 - weight, weight)
    last = await at("0s")
    assert [(one["models"][0]["spelling"], one["share"]) for one in last.values()] == [(model("2"), 100)]
    drawn = (await jane.rollout("ledger", name, "--at", times["held"].isoformat())).out
    assert [line.split()[:4] for line in drawn.splitlines() if " model " in line] == [
        ["canary", f"{weight}%", "model", model("2")],
        ["primary", f"{100 - weight}%", "model", model("1")],
    ]
    begin = datetime.fromisoformat(whole[-1]["since"])
    early = await jane.rollout("ledger", name, "--at", (begin - timedelta(seconds=1)).isoformat())
    assert (early.status, early.out) == (1, "")
    assert f"is not known: the ledger of {name} begins at {whole[-1]['since']}" in early.err


async def over() -> datetime:
    """A moment that is over: the ledger counts in whole seconds, so that what comes next must not be in this one."""
    now = datetime.now(UTC)
    await eventually(lambda: datetime.now(UTC).replace(microsecond=0) > now)
    return now


async def _looked(api: str, times: float) -> bool:
    return await passes(api) >= times


async def test_whoever_may_not_change_the_canary_may_not_command_it(
    control_plane: ControlPlane, rollouts: Rollouts, edge: ProcessGateway, tmp_path: Path
) -> None:
    guest = await person(control_plane, rollouts.admin, rollouts.namespace, "guest", *LOOK)
    name = f"{rollouts.namespace}/{NAME}"
    async with agent_behind_service(control_plane, rollouts.admin, rollouts.namespace, tmp_path / "agent"):
        await begin(rollouts)
        refused = await guest.rollout("abort", name)
        assert refused.status == 1
        assert "cannot patch resource" in refused.err
        watching = (
            "rollout",
            "status",
            name,
            "--watch",
            "--timeout",
            "8s",
            "--agent",
            f"{rollouts.namespace}/weir:api",
        )
        status, drawn = await guest.at_terminal(*watching)
        assert status == 4
        pictures = drawn.split("\x1b[J")
        assert len(pictures) > 2, "drawn over and over"
        assert all("Progressing" in picture for picture in pictures[:-1])
        assert drawn.index("\x1b[?25l") < drawn.index("Progressing") < drawn.index("\x1b[?25h")
        assert (await rollouts.status())["phase"] == "Progressing"


async def test_a_failed_run_is_explained_with_its_numbers(
    control_plane: ControlPlane, rollouts: Rollouts, edge: ProcessGateway, jane: Person, tmp_path: Path
) -> None:
    metric = {"name": "request-success-rate", "interval": "1m", "thresholdRange": {"min": 99}}
    canary = rollouts.canary(analysis={**SLOW, "metrics": [metric]})
    name = f"{rollouts.namespace}/{NAME}"
    dead = {"metrics_server": "http://127.0.0.1:9"}
    folder = tmp_path / "agent"
    async with agent_behind_service(control_plane, rollouts.admin, rollouts.namespace, folder, **dead) as api:
        await rollouts.apply(rollouts.target(rollouts.sleeper("1")), canary)
        await rollouts.phase("Initialized")
        await rollouts.apply(rollouts.target(rollouts.sleeper("2"), replicas=None))
        await rollouts.phase("Failed")
        explained = await jane.rollout("explain", name)
        assert explained.status == 0, explained.err
        assert "The revision was rejected" in explained.out
        assert "Prometheus query failed" in explained.out
        assert "request-success-rate was asked as" in explained.out
        assert "(≥ 99%)" in explained.out
        direct = await jane.weir("rollout", "explain", name, "--server", api, "-o", "json")
        assert [judged["verdict"] for judged in direct.json["judgements"]] == ["error", "error"]
        told = await jane.weir("rollout", "history", name, "--server", api, "-o", "json")
        assert told.json[0]["cause"].startswith("Prometheus query failed")
    deaf = await jane.rollout("explain", name)
    assert deaf.status == 0
    assert "The judgements are those that the Canary keeps: Service" in deaf.out
    assert f"Cause: {told.json[0]['cause']}" in deaf.out
    assert "request-success-rate was asked as" in deaf.out
    past = await jane.rollout("history", name)
    assert (past.status, past.err) == (0, "")
    assert past.out.splitlines()[1].endswith(told.json[0]["cause"])
    assert "These are the runs that the Canary keeps: Service" in past.out
    async with agent_behind_service(control_plane, rollouts.admin, rollouts.namespace, folder, **dead) as api:
        await eventually(lambda: _knows(api))
        again = await jane.weir("rollout", "explain", name, "--server", api, "-o", "json")
        assert (again.json["unasked"], _said(again.json)) == ("", _said(direct.json))
        kept = await jane.weir("rollout", "history", name, "--server", api, "-o", "json")
        assert [{**run, "judgements": _said(run)} for run in kept.json] == [
            {**run, "judgements": _said(run)} for run in told.json
        ]
        assert await requests(api, "patch") == 0, "what is on the Canary is not written again"
    answered = await jane.rollout("ledger", name, "--at", "0s")
    assert answered.status == 0, answered.err
    assert "The commits are not known here: Service" in answered.out, "the Canary tells the rest"
    assert answered.out.splitlines()[3].split()[:2] == ["primary", "100%"]


async def _knows(api: str) -> bool:
    """Whether the agent has looked at a Canary since its start."""
    try:
        async with aiohttp.ClientSession() as http, http.get(f"{api}/api/v1/rollouts") as answer:
            return bool((await answer.json())["items"])
    except aiohttp.ClientError:
        return False  # nobody listens yet


def _said(run: Object) -> list[Object]:
    """The judgements of a run, but for their queries, of which one is kept."""
    return [{**judged, "query": ""} for judged in run["judgements"]]


async def test_what_is_not_there_is_said(rollouts: Rollouts, jane: Person, tmp_path: Path) -> None:
    nothing = await jane.rollout("status", f"{rollouts.namespace}/none")
    assert (nothing.status, nothing.out) == (1, "")
    assert f"there is no Canary {rollouts.namespace}/none" in nothing.err
    assert "no Canary in namespace" in (await jane.rollout("status", "-n", rollouts.namespace)).out
    assert (await jane.rollout("status", "a/b/c")).err.startswith("weir: 'a/b/c' is not a name")
    unknown = await jane.rollout("ledger", f"{rollouts.namespace}/none", "--at", "2h")
    assert (unknown.status, unknown.out) == (1, "")
    assert f"there is no Canary {rollouts.namespace}/none" in unknown.err
    lost = Person(tmp_path / "missing", rollouts.namespace)
    assert "no kubeconfig at" in (await lost.rollout("status", "chat")).err
    # Without an agent a command stays open.
    await rollouts.apply(rollouts.canary())
    empty = await jane.rollout("ledger", f"{rollouts.namespace}/{NAME}", "--at", "2h")
    assert empty.status == 1
    assert empty.err.endswith(f"the ledger of {rollouts.namespace}/{NAME} is empty\n")
    waiting = await jane.rollout("abort", f"{rollouts.namespace}/{NAME}", "--timeout", "1s")
    assert waiting.status == 4
    assert "the agent has not acted within 1s" in waiting.out
