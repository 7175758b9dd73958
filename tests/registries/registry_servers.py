"""Registries on loopback: routes, what was asked, and a resolver that may ask them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from aiohttp import web

from agent.adapters.registries import Access, Resolver
from agent.adapters.registries.fetcher import Fetcher
from agent.core.models import Blob, Grammar, Ref, parse
from agent.core.models.extract.files import file_slots
from testbed.ports import free_port

SPELLINGS = [
    "hf://org/m",
    "hf://datasets/org/d",
    "oci://registry.example/org/m:v1",
    "ollama://llama3:8b",
    "s3://models/m",
    "gs://models/m",
    "abfss://models@account.dfs.core.windows.net/m",
    "models:/name@champion",
    "models:/cat.schema.name@champion",
    "runs:/0123456789abcdef/model",
    "models:/name/Production",
    "lakefs://repo/main/m",
    "git-lfs",
    "git",
    "https",
    "modelscope://org/m",
    "iceberg://catalog/ns.table#main",
    "pfs://project/repo@master:/m",
    "model-registry://m",
    "mlflow-artifacts:/1/r",
    "https://account.file.core.windows.net/share/m",
    "hdfs://namenode/m",
    "delta://share/schema/table",
    "delta+s3://models/table",
    "ngc://nim/org/m:latest",
    "wandb-artifact://org/wandb-registry-model/m:best",
]
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Registry:
    """Answers by method and path; an answer may be a function of the request."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.asked: list[web.Request] = []
        self.answers: dict[str, Handler] = {}
        self.fallback: Handler | None = None

    def put(self, path: str, make: Callable[[], web.Response]) -> None:
        """Answer for a path (with the query, if it has one)."""

        async def handler(_request: web.Request) -> web.StreamResponse:
            return make()

        self.answers[path] = handler

    def ask(self, path: str, handler: Handler) -> None:
        """Let a function answer that looks at the request."""
        self.answers[path] = handler

    def json(self, path: str, value: object, **headers: str) -> None:
        """A JSON answer."""
        self.put(path, lambda: web.json_response(value, headers={k.replace("_", "-"): v for k, v in headers.items()}))

    def status(self, path: str, status: int, **headers: str) -> None:
        """An answer without a body."""
        self.put(
            path, lambda: web.Response(status=status, headers={k.replace("_", "-"): v for k, v in headers.items()})
        )

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Find the answer."""
        self.asked.append(request)
        answer = self.answers.get(request.path_qs) or self.answers.get(request.path) or self.fallback
        if answer is None:
            return web.Response(status=404)
        return await answer(request)

    def paths(self) -> list[str]:
        """What was asked for, in order."""
        return [request.path_qs for request in self.asked]


@asynccontextmanager
async def registry() -> AsyncIterator[Registry]:
    """A registry on a free port."""
    port = free_port()
    served = Registry(f"http://127.0.0.1:{port}")
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", served.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        yield served
    finally:
        await runner.cleanup()


class Asking:
    """Resolves spellings; `secret` goes to every registry, `endpoint` too."""

    def __init__(self, resolver: Resolver, endpoint: str) -> None:
        self.resolver = resolver
        self.access: Access | None = Access(endpoint=endpoint)

    async def __call__(self, spelling: str, grammar: Grammar = Grammar.GENERIC, *, ttl: float = 300.0) -> Ref:
        """The reference with what is known about it."""
        return await self.resolver.resolve(parse(spelling, grammar), lambda _ref: self.access, ttl=ttl)

    def with_secret(self, **secret: str) -> None:
        """Give credentials."""
        assert self.access is not None
        self.access = Access(self.access.endpoint, secret, scope=repr(sorted(secret)))


@asynccontextmanager
async def asking(server: Registry, *, seconds: float = 30.0) -> AsyncIterator[Asking]:
    """A resolver for one server."""
    async with Fetcher(seconds=seconds) as fetcher:
        yield Asking(Resolver(fetcher, deadline=60.0), server.url)


def tracked(path: str, text: str) -> Ref:
    """The reference in a file of a repository."""
    (slot,) = file_slots(path, Blob(text.encode()))
    return slot.ref


async def ask_remote(ask: Asking, store: Access | None, ref: Ref, remote: str) -> Ref:
    """What is known of a reference of DVC whose content is in a remote, for which `store` answers."""
    dvc = Access(remote=remote, scope=remote)
    return await ask.resolver.resolve(ref, lambda asked: dvc if asked.scheme == "dvc" else store, ttl=300)


async def one_of(server: Registry, ask: Asking, spelling: str, number: int = 0) -> Ref:
    """What is known, and not believed for long, of a reference of a spelling; those of Git name the server, or a
    content of some number."""
    if spelling != "git-lfs":
        files = {"git": f"{server.url}/m.git", "https": f"{server.url}/m.gguf"}
        return await ask(files.get(spelling, spelling), ttl=0)
    ref = tracked("w.bin", f"version https://git-lfs.github.com/spec/v1\noid sha256:{number:064x}\nsize 1\n")
    return await ask.resolver.resolve(ref, lambda _ref: ask.access, ttl=0)
