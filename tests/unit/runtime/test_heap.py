"""What start-up and the first passes have made is exempt from garbage collection, which waits for a calm moment."""

from __future__ import annotations

import asyncio
import platform
import sys

import pytest

PROGRAM = """
import asyncio, gc
from agent.runtime.heap import settle

def full():
    return gc.get_stats()[2]["collections"]

looks, made, thresholds = [], [], gc.get_threshold()

def busy():
    looks.append((gc.get_freeze_count(), full()))
    made.extend([number] for number in range(100_000))  # enough for several full collections
    return len(looks) < 3

async def main():
    task = asyncio.create_task(settle(busy, look=0.02, full=0.4))
    while not looks or gc.get_freeze_count() < looks[0][0] + len(made):
        await asyncio.sleep(0.02)
    assert len(looks) == 5, looks
    assert looks[0][0] > 1000, looks
    assert set(looks) == {looks[0]}, looks  # neither exempted nor collected while there was something to do
    settled = full()
    while full() < settled + 2:  # and now and then when there is not
        await asyncio.sleep(0.02)
    assert gc.get_freeze_count() >= looks[0][0] + 400_000
    task.cancel()
    await asyncio.wait({task})
    assert gc.get_threshold() == thresholds

asyncio.run(main())

async def never_calm():
    before = full()
    task = asyncio.create_task(settle(lambda: True, look=0.02, full=0.1))
    while full() < before + 4:  # the first is made at the start
        await asyncio.sleep(0.02)
    task.cancel()

asyncio.run(never_calm())
print("good")
"""


THREADS = """
import ctypes, sys, threading
from agent.runtime.heap import share_heap

share_heap()
met, kept = threading.Barrier(4), []

def work():
    met.wait()
    kept.append([bytes(10_000) for _ in range(100)])
    met.wait()

threads = [threading.Thread(target=work) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
libc = ctypes.CDLL(None)
libc.fdopen.restype = ctypes.c_void_p
out = ctypes.c_void_p(libc.fdopen(1, b"w"))
libc.malloc_info(0, out)
libc.fflush(out)
"""


async def printed(program: str) -> tuple[str, str]:
    """What it prints, in a process of its own: agents of other tests do the same to this one."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(60):
        output, errors = await process.communicate()
    return output.decode().strip(), errors.decode()


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries are left as they are")
async def test_threads_allocate_from_one_heap() -> None:
    output, errors = await printed(THREADS)
    assert output.count("<heap ") == 1, output + errors


async def test_full_collections_wait_for_calm_and_leave_out_what_the_first_passes_have_made() -> None:
    output, errors = await printed(PROGRAM)
    assert output == "good", errors
