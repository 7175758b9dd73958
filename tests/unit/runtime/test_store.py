"""The store: atomic listings, indexes that never disagree with the content, and what subscribers hear."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from agent.runtime.store import Store
from agent.runtime.watch import Apply, Delete, Event, Init, InitApply, InitDone, Item, ObjectKey


@dataclass(frozen=True)
class App:
    name: str
    source: str
    version: int


def app(name: str, source: str, version: int) -> Item[App]:
    return Item(ObjectKey("ns", name), str(version), App(name, source, version))


def filled(*items: Item[App]) -> Store[App]:
    store: Store[App] = Store()
    store.add_index("source", lambda value: (value.source,))
    for event in (Init(), *(InitApply(entry) for entry in items), InitDone()):
        store.feed(event)
    return store


def test_get_list_and_index() -> None:
    store = filled(app("a", "git", 1), app("b", "git", 2), app("c", "oci", 3))
    assert store.synced.is_set()
    assert len(store) == 3
    assert store.get("ns", "b") == App("b", "git", 2)
    assert store.get("other", "b") is None
    assert [value.name for value in store.by_index("source", "git")] == ["a", "b"]
    assert store.by_index("source", "helm") == []
    assert store.list("other") == []
    assert sorted(value.name for value in store.list("ns")) == ["a", "b", "c"]


def test_an_index_may_be_added_later() -> None:
    store = filled(app("a", "git", 1))
    store.add_index("version", lambda value: (value.version,))
    assert [value.name for value in store.by_index("version", 1)] == ["a"]


def test_a_new_listing_is_invisible_until_it_is_complete() -> None:
    store = filled(app("a", "git", 1), app("b", "git", 2))
    heard: list[tuple[App | None, App | None]] = []
    store.subscribe(lambda old, new: heard.append((old, new)))
    store.feed(Init())
    store.feed(InitApply(app("b", "oci", 7)))
    store.feed(InitApply(app("c", "oci", 8)))
    assert sorted(value.name for value in store.list()) == ["a", "b"]
    assert heard == []
    store.feed(InitDone())
    assert sorted(value.name for value in store.list()) == ["b", "c"]
    assert heard == [
        (App("a", "git", 1), None),
        (App("b", "git", 2), App("b", "oci", 7)),
        (None, App("c", "oci", 8)),
    ]


def test_a_listing_that_was_broken_off_leaves_nothing_behind() -> None:
    store = filled(app("a", "git", 1))
    for event in (Init(), InitApply(app("x", "git", 2)), Init(), InitApply(app("a", "git", 1)), InitDone()):
        store.feed(event)
    assert [value.name for value in store.list()] == ["a"]


def test_unchanged_objects_are_not_announced_by_a_listing() -> None:
    store = filled(app("a", "git", 1))
    heard: list[object] = []
    store.subscribe(lambda old, new: heard.append((old, new)))
    for event in (Init(), InitApply(app("a", "git", 1)), InitDone()):
        store.feed(event)
    assert heard == []


def test_subscribers_hear_old_and_new_until_they_leave() -> None:
    store = filled()
    heard: list[tuple[App | None, App | None]] = []
    leave = store.subscribe(lambda old, new: heard.append((old, new)))
    store.feed(Apply(app("a", "git", 1)))
    store.feed(Apply(app("a", "git", 2)))
    store.feed(Delete(ObjectKey("ns", "a")))
    store.feed(Delete(ObjectKey("ns", "a")))
    leave()
    store.feed(Apply(app("a", "git", 3)))
    one, two = App("a", "git", 1), App("a", "git", 2)
    assert heard == [(None, one), (one, two), (two, None)]


def test_a_subscriber_sees_the_store_as_it_is_after_the_listing() -> None:
    store = filled(app("a", "git", 1))
    seen: list[list[str]] = []
    store.subscribe(lambda _old, _new: seen.append(sorted(value.name for value in store.list())))
    for event in (Init(), InitApply(app("b", "git", 2)), InitApply(app("c", "git", 3)), InitDone()):
        store.feed(event)
    assert seen == [["b", "c"]] * 3


ITEMS = st.builds(app, st.sampled_from("abc"), st.sampled_from(["git", "oci"]), st.integers(1, 50))
EVENTS: st.SearchStrategy[Event[App]] = st.one_of(
    st.just(Init()),
    st.builds(InitApply, ITEMS),
    st.just(InitDone()),
    st.builds(Apply, ITEMS),
    st.builds(Delete, st.builds(ObjectKey, st.just("ns"), st.sampled_from("abc"))),
)


@given(st.lists(EVENTS, max_size=40))
def test_indexes_and_announcements_agree_with_the_content(events: list[Event[App]]) -> None:
    store = filled()
    mirror: dict[str, App] = {}

    def hear(old: App | None, new: App | None) -> None:
        assert old is not None or new is not None
        if old is not None:
            assert mirror.pop(old.name) == old
        if new is not None:
            mirror[new.name] = new

    store.subscribe(hear)
    for event in events:
        store.feed(event)
    contents = {value.name: value for value in store.list()}
    # A listing does not announce objects of an unchanged resource version, whatever else is in them.
    assert {name: value.version for name, value in mirror.items()} == {n: v.version for n, v in contents.items()}
    for source in ("git", "oci"):
        expected = sorted(name for name, value in contents.items() if value.source == source)
        assert [value.name for value in store.by_index("source", source)] == expected
