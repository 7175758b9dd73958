"""How many requests are in flight, as the API server has time for them."""

from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from agent.adapters.kube.concurrency import LEAST, SLOW_SECONDS, AdaptiveLimit

ANSWERS = st.lists(st.tuples(st.sampled_from([200, 404, 429, 500]), st.floats(0, 2 * SLOW_SECONDS)), max_size=200)


def test_a_refusal_for_lack_of_time_halves_it_and_good_answers_bring_it_back() -> None:
    limit = AdaptiveLimit(32, clock=lambda: 0.0)
    for _ in range(20):  # all that were in flight are refused
        limit.answered(429, 0.01)
    assert limit.allowed == 16
    for _ in range(2000):
        limit.answered(200, 0.01)
    assert limit.allowed == 32


def test_slow_answers_are_trouble_as_well_and_trouble_that_lasts_leaves_little() -> None:
    now = [0.0]
    limit = AdaptiveLimit(32, clock=lambda: now[0])
    for _ in range(10):
        now[0] += 2.0
        limit.answered(200, SLOW_SECONDS)
    assert limit.allowed == LEAST


@given(answers=ANSWERS, most=st.integers(1, 64))
def test_it_stays_between_its_bounds(answers: list[tuple[int, float]], most: int) -> None:
    now = [0.0]
    limit = AdaptiveLimit(most, clock=lambda: now[0])
    for code, seconds in answers:
        now[0] += 0.7
        limit.answered(code, seconds)
        assert min(LEAST, most) <= limit.allowed <= most


async def test_never_more_inside_than_allowed_whoever_is_cancelled_meanwhile() -> None:
    limit = AdaptiveLimit(3)
    inside, most, done = 0, 0, 0

    async def visit() -> None:
        nonlocal inside, most, done
        async with limit.place():
            inside += 1
            most = max(most, inside)
            try:
                await asyncio.sleep(0)
                done += 1
            finally:
                inside -= 1

    for _ in range(20):
        visits = [asyncio.create_task(visit()) for _ in range(12)]
        await asyncio.sleep(0)
        for task in visits[::3]:
            task.cancel()
        await asyncio.gather(*visits, return_exceptions=True)
    assert most == 3
    assert done >= 20 * 8, "a cancelled visitor took no place with it"
    async with asyncio.timeout(30), limit.place(), limit.place(), limit.place():
        pass


async def test_a_smaller_limit_counts_for_those_who_wait() -> None:
    limit = AdaptiveLimit(4)
    order: list[str] = []
    async with limit.place(), limit.place():
        limit.answered(429, 0.0)  # two are allowed from now on, and two are inside

        async def late() -> None:
            async with limit.place():
                order.append("late")

        task = asyncio.create_task(late())
        await asyncio.sleep(0)
        order.append("still outside")
    await task
    assert order == ["still outside", "late"]
