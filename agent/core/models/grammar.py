"""From spelling to :class:`Ref`.

The same prefix means different things in different resources (KServe separates a Hugging Face revision with ``:``,
Dynamo and OME with ``@``; OME's ``oci://`` is an object store, everybody else's is a registry), so the caller names
the grammar of the resource that holds the text.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from typing import Final

from msgspec.structs import replace

from agent.core.models import hubs, images, storage
from agent.core.models.redact import bounded, redact
from agent.core.models.ref import MALFORMED, Ref, opaque, unresolved
from agent.core.models.spelled import Grammar, Spelled

__all__ = ["Grammar", "parse"]

_URI: Final = re.compile(r"^([A-Za-z][A-Za-z0-9_.-]*)(?:\+[A-Za-z0-9.-]+)?://(.*)$", re.DOTALL)
_SINGLE_SLASH: Final = re.compile(r"^(models|runs|mlflow-artifacts|dbfs|file):/+(.*)$", re.DOTALL)
_PATH: Final = re.compile(r"^(?:/|\./|\.\./|~/|\.$|\.\.$)")
_FILE: Final = re.compile(r"\.(?:gguf|bin|safetensors|onnx|pth?|mar|json|ya?ml|jinja2?|txt|config)$")

Parser = Callable[[Spelled], Ref]

SCHEMES: Final[Mapping[str, Parser]] = {**storage.SCHEMES, **hubs.SCHEMES, **images.SCHEMES}
"""Parser by the prefix in front of ``://`` (or ``:/`` for MLflow), lower case, transport suffix removed."""


def parse(spelling: str, grammar: Grammar = Grammar.GENERIC, *, revision: str | None = None) -> Ref:
    """The reference that *spelling* makes where *grammar* rules.

    *revision* is the value of the revision flag or field beside it: together they are one reference. Never raises:
    text that no rule understands becomes scheme ``unknown``, text that breaks its rule is marked ``malformed``.
    """
    text = redact(spelling.strip())
    wanted = revision.strip() if revision and revision.strip() else None
    ref = _dispatch(text, grammar, wanted)
    text = ref.spelling
    if wanted is None:
        return replace(ref, spelling=bounded(text), canonical=bounded(ref.canonical))
    canonical = ref.canonical if ref.scheme in _REVISED else f"{ref.canonical}@{wanted}"
    # A revision from a flag belongs to the spelling too: editing it is an edit of the reference.
    return replace(ref, spelling=bounded(f"{text}@{wanted}"), canonical=bounded(canonical))


def _dispatch(text: str, grammar: Grammar, revision: str | None) -> Ref:
    if text.startswith(_ENCRYPTED):
        digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
        return opaque("ENC[…]", "encrypted", f"encrypted:sha256:{digest}")
    if grammar is Grammar.IMAGE:
        return images.image(Spelled(text, "", _strip_image_scheme(text), grammar, revision))
    found = _SINGLE_SLASH.match(text) or _URI.match(text)
    if found:
        scheme = found.group(1).lower()
        parser = storage.delta if scheme in _TABLES_IN and _AS_OF.search(text) else SCHEMES.get(scheme)
        spelled = Spelled(text, scheme, found.group(2), grammar, revision)
        if parser is None:
            return unresolved(text, "unknown", text)
        return parser(spelled) if found.group(2).strip("/") else unresolved(text, scheme, text, MALFORMED)
    if not text:
        return unresolved(text, "unknown", "", MALFORMED)
    if _PATH.match(text) or (_FILE.search(text) and grammar not in _NEVER_FILES):
        return opaque(text, "file", f"file://{text.rstrip('/') or '/'}")
    if grammar is Grammar.GENERIC and "/" not in text:
        # A plain name means something only to the program that reads it.
        return unresolved(text, "unknown", text)
    bare = _BARE.get(grammar, hubs.bare)
    return bare(Spelled(text, "", text, grammar, revision))


def _no_address(spelled: Spelled) -> Ref:
    """Where addresses have a scheme, or are paths."""
    return unresolved(spelled.text, "unknown", spelled.text, MALFORMED)


def _strip_image_scheme(text: str) -> str:
    return re.sub(r"^(?:oci|docker)(?:\+[a-z0-9.-]+)?://", "", text)


_ENCRYPTED: Final = "ENC[AES256_GCM,"
"""How SOPS starts a value that was not decrypted."""
_AS_OF: Final = re.compile(r"[?&](?:version|timestamp)asof=", re.IGNORECASE)
_TABLES_IN: Final = frozenset({"s3", "s3a", "gs", "abfs", "abfss", "azure", "http", "https", "hdfs", "lakefs"})
"""Schemes of stores whose addresses are of a Delta table if they ask for a version or a time."""
_REVISED: Final = frozenset({"hf-model", "hf-dataset", "modelscope", "git", "oci", "ngc", "wandb", "model-registry"})
"""Schemes whose parsers make the revision of a flag part of the canonical form themselves."""
_NEVER_FILES: Final = frozenset({Grammar.OLLAMA, Grammar.MODELSCOPE, Grammar.NGC, Grammar.WANDB})
_BARE: Final[Mapping[Grammar, Parser]] = {
    Grammar.KSERVE: _no_address,
    Grammar.OLLAMA: hubs.ollama,
    Grammar.LLAMA_CPP: hubs.llama_cpp,
    Grammar.MODELSCOPE: hubs.modelscope,
    Grammar.NGC: hubs.ngc,
    Grammar.WANDB: hubs.wandb,
}
