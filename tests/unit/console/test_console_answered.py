"""Which model answered at a time: the ledger's periods in, what people and programs read out."""

import argparse
from datetime import UTC, datetime, timedelta

import pytest

from agent.console import command
from agent.core.console.answered import Answered, answered, answered_table, begins
from agent.core.console.served import Seen
from agent.core.console.table import Paint
from agent.core.objects import ObjectKey
from agent.core.rollout.ledger import KEPT, SHARES, LedgerEntry, Share
from agent.core.rollout.quarantine import Reference

NOW = datetime(2026, 11, 29, 10, tzinfo=UTC)
CHAT = ObjectKey("apps", "Deployment", "prod", "chat")
OLD, NEW = "hf://org/chat@" + "1" * 40, "hf://org/chat@" + "2" * 40


def hours(count: float) -> datetime:
    return NOW + timedelta(hours=count)


def entry(role: str, model: str, since: float | None, until: float | None = None, outcome="", shares=()) -> LedgerEntry:
    return LedgerEntry(
        canary="prod/chat",
        role=role,
        revision=f"v2:{model[-4:]}",
        since=None if since is None else hours(since),
        until=None if until is None else hours(until),
        outcome=outcome,
        models=(Reference(slot="server.model", kind="model", spelling=model, digest=f"{model} sha256:1"),),
        shares=tuple(Share(at=hours(at), percent=percent) for at, percent in shares),
    )


ENTRIES = (
    entry("primary", NEW, 6),
    entry("canary", NEW, 4, 6, "promoted", [(4.5, 10), (5, 50)]),
    entry("canary", NEW, 2, 3, "rejected"),
    entry("primary", OLD, 0, 6, "replaced"),
)


def seen(model: str, at: float, commit: str, name: str = "chat") -> Seen:
    revision = f"main@sha1:{commit * 40}"
    return Seen(key=CHAT._replace(name=name), slot="server.model", canonical=model, at=hours(at), revision=revision)


SEEN = (seen(OLD, 3, "d"), seen(NEW, 1.9, "b"), seen(NEW, 1.9, "c", "other"), seen(OLD, -1, "a"))


def at(moment: float, entries=ENTRIES) -> list[Answered]:
    return answered(entries, CHAT, SEEN, hours(moment))


@pytest.mark.parametrize(
    ("moment", "wanted"),
    [
        (0, [("primary", OLD, 100, "a")]),
        (2.5, [("canary", NEW, None, "b"), ("primary", OLD, None, "a")]),
        (3, [("primary", OLD, 100, "a")]),
        (4, [("canary", NEW, 0, "b"), ("primary", OLD, 100, "a")]),
        (4.5, [("canary", NEW, 10, "b"), ("primary", OLD, 90, "a")]),
        (5.9, [("canary", NEW, 50, "b"), ("primary", OLD, 50, "a")]),
        (6, [("primary", NEW, 100, "b")]),
        (-0.1, []),
    ],
)
def test_the_models_of_a_moment_with_share_and_commit(moment, wanted):
    found = [(one.role, one.models[0].spelling, one.share, one.models[0].commit) for one in at(moment)]
    assert found == [(role, model, share, f"main@sha1:{commit * 40}") for role, model, share, commit in wanted]


def test_what_is_not_known_is_not_made_up():
    before = entry("primary", OLD, None)
    (one,) = at(-1000, [before])
    assert (one.since, one.models[0].commit) == (None, None)
    assert begins([before]) is None
    assert begins(ENTRIES) == NOW
    assert at(1, [entry("canary", NEW, 0)]) == [], "the primary of that time has been forgotten"
    many = entry("canary", NEW, 0, shares=[(1 + number, number + 1) for number in range(SHARES)])
    assert [one.share for one in at(0.5, [many, before])] == [None, None], "earlier shares may have been forgotten"


def test_a_share_that_nobody_noted_is_not_known():
    entries = [entry("canary", NEW, 1, shares=[(1, None), (2, 30)]), entry("primary", OLD, 0)]
    assert [[one.share for one in at(moment, entries)] for moment in (1.5, 2)] == [[None, None], [30, 70]]
    (line, _) = list(answered_table(answered(entries, CHAT, (), None), None, Paint(False)))[3:]
    assert line.split()[:2] == ["canary", "-"]


def test_beside_a_primary_canaries_may_have_been_forgotten():
    rejected = [entry("canary", NEW, 10 + number, 10.5 + number, "rejected") for number in range(KEPT - 1)]
    entries = [*reversed(rejected), entry("primary", OLD, 0)]
    assert [[one.share for one in at(moment, entries)] for moment in (5, 10.7)] == [[None], [100]]
    assert [one.share for one in at(5, entries[1:])] == [100]


def test_for_people_with_each_reference_in_a_line():
    lines = list(answered_table(at(4.5), hours(4.5), Paint(False)))
    assert lines[:2] == ["prod/chat at 2026-11-29T14:30:00Z", ""]
    first = ["canary", "10%", "model", NEW, "main@bbbbbbbbbb", "2026-11-29T14:00:00Z", "2026-11-29T16:00:00Z"]
    assert lines[3].split() == [*first, "promoted"]
    assert lines[4].split()[:2] == ["primary", "90%"]
    every = list(answered_table(answered(ENTRIES, CHAT, (), None), None, Paint(False)))
    assert every[0] == "prod/chat"
    assert [line.split()[0] for line in every[3:]] == ["primary", "canary", "canary", "primary"]
    assert "≤ 50%" in every[4]
    assert every[3].split()[-2:] == ["now", "-"]


def chosen(text: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    command.add(parser.add_subparsers())
    return parser.parse_args(["rollout", "ledger", "chat", f"--at={text}"])


def test_a_time_is_a_moment_or_so_long_ago():
    assert chosen("2026-01-02T15:04:05+01:00").at == datetime(2026, 1, 2, 14, 4, 5, tzinfo=UTC)
    ago = datetime.now(UTC) - chosen("1h30m").at
    assert timedelta(hours=1.4) < ago < timedelta(hours=1.6)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("yesterday", "is no time: write it as 2026-01-02T15:04:05Z, or as 2h or 90m for so long ago"),
        ("2026-01-02T15:04:05", "is no time"),
        ("9999999999999h", "is no time"),
        ("-2h", "is in the future"),
        ("2999-01-01T00:00:00Z", "is in the future"),
        ("", "is no time"),
    ],
)
def test_what_is_no_time_is_wrong_usage(text, why, capsys):
    with pytest.raises(SystemExit) as ended:
        chosen(text)
    assert ended.value.code == 2
    assert f"argument --at: {text!r} {why}" in capsys.readouterr().err
