"""Numbers in texts that anybody may have written."""

from __future__ import annotations

import pytest

from agent.core.digits import whole


@pytest.mark.parametrize(
    ("text", "number"),
    [("0", 0), ("007", 7), ("9" * 18, 10**18 - 1), ("9" * 19, None), ("9" * 5000, None), ("²", None), ("٣", None)],
)
def test_only_digits_of_a_number_that_fits_are_one(text: str, number: int | None) -> None:
    assert whole(text) == number


@pytest.mark.parametrize("text", ["", "-1", "+1", "1.0", "1e3", " 1", "0x1", "1_0"])
def test_what_python_would_read_besides_is_none(text: str) -> None:
    assert whole(text) is None
