"""What start-up has made is exempt from garbage collection, and what the first passes have made once they are over."""

from __future__ import annotations

import asyncio
import sys

PROGRAM = """
import asyncio, gc
from agent.runtime.heap import settle
looks, made = [], []
def busy():
    looks.append(gc.get_freeze_count())
    made.extend([number] for number in range(1000))
    return len(looks) < 3
async def main():
    task = asyncio.create_task(settle(busy))
    while not looks or gc.get_freeze_count() < looks[0] + len(made):
        await asyncio.sleep(0.05)
    task.cancel()
    print(len(looks), looks[0] > 1000, set(looks) == {looks[0]})
asyncio.run(main())
"""


async def test_it_waits_for_the_first_passes_and_then_exempts_what_is_there() -> None:
    # in a process of its own: agents of other tests do the same to this one
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PROGRAM, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(60):
        output, errors = await process.communicate()
    assert output.decode().strip() == "5 True True", errors.decode()
