"""`weir run` as a process: starts, leads, ends in order when it is told to, and says all of it in JSON."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from testbed.controlplane import ControlPlane
from testbed.kube import Admin
from testbed.ports import free_port
from tests.scenarios.conftest import PATIENCE

LEASE = ("coordination.k8s.io/v1", "Lease")


async def started(*flags: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "agent.cli",
        "run",
        *flags,
        cwd=Path(__file__).parents[2],
        env={name: value for name, value in os.environ.items() if name != "KUBECONFIG"},
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )


async def said(process: asyncio.subprocess.Process, seconds: float = PATIENCE) -> list[dict[str, Any]]:
    """Wait for the end; the lines that were logged."""
    async with asyncio.timeout(seconds):
        _, errors = await process.communicate()
    return [json.loads(line) for line in errors.decode().splitlines()]


async def answers(url: str, text: str, seconds: float = PATIENCE) -> None:
    """Wait until the page has the text."""
    async with asyncio.timeout(seconds), aiohttp.ClientSession() as session:
        while True:
            try:
                async with session.get(url) as answer:
                    if answer.status == 200 and text in await answer.text():
                        return
            except aiohttp.ClientConnectionError:
                pass
            await asyncio.sleep(0.1)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_it_leads_until_it_is_told_to_stop(
    control_plane: ControlPlane, crds: None, admin: Admin, namespace: str, tmp_path: Path, number: signal.Signals
) -> None:
    health, metrics, api, storage = (f"127.0.0.1:{free_port()}" for _ in range(4))
    process = await started(
        f"--kubeconfig={control_plane.kubeconfig}",
        f"--runtime-namespace={namespace}",
        "--watch-all-namespaces=false",
        "--controllers=source,kustomize,canary",
        "--enable-leader-election",
        "--leader-election-retry-period=500ms",
        f"--storage-path={tmp_path}",
        f"--storage-addr={storage}",
        f"--health-addr={health}",
        f"--metrics-addr={metrics}",
        f"--api-addr={api}",
    )
    try:
        await answers(f"http://{metrics}/metrics", "\nweir_leader 1.0")
        await answers(f"http://{health}/readyz", "ok")
        held = await admin.get(*LEASE, namespace, "weir-leader-election")
        assert held["spec"]["holderIdentity"]
        process.send_signal(number)
        lines = await said(process)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0
    assert [line["msg"] for line in lines if line.get("logger") == "weir"] == ["starting", "stopped"]
    assert [line for line in lines if line["level"] == "error"] == []
    freed = await admin.get(*LEASE, namespace, "weir-leader-election")
    assert not freed["spec"].get("holderIdentity")


async def test_what_keeps_it_from_starting_is_one_line(tmp_path: Path) -> None:
    process = await started(f"--kubeconfig={tmp_path}/none", f"--storage-path={tmp_path}")
    (line,) = await said(process)
    assert process.returncode == 1
    assert (line["level"], line["msg"]) == ("error", "cannot run")
    assert line["error"] == f"no kubeconfig at {tmp_path}/none: name one with --kubeconfig or KUBECONFIG"
    assert "stacktrace" not in line


async def test_an_address_in_use_is_named(control_plane: ControlPlane, crds: None, tmp_path: Path) -> None:
    taken = free_port()
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", taken)
    async with server:
        process = await started(
            f"--kubeconfig={control_plane.kubeconfig}",
            f"--storage-path={tmp_path}",
            f"--health-addr=127.0.0.1:{taken}",
        )
        lines = await said(process)
    assert process.returncode == 1
    assert str(taken) in lines[-1]["error"]
