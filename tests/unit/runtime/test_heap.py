"""What start-up and the first passes have made is exempt from garbage collection, which waits for a calm moment."""

from __future__ import annotations

import asyncio
import sys

PROGRAM = """
import asyncio, gc
from agent.runtime.heap import settle

def full():
    return gc.get_stats()[2]["collections"]

looks, made = [], []

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
    assert gc.get_threshold()[2] == 10

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


async def test_full_collections_wait_for_calm_and_leave_out_what_the_first_passes_have_made() -> None:
    # in a process of its own: agents of other tests do the same to this one
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PROGRAM, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(60):
        output, errors = await process.communicate()
    assert output.decode().strip() == "good", errors.decode()
