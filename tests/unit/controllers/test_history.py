"""The history in the cluster: what it costs, what it survives, and that nothing depends on it."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from msgspec.structs import replace

from agent.adapters.journal import Journal
from agent.adapters.kube.errors import Forbidden
from agent.controllers.changelog import ChangeEntry, ChangeLog
from agent.controllers.history import History
from agent.core.packing import packed, unpacked
from tests.unit.models.manifests import A, B, compare, only, vllm

RECORD = only(compare([vllm("org/m", "--revision", A)], [vllm("org/m", "--revision", B)]))
START = datetime(2026, 11, 29, 12, tzinfo=UTC)


def entry(number: int) -> ChangeEntry:
    return ChangeEntry(
        at=START + timedelta(minutes=number),
        kustomization="team/app",
        source="",
        revision=f"main@sha1:{number}",
        text="",
        record=RECORD,
    )


class Blob:
    """A ConfigMap that may refuse."""

    name = "weir-changes"

    def __init__(self) -> None:
        self.data = b""
        self.writes = 0
        self.written = asyncio.Event()
        self.refuses = False

    async def read(self) -> bytes:
        """What is there."""
        if self.refuses:
            raise Forbidden("no right to get configmaps", status=403)
        return self.data

    async def write(self, data: bytes) -> None:
        """Replace it."""
        if self.refuses:
            raise Forbidden("no right to patch configmaps", status=403)
        self.data = data
        self.writes += 1
        self.written.set()


async def keep(log: ChangeLog, *numbers: int) -> None:
    await log.keep(log.add([entry(number) for number in numbers]))


def revisions(log: ChangeLog) -> list[str]:
    return [one.revision.rpartition(":")[2] for one in log.entries()]


async def test_many_changes_are_one_write_and_the_next_pod_knows_them() -> None:
    blob, log = Blob(), ChangeLog()
    service = asyncio.create_task(History(log, blob, limit=10_000, settle=0.05, pause=30.0).run())
    await log.restored.wait()
    for number in range(50):
        await keep(log, number)
    async with asyncio.timeout(60):
        await blob.written.wait()
    assert blob.writes == 1
    await keep(log, 50)  # within the pause: it is written at the end
    service.cancel()
    with pytest.raises(asyncio.CancelledError):
        await service
    assert blob.writes == 2

    later = ChangeLog()
    await keep(later, 51, 3)  # before what was kept is read: as on the disk of this node
    service = asyncio.create_task(History(later, blob, limit=10_000, settle=0.05, pause=30.0).run())
    await later.restored.wait()
    assert revisions(later) == [str(number) for number in range(51, -1, -1)]
    service.cancel()


async def test_what_was_written_before_it_was_told_is_written_again() -> None:
    blob, log = Blob(), ChangeLog()
    service = asyncio.create_task(History(log, blob, limit=10_000, settle=0.0, pause=0.0).run())
    await log.restored.wait()
    entries = log.add([entry(1)])
    await log.keep(entries)
    async with asyncio.timeout(60):
        await blob.written.wait()
    blob.written.clear()
    await log.told(entries)
    async with asyncio.timeout(60):
        await blob.written.wait()
    await log.told(entries)  # which says nothing that is not written
    assert not log.news.is_set()
    service.cancel()
    on_another_node = ChangeLog()
    on_another_node.restore(unpacked(blob.data, 1_000_000))
    assert on_another_node.left() == ()


async def test_what_was_told_after_the_last_write_is_written_by_the_next_agent(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    log = ChangeLog(journal=Journal(path, limit=10))
    entries = log.add([entry(1), entry(2)])
    await log.keep(entries)
    lines = log.lines()
    await log.told(entries[:1])  # and it is killed before that is written
    on_this_disk, without_it = ChangeLog(journal=Journal(path, limit=10)), ChangeLog()
    for after, left in ((on_this_disk, entries[1:]), (without_it, entries)):
        after.restore(lines)
        assert after.left() == left
        assert after.news.is_set() is (after is on_this_disk)
        after.news.clear()
        await after.told(left)
        assert after.news.is_set()


async def test_without_the_right_to_keep_it_nothing_waits() -> None:
    blob, log = Blob(), ChangeLog()
    blob.refuses = True
    service = asyncio.create_task(History(log, blob, limit=10_000, settle=0.0, pause=0.0).run())
    async with asyncio.timeout(60):
        await log.restored.wait()
    await keep(log, 1)
    service.cancel()
    with pytest.raises(asyncio.CancelledError):
        await service
    assert revisions(log) == ["1"]


@pytest.mark.parametrize("data", [b"", b"nonsense", packed([b"{}", b"\xff"], 1000), packed([b"x" * 99], 1000)[:-3]])
async def test_what_somebody_has_broken_is_left_out(data: bytes) -> None:
    log = ChangeLog()
    await keep(log, 1)
    log.restore(unpacked(data, 1_000_000))
    assert revisions(log) == ["1"]


def test_what_is_packed_is_bounded_and_the_newest_stay() -> None:
    lines = [b"%d %s" % (number, number.to_bytes(40, "big").hex().encode()) for number in range(2000)]
    data = packed(lines, 10_000)
    assert len(data) <= 10_000
    found = unpacked(data, 10_000_000)
    assert found == lines[-len(found) :]
    assert len(found) > 300
    assert unpacked(packed([b"a" * 1_000_000], 10_000), 1000) == []  # unpacks to more than anybody wants
    assert unpacked(packed([], 100), 100) == []


async def test_where_there_is_no_room_for_all_it_is_still_known_what_was_not_told() -> None:
    log = ChangeLog()
    entries = log.add([entry(number) for number in range(200)])
    await log.keep(entries)
    await log.told(entries[:-1])
    log.complete(entries[:1], ())
    after = ChangeLog()
    after.restore(unpacked(packed(log.lines(), len(packed(log.lines(), 1_000_000)) - 1), 1_000_000))
    assert len(after.entries()) < len(log.entries())
    assert after.left() == entries[-1:]


async def test_nobody_has_to_hear_of_what_others_stand_for() -> None:
    log = ChangeLog()
    (text,) = log.add([entry(1)])
    await log.keep([text], [text])
    more = replace(text, record=replace(RECORD, id="of another content"))
    known = log.complete([text], [more])
    await log.keep(known)
    await log.told(known)
    assert not any(b'"untold":[[' in line or b'"unheard":[[' in line for line in log.lines())


async def test_what_another_agent_has_told_meanwhile_is_not_told_again_by_the_one_that_left_it(tmp_path: Path) -> None:
    def journal() -> Journal:
        return Journal(tmp_path / "history.jsonl", limit=10)

    killed, other = ChangeLog(journal=journal()), ChangeLog()
    entries = killed.add([entry(1), entry(2)])
    await killed.keep(entries, entries)
    other.restore(killed.lines())
    assert other.left() == other.left_for_objects() == entries
    await other.told(entries[:1], entries[1:])
    leads_again = ChangeLog(journal=journal())
    leads_again.restore(other.lines())
    assert leads_again.left() == entries[1:]
    assert leads_again.left_for_objects() == entries[:1]
    await leads_again.told(entries[1:], entries[:1])
    assert b"untold" not in leads_again.lines()[-1]


async def test_what_registries_are_asked_about_is_owed_from_the_first_write_on() -> None:
    log, later = ChangeLog(), ChangeLog()
    entries = log.add([entry(1)])
    log.ask(entries, entries)
    later.restore(log.lines())
    assert later.left() == later.left_for_objects() == entries
