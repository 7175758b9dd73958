"""A proxy that connects to anything: HTTP's CONNECT and SOCKS 5 on one port, told apart by the first byte."""

from __future__ import annotations

import asyncio
import base64
import contextlib
from collections.abc import Mapping
from types import TracebackType
from typing import Self

_CHUNK = 64 * 1024


class TunnelProxy:
    """Listens on a free port of 127.0.0.1 while the block runs.

    With `user`, a (name, password) pair, others are refused. `names` says where hosts are that nobody else knows.
    `targets` records the `host:port` that were asked for.
    """

    def __init__(self, *, user: tuple[str, str] | None = None, names: Mapping[str, str] | None = None) -> None:
        self.targets: list[str] = []
        self._user = user
        self._names = dict(names or {})
        self._server: asyncio.Server | None = None
        self._serving: set[asyncio.Task[None]] = set()

    def url(self, scheme: str) -> str:
        """The address, as `http` or `socks5`."""
        assert self._server is not None
        return f"{scheme}://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                first = await reader.readexactly(1)
                target = await (self._socks(reader, writer) if first == b"\x05" else self._http(reader, writer))
                if target is not None:
                    await self._relay(target, reader, writer)
        finally:
            self._serving.discard(task)
            writer.close()

    async def _socks(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> str | None:
        methods = await reader.readexactly((await reader.readexactly(1))[0])
        wanted = 2 if self._user else 0
        if wanted not in methods:
            writer.write(b"\x05\xff")
            return None
        writer.write(bytes([5, wanted]))
        if self._user:
            await reader.readexactly(1)
            given = tuple([(await reader.readexactly((await reader.readexactly(1))[0])).decode() for _ in range(2)])
            writer.write(bytes([1, 0 if given == self._user else 1]))
            if given != self._user:
                return None
        kind = (await reader.readexactly(4))[3]
        if kind == 1:
            host = ".".join(str(part) for part in await reader.readexactly(4))
        else:
            host = (await reader.readexactly((await reader.readexactly(1))[0])).decode()
        port = int.from_bytes(await reader.readexactly(2), "big")
        writer.write(b"\x05\x00\x00\x01" + bytes(6))
        return f"{host}:{port}"

    async def _http(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> str | None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        if self._user:
            expected = base64.b64encode(":".join(self._user).encode()).decode()
            if f"Proxy-Authorization: Basic {expected}" not in head:
                writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")
                return None
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        return head.split(" ")[1]

    async def _relay(self, target: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.targets.append(target)
        host, _, port = target.rpartition(":")
        far_reader, far_writer = await asyncio.open_connection(self._names.get(host, host), int(port))
        try:
            sending = asyncio.create_task(_copy(reader, far_writer))
            await _copy(far_reader, writer)
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
        finally:
            far_writer.close()


async def _copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    while data := await source.read(_CHUNK):
        target.write(data)
        await target.drain()
