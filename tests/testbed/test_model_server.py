"""The model server serves the model that its reference names, and is as bad as that model."""

import json
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
import pytest

from testbed.model_server import Model, ModelError, load, model_path
from testbed.processes import Process, free_port, start, until

ROOT = Path(__file__).parents[2]


def write(path: Path, **content: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"name": "m", "version": "1", "weights": [1, 2], **content}))
    return path


def test_references_name_files(tmp_path: Path) -> None:
    file = write(tmp_path / "org" / "name" / "rev" / "model.json")
    assert model_path(str(file), None) == file
    assert model_path(f"file://{file}", None) == file
    assert model_path(f"file://{file.parent}", None) == file
    assert model_path("hf://org/name@rev", tmp_path) == file
    assert model_path("hf://org/name", tmp_path) == tmp_path / "org" / "name" / "main"


@pytest.mark.parametrize("reference", ["hf://org/name@rev", "s3://bucket/key"])
def test_references_that_cannot_be_resolved(reference: str) -> None:
    with pytest.raises(ModelError):
        model_path(reference, None)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"name": "m", "version": 1, "weights": ["x"]}'])
def test_broken_models_are_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "model.json"
    path.write_text(text)
    with pytest.raises(ModelError, match="cannot load"):
        load(str(path), None)


def test_failures_are_spread_evenly() -> None:
    model = Model("m", "1", (1.0,), error_rate=0.25)
    assert [number for number in range(1, 13) if model.fails(number)] == [4, 8, 12]
    assert not any(Model("m", "1", (1.0,)).fails(number) for number in range(1, 100))
    assert all(Model("m", "1", (1.0,), error_rate=1).fails(number) for number in range(1, 100))


class Server:
    """A model server in a process of its own."""

    def __init__(self, process: Process, url: str, http: aiohttp.ClientSession) -> None:
        self.process = process
        self.http = http
        self.url = url

    async def predict(self, x: object) -> tuple[int, dict[str, object]]:
        async with self.http.post(f"{self.url}/v1/predict", json={"x": x}) as response:
            return response.status, await response.json()

    async def status(self, path: str) -> int:
        try:
            async with self.http.get(f"{self.url}{path}") as response:
                return response.status
        except aiohttp.ClientConnectionError:
            return 0


@pytest.fixture
async def serve(tmp_path: Path) -> AsyncIterator[Callable[..., Awaitable[Server]]]:
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(aiohttp.ClientSession())

        async def run(model: str, *options: str) -> Server:
            port = free_port()
            argv = [sys.executable, "-m", "testbed.model_server", "--model", model, *options]
            env = {**os.environ, "PROCESS_NODE_PORT_8080": str(port)}
            process = await start(argv, log=tmp_path / "log", env=env, cwd=ROOT)
            stack.push_async_callback(process.kill)
            server = Server(process, f"http://127.0.0.1:{port}", http)

            async def healthy() -> bool:
                return await server.status("/healthz") == 200

            await until(healthy, timeout=60, what="the server is healthy", process=process)
            return server

        yield run


async def test_predictions_and_metrics(serve: Callable[..., Awaitable[Server]], tmp_path: Path) -> None:
    write(tmp_path / "org" / "name" / "r2" / "model.json", version="2", bias=0.5, chaos={"error_rate": 0.25})
    server = await serve("hf://org/name@r2", "--model-root", str(tmp_path))
    answers = [await server.predict([1, 2]) for _ in range(8)]
    assert Counter(status for status, _ in answers) == {200: 6, 500: 2}
    assert answers[0][1] == {"y": 5.5, "model": "m", "version": "2"}
    for bad in ([1], "text", None):
        assert (await server.predict(bad))[0] == 400
    async with server.http.get(f"{server.url}/v1/models") as response:
        assert await response.json() == {"models": [{"name": "m", "version": "2"}]}
    async with server.http.get(f"{server.url}/metrics") as response:
        metrics = await response.text()
    predictions = 'method="POST",path="/v1/predict"'
    assert f'http_requests_total{{{predictions},status="200"}} 6.0' in metrics
    assert f'http_request_duration_seconds_count{{{predictions},status="500"}} 2.0' in metrics
    assert 'model_info{model="m",version="2"} 1.0' in metrics
    assert "model_load_seconds" in metrics
    assert "/healthz" not in metrics


async def test_a_slow_model_is_slow(serve: Callable[..., Awaitable[Server]], tmp_path: Path) -> None:
    server = await serve(str(write(tmp_path / "model.json", chaos={"latency_ms": 200})))
    started = time.perf_counter()
    assert (await server.predict([1, 1]))[0] == 200
    assert time.perf_counter() - started >= 0.2


async def test_it_drains_when_it_is_told_to_end(serve: Callable[..., Awaitable[Server]], tmp_path: Path) -> None:
    server = await serve(str(write(tmp_path / "model.json", chaos={"latency_ms": 100})), "--lame-duck", "10")
    server.process.signal(signal.SIGTERM)

    async def draining() -> bool:
        return await server.status("/healthz") == 503

    await until(draining, timeout=60, what="it drains", every=0.01)
    assert (await server.predict([1, 1]))[0] == 200
    assert await server.process.wait() == 0


async def test_without_its_model_it_does_not_start(tmp_path: Path) -> None:
    argv = [sys.executable, "-m", "testbed.model_server", "--model", str(tmp_path / "absent.json")]
    process = await start(argv, log=tmp_path / "log", cwd=ROOT)
    assert await process.wait() == 1
    assert "error: cannot load" in process.tail()
