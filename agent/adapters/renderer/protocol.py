"""What the agent and the renderer process say to each other, as headers of frames.

The agent sends a request; the renderer asks for paths of the tree, and for plain text, until it sends a result or an
error.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from agent.api.kustomization import Image, Patch
from agent.core.tree import Kind

Format = Literal["yaml", "json", "dotenv", "ini", "binary"]
"""A format of encrypted text, by SOPS' name for it."""
ExpressionMode = Literal["health", "ready"]
"""health: over the top-level fields of an object, types unchecked. ready: over self and dep, of type bool."""


class Substitution(msgspec.Struct, frozen=True, kw_only=True):
    """Variables for the post-build substitution; their values may be secrets and are never shown."""

    vars: dict[str, str]
    always: bool = False
    """Evaluates expressions even where no variable is given (substituteStrategy Always)."""
    strict: bool = True
    """A variable that is neither given nor has a default is an error."""

    def __repr__(self) -> str:
        """Names only."""
        return f"Substitution(vars={sorted(self.vars)}, always={self.always}, strict={self.strict})"


class BuildRequest(msgspec.Struct, frozen=True, kw_only=True, tag="build", tag_field="type", rename="camel"):
    """What a Flux Kustomization says about its build. `path` is the folder in the tree, "" for the root."""

    path: str = ""
    target_namespace: str | None = None
    name_prefix: str | None = None
    name_suffix: str | None = None
    patches: tuple[Patch, ...] = ()
    components: tuple[str, ...] = ()
    ignore_missing_components: bool = False
    images: tuple[Image, ...] = ()
    build_metadata: tuple[str, ...] = ()
    common_labels: dict[str, str] = {}
    common_annotations: dict[str, str] = {}
    substitution: Substitution | None = None
    decrypt: bool = False
    """Asks for the plain text of what is encrypted, instead of leaving it as it is. Set by the pool."""


class YamlRequest(msgspec.Struct, frozen=True, tag="yaml", tag_field="type"):
    """Asks for the documents of the YAML text in the body."""


class CompileRequest(msgspec.Struct, frozen=True, tag="compile", tag_field="type"):
    """Asks what is wrong with CEL expressions."""

    mode: ExpressionMode
    expressions: tuple[str, ...]


class EvaluateRequest(msgspec.Struct, frozen=True, tag="evaluate", tag_field="type"):
    """Asks for the values of CEL expressions over the variables in the body, which is a JSON object."""

    mode: ExpressionMode
    expressions: tuple[str, ...]


class StatQuestion(msgspec.Struct, frozen=True, tag="stat", tag_field="type"):
    """What is at each path?"""

    paths: tuple[str, ...]


class ReadQuestion(msgspec.Struct, frozen=True, tag="read", tag_field="type"):
    """What is in the file (the only path)?"""

    paths: tuple[str, ...]


class ListQuestion(msgspec.Struct, frozen=True, tag="list", tag_field="type"):
    """What is in the folder (the only path)?"""

    paths: tuple[str, ...]


class DecryptQuestion(msgspec.Struct, frozen=True, tag="decrypt", tag_field="type"):
    """What is the plain text, in the format `output`, of the encrypted text in the body, which is in `input`?"""

    input: Format
    output: Format


class Result(msgspec.Struct, frozen=True, tag="result", tag_field="type"):
    """The request worked: the body holds documents of these sizes in bytes."""

    sizes: tuple[int, ...] = ()
    warnings: tuple[str, ...] = ()
    exposed: tuple[str, ...] = ()
    """Decrypted values in other objects than Secrets."""

    def __repr__(self) -> str:
        """Without the values."""
        return f"Result({len(self.sizes)} documents)"


class Failure(msgspec.Struct, frozen=True, tag="error", tag_field="type"):
    """The request failed."""

    kind: str
    message: str


class Answer(msgspec.Struct, frozen=True, omit_defaults=True):
    """The reply to a question."""

    kinds: tuple[Kind | None, ...] = ()
    entries: tuple[tuple[str, Kind], ...] = ()
    refused: str = ""


Observation = StatQuestion | ReadQuestion | ListQuestion
Question = Observation | DecryptQuestion
Message = Question | Result | Failure

MESSAGES: msgspec.json.Decoder[Message] = msgspec.json.Decoder(Message)
"""Reads the header of what the renderer sends."""
