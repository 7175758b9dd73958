"""Flux reference, section 5.2: flags that change how fast and how much, as far as they can be seen from outside.

That each flag is read into its setting is in tests/unit/server/test_flux_flags.py; what tenancy, apply, build and
decryption flags do is told with those subjects.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import aiohttp

from testbed.controlplane import ControlPlane
from testbed.ports import free_port
from tests.scenarios.conftest import PATIENCE, RunningAgent, Story

OwnAgent = Callable[..., AbstractAsyncContextManager[RunningAgent]]
ACCOUNT = "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: c}\n"


async def sample(agent: RunningAgent, series: str) -> float:
    """The value of a series that is written just so, 0 if there is none."""
    async with aiohttp.ClientSession() as session, session.get(f"{agent.metrics}/metrics") as response:
        for line in (await response.text()).splitlines():
            if line.startswith(f"{series} "):
                return float(line.rpartition(" ")[2])
    return 0.0


async def test_concurrency_has_a_default_for_each_role_and_one_flag(story: Story, own_agent: OwnAgent) -> None:
    wanted = 'controller_runtime_max_concurrent_reconciles{controller="%s"}'
    for settings, (kustomizations, repositories) in (({}, (4, 2)), ({"concurrent": 7}, (7, 7))):
        async with own_agent(**settings) as agent:
            await agent.ready()
            assert await sample(agent, wanted % "kustomization") == kustomizations
            assert await sample(agent, wanted % "gitrepository") == repositories


async def test_failed_fetches_are_tried_again_between_the_shortest_and_the_longest_delay(
    story: Story, own_agent: OwnAgent
) -> None:
    await story.source(url="http://127.0.0.1:9/nothing.git", timeout="1s")
    passes = 'controller_runtime_reconcile_total{controller="gitrepository",result="requeue_after"}'
    async with own_agent(controllers=("source",), min_retry_delay=0.05, max_retry_delay=0.1) as agent:
        await agent.ready()
        async with asyncio.timeout(PATIENCE):  # with the default delays, the tenth try is six minutes away
            while True:
                if await sample(agent, passes) >= 10:
                    break
                await asyncio.sleep(0.05)


async def test_the_rate_is_for_api_servers_without_priority_and_fairness(story: Story, own_agent: OwnAgent) -> None:
    story.git.commit({"c.yaml": ACCOUNT})
    await story.source()
    await story.kustomization()
    async with own_agent(kube_api_qps=0.01, kube_api_burst=2):
        await story.ready()  # some twenty requests, which would take half an hour


async def test_flags_without_a_meaning_here_are_named_in_the_log(
    control_plane: ControlPlane, crds: None, namespace: str, tmp_path: Path
) -> None:
    health, metrics, api, storage = (f"127.0.0.1:{free_port()}" for _ in range(4))
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "agent.cli",
        "run",
        f"--kubeconfig={control_plane.kubeconfig}",
        f"--runtime-namespace={namespace}",
        "--watch-all-namespaces=false",
        f"--storage-path={tmp_path}",
        f"--storage-addr={storage}",
        f"--health-addr={health}",
        f"--metrics-addr={metrics}",
        f"--api-addr={api}",
        "--helm-cache-ttl=60m",
        "--no-remote-bases",
        "--feature-gates=DirectSourceFetch=true,GroupChangeLog=true",
        cwd=Path(__file__).parents[3],
        env={name: value for name, value in os.environ.items() if name != "KUBECONFIG"},
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None
    try:
        async with asyncio.timeout(PATIENCE):
            line = json.loads(await process.stderr.readline())
    finally:
        process.send_signal(signal.SIGTERM)
        await process.communicate()
    assert line["msg"] == "settings of Flux or Flagger that have no effect here"
    assert line["names"] == ["--helm-cache-ttl", "--no-remote-bases", "DirectSourceFetch"]
