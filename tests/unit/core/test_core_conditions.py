"""Conditions as values (fluxcd/pkg/runtime/conditions)."""

from __future__ import annotations

from core_values import LATER, NOW
from hypothesis import given
from hypothesis import strategies as st

from agent.api.meta import Condition
from agent.core import conditions as c

TYPES = st.sampled_from(["Ready", "Reconciling", "Stalled", "Healthy", "ArtifactInStorage", "Zebra"])
CONDITIONS = st.builds(
    lambda make, kind, reason, message: make(kind, reason, message),
    st.sampled_from([c.true, c.false, c.unknown]),
    TYPES,
    st.sampled_from(["One", "Two"]),
    st.sampled_from(["a", "b"]),
)
NEW = st.lists(CONDITIONS, max_size=4)
TYPE_LISTS = st.lists(TYPES, max_size=2)


def _merge(old: tuple[Condition, ...], *new: Condition, generation: int = 1, **rest: object) -> tuple[Condition, ...]:
    when = {"now": NOW, **rest}
    return c.merged(old, new, generation=generation, **when)  # type: ignore[arg-type]


def test_a_new_condition_is_stamped() -> None:
    (ready,) = _merge((), c.true("Ready", "Succeeded", "fine"), generation=7)
    assert ready == Condition(
        type="Ready",
        status="True",
        reason="Succeeded",
        message="fine",
        last_transition_time=NOW,
        observed_generation=7,
    )


def test_time_stands_still_while_nothing_is_said_anew() -> None:
    old = _merge((), c.true("Ready", "Succeeded", "fine"))
    (same,) = _merge(old, c.true("Ready", "Succeeded", "fine"), generation=2, now=LATER)
    assert (same.last_transition_time, same.observed_generation) == (NOW, 2)


def test_time_moves_with_status_reason_and_message() -> None:
    old = _merge((), c.true("Ready", "Succeeded", "fine"))
    for new in (
        c.false("Ready", "Succeeded", "fine"),
        c.true("Ready", "Other", "fine"),
        c.true("Ready", "Succeeded", "finer"),
    ):
        (moved,) = _merge(old, new, now=LATER)
        assert moved.last_transition_time == LATER


def test_order_is_stalled_reconciling_ready_then_others() -> None:
    kinds = ["Healthy", "Ready", "ArtifactInStorage", "Stalled", "Reconciling"]
    merged = _merge((), *(c.true(kind, "R", "m") for kind in kinds))
    assert [entry.type for entry in merged] == ["Stalled", "Reconciling", "Ready", "ArtifactInStorage", "Healthy"]


def test_removal_spares_what_is_set_at_the_same_time() -> None:
    old = _merge((), c.true("Ready", "R", "m"), c.true("Stalled", "R", "m"))
    kept = _merge(old, c.true("Stalled", "R", "m"), remove=("Stalled", "Ready", "Absent"))
    assert [entry.type for entry in kept] == ["Stalled"]


def test_conditions_of_others_stay_as_they_are() -> None:
    foreign = _merge((), c.true("SomebodyElses", "R", "m"), generation=1)
    merged = _merge(foreign, c.true("Ready", "R", "m"), generation=5, now=LATER)
    assert merged[1:] == foreign


def test_long_messages_are_cut() -> None:
    assert len(c.true("Ready", "R", "x" * 32768).message) == 32768
    assert c.true("Ready", "R", "x" * 32768).message[-3:] == "xxx"
    cut = c.true("Ready", "R", "x" * 32769).message
    assert (len(cut), cut[-4:]) == (32768, "x...")


def test_looking_up() -> None:
    merged = _merge((), c.true("Ready", "R", "m"), c.false("Healthy", "R", "m"), c.unknown("Zebra", "R", "m"))
    assert [c.is_true(merged, kind) for kind in ("Ready", "Healthy", "Zebra", "Absent")] == [True, False, False, False]
    found = c.find(merged, "Healthy")
    assert found is not None
    assert found.status == "False"
    assert c.find(merged, "Absent") is None


@given(NEW, NEW, TYPE_LISTS)
def test_merging_again_changes_nothing(before: list[Condition], new: list[Condition], remove: list[str]) -> None:
    old = c.merged((), before, generation=1, now=NOW)
    once = c.merged(old, new, remove=remove, generation=2, now=LATER)
    assert c.merged(once, new, remove=remove, generation=2, now=LATER.replace(year=2030)) == once


@given(NEW, NEW, TYPE_LISTS)
def test_one_condition_a_type_and_none_that_was_removed(
    before: list[Condition], new: list[Condition], remove: list[str]
) -> None:
    old = c.merged((), before, generation=1, now=NOW)
    merged = c.merged(old, new, remove=remove, generation=2, now=LATER)
    types = [condition.type for condition in merged]
    assert len(types) == len(set(types))
    assert set(types) == ({entry.type for entry in old} - set(remove)) | {entry.type for entry in new}


@given(st.lists(CONDITIONS, max_size=4, unique_by=lambda condition: condition.type), st.randoms())
def test_the_order_of_telling_does_not_matter(new: list[Condition], random: object) -> None:
    shuffled = list(new)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert c.merged((), new, generation=1, now=NOW) == c.merged((), shuffled, generation=1, now=NOW)
