"""History outlives the process, as long as the disk does, and never keeps the agent from anything."""

from __future__ import annotations

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

from msgspec.structs import replace

from agent.adapters.journal import Journal
from agent.controllers.changelog import ChangeEntry, ChangeLog
from agent.core.models import ChangeRecord, Digest, Identity
from agent.core.objects import ObjectKey
from tests.unit.models.manifests import A, B, compare, only, vllm


def entry(record: ChangeRecord, revision: str = "main@sha1:2") -> ChangeEntry:
    return ChangeEntry(
        at=datetime.now(UTC), kustomization="team/app", source="", revision=revision, text="", record=record
    )


RECORD = only(compare([vllm("org/m", "--revision", A)], [vllm("org/m", "--revision", B)]))


async def test_changes_and_directions_are_known_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "changes" / "history.jsonl"
    before = ChangeLog(journal=Journal(path, limit=10))
    await before.keep(before.add([entry(RECORD)]))
    after = ChangeLog(journal=Journal(path, limit=10))
    assert after.entries() == before.entries()
    assert after.add([entry(RECORD)]) == ()  # told already
    target = RECORD.object
    key = ObjectKey(target.group, target.kind, target.namespace, target.name)
    assert after.earlier(key, RECORD.slot, RECORD.old) == "main@sha1:1111"
    assert path.stat().st_mode & 0o077 == 0


async def test_what_floated_is_known_after_a_restart(tmp_path: Path) -> None:
    record = only(compare([vllm("org/n")], [vllm("org/m")]))
    assert record.new is not None
    known = replace(record.new, identity=Identity(), digest=Digest("sha256", "a" * 64, "files", "sha256"))
    log = ChangeLog(journal=Journal(tmp_path / "history.jsonl", limit=10))
    await log.keep(log.add([entry(replace(record, new=known))]))
    again = ChangeLog(journal=Journal(tmp_path / "history.jsonl", limit=10))
    assert again.known("team/app") == {"hf://org/m@main": known}
    assert again.known("team/other") == {}


async def test_what_a_pin_was_found_to_be_is_known_after_a_restart_until_it_is_lost(tmp_path: Path) -> None:
    assert RECORD.new is not None
    identity = Identity(resolved_at="2026-11-30T08:00:00Z")
    found = replace(RECORD.new, identity=identity, digest=Digest("sha256", "a" * 64, "loaded", "sha256"))
    lost = replace(found, identity=replace(identity, unresolved="not-found"))
    log = ChangeLog(journal=Journal(tmp_path / "history.jsonl", limit=10))
    for new, known in (
        (RECORD.new, {}),
        (found, {found.canonical: found}),
        (lost, {}),
        (found, {found.canonical: found}),
    ):
        record = replace(RECORD, op="pin-lost" if new is lost else "changed", new=new)
        await log.keep(log.add([entry(record, str(len(log.entries())))]))
        assert ChangeLog(journal=Journal(tmp_path / "history.jsonl", limit=10)).known("team/app") == known


async def test_what_nobody_was_told_of_is_known_after_a_restart_on_this_disk_and_without_it(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    log = ChangeLog(journal=Journal(path, limit=10))
    entries = log.add([entry(RECORD, "a"), entry(RECORD, "b")])
    await log.keep(entries)
    await log.told(entries[:1])
    elsewhere = ChangeLog()
    elsewhere.restore(log.lines())
    here = ChangeLog(journal=Journal(path, limit=10))
    for after in (here, elsewhere):
        assert [found.revision for found in after.left()] == ["b"]
        assert after.left() == ()
    lines = log.lines()  # as the cluster has them, from before the last one was told
    await log.told(entries[1:])
    told = ChangeLog(journal=Journal(path, limit=10))
    told.restore(lines)
    assert told.left() == ()


async def test_what_objects_have_not_heard_is_known_after_a_restart_on_this_disk_and_without_it(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    log = ChangeLog(journal=Journal(path, limit=10))
    entries = log.add([entry(RECORD, "a"), entry(RECORD, "b"), entry(RECORD, "c")])
    await log.keep(entries, entries[:2])
    await log.told(entries, entries[:1])
    elsewhere = ChangeLog()
    elsewhere.restore(log.lines())
    here = ChangeLog(journal=Journal(path, limit=10))
    for after in (here, elsewhere):
        assert after.left() == ()
        assert [found.revision for found in after.left_for_objects()] == ["b"]
        assert after.left_for_objects() == ()
    log.news.clear()
    await log.told((), entries[1:2])
    assert log.news.is_set(), "the cluster believes that it is still to be done"
    heard = ChangeLog(journal=Journal(path, limit=10))
    heard.restore(elsewhere.lines())
    assert heard.left_for_objects() == ()


async def test_however_many_were_told_none_is_told_again(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    log = ChangeLog(limit=3, journal=Journal(path, limit=100))
    entries = [entry(RECORD, f"{number}") for number in range(5)]
    await log.keep(log.add(entries))
    await log.told(list(reversed(entries)))
    assert ChangeLog(limit=3, journal=Journal(path, limit=100)).left() == ()


async def test_a_line_that_was_cut_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    log = ChangeLog(journal=Journal(path, limit=10))
    await log.keep(log.add([entry(RECORD, "a"), entry(RECORD, "b")]))
    path.write_bytes(b'{"other": 1}\n\xff\n' + path.read_bytes()[:-40])
    assert [found.revision for found in ChangeLog(journal=Journal(path, limit=10)).entries()] == ["a"]


def test_the_file_stays_bounded(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "lines", limit=3)
    for number in range(20):
        journal.append([b"%d" % number])
    assert len((tmp_path / "lines").read_bytes().split()) <= 6
    assert Journal(tmp_path / "lines", limit=3).read() == [b"17", b"18", b"19"]


def test_threads_that_append_while_the_file_is_written_anew_lose_nothing(tmp_path: Path) -> None:
    threads, each, limit = 8, 10, 100
    together = threading.Barrier(threads)

    def append(journal: Journal, thread: int) -> None:
        together.wait()
        for number in range(each):
            journal.append([b"%d-%d" % (thread, number)])

    with ThreadPoolExecutor(threads) as pool:
        for attempt in range(20):
            journal = Journal(tmp_path / f"lines-{attempt}", limit=limit)
            journal.append([b"before"] * (2 * limit - threads))
            list(pool.map(append, [journal] * threads, range(threads)))
            kept = Counter(journal.read())
            kept.pop(b"before")
            assert kept == Counter(b"%d-%d" % (one, number) for one in range(threads) for number in range(each))


def test_a_disk_that_fails_is_in_nobodys_way(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    journal = Journal(tmp_path / "file" / "lines", limit=3)
    journal.append([b"x"])
    assert journal.read() == []
