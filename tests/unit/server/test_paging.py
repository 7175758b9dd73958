"""Pages: whoever walks them sees what is there the whole time exactly once."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.server.paging import DEFAULT_LIMIT, MAX_LIMIT, Order, Page, paged

Name = tuple[str, str]
PARTS = st.text("ab-/:é", max_size=3)
NAMES = st.frozensets(st.tuples(PARTS, PARTS), max_size=12)


def mark(name: Name) -> Name:
    return name


@given(
    worlds=st.lists(NAMES, min_size=1, max_size=8),
    limit=st.integers(1, 5),
    order=st.sampled_from(["ascending", "descending"]),
)
def test_a_walk_over_sorted_items_yields_what_stays_exactly_once(
    worlds: list[frozenset[Name]], limit: int, order: Order
) -> None:
    """Between two pages anything may come or go; the last world stays until the walk is over."""
    seen: list[Name] = []
    lived: set[Name] | None = None
    token, turn = "", 0
    while True:
        world = worlds[min(turn, len(worlds) - 1)]
        lived = set(world) if lived is None else lived & world
        page = paged(sorted(world, reverse=order == "descending"), mark, limit=limit, token=token, order=order)
        assert page.total == len(world)
        assert len(page.items) <= limit
        seen += page.items
        token, turn = page.token, turn + 1
        if not token:
            break
    assert len(seen) == len(set(seen))
    assert lived <= set(seen)


@given(arrivals=st.lists(st.integers(0, 4), min_size=1, max_size=10), limit=st.integers(1, 4), kept=st.integers(1, 12))
def test_a_walk_over_a_log_goes_back_in_time_and_never_repeats(arrivals: list[int], limit: int, kept: int) -> None:
    """A bounded log, newest first: entries come in front, the oldest fall off."""
    written = kept
    seen: list[int] = []
    token, first, turn = "", None, 0
    while True:
        entries = list(range(written, max(written - kept, 0), -1))
        first = entries if first is None else first
        page = paged(entries, lambda entry: (str(entry),), limit=limit, token=token, order="log")
        seen += page.items
        token = page.token
        if not token:
            break
        written += arrivals[min(turn, len(arrivals) - 1)] if turn < len(arrivals) else 0
        turn += 1
    assert seen == sorted(set(seen), reverse=True)
    assert seen == first[: len(seen)]  # a prefix of what was there at first: nothing newer, no gap
    still_there = [entry for entry in first if entry in entries]
    assert set(still_there) <= set(seen)


def test_the_last_full_page_has_no_token() -> None:
    items = [("a",), ("b",), ("c",), ("d",)]
    page = paged(items, lambda item: item, limit=2, token="")
    assert page.items == items[:2]
    assert paged(items, lambda item: item, limit=2, token=page.token) == Page(items=items[2:], total=4, token="")


def test_an_empty_list_is_one_empty_page() -> None:
    assert paged([], mark, limit=DEFAULT_LIMIT, token="") == Page(items=[], total=0, token="")


@pytest.mark.parametrize("limit", [0, -1, MAX_LIMIT + 1])
def test_limits_have_bounds(limit: int) -> None:
    with pytest.raises(ValueError, match="limit must be a number between 1 and 1000"):
        paged([("a", "b")], mark, limit=limit, token="")


@given(token=st.text(min_size=1, max_size=30))
def test_any_text_as_a_token_is_a_page_or_a_clear_refusal(token: str) -> None:
    try:
        page = paged([("a", "b"), ("c", "d")], mark, limit=1, token=token)
    except ValueError as error:
        assert str(error) == "continue is not a token of this API"  # noqa: PT017 - one of two allowed outcomes
    else:
        assert len(page.items) <= 1
