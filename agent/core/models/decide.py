"""What to do about a change: one table, no state.

The defaults follow from one rule: content that can change answers goes through a canary, data starts a job, text that
means the same does not disturb anything. Policy may override the result; it never needs to repeat it.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from typing import Final

from agent.core.models.extract.slot import Trait
from agent.core.models.record import REVERT_TO, Action, Kind, Operation, Reason
from agent.core.models.ref import Ref

Decision = tuple[Action, Reason]

_BY_OPERATION: Final[dict[str, tuple[Action, str, str]]] = {
    "metadata-only": ("none", "metadata-only", "the files that are served did not change"),
    "floated": ("alert", "floated", "the reference means other content now although Git did not change"),
    "stale-serving": ("alert", "stale-serving", "what runs is not what Git resolves to"),
    "pin-lost": ("alert", "pin-lost", "the pinned content can no longer be fetched"),
    "parse-error": ("alert", "parse-error", "cannot be read"),
    "moved": ("apply", "moved", "same content in another place"),
}
_OTHER_CONTENT: Final = frozenset({"added", "changed", "floated"})
_CONTENT: Final[dict[str, tuple[Action, str, str]]] = {
    "model": ("rollout", "content", "other model content"),
    "adapter": ("rollout", "content", "other adapter content"),
    "tokenizer": ("rollout", "output", "the tokenizer changes answers with the same weights"),
    "chat-template": ("rollout", "output", "the chat template changes answers with the same weights"),
    "quantization": ("rollout", "output", "the number format changes answers with the same weights"),
    "code-image": ("rollout", "code", "other server code"),
    "runtime": ("rollout", "runtime", "reaches every service that uses it: one service first"),
    "data": ("job", "data", "other data: retrain or re-evaluate, do not roll out"),
    "pipeline": ("job", "pipeline", "the pipeline changed: its outputs are stale"),
    "feature-store": ("job", "feature-store", "features changed: re-evaluate"),
    "traffic": ("apply", "traffic", "shares of traffic"),
    "credential": ("apply", "credential", "same reference with other credentials"),
    "provenance": ("gate", "provenance", "evidence changed: evaluate the gates again"),
}


def decide(
    kind: Kind,
    op: Operation,
    old: Ref | None,
    new: Ref | None,
    *,
    traits: AbstractSet[Trait] = frozenset(),
    direction: str = "unknown",
    standing: bool = False,
    asked: Action | None = None,
    canaried: bool = False,
) -> Decision:
    """The default action for a change and its reason.

    *standing*: the object exists on both sides, so a reference that came or went changes what it serves. *asked*: what
    a person wants when the content is another one. *canaried*: a Canary of the object decides when pods are replaced.
    """
    chosen = _whatever_the_content(op, traits, asked)
    if chosen is not None:
        return chosen
    if op == "respelled":
        if "pod-template" in traits and not canaried:
            return "apply", Reason("cosmetic-restart", "same content, but the edited pod template restarts pods")
        return "apply", Reason("respelled", "same content, written differently")
    if "immutable" in traits and (op == "changed" or standing):
        return "recreate", Reason("immutable", "the API refuses this edit: a new object is needed")
    if "other-base" in traits and op != "removed":
        return "gate", Reason(
            "adapter-base", "the adapter is declared to be of another model than the one that is served"
        )
    if op in {"added", "removed"}:
        return _appeared(kind, op, traits, standing)
    return _changed(kind, old, new, traits, direction)


def _whatever_the_content(op: Operation, traits: AbstractSet[Trait], asked: Action | None) -> Decision | None:
    if asked is not None and op in _OTHER_CONTENT and "ignored" not in traits:
        return asked, Reason("on-data-change", "an annotation says what follows other data")
    if op in _BY_OPERATION:
        return _row(_BY_OPERATION[op])
    if "ignored" in traits:
        return "none", Reason("ignored", "an annotation asks to ignore this change")
    if "rollout-owned" in traits:
        return "none", Reason("rollout-owned", "the shares of traffic belong to the rollout that targets the object")
    return None


def _appeared(kind: Kind, op: Operation, traits: AbstractSet[Trait], standing: bool) -> Decision:
    if kind == "provenance":
        return _row(_CONTENT[kind])
    if kind == "adapter" and "hot-reload" in traits:
        return "hot-reload", Reason(op, f"adapter {op}: the server can {'load' if op == 'added' else 'unload'} it")
    if kind in {"data", "pipeline", "feature-store"} and op == "added":
        return "job", Reason(kind, "new data: evaluate before it is used")
    if standing and traits & {"pod-template", "output"} and kind not in {"credential", "data"}:
        action, reason = _setting(traits) if kind in {"scale", "config"} else _row(_CONTENT[kind])
        return action, Reason(reason.code, f"{op}: {reason.message}")
    return "apply", Reason(op, f"reference {op}")


def _changed(kind: Kind, old: Ref | None, new: Ref | None, traits: AbstractSet[Trait], direction: str) -> Decision:
    if "declared-digest" in traits:
        return "gate", Reason("data-digest", "hold serving until the job for this data has passed")
    if kind in {"model", "adapter"} and old and new and old.pinned is True and new.pinned is False:
        return "gate", Reason("unpinned", "a pinned reference now floats: its content is not known")
    if direction.startswith(REVERT_TO):
        action: Action = "job" if kind in {"data", "pipeline", "feature-store"} else "rollout"
        return action, Reason("revert", f"back to what {direction.removeprefix(REVERT_TO)} had")
    if kind == "adapter" and "hot-reload" in traits:
        return "hot-reload", Reason("content", "other adapter content: the server can load it while it runs")
    if kind == "model" and "hot-reload" in traits:
        return "hot-reload", Reason("content", "one model of a multi-model server: load it, do not restart the others")
    if kind in {"scale", "config"}:
        return _setting(traits)
    action, reason = _row(_CONTENT[kind])
    if new is not None and new.unresolved and kind in {"model", "adapter"}:
        return action, Reason("unresolved", f"{reason.message} as far as the text tells ({new.unresolved})")
    return action, reason


def _setting(traits: AbstractSet[Trait]) -> Decision:
    if "accelerator" in traits:
        return "rollout", Reason("accelerator", "another accelerator or sharding: numerics and capacity change")
    if "output" in traits:
        return "rollout", Reason("output", "the setting changes answers with the same weights")
    if "api-name" in traits:
        return "rollout", Reason("api-contract", "clients that use the old name will not find the model")
    return "apply", Reason("setting", "not known to change answers")


def _row(row: tuple[Action, str, str]) -> Decision:
    return row[0], Reason(row[1], row[2])
