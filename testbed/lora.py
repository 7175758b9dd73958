"""The part of vLLM's API by which adapters are loaded, with what it answers, and nothing behind it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from testbed.ports import free_port


@dataclass
class LoraServer:
    """A server for the base model org/m. `allows` is whether VLLM_ALLOW_RUNTIME_LORA_UPDATING is set for it."""

    port: int
    adapters: dict[str, str] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    allows: bool = True
    key: str = ""
    asked: int = 0
    """How often for what it serves."""
    begun: dict[str, str] = field(default_factory=dict)
    """What somebody has asked for who did not wait: it is there once the next one has asked for it."""

    async def models(self, request: web.Request) -> web.Response:
        """The base model and the adapters."""
        self.asked += 1
        if self.key and request.headers.get("Authorization") != f"Bearer {self.key}":
            return web.json_response({"error": "Unauthorized"}, status=401)
        cards: list[dict[str, Any]] = [{"id": "org/m", "root": "org/m", "parent": None}]
        cards += [{"id": name, "root": path, "parent": "org/m"} for name, path in self.adapters.items()]
        return web.json_response({"object": "list", "data": cards})

    async def load(self, request: web.Request) -> web.Response:
        """Refuses a name that is taken and a path that is nowhere, as vLLM does."""
        if not self.allows:
            raise web.HTTPNotFound
        body = await request.json()
        name, path = body["lora_name"], body["lora_path"]
        if name in self.begun:
            self.adapters[name] = self.begun.pop(name)
        if name in self.adapters:
            return web.json_response({"message": f"The lora adapter '{name}' has already been loaded."}, status=400)
        if "missing" in path:
            return web.json_response(
                {"message": f"Loading lora {name} failed: No adapter found for {path}"}, status=404
            )
        self.adapters[name] = path
        self.calls.append(f"load {name}={path}")
        return web.Response(text=f"Success: LoRA adapter '{name}' added successfully.")

    async def unload(self, request: web.Request) -> web.Response:
        """Refuses a name that is not there."""
        if not self.allows:
            raise web.HTTPNotFound
        name = (await request.json())["lora_name"]
        if self.adapters.pop(name, None) is None:
            return web.json_response({"message": f"The lora adapter '{name}' cannot be found."}, status=404)
        self.calls.append(f"unload {name}")
        return web.Response(text=f"Success: LoRA adapter '{name}' removed successfully.")


@asynccontextmanager
async def lora_server(**adapters: str) -> AsyncIterator[LoraServer]:
    """A server on loopback that was started with these adapters."""
    served = LoraServer(free_port(), dict(adapters))
    app = web.Application()
    app.router.add_get("/v1/models", served.models)
    app.router.add_post("/v1/load_lora_adapter", served.load)
    app.router.add_post("/v1/unload_lora_adapter", served.unload)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", served.port).start()
    try:
        yield served
    finally:
        await runner.cleanup()
