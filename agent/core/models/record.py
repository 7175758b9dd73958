"""Change records: what a commit did to one reference of one object."""

from __future__ import annotations

import hashlib
from typing import Literal

import msgspec

from agent.api.changepolicy import KindName, OperationName
from agent.core.models.ref import Ref, is_absent

Kind = KindName
Operation = OperationName
Cause = Literal["commit", "float", "tag-event", "policy-bump", "secret", "runtime-indirect", "drift"]
Action = Literal["none", "apply", "rollout", "hot-reload", "recreate", "job", "gate", "alert"]

FORWARD = "forward"
UNKNOWN = "unknown"
REVERT_TO = "revert-to:"
FOLDER = "folder"
"""The code of a reason that tells which files of a folder differ."""
SHOWN = 240
"""Longest reference in a line of text, in characters."""


class ObjectId(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """The object that holds the reference. Files of the repository have kind ``File`` and their path as name."""

    group: str
    version: str
    kind: str
    namespace: str
    name: str
    uid: str | None = None


class Location(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, rename="camel"):
    """Where the reference stands: a JSONPath in the object, and file, line and origin when known."""

    json_path: str
    file: str | None = None
    line: int | None = None
    origin: str | None = None


class Commit(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, rename="camel"):
    """The two revisions that were compared; *old* is None for the first one seen."""

    old: str | None
    new: str | None
    author: str | None = None
    signed_by: str | None = None


class Impact(msgspec.Struct, frozen=True):
    """Who is affected, by name: ``namespace/name`` for Kustomizations, ``Kind/namespace/name`` for the rest."""

    kustomizations: tuple[str, ...] = ()
    canaries: tuple[str, ...] = ()
    objects: tuple[str, ...] = ()
    jobs: tuple[str, ...] = ()


class Reason(msgspec.Struct, frozen=True, gc=False):
    """Why the action was chosen: a code for programs, a line for people."""

    code: str
    message: str


class ChangeRecord(msgspec.Struct, frozen=True):
    """One change of one reference. Two runs over the same commits give the same records with the same ids."""

    id: str
    kind: Kind
    op: Operation
    object: ObjectId
    slot: str
    location: Location
    old: Ref | None
    new: Ref | None
    cause: Cause
    commit: Commit
    direction: str
    impact: Impact
    action: Action
    reason: Reason

    def describe(self) -> str:
        """One line for logs and events: what changed, where, from what to what."""
        if self.reason.code == FOLDER:
            return f"{self._described()} ({self.reason.message})"
        absent = self.op != "pin-lost" and is_absent(self.new)
        return f"{self._described()}; its content is not where it should be" if absent else self._described()

    def _described(self) -> str:
        where = f"{self.kind} {self.slot} of {self.object.kind} {self.object.name}"
        if self.op == "parse-error":
            return f"{self.object.kind} {self.object.name}: {self.reason.message}"
        if self.op == "respelled":
            return f"{where}: {spelling(self.old)} is now written {spelling(self.new)}"
        if self.op == "stale-serving":
            return f"{where}: pods run {meaning(self.old)}, Git asks for {meaning(self.new)}"
        if self.op == "moved":
            return f"{where}: {meaning(self.new)} ({self.reason.message})"
        if self.op == "added" or self.old is None:
            return f"{where}: added {meaning(self.new)}"
        if self.op == "removed" or self.new is None:
            return f"{where}: removed {meaning(self.old)}"
        if self.op == "floated":
            return f"{where}: {_floated(self.old, self.new)}"
        note = "" if self.op == "changed" else f" ({self.op})"
        return f"{where}: {meaning(self.old)} -> {meaning(self.new)}{note}"


def record_id(object_key: str, slot: str, old: Ref | None, new: Ref | None) -> str:
    """SHA-256, hex, over the object, the slot and both sides' canonical forms and digests."""
    parts = (object_key, slot, *(_identity(ref, digest) for digest in (False, True) for ref in (old, new)))
    # Lengths keep the parts apart: no text can run over into its neighbour.
    text = "".join(f"{len(part)}:{part}," for part in parts)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _identity(ref: Ref | None, digest: bool) -> str:
    if ref is None:
        return ""
    return str(ref.digest or "") if digest else ref.canonical


def spelling(ref: Ref | None) -> str:
    """A reference as it is written, of bearable length."""
    return _short(ref.spelling) if ref else "nothing"


def _short(text: str) -> str:
    """*text*, or its two ends: a line must fit into an event."""
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 80]}…{text[-79:]}"


def _floated(old: Ref, new: Ref) -> str:
    why = "floated" if new.pinned is False else "floated: files behind a pin were overwritten"
    if new.digest is not None:
        return f"{meaning(old)} -> {meaning(new)} ({why})"
    return f"{meaning(new)}: {_told(old)} -> {_told(new)} ({why})"


def _told(ref: Ref) -> str:
    """What is known of content without a digest."""
    version, size = ref.identity.version if ref.identity else None, ref.size
    parts = [f"version {version}"] if version else []
    parts += [f"{size.bytes or 0} bytes in {size.files or 0} files"] if size else []
    return ", ".join(parts) or "what is not known"


def meaning(ref: Ref | None) -> str:
    """What a reference means, of bearable length: its canonical form, and the start of the digest if it has one."""
    if ref is None:
        return "nothing"
    if ref.scheme in {"literal", "secret"}:
        return _short(ref.spelling)
    if ref.scheme == "configmap" and ref.digest is not None:
        return _short(ref.canonical.replace(ref.digest.value, ref.digest.value[:12]))
    if ref.digest is not None and ref.digest.value not in ref.canonical:
        return f"{_short(ref.canonical)} ({ref.digest.alg}:{ref.digest.value[:12]})"
    return _short(ref.canonical)
