"""The change log does not grow for ever."""

from datetime import UTC, datetime
from itertools import pairwise

from msgspec.structs import replace

from agent.controllers.changelog import ChangeEntry, ChangeLog
from agent.core.models import Commit, RenderedSet, changes
from agent.core.models.ref import Size
from agent.core.objects import ObjectKey


def _entries(name: str, old: str = "1", new: str = "2") -> list[ChangeEntry]:
    def deployment(revision: str) -> dict[str, object]:
        container = {"name": "server", "image": "vllm/vllm-openai", "args": ["--model", "a/b", "--revision", revision]}
        return {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": name, "namespace": "models"},
            "spec": {"template": {"spec": {"containers": [container]}}},
        }

    records = changes(
        RenderedSet([deployment(old * 40)]), RenderedSet([deployment(new * 40)]), (), Commit(old="old", new="new")
    )
    return [
        ChangeEntry(
            at=datetime.now(UTC),
            kustomization="models/app",
            source="",
            revision="new",
            text=record.describe(),
            record=record,
        )
        for record in records
    ]


def test_only_the_last_slots_remember_what_they_served() -> None:
    log = ChangeLog(limit=3, slots=2)
    for name in ("one", "two", "three", "four"):
        assert log.add(_entries(name))
    record = _entries("four")[0].record

    def earlier(name: str) -> str | None:
        return log.earlier(ObjectKey("apps", "Deployment", "models", name), record.slot, record.old)

    assert [earlier(name) for name in ("one", "two", "three", "four")] == [None, None, "old", "old"]
    assert len(log.entries()) == 3


def test_a_slot_remembers_only_the_last_of_what_it_served() -> None:
    log = ChangeLog(limit=3)
    served = []
    for old, new in pairwise("123456"):
        (entry,) = _entries("one", old, new)
        assert log.add([entry])
        served.append(entry.record)
    key = ObjectKey("apps", "Deployment", "models", "one")
    assert [log.earlier(key, one.slot, one.old) for one in served] == [None, None, "old", "old", "old"]


def test_only_the_last_change_of_a_slot_has_a_size() -> None:
    log = ChangeLog()
    for revision, (old, new) in enumerate(((1, 2), (2, 3), (3, 2))):
        (entry,) = _entries("one", str(old), str(new))
        assert entry.record.new is not None
        sized = replace(entry.record.new, size=Size(bytes=new))
        record = replace(entry.record, new=sized, action="rollout")
        log.add([replace(entry, record=record, revision=str(revision))])
    assert [change.bytes for change in log.for_target("Deployment", "models", "one")] == [2, 0, 0]
