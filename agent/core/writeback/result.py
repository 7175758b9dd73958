"""How a write-back ended: kept on the Canary, so that it is done once and everybody can see what became of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

from agent.core.rollout.noted import Moment, noted

STATUS = "weir.dev/write-back-status"
"""Annotation on a Canary: a `Written` as JSON. Whoever removes it has the write-back tried again."""

State = Literal["committed", "proposed", "dropped", "refused", "declined", "failed"]
_LONGEST = 600
"""Characters of what a server says, in a text that has to fit into an event."""
_SETTLED = frozenset({"committed", "dropped"})
_DECIDED = frozenset({"merged", "closed"})


class Written(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`revision` is the rejected template. `text` is for people; `commit`, `branch` and `url` say what was written, and
    `proposal` whether the pull request is open, merged or closed.

    committed: pushed. proposed: a pull request is there. dropped: Git no longer asks for the reference. refused: a
    person has to do something. declined: so said a hook of the server, about a push to `branch`. failed: it will be
    tried again.
    """

    revision: str
    state: State
    text: str
    commit: str = ""
    branch: str = ""
    url: str = ""
    proposal: str = ""
    at: Moment | None = None

    @property
    def settled(self) -> bool:
        """Whether nothing more is done for this revision, whatever happens elsewhere."""
        return self.state in _SETTLED or (self.state == "proposed" and self.proposal in _DECIDED)

    def says(self, other: Written | None) -> bool:
        """Whether this is what is known already, but for the time."""
        return other is not None and msgspec.structs.replace(self, at=None) == msgspec.structs.replace(other, at=None)


def decode_written(annotations: Mapping[str, str]) -> Written | None:
    """What an annotation tells; None without one, and for one that cannot be read."""
    return noted(annotations, STATUS, Written)


def proposed(revision: str, what: str, branch: str, url: str, proposal: str) -> Written:
    """There is a pull request, in the state `proposal`; `what` it does."""
    text = f"{what}: pull request {url} is {proposal}"
    if proposal == "closed":
        text += "; it stays so, and Git still asks for what was rejected"
    return Written(revision=revision, state="proposed", text=text, branch=branch, url=url, proposal=proposal)


def declined(revision: str, branch: str, mode: str, said: str) -> Written:
    """A hook of the server has declined a push to `branch`; `said` is all that it told."""
    instead = "use pull-request, or have" if mode == "commit" else "have"
    told = said if len(said) <= _LONGEST else f"{said[:_LONGEST]}…"
    text = (
        f"the server's rules decline a push to {branch}: {told}; {instead} them let this account push there, and "
        f"remove the annotation {STATUS} to try again"
    )
    return Written(revision=revision, state="declined", text=text, branch=branch)
