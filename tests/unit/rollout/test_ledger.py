"""Which model answered at a time: kept from statuses alone, whatever was missed in between."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from rollout_world import START, World, make_plan

from agent.core.rollout.ledger import (
    KEPT,
    LEDGER,
    SHARES,
    Period,
    Role,
    Share,
    decode_ledger,
    encode_ledger,
    entries_of,
    kept,
    proven,
)
from agent.core.rollout.plan import in_one_step
from agent.core.rollout.quarantine import Reference
from agent.core.rollout.status import Phase, Status

NOW = datetime(2026, 1, 2, tzinfo=UTC)


def model(revision: str) -> Reference:
    return Reference(slot="server.model", kind="model", spelling=f"hf://m@{revision}", digest=f"d-{revision}")


class Book:
    """A world with its ledger; a tick may be cut off before the ledger is written."""

    def __init__(self, **changes: object) -> None:
        self.world = World(make_plan(**changes))
        self.periods: tuple[Period, ...] = ()

    def models(self, role: Role) -> list[Reference] | None:
        world = self.world
        revision = world.revision if role == "canary" else world.primary
        return None if revision is None else [model(revision)]

    def tick(self, count: int = 1, *, missed: bool = False) -> None:
        for _ in range(count):
            before = self.world.status
            self.world.tick()
            if not missed:
                self.periods = kept(self.periods, before, self.world.status, self.models, self.world.now)

    def until(self, *phases: Phase) -> None:
        for _ in range(40):
            if self.world.status.phase in phases:
                return
            self.tick()
        raise AssertionError(f"stays {self.world.status.phase}")

    def told(self) -> list[tuple[str, str, str]]:
        return [(period.role, period.revision.removeprefix("v2:"), period.outcome) for period in self.periods]

    def at(self, moment: datetime) -> set[tuple[str, str]]:
        return {(one.role, one.models[0].spelling[-1]) for one in self.periods if one.covers(moment)}


def test_a_good_model_a_bad_one_and_the_way_back() -> None:
    book = Book()
    book.until(Phase.INITIALIZED)
    book.world.revision = "b"
    book.until(Phase.PROGRESSING)
    trying = book.world.now
    book.tick(2)
    assert book.at(trying) == {("primary", "a"), ("canary", "b")}
    shares = book.periods[-1].shares
    assert [share.percent for share in shares] == [20, 40]
    assert trying <= shares[0].at < shares[1].at <= book.world.now
    book.until(Phase.SUCCEEDED)
    book.world.revision, book.world.bad = "c", frozenset({"c"})
    book.until(Phase.PROGRESSING)
    book.until(Phase.FAILED)
    book.world.revision = "b"
    book.until(Phase.SUCCEEDED)
    book.tick(3)
    assert book.told() == [
        ("primary", "a", "replaced"),
        ("canary", "b", "promoted"),
        ("primary", "b", ""),
        ("canary", "c", "rejected"),
    ]
    assert book.at(book.world.now) == {("primary", "b")}
    assert book.at(START - timedelta(days=1)) == set()


def test_a_run_of_which_nobody_saw_the_beginning_is_in_the_ledger() -> None:
    book = Book()
    while book.world.status.phase is not Phase.INITIALIZED:
        book.tick(missed=True)
    book.world.revision = "b"
    while book.world.status.phase is not Phase.PROGRESSING:
        book.tick(missed=True)
    begun = book.world.now
    book.tick()
    assert book.told() == [("primary", "a", ""), ("canary", "b", "")]
    assert book.periods[0].since is None, "it was there before"
    assert book.periods[1].since is not None
    assert begun <= book.periods[1].since <= book.world.now


def test_of_many_shares_the_last_are_remembered() -> None:
    book = Book(step_weight=1, max_weight=50)
    book.until(Phase.INITIALIZED)
    book.world.revision = "b"
    book.tick(40)
    percents = [share.percent for share in book.periods[-1].shares]
    assert percents == list(range(percents[0], percents[0] + SHARES))
    assert percents[-1] == book.world.status.canary_weight


def test_shares_of_a_version_that_noted_none_are_not_known() -> None:
    book = Book()
    book.until(Phase.INITIALIZED)
    book.world.revision = "b"
    while not book.world.status.canary_weight:
        book.tick()
    *before, trial = book.periods
    book.periods = (*before, replace(trial, shares=()))
    book.tick()
    assert book.periods[-1].shares[0] == Share(at=trial.since, percent=None)
    assert [share.percent for share in book.periods[-1].shares[1:]] == [book.world.status.canary_weight]
    assert decode_ledger({LEDGER: encode_ledger(book.periods)}) == book.periods


def test_the_primary_that_serves_is_kept_however_many_canaries_are_rejected_beside_it() -> None:
    book = Book()
    book.until(Phase.INITIALIZED)
    book.tick()
    (first,) = book.periods
    book.world.bad = frozenset("xyz")
    for number in range(KEPT + 3):
        book.world.revision = "xyz"[number % 3]
        book.until(Phase.PROGRESSING)
        book.until(Phase.FAILED)
    assert book.periods[0] == first
    assert len(book.periods) == KEPT
    assert [period.role for period in book.periods[1:]] == ["canary"] * (KEPT - 1)


def test_superseded_and_reverted_in_mid_run() -> None:
    book = Book()
    book.until(Phase.INITIALIZED)
    for revision in ("b", "c"):
        book.world.revision = revision
        book.tick(3)
    book.world.revision = "a"
    book.until(Phase.SUCCEEDED)
    assert book.told() == [("primary", "a", ""), ("canary", "b", "superseded"), ("canary", "c", "reverted")]


def test_a_promotion_that_failed_leaves_the_new_model_answering() -> None:
    book = Book()
    book.until(Phase.INITIALIZED)
    book.world.revision, book.world.stuck = "b", frozenset({"b-primary"})
    book.until(Phase.PROGRESSING)
    book.until(Phase.FAILED)
    assert book.at(book.world.now) == {("primary", "b")}


def test_what_was_there_before_weir_has_no_beginning_and_writes_nothing() -> None:
    status = Status(phase=Phase.SUCCEEDED, last_applied_spec="v2:a", last_promoted_spec="v2:a")
    assert kept((), status, status, lambda _: [model("a")], NOW) == ()
    began = Status(
        phase=Phase.PROGRESSING, last_applied_spec="v2:b", last_promoted_spec="v2:a", last_transition_time=NOW
    )
    found = kept((), status, began, lambda role: [model("a" if role == "primary" else "b")], NOW)
    assert [(one.role, one.since) for one in found] == [("primary", None), ("canary", NOW)]
    assert kept((), status, began, lambda _: None, NOW) == (), "what cannot be named yet is written later"


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sampled_from(["a", "b", "c", "d"]), min_size=1, max_size=6), st.integers(0, 10_000))
def test_ticks_that_were_missed_are_made_good(revisions: list[str], seed: int) -> None:
    book = Book()
    book.until(Phase.INITIALIZED)
    book.world.bad = frozenset({"c"})
    for number, revision in enumerate(revisions):
        book.world.revision = revision
        for step in range(6):
            book.tick(missed=bool((seed >> ((number * 6 + step) % 13)) & 1))
    book.world.bad = frozenset()
    book.until(Phase.SUCCEEDED, Phase.FAILED, Phase.INITIALIZED)
    book.tick()
    serving = [one for one in book.periods if one.until is None]
    assert [(one.role, one.revision) for one in serving] == [("primary", f"v2:{book.world.primary}")]
    for earlier, later in zip(book.periods, book.periods[1:], strict=False):
        assert earlier.since is None or later.since is None or earlier.since <= later.since
    assert all(one.until is None or one.since is None or one.since <= one.until for one in book.periods)


def test_the_ledger_is_bounded_and_survives_in_the_annotation() -> None:
    book = Book()
    book.until(Phase.INITIALIZED)
    for number in range(2 * KEPT):
        book.world.revision = "xyz"[number % 3]
        book.tick(12)
    assert len(book.periods) == KEPT
    assert decode_ledger({LEDGER: encode_ledger(book.periods)}) == book.periods
    assert len(encode_ledger(book.periods)) < 20_000
    shown = entries_of("prod/chat", {LEDGER: encode_ledger(book.periods)})
    assert (shown[0].canary, shown[0].revision) == ("prod/chat", book.periods[-1].revision)
    without_zone = encode_ledger(book.periods).replace("Z", "")
    for text in ("", "{", '{"role":1}', "[" * 100_000, without_zone):
        assert decode_ledger({LEDGER: text}) == ()


@pytest.mark.parametrize(
    ("references", "known"),
    [
        ([model("a")], True),
        ([model("b")], False),
        ([model("z")], False),
        ([], False),
        ([model("a"), model("b")], False),
    ],
)
def test_only_what_has_served_and_was_replaced_is_proven(references: list[Reference], known: bool) -> None:
    periods = (
        Period(role="primary", revision="v2:a", since=NOW, until=NOW, outcome="replaced", models=(model("a"),)),
        Period(role="canary", revision="v2:z", since=NOW, until=NOW, outcome="rejected", models=(model("z"),)),
        Period(role="primary", revision="v2:b", since=NOW, models=(model("b"),)),
    )
    assert (proven(periods, references) is not None) is known


@pytest.mark.parametrize(
    ("changes", "advances"),
    [
        ({}, ["canary weight 60"]),
        ({"step_weight": 0, "step_weights": (5, 10, 20), "max_weight": 20}, ["canary weight 20"]),
        ({"iterations": 5}, ["canary iteration 1/1"]),
        ({"iterations": 5, "matched": True}, ["canary iteration 1/1"]),
    ],
)
def test_what_is_proven_takes_one_step(changes: dict, advances: list[str]) -> None:
    world = World(in_one_step(make_plan(**changes)))
    world.run(4)
    world.revision = "b"
    world.run(12)
    assert world.status.phase is Phase.SUCCEEDED
    assert [text.partition(".prod ")[2] for text in world.texts() if text.startswith("Advance")] == advances
