"""Registries of models that are kept in Git tags alone: GTO, which DVC's model registry uses.

`name@v1.2.3` registers a version, `name#prod#2` assigns a stage to the commit that it is on, `!` before the counter
takes back, `name@deprecated` retires all of it. What is in a subfolder is `folder:name`, and `folder=name` in a tag.
As GTO does, only annotated tags are read, a stage may have several versions at once (the one that got it last counts),
and what is taken back leaves the one before. Grammar and meaning: https://dvc.org/doc/gto/user-guide, and what gto
1.10 does with tags.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Final, Literal, NamedTuple

import msgspec

from agent.core.semver import Version, parse_version

Action = Literal["register", "deregister", "assign", "unassign", "deprecate"]

KEPT: Final = 20
"""The highest versions of an artifact, and as many stages, that are followed."""
ARTIFACTS: Final = 200
"""Artifacts of one repository that are followed, the first by name: all of it is remembered over a restart."""
_NAME: Final = r"[A-Za-z0-9](?:[A-Za-z0-9/_-]*[A-Za-z0-9])?"
_NUMBER: Final = r"(?:0|[1-9][0-9]*)"
_BEFORE: Final = rf"(?:{_NUMBER}|[0-9]*[A-Za-z-][0-9A-Za-z-]*)"
_VERSION: Final = (
    rf"v{_NUMBER}\.{_NUMBER}\.{_NUMBER}(?:-{_BEFORE}(?:\.{_BEFORE})*)?(?:\+[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?"
)
_TAGS: Final = "refs/tags/"
_PEELED: Final = "^{}"
_TAG: Final = re.compile(
    rf"(?P<artifact>(?:[A-Za-z0-9_./-]+=)?{_NAME})"
    rf"(?:(?:\#(?P<stage>{_NAME})|@(?P<version>{_VERSION}))(?P<back>!?)|@(?P<deprecated>deprecated))"
    r"(?:\#(?P<counter>[0-9]{1,18}))?"
)
_LONGEST: Final = 512
"""Longest tag that is looked at, in characters."""


class Tag(NamedTuple):
    """An annotated tag: its name, its own id, the commit that it leads to, and when it was made where that is known."""

    name: str
    oid: str
    commit: str
    time: int | None = None


class Event(NamedTuple):
    """What a tag does. `counter` tells the order of those that have one."""

    artifact: str
    action: Action
    subject: str
    counter: int | None
    tag: Tag


class Held(msgspec.Struct, frozen=True, array_like=True):
    """A version, or what a stage has: the commit, the tag that says so, and the version ("" if none is registered)."""

    commit: str
    tag: str
    version: str


class Artifact(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is registered of an artifact: its highest versions, highest first, and its stages, both by name."""

    versions: dict[str, Held] = {}
    stages: dict[str, Held] = {}

    @property
    def latest(self) -> Held | None:
        """The highest version."""
        return next(iter(self.versions.values()), None)


Registry = Mapping[str, Artifact]
"""Artifacts by name; those that have neither versions nor stages are not in it."""


def parse_tag(name: str) -> tuple[str, Action, str, int | None] | None:
    """(artifact, action, version or stage, counter) of a tag by its name; None if it is none of GTO's."""
    if len(name) > _LONGEST or ("@" not in name and "#" not in name):
        return None
    found = _TAG.fullmatch(name)
    if found is None:
        return None
    artifact = found["artifact"].replace("=", ":")
    counter = int(found["counter"]) if found["counter"] else None
    if found["deprecated"]:
        return artifact, "deprecate", "", counter
    if found["version"]:
        if parse_version(found["version"]) is None:
            return None  # longer than any version that somebody means
        return artifact, "deregister" if found["back"] else "register", found["version"], counter
    if found["stage"].isdigit():
        return None  # the number of an issue or a build: stages have names
    return artifact, "unassign" if found["back"] else "assign", found["stage"], counter


def candidates(refs: Mapping[str, str]) -> dict[str, str]:
    """Of the listing of a remote what may be GTO's tags: a quick look, for most tags of most repositories are none."""
    return {name: oid for name, oid in refs.items() if ("@" in name or "#" in name) and name.startswith(_TAGS)}


def without_others(refs: Mapping[str, str]) -> dict[str, str]:
    """The listing of a remote without the tags that are none of GTO's by their names."""
    return {
        name: oid
        for name, oid in refs.items()
        if not name.startswith(_TAGS) or parse_tag(name.removeprefix(_TAGS).removesuffix(_PEELED)) is not None
    }


def listed_tags(refs: Mapping[str, str]) -> tuple[Tag, ...]:
    """GTO's tags in the listing of a remote, by name. What leads to no `^{}` is no annotated tag."""
    return tuple(
        Tag(name, oid, commit)
        for full, oid in sorted(candidates(refs).items())
        if (commit := refs.get(full + _PEELED)) is not None and parse_tag(name := full.removeprefix(_TAGS)) is not None
    )


def undecided(tags: Iterable[Tag]) -> frozenset[str]:
    """Ids of the tags whose time has to be known: without it nobody can tell which of them counts."""
    found: set[str] = set()
    for events in _by_artifact(tags).values():
        for group in _groups(events):
            if not _is_counted(group):
                found.update(event.tag.oid for event in group)
    return frozenset(found)


def registry(tags: Iterable[Tag]) -> Registry:
    """What the tags say is registered and assigned. Tags of no known time count as older than all others."""
    found = ((name, _artifact(events)) for name, events in sorted(_by_artifact(tags).items()))
    return dict(itertools.islice((one for one in found if one[1] != Artifact()), ARTIFACTS))


def _by_artifact(tags: Iterable[Tag]) -> Mapping[str, list[Event]]:
    found: dict[str, list[Event]] = {}
    for tag in tags:
        parsed = parse_tag(tag.name)
        if parsed is not None:
            found.setdefault(parsed[0], []).append(Event(*parsed, tag))
    return found


def _groups(events: Sequence[Event]) -> Iterator[Sequence[Event]]:
    """Events whose order matters to each other: about a version, about a stage, and all of what is deprecated."""
    for action, back in (("register", "deregister"), ("assign", "unassign")):
        yield from _about(events, {action, back}).values()
    if any(event.action == "deprecate" for event in events):
        yield events


def _about(events: Iterable[Event], actions: Collection[str]) -> Mapping[str, list[Event]]:
    found: dict[str, list[Event]] = {}
    for event in events:
        if event.action in actions:
            found.setdefault(event.subject, []).append(event)
    return found


def _is_counted(events: Sequence[Event]) -> bool:
    """Whether counters tell the order: GTO gives each tag of an artifact a higher one."""
    counters = {event.counter for event in events}
    return len(events) < 2 or (None not in counters and len(counters) == len(events))


def _ordered(events: Sequence[Event]) -> list[Event]:
    if _is_counted(events):
        return sorted(events, key=lambda event: event.counter or 0)
    return sorted(events, key=lambda event: (event.tag.time or 0, event.counter or 0, _is_back(event), event.tag.name))


def _is_back(event: Event) -> bool:
    return event.action in {"deregister", "unassign", "deprecate"}


def _artifact(events: Sequence[Event]) -> Artifact:
    if _ordered(events)[-1].action == "deprecate":
        return Artifact()
    last = _registrations(events)
    versions = {version: event for (version, _), event in last.items() if event.action == "register"}
    ranked = sorted(versions, key=_rank, reverse=True)
    named: dict[str, str] = {}
    for version, commit in sorted(last, key=lambda place: _rank(place[0]), reverse=True):
        if last[version, commit].action == "register":
            named.setdefault(commit, version)
    gone = {commit for _, commit in last} - named.keys()
    stages = {
        stage: held
        for stage, about in sorted(_about(events, {"assign", "unassign"}).items())
        if (held := _staged(about, named, gone)) is not None
    }
    kept = {
        version: Held(versions[version].tag.commit, versions[version].tag.name, version) for version in ranked[:KEPT]
    }
    return Artifact(kept, dict(itertools.islice(stages.items(), KEPT)))


def _registrations(events: Sequence[Event]) -> Mapping[tuple[str, str], Event]:
    """The last word about each version and commit: of a version at two commits, one may be taken back. In order."""
    last: dict[tuple[str, str], Event] = {}
    for version, about in _about(events, {"register", "deregister"}).items():
        for event in _ordered(about):
            last.pop((version, event.tag.commit), None)
            last[version, event.tag.commit] = event
    return last


def _staged(events: Sequence[Event], named: Mapping[str, str], gone: Collection[str]) -> Held | None:
    """What got the stage last and still has it. A version that is not registered any more has none."""
    having: dict[str, Event] = {}
    for event in _ordered(events):
        having.pop(event.tag.commit, None)
        if event.action == "assign":
            having[event.tag.commit] = event
    for commit, event in reversed(having.items()):
        if commit not in gone:
            return Held(commit, event.tag.name, named.get(commit, ""))
    return None


def _rank(version: str) -> tuple[object, ...]:
    found = parse_version(version)
    assert isinstance(found, Version)
    return *found.precedence, version
