"""What a commit changes about models and data, as values.

``changes`` compares two builds and the files around them; everything else here is the vocabulary of its answer. No
part of this package reads a file, a clock or a network.
"""

from __future__ import annotations

from agent.core.models.diff import Build, Resolve, changes, changes_across, changes_since
from agent.core.models.extract.files import FileChange, wants
from agent.core.models.extract.pointers import Blob
from agent.core.models.grammar import Grammar, parse
from agent.core.models.record import ChangeRecord, Commit, Impact, Location, ObjectId, Reason, record_id
from agent.core.models.recording import History, Origin
from agent.core.models.ref import Digest, Identity, Provenance, Ref, Size
from agent.core.models.rendered import RenderedSet
from agent.core.models.rules import ContainerRule, FileRule, ObjectRule, Rules

__all__ = [
    "Blob",
    "Build",
    "ChangeRecord",
    "Commit",
    "ContainerRule",
    "Digest",
    "FileChange",
    "FileRule",
    "Grammar",
    "History",
    "Identity",
    "Impact",
    "Location",
    "ObjectId",
    "ObjectRule",
    "Origin",
    "Provenance",
    "Reason",
    "Ref",
    "RenderedSet",
    "Resolve",
    "Rules",
    "Size",
    "changes",
    "changes_across",
    "changes_since",
    "parse",
    "record_id",
    "wants",
]
