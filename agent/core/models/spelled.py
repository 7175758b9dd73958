"""The input of a scheme parser: one spelling, split at its prefix."""

from __future__ import annotations

import enum
from typing import NamedTuple


class Grammar(enum.StrEnum):
    """Whose rules a spelling follows."""

    GENERIC = "generic"
    KSERVE = "kserve"
    DYNAMO = "dynamo"
    OME = "ome"
    SELDON = "seldon"
    KUBEAI = "kubeai"
    AIBRIX = "aibrix"
    HUB = "hub id"
    IMAGE = "image"
    OLLAMA = "ollama"
    LLAMA_CPP = "llama.cpp"
    MODELSCOPE = "modelscope"
    NGC = "ngc"
    WANDB = "wandb"


class Spelled(NamedTuple):
    """*text* is the whole spelling, *body* what follows *scheme* and its separator; *revision* comes from a flag."""

    text: str
    scheme: str
    body: str
    grammar: Grammar
    revision: str | None
