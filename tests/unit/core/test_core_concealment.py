"""Values that were encrypted in the source are not shown."""

from typing import Literal

import msgspec

from agent.core.concealment import concealed, concealed_record

HIDDEN = frozenset({"--model=org/s3cret-model", "t0ps3cret", "t0ps3cret-too"})


class Record(msgspec.Struct, frozen=True):
    kind: str
    text: str
    where: tuple[str, ...] = ()
    count: int = 0


def test_every_value_is_replaced_the_longest_first() -> None:
    assert concealed("a t0ps3cret-too and t0ps3cret", HIDDEN) == "a *** and ***"
    assert concealed("nothing", frozenset()) == "nothing"


def test_a_record_loses_values_and_parts_of_them_in_all_of_its_texts() -> None:
    record = Record("t0ps3cret", "org/s3cret-model", ("spec.args[0]", "is t0ps3cret"), 3)
    assert concealed_record(record, HIDDEN) == Record("t0ps3cret", "***", ("spec.args[0]", "is ***"), 3)
    assert concealed_record(record, frozenset()) is record


def test_short_texts_stay_although_they_are_part_of_something() -> None:
    assert concealed_record(Record("x", "org"), HIDDEN) == Record("x", "org")


class Narrow(msgspec.Struct, frozen=True):
    word: Literal["t0ps3cret"] = "t0ps3cret"


def test_a_record_that_cannot_be_told_without_a_value_is_not_told() -> None:
    assert concealed_record(Narrow(), HIDDEN) is None
