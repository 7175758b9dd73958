"""Keeps the heap small, and garbage collection short: what start-up has made stays, and is not looked at again.

A full collection visits every object that may hold others. With a thousand Kustomizations these are so many that the
loop would stand still for a third of a second each time. Young objects are collected as ever; the full collections are
made when nobody waits.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
from collections.abc import Callable

_CALM = 3
"""Looks in a row that find nothing to do."""
_NEVER = 2**31 - 1
_M_ARENA_MAX = -8
"""Of glibc's malloc.h."""


def share_heap() -> None:
    """Let all threads allocate from one heap; to be called before there are several.

    glibc gives each thread another one, and what is free in one is of no use to others: a few MiB more with every
    thousand commits. Python's own lock leaves little to be gained by it. Other C libraries are left as they are.
    """
    with contextlib.suppress(AttributeError):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)


async def settle(busy: Callable[[], bool], *, look: float = 1.0, full: float = 60.0) -> None:
    """Exempt from collection what is there, at once and again when the first passes are over.

    Makes the full collections for as long as it runs, `full` seconds apart, and up to as many later if it is `busy` all
    the time. `look` are the seconds between two looks at that.
    """
    _exempt()
    thresholds = gc.get_threshold()
    gc.set_threshold(*thresholds[:2], _NEVER)
    try:
        while not await _calm(busy, look, full):
            gc.collect()
        _exempt()
        while True:
            await asyncio.sleep(full)
            await _calm(busy, look, full)
            gc.collect()
    finally:
        gc.set_threshold(*thresholds)


async def _calm(busy: Callable[[], bool], look: float, longest: float) -> bool:
    """Wait until there has been nothing to do for a while. False if that does not come."""
    calm = 0
    for _ in range(max(round(longest / look), 1)):
        await asyncio.sleep(look)
        calm = 0 if busy() else calm + 1
        if calm == _CALM:
            return True
    return False


def _exempt() -> None:
    gc.collect()
    gc.freeze()
