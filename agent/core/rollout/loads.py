"""How long a model may take to load: from its size and from how fast models have come so far.

A fixed deadline is either too short for the largest model or too long for a small one that is lost. Where the Canary
sets none, the usual one is for starting, and the time for so many bytes comes on top of it. The pace is measured from
the start of a run to the canary being ready: less than what the network does, with the start and the warm-up in it.
"""

from __future__ import annotations

import math
from datetime import datetime
from typing import Final

import msgspec

from agent.core.rollout.actions import Decision, WriteStatus
from agent.core.rollout.snapshot import Snapshot
from agent.core.rollout.status import Load, Phase

_ASSUMED: Final = 50 * 2**20
"""Bytes a second as long as nothing was measured: a slow disk or a far registry."""
_MARGIN: Final = 2.0
"""How much longer than the last one a load may take."""


def deadline(asked: int | None, usual: int, load: Load | None) -> int:
    """Seconds for a canary to become ready: what the Canary asks for, else what its model needs."""
    if asked is not None:
        return asked
    if load is None or not load.bytes:
        return usual
    seconds = load.bytes / load.rate * _MARGIN if load.rate else load.bytes / _ASSUMED
    return usual + math.ceil(seconds)


def begun(load: Load | None, size: int) -> Load | None:
    """A run of a revision whose model has `size` bytes, 0 where that is not known."""
    rate = load.rate if load is not None else 0
    return Load(bytes=size, rate=rate, loading=bool(size)) if size or rate else None


def loaded(snapshot: Snapshot) -> Decision | None:
    """The canary has become ready: note how fast that was, once."""
    status, target = snapshot.status, snapshot.target
    load, since = status.load, status.last_transition_time
    if load is None or not load.loading or since is None or status.phase is not Phase.PROGRESSING:
        return None
    if target is None or not target.ready.ready:
        return None
    noted = msgspec.structs.replace(load, rate=_pace(load.bytes, since, snapshot.now), loading=False)
    return Decision(actions=(WriteStatus(msgspec.structs.replace(status, load=noted)),), again=True, rule="loaded")


def _pace(size: int, since: datetime, now: datetime) -> int:
    return max(int(size / max((now - since).total_seconds(), 1.0)), 1)
