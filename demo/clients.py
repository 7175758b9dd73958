"""Clients that ask the model for predictions all the time, through the gateway, and remember what they got."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field

import aiohttp

HOST = "chat.example.com"


@dataclass
class Tally:
    """Answers by model version, and failures."""

    versions: Counter[str] = field(default_factory=Counter)
    failures: int = 0

    @property
    def requests(self) -> int:
        """All requests."""
        return self.versions.total() + self.failures

    def __sub__(self, earlier: Tally) -> Tally:
        return Tally(self.versions - earlier.versions, self.failures - earlier.failures)

    def copy(self) -> Tally:
        """The tally at this moment."""
        return Tally(self.versions.copy(), self.failures)

    def shares(self) -> str:
        """`v1 80 %, v2 20 %`, of the answers."""
        total = self.versions.total()
        return ", ".join(
            f"{name} {100 * count / total:.0f} %" for name, count in sorted(self.versions.items()) if count
        )


class Clients:
    """`count` clients, each with a short pause between two requests, or with a long one while it is quiet."""

    def __init__(self, gateway: str, *, count: int = 4, pause: float = 0.04, rest: float = 2.0) -> None:
        self.tally = Tally()
        self._gateway = gateway
        self._count = count
        self._pause = pause
        self._rest = rest
        self._stopping = False
        self.quiet = False

    def stop(self) -> None:
        """Let every client end its present request, and then no more."""
        self._stopping = True

    async def run(self) -> None:
        """Ask until stopped."""
        timeout = aiohttp.ClientTimeout(total=5)
        async with aiohttp.ClientSession(timeout=timeout) as session, asyncio.TaskGroup() as group:
            for _ in range(self._count):
                group.create_task(self._ask(session))

    async def _ask(self, session: aiohttp.ClientSession) -> None:
        while not self._stopping:
            try:
                async with session.post(
                    f"{self._gateway}/v1/predict", json={"x": [1, 2]}, headers={"Host": HOST}
                ) as response:
                    if response.status == 200:
                        self.tally.versions[(await response.json())["version"]] += 1
                    else:
                        self.tally.failures += 1
            except (aiohttp.ClientError, TimeoutError):
                self.tally.failures += 1
            await asyncio.sleep(self._rest if self.quiet else self._pause)
