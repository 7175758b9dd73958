"""What pytest, Hypothesis and tracebacks parse is not disturbed by what they parse meanwhile; see tests/conftest.py."""

from __future__ import annotations

import ast
import gc
from collections.abc import Iterator

import pytest

SOURCE = "\n".join(f"def f{number}(a, b): return [a + b, {{'x': a}}, (lambda c: c)(b)]" for number in range(300))


class Parsing:
    """Parses something when it is collected, as a task does whose exception nobody has looked at."""

    done = 0

    def __init__(self) -> None:
        self.itself = self

    def __del__(self) -> None:
        ast.parse("(a + b)")
        Parsing.done += 1


@pytest.fixture
def eager_collector() -> Iterator[None]:
    before = gc.get_threshold()
    gc.set_threshold(50)
    yield
    gc.set_threshold(*before)


def deep(frames: int) -> ast.Module:
    """Parse at another depth of the stack than a finalizer would."""
    if frames:
        return deep(frames - 1)
    Parsing()
    return ast.parse(SOURCE)


@pytest.mark.parametrize("frames", [0, 5, 50])
@pytest.mark.usefixtures("eager_collector")
def test_a_finalizer_that_parses_does_not_spoil_the_tree_that_is_being_built(frames: int) -> None:
    before = Parsing.done
    assert len(deep(frames).body) == 300
    gc.collect()
    assert Parsing.done > before
