"""Connections to other clusters: one for each set of credentials, shared by all who use them, closed with the last.

Nobody should wait in a worker for a cluster that does not answer. So a connection knows when it was last answered, and
whoever wants to use it after a silence is to `prove` it first, outside of a worker.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from agent.adapters.kube.client import KubeClient
from agent.adapters.kube.config import Cluster
from agent.adapters.kube.discovery import Discovery
from agent.adapters.kube.errors import ApiError, Unauthorized, Unavailable
from agent.adapters.kube.live import LiveIndex
from agent.adapters.kube.memory import Memory
from agent.adapters.kube.ratelimit import RateLimit
from agent.adapters.kube.transport import OnRequest
from agent.errors import OperationError
from agent.telemetry.logging import named

Key = tuple[str, str]
PROOF_SECONDS = 10.0
"""How long a cluster may take to show that it is there, and for how long an answer of it is proof enough."""

LARGEST_ANSWER = 64 << 20
"""Bytes. A page of metadata has less; a server that somebody else runs shall not fill our memory."""


class UnreachableError(OperationError):
    """Another cluster does not answer, or not as a Kubernetes API to these credentials."""


@dataclass(frozen=True, slots=True)
class Proven:
    """The cluster has answered."""


class Connection:
    """Another cluster, as one set of credentials. What is known of it belongs to the connection and ends with it."""

    def __init__(
        self,
        cluster: Cluster,
        count: OnRequest,
        on_problem: Callable[[str, OperationError], None],
        rate: RateLimit | None = None,
    ) -> None:
        self.client = KubeClient(cluster, rate=rate, largest=LARGEST_ANSWER, on_request=self._observe)
        self.discovery = Discovery(self.client)
        self.live = LiveIndex(
            self.client, on_problem=lambda name, error: on_problem(f"{name} of {cluster.server}", error)
        )
        self.memory = Memory()
        self._count = count
        self._opened = asyncio.Event()
        self._answered: float | None = None
        self._proving = asyncio.Lock()
        self._failure: tuple[float, UnreachableError] | None = None

    @property
    def answers(self) -> bool:
        """True if the cluster has answered lately, be it with a no, and has not failed to since."""
        return self._answered is not None and time.monotonic() - self._answered < PROOF_SECONDS

    async def prove(self) -> Proven:
        """Ask for a sign of life; those who wait at the same time share the answer. Raises UnreachableError."""
        asked = time.monotonic()
        async with self._proving:
            if self.answers:
                return Proven()
            if self._failure is not None and self._failure[0] >= asked:
                raise self._failure[1]
            try:
                await self.client.raw("GET", "/version", resource="version", timeout=PROOF_SECONDS)
            except (Unauthorized, Unavailable) as error:
                raise self._failed(error) from None
            except ApiError:
                pass  # it speaks; what these credentials may do is found out by what is asked of it
            except OperationError as error:  # there are no credentials to send
                raise self._failed(error) from None
            return Proven()

    async def run(self) -> None:
        """Keep the connection open and its watches going until cancelled."""
        try:
            async with self.client:
                self._opened.set()
                await self.live.run()
        finally:
            self._opened.set()  # whoever waits finds a closed client, instead of nothing

    async def opened(self) -> None:
        """Return once requests can be sent."""
        await self._opened.wait()

    def _failed(self, error: OperationError) -> UnreachableError:
        failure = UnreachableError(f"cluster {self.client.cluster.server}: {error.message}")
        self._failure = (time.monotonic(), failure)
        return failure

    def _observe(self, verb: str, resource: str, code: int, seconds: float) -> None:
        alive = 0 < code < 500 and code != 401
        self._answered = time.monotonic() if alive else None
        self._count(verb, resource, code, seconds)


class RemoteClusters:
    """All connections, and who uses which. `run` keeps them open.

    Writes are sent only while `may_write()` holds. `on_open` is told of every new connection before it is used.
    `rate` is that of each connection.
    """

    def __init__(
        self,
        count_for: Callable[[Cluster], OnRequest],
        *,
        may_write: Callable[[], bool],
        on_problem: Callable[[str, OperationError], None],
        on_open: Callable[[Connection], None],
        rate: RateLimit | None = None,
    ) -> None:
        self._rate = rate
        self._count_for = count_for
        self._may_write = may_write
        self._on_problem = on_problem
        self._on_open = on_open
        self._connections: dict[str, Connection] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._held: dict[Key, str] = {}
        self._group: asyncio.TaskGroup | None = None
        self._log = named("clusters")

    async def run(self) -> None:
        """Keep connections open until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                await asyncio.Event().wait()
        finally:
            self._group = None
            self._connections.clear()
            self._tasks.clear()
            self._held.clear()

    @property
    def count(self) -> int:
        """Open connections."""
        return len(self._connections)

    async def hold(self, user: Key, credentials: str, read: Callable[[], Awaitable[Cluster]]) -> Connection:
        """The connection for these credentials (a hash of them), which `user` holds from now on, and no other one.

        `read` gives the credentials themselves, if there is no connection yet. Raises what it raises.
        """
        known = self._held.get(user)
        if credentials not in self._connections:
            cluster = await read()
            if credentials not in self._connections:  # another user may have been faster
                self._open(credentials, cluster)
        self._held[user] = credentials
        if known is not None and known != credentials:
            self._close_unused(known)
        connection = self._connections[credentials]
        await connection.opened()
        return connection

    def release(self, user: Key) -> None:
        """The user needs no other cluster any more."""
        known = self._held.pop(user, None)
        if known is not None:
            self._close_unused(known)

    def _open(self, credentials: str, cluster: Cluster) -> None:
        if self._group is None:
            raise Unavailable("the agent is stopping")
        connection = Connection(cluster, self._count_for(cluster), self._on_problem, self._rate)
        connection.client.fence(self._may_write)
        self._on_open(connection)
        self._connections[credentials] = connection
        running = self._run(credentials, connection)
        self._tasks[credentials] = self._group.create_task(running, name=f"cluster {cluster.server}")

    async def _run(self, credentials: str, connection: Connection) -> None:
        """A fault that one cluster brings about is not to end the work for all others: its connection is given up."""
        server = connection.client.cluster.server
        try:
            await connection.run()
        except Exception as error:  # noqa: BLE001 - a bug, or a server made to find one
            self._log.error("a connection to another cluster has failed", server=server, error=error, exc_info=error)
            if self._connections.get(credentials) is connection:
                del self._connections[credentials], self._tasks[credentials]

    def _close_unused(self, credentials: str) -> None:
        if credentials not in self._held.values():
            self._connections.pop(credentials, None)
            task = self._tasks.pop(credentials, None)
            if task is not None:
                task.cancel()
