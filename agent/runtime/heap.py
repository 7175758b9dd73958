"""Keeps garbage collection short: what start-up has made stays for good, and is not looked at again.

A full collection visits every object that may hold others. With a thousand Kustomizations these are so many that the
loop would stand still for a third of a second each time.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable

_LOOK_SECONDS = 1.0
_CALM = 3
"""Looks in a row that find nothing to do."""


async def settle(busy: Callable[[], bool]) -> None:
    """Exempt from collection what is there, at once and again when the first passes are over."""
    _exempt()
    calm = 0
    while calm < _CALM:
        await asyncio.sleep(_LOOK_SECONDS)
        calm = 0 if busy() else calm + 1
    _exempt()
    await asyncio.Event().wait()


def _exempt() -> None:
    gc.collect()
    gc.freeze()
