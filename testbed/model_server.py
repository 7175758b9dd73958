"""A small but real model server: ``python -m testbed.model_server --model <reference>``.

It loads the model its reference names, answers predictions with it and exports latency and error metrics. A model
is a JSON file of a linear model, ``{"name": "...", "version": "...", "weights": [...], "bias": 0.5}``. A model may
also be bad by its own content: ``"chaos": {"error_rate": 0.25, "latency_ms": 200}`` makes every fourth
prediction fail with 500 and delays all of them. Failures come in a fixed rhythm, so that few requests show the rate.

References: a path, ``file:///path``, or ``hf://org/name@revision``, which is looked up under ``--model-root`` as
``org/name/revision/model.json`` (revision ``main`` when left out). A folder stands for its ``model.json``. The
server ends with status 1 when the model cannot be loaded, as serving runtimes do.

What it is not: there is no batching, no GPU, no streaming, and no protocol of a real runtime.
"""

import argparse
import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from aiohttp import web
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 2.5, 5.0)
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class ModelError(Exception):
    """The model cannot be loaded, or an input does not fit it."""


@dataclass(frozen=True, slots=True)
class Model:
    """A linear model; ``error_rate`` (0 to 1) and ``latency`` (seconds) are faults that its file asks for."""

    name: str
    version: str
    weights: tuple[float, ...]
    bias: float = 0.0
    error_rate: float = 0.0
    latency: float = 0.0

    def predict(self, x: list[float]) -> float:
        """The weighted sum of ``x`` plus bias; ModelError when the number of features differs."""
        if len(x) != len(self.weights):
            raise ModelError(f"x has {len(x)} features, the model has {len(self.weights)}")
        return sum(weight * value for weight, value in zip(self.weights, x, strict=True)) + self.bias

    def fails(self, request: int) -> bool:
        """Whether the n-th prediction (from 1) is one of the failures, which are spread evenly."""
        return int(request * self.error_rate) > int((request - 1) * self.error_rate)


def model_path(reference: str, root: Path | None) -> Path:
    """The file behind a model reference; ModelError for one that this server cannot resolve."""
    parts = urlsplit(reference)
    if parts.scheme == "hf":
        if root is None:
            raise ModelError(f"{reference} needs --model-root")
        name, _, revision = f"{parts.netloc}{parts.path}".partition("@")
        path = root / name / (revision or "main")
    elif parts.scheme in {"", "file"}:
        path = Path(unquote(parts.path))
    else:
        raise ModelError(f"model references with {parts.scheme}:// are not supported")
    return path / "model.json" if path.is_dir() else path


def load(reference: str, root: Path | None) -> Model:
    """Read a model file; ModelError says what is wrong with it."""
    path = model_path(reference, root)
    try:
        content = json.loads(path.read_text())
        chaos = content.get("chaos") or {}
        return Model(
            name=str(content["name"]),
            version=str(content["version"]),
            weights=tuple(float(weight) for weight in content["weights"]),
            bias=float(content.get("bias", 0)),
            error_rate=min(1.0, max(0.0, float(chaos.get("error_rate", 0)))),
            latency=max(0.0, float(chaos.get("latency_ms", 0)) / 1000),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"cannot load {reference} from {path}: {type(error).__name__}: {error}") from error


class Metrics:
    """The server's metrics: requests by method, path and status, the model served and its load time."""

    def __init__(self, model: Model, load_seconds: float) -> None:
        self.registry = CollectorRegistry()
        labels = ["method", "path", "status"]
        self.requests = Counter("http_requests", "Requests answered.", labels, registry=self.registry)
        self.seconds = Histogram(
            "http_request_duration_seconds",
            "Time from a request to its answer.",
            labels,
            buckets=_BUCKETS,
            registry=self.registry,
        )
        info = Gauge("model_info", "The model served.", ["model", "version"], registry=self.registry)
        info.labels(model.name, model.version).set(1)
        loading = Gauge("model_load_seconds", "How long loading the model took.", registry=self.registry)
        loading.set(load_seconds)

    def observe(self, method: str, path: str, status: int, seconds: float) -> None:
        """Count one answered request."""
        self.requests.labels(method, path, str(status)).inc()
        self.seconds.labels(method, path, str(status)).observe(seconds)


class ModelServer:
    """The HTTP side of one model."""

    def __init__(self, model: Model, metrics: Metrics) -> None:
        self._model = model
        self._metrics = metrics
        self._predictions = 0
        self.draining = False

    def application(self) -> web.Application:
        """Routes: GET /healthz, POST /v1/predict, GET /v1/models, GET /metrics."""

        @web.middleware
        async def measure(request: web.Request, handler: _Handler) -> web.StreamResponse:
            return await self._measure(request, handler)

        app = web.Application(middlewares=[measure])
        app.router.add_get("/healthz", self._health)
        app.router.add_get("/metrics", self._expose)
        app.router.add_get("/v1/models", self._models)
        app.router.add_post("/v1/predict", self._predict)
        return app

    async def _measure(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        path = request.match_info.route.resource.canonical if request.match_info.route.resource else "other"
        if path in {"/healthz", "/metrics"}:  # probes and scrapes would dilute the error rate
            return await handler(request)
        started, status = time.perf_counter(), 500
        try:
            response = await handler(request)
            status = response.status
        except web.HTTPException as error:
            status = error.status
            raise
        finally:
            self._metrics.observe(request.method, path, status, time.perf_counter() - started)
        return response

    async def _health(self, _: web.Request) -> web.Response:
        if self.draining:
            return web.json_response({"status": "draining"}, status=503)
        return web.json_response({"status": "ok"})

    async def _expose(self, _: web.Request) -> web.Response:
        body = generate_latest(self._metrics.registry)
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def _models(self, _: web.Request) -> web.Response:
        return web.json_response({"models": [{"name": self._model.name, "version": self._model.version}]})

    async def _predict(self, request: web.Request) -> web.Response:
        self._predictions += 1
        number = self._predictions
        identity = {"model": self._model.name, "version": self._model.version}
        if self._model.latency:
            await asyncio.sleep(self._model.latency)
        if self._model.fails(number):
            return web.json_response({"error": "prediction failed", **identity}, status=500)
        try:
            x = [float(value) for value in (await request.json())["x"]]
            return web.json_response({"y": self._model.predict(x), **identity})
        except (ValueError, KeyError, TypeError, ModelError) as error:
            return web.json_response({"error": str(error), **identity}, status=400)


async def serve(server: ModelServer, port: int, lame_duck: float) -> None:
    """Serve on 127.0.0.1 until SIGTERM or SIGINT, then drain.

    For `lame_duck` seconds it still accepts requests while /healthz says 503, so that routers can take it out first;
    then it finishes what it has begun.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    runner = web.AppRunner(server.application(), access_log=None, shutdown_timeout=10)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port).start()
        print(f"listening on 127.0.0.1:{port}", flush=True)
        await stop.wait()
        server.draining = True
        await asyncio.sleep(lame_duck)
    finally:
        await runner.cleanup()


def main(arguments: list[str]) -> int:
    """Run the server; exit status 1 when the model cannot be loaded."""
    parser = argparse.ArgumentParser(prog="model_server", description="Serve a linear model over HTTP.")
    parser.add_argument("--model", default=os.environ.get("MODEL_URI"), help="model reference (or env MODEL_URI)")
    parser.add_argument("--model-root", type=Path, default=os.environ.get("MODEL_ROOT"), help="folder of hf:// models")
    parser.add_argument("--port", type=int, default=8080, help="where PROCESS_NODE_PORT_<port> does not say otherwise")
    parser.add_argument("--lame-duck", type=float, default=0.5, help="seconds of service after the end was asked for")
    options = parser.parse_args(arguments)
    if not options.model:
        parser.error("--model is required")
    started = time.perf_counter()
    try:
        model = load(options.model, options.model_root)
    except ModelError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    metrics = Metrics(model, time.perf_counter() - started)
    print(f"loaded model {model.name} version {model.version} from {options.model}", flush=True)
    port = int(os.environ.get(f"PROCESS_NODE_PORT_{options.port}", options.port))
    asyncio.run(serve(ModelServer(model, metrics), port, options.lame_duck))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
