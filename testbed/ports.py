"""Free loopback ports that neighbours on the same machine do not take between the choice and the use."""

import atexit
import fcntl
import socket
from collections import deque
from typing import IO

from testbed.cache import cache_dir

# Below the usual ephemeral ranges, so that the source port of an outgoing connection never takes one of ours.
_FIRST = 20_000
_BLOCK = 200
_BLOCKS = 60


class PortAllocator:
    """Hands out ports from blocks that this process holds by file lock until it ends."""

    def __init__(self) -> None:
        self._held: list[IO[str]] = []
        self._ports: deque[int] = deque()

    def take(self) -> int:
        """A port that nothing is bound to on 127.0.0.1. The one given longest ago comes first.

        Raises RuntimeError when every block of the machine is in use.
        """
        for _ in range(_BLOCKS):
            for _ in range(len(self._ports)):
                port = self._ports.popleft()
                if _is_free(port):
                    self._ports.append(port)
                    return port
                self._ports.append(port)
            self._hold_block()
        raise RuntimeError("no free port in any block of this process")

    def release(self) -> None:
        """Give the blocks back. Nothing is to be taken after that."""
        for held in self._held:
            held.close()

    def _hold_block(self) -> None:
        folder = cache_dir() / "ports"
        folder.mkdir(exist_ok=True)
        for block in range(_BLOCKS):
            held = (folder / f"{block}.lock").open("a")
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                held.close()
                continue
            self._held.append(held)
            start = _FIRST + block * _BLOCK
            self._ports.extendleft(reversed(range(start, start + _BLOCK)))
            return
        raise RuntimeError("every block of ports is held by another run of the test bed")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


_allocator = PortAllocator()
atexit.register(_allocator.release)


def free_port() -> int:
    """A loopback port for the caller to bind soon. Raises RuntimeError when the machine has none left."""
    return _allocator.take()
