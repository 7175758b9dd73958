"""Looks again and again at what floats: a tag or branch that moves is a change, although nobody committed one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import structlog

from agent.adapters.kube.target import Target
from agent.api.changepolicy import ChangePolicy
from agent.api.kustomization import Kustomization
from agent.controllers.resolution import Resolution, interval_of
from agent.core.models import Ref, RenderedSet, Rules
from agent.core.models.floating import Floated, has_floated, is_lost
from agent.core.models.references import Reference, references
from agent.core.policy.referencing import rules_of
from agent.runtime.rounds import Rounds

Key = tuple[str, str]
_IDLE = 3600.0
_PINS = 3600.0
"""Seconds between two looks at whether pinned content is still there, and the same. What another Kustomization was told
less than half as long ago is believed: content that many use costs one question."""


@dataclass(slots=True)
class Followed:
    """What is applied: the objects, the references in them, and what each meant when last asked."""

    kustomization: Kustomization
    revision: str
    rendered: tuple[bytes, ...]
    policies: Sequence[ChangePolicy]
    target: Target
    exposed: frozenset[str]
    due: float
    pins_due: float = 0.0
    references: tuple[Reference, ...] | None = None
    known: dict[str, Ref] = field(default_factory=dict)


Tell = Callable[[Followed, Sequence[Floated], RenderedSet], Awaitable[None]]
"""Who hears of what moved in the objects of a Kustomization."""
Looked = Callable[[Followed, RenderedSet], Awaitable[None]]
"""Who is called after each look."""


class Floats:
    """Follows Kustomizations under policies that name registries. `run` is the service that looks.

    `learned` is called when it is known of a Kustomization that references mean something, or something else, and that
    was told.

    `remembered` tells what the references of a Kustomization (`namespace/name`) meant before this process began. Who is
    `suspended` is left alone; what moves meanwhile is noticed afterwards.
    """

    def __init__(
        self,
        resolution: Resolution,
        tell: Tell,
        *,
        remembered: Callable[[str], dict[str, Ref]],
        learned: Callable[[Key], None] = lambda _key: None,
        looked: Looked,
        suspended: Callable[[Key], bool] = lambda _key: False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._resolution = resolution
        self._tell = tell
        self._remembered = remembered
        self._learned = learned
        self._looked = looked
        self._suspended = suspended
        self._clock = clock
        self._followed: dict[Key, Followed] = {}
        self._rounds = Rounds(self._followed, self._look, idle=_IDLE, clock=clock)

    def follow(
        self,
        kustomization: Kustomization,
        revision: str,
        rendered: tuple[bytes, ...],
        policies: Sequence[ChangePolicy],
        *,
        target: Target,
        exposed: frozenset[str] = frozenset(),
    ) -> None:
        """These objects are applied now, to this cluster. `exposed` is what must not be shown of them."""
        key = (kustomization.namespace, kustomization.name)
        if interval_of(policies) is None:
            self._followed.pop(key, None)
            return
        known = self._followed.get(key)
        if known is not None and known.rendered is rendered:
            if rules_of(known.policies) != rules_of(policies):
                known.references = None
            known.revision, known.policies, known.target = revision, policies, target
            return
        remembered = known.known if known is not None else self._remembered("/".join(key))
        self._followed[key] = Followed(
            kustomization, revision, rendered, policies, target, exposed, self._clock(), known=remembered
        )
        self._rounds.news()

    def hasten(self, key: Key) -> None:
        """Look at a Kustomization now."""
        followed = self._followed.get(key)
        if followed is not None:
            followed.due = self._clock()
            self._rounds.news()

    def forget(self, key: Key) -> None:
        """The Kustomization is gone."""
        self._followed.pop(key, None)

    def known(self, key: Key) -> dict[str, Ref]:
        """What the references of a Kustomization meant when they were last looked at, by canonical text."""
        followed = self._followed.get(key)
        return dict(followed.known) if followed is not None else {}

    async def run(self) -> None:
        """Looks at whatever is due, for ever."""
        await self._rounds.run()

    async def look(self) -> float:
        """Look once at whatever is due. Returns for how many seconds nothing is."""
        return await self._rounds.look()

    async def _look(self, key: Key, followed: Followed) -> None:
        followed.due = self._clock() + (interval_of(followed.policies) or _IDLE)
        if self._suspended(key):
            return
        try:
            rendered = await asyncio.to_thread(RenderedSet.from_json, followed.rendered)
            if followed.references is None:
                rules = rules_of(followed.policies)
                followed.references = await asyncio.to_thread(_askable, rendered, rules)
            found = await self._ask(followed, followed.references)
        except Exception:  # noqa: BLE001 - looking at one Kustomization must not end the looking at the others
            structlog.get_logger().exception("references cannot be looked at", kustomization="/".join(key))
            return
        if self._suspended(key):  # since it was asked
            return
        moved = [
            Floated(reference, before, after)
            for reference in followed.references
            if (after := found.get(reference.slot.ref.canonical)) is not None
            and (before := followed.known.get(reference.slot.ref.canonical)) is not None
            and (has_floated(before, after) or is_lost(before, after))
        ]
        current = {reference.slot.ref.canonical for reference in followed.references}
        kept = {canonical: ref for canonical, ref in followed.known.items() if canonical in current}
        lost = {one.new.canonical for one in moved if is_lost(one.old, one.new)}  # told once, until it is back
        known = kept | {canonical: ref for canonical, ref in found.items() if not ref.unresolved}
        earlier = followed.known
        followed.known = {canonical: ref for canonical, ref in known.items() if canonical not in lost}
        if self._followed.get(key) is not followed:
            return
        if moved:
            await self._tell(followed, moved, rendered)
        if followed.known != earlier:
            self._learned(key)
        await self._looked(followed, rendered)

    async def _ask(self, followed: Followed, listed: Sequence[Reference]) -> dict[str, Ref]:
        """What floats, and now and then what is pinned, by the text or by convention."""
        refs = [reference.slot.ref for reference in listed]
        found = await self._resolution.resolved([ref for ref in refs if ref.pinned is False], followed.policies)
        if self._clock() < followed.pins_due:
            return found
        followed.pins_due = self._clock() + _PINS
        pinned = [ref for ref in refs if ref.pinned is not False]
        return found | await self._resolution.resolved(pinned, followed.policies, again_after=_PINS / 2)


def _askable(rendered: RenderedSet, rules: Rules) -> tuple[Reference, ...]:
    return tuple(reference for reference in references(rendered, rules) if reference.slot.ref.pinned != "opaque")
