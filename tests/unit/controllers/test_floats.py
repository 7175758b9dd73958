"""What is looked at again, how often, and what is told of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from agent.api.changepolicy import ChangePolicy
from agent.api.kustomization import Kustomization
from agent.controllers.floats import Floats, Followed
from agent.core.models import Digest, Identity, Ref, RenderedSet, parse
from agent.core.models.floating import Floated, floated, has_floated
from agent.core.models.ref import Size
from tests.unit.models.manifests import A, vllm

KUSTOMIZATION = Kustomization.from_object(
    {
        "metadata": {"namespace": "team", "name": "app"},
        "spec": {"interval": "10m", "prune": True, "sourceRef": {"kind": "GitRepository", "name": "repo"}},
    }
)
POLICY = ChangePolicy.from_object(
    {
        "metadata": {"namespace": "team", "name": "p"},
        "spec": {"resolution": {"interval": "1m", "registries": [{"scheme": "hf"}]}},
    }
)


TARGET: Any = None


async def _nothing(_followed: Followed, _rendered: RenderedSet) -> None:
    """After a look."""


class Hub:
    """Answers as a hub does whose content is changed by the test, and a clock."""

    def __init__(self) -> None:
        self.now = 0.0
        self.content: dict[str, str] = {}
        self.rounds: list[tuple[list[str], bool]] = []
        self.told: list[str] = []
        self.texts: list[str] = []

    async def resolved(
        self, refs: Iterable[Ref], _policies: Any, *, again_after: float | None = None
    ) -> dict[str, Ref]:
        """What is known."""
        wanted = {ref.canonical: ref for ref in refs if ref.scheme in {"hf-model", "mlflow-version", "mlflow-run"}}
        self.rounds.append((sorted(wanted), again_after is not None))
        return {canonical: self._answer(ref) for canonical, ref in wanted.items()}

    def _answer(self, ref: Ref) -> Ref:
        value = self.content.get(ref.canonical)
        if value is None:
            return replace(ref, identity=Identity(unresolved="not-found"))
        if value.isdigit():
            return replace(ref, identity=Identity(version="7"), size=Size(bytes=int(value), files=1))
        return replace(ref, identity=Identity(), digest=Digest("sha256", value, "files", "sha256"))

    async def tell(self, followed: Followed, moved: Sequence[Floated], rendered: RenderedSet) -> None:
        """Note the operations, and what is said of them."""
        records = floated(moved, rendered, "team/app", followed.revision)
        self.told += [record.op for record in records]
        self.texts += [record.describe().partition(": ")[2] for record in records]

    async def look(self, floats: Floats, at: float) -> None:
        """Let one round happen at that time."""
        self.now = at
        await floats.look()


def follow(hub: Hub, *arguments: str, remembered: Mapping[str, Ref] | None = None) -> Floats:
    resolution: Any = hub
    known = dict(remembered or {})
    floats = Floats(resolution, hub.tell, remembered=lambda _name: known, looked=_nothing, clock=lambda: hub.now)
    floats.follow(KUSTOMIZATION, "main@sha1:1", (msgspec.json.encode(vllm(*arguments)),), [POLICY], target=TARGET)
    return floats


async def test_a_branch_that_moves_there_and_back_is_told_each_time() -> None:
    hub = Hub()
    floats = follow(hub, "org/m")
    for at, value in enumerate("aabba"):
        hub.content["hf://org/m@main"] = value
        await hub.look(floats, at * 60.0)
    assert hub.told == ["floated", "floated"]


async def test_pins_are_looked_at_now_and_then_and_their_loss_is_told_once() -> None:
    hub, pin = Hub(), f"hf://org/m@{A}"
    floats = follow(hub, "org/m", "--revision", A)
    hub.content[pin] = "a"
    await hub.look(floats, 0.0)
    del hub.content[pin]
    await hub.look(floats, 60.0)
    assert hub.told == []
    for at in (3600.0, 7200.0, 10800.0):
        await hub.look(floats, at)
    assert hub.told == ["pin-lost"]
    assert [again for names, again in hub.rounds if pin in names] == [True] * 4


@pytest.mark.parametrize("pin", ["models:/chat/7", "runs:/0123456789abcdef/model"])
@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ("a" * 64, "b" * 64, f"PIN (sha256:{'a' * 12}) -> PIN (sha256:{'b' * 12})"),
        ("5300", "5400", "PIN: version 7, 5300 bytes in 1 files -> version 7, 5400 bytes in 1 files"),
    ],
)
async def test_files_that_are_overwritten_behind_a_pin_are_told_once(
    pin: str, before: str, after: str, told: str
) -> None:
    hub = Hub()
    floats = follow(hub, pin)
    hub.content[pin] = before
    await hub.look(floats, 0.0)
    hub.content[pin] = after
    await hub.look(floats, 60.0)
    assert hub.told == [], "pins are looked at seldom"
    for at in (3600.0, 7200.0):
        await hub.look(floats, at)
    assert hub.told == ["floated"]
    assert hub.texts == [f"{told.replace('PIN', pin)} (floated: files behind a pin were overwritten)"]
    assert [again for names, again in hub.rounds if pin in names] == [True] * 3


async def test_files_that_were_overwritten_while_no_agent_ran_are_told() -> None:
    hub, pin = Hub(), "models:/chat/7"
    hub.content[pin] = "a"
    known = await hub.resolved([parse(pin)], [])
    floats = follow(hub, pin, remembered=known)
    hub.content[pin] = "b"
    await hub.look(floats, 0.0)
    assert hub.told == ["floated"]


def test_an_alias_that_moves_is_told_where_no_digest_is_known_either() -> None:
    old = replace(parse("models:/chat@best"), identity=Identity(version="7"))
    new = replace(old, identity=Identity(version="8"))
    assert has_floated(old, new)
    assert not has_floated(old, old)
    assert not has_floated(replace(old, identity=Identity()), new)
    assert not has_floated(old, replace(new, identity=Identity(version="8", unresolved="timeout")))


async def test_content_that_was_never_found_is_not_lost() -> None:
    hub = Hub()
    floats = follow(hub, "org/m", "--revision", A)
    for at in (0.0, 3600.0):
        await hub.look(floats, at)
    assert hub.told == []


async def test_nothing_is_asked_before_it_is_due() -> None:
    hub = Hub()
    floats = follow(hub, "org/m")
    await hub.look(floats, 0.0)
    asked = len(hub.rounds)
    hub.now = 20.0
    assert await floats.look() == 40.0
    assert len(hub.rounds) == asked
    floats.forget(("team", "app"))
    hub.now = 100.0
    assert await floats.look() == 3600.0
    assert len(hub.rounds) == asked
