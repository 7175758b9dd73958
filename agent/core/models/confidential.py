"""Names and commands that hold credentials, which nobody should have written into a manifest or a pipeline."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from agent.core.models.redact import HIDDEN

_WORDS: Final = (
    r"pass(?:word|wd|phrase)?|pwd|secret|token|credentials?|(?:api|access|private|secret|account|auth)[-_]?key"
)
_NAME: Final = re.compile(rf"(?:^|[^a-z])(?:{_WORDS})$", re.IGNORECASE)
_HUMP: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_VALUE: Final = r"(?:\"[^\"]*\"|'[^']*'|[^\s\"'\\,}]+)"
_GIVEN: Final = re.compile(rf"((?<![\w-])(?:--?[\w-]*?(?:{_WORDS})(?:=|\s+)|\w*?(?:{_WORDS})=)){_VALUE}", re.IGNORECASE)
_HEADER: Final = re.compile(rf"\b((?:bearer|basic)\s+){_VALUE}", re.IGNORECASE)
_USER: Final = re.compile(r"((?<!\S)(?:-u|--user)(?:=|\s*)[^\s:]+:)\S+")


def is_secret_name(name: str) -> bool:
    """Whether a parameter of this name is a password, a token or a key: `hf_token` is one, `max_tokens` is not."""
    return _NAME.search(_HUMP.sub("_", name)) is not None


def told(command: str) -> str:
    """A command as it may be shown: what it is given as a password, a token or a key is ``***``."""
    for pattern in (_GIVEN, _HEADER, _USER):
        command = pattern.sub(rf"\1{HIDDEN}", command)
    return command


def without_secrets(value: Any) -> Any:
    """Plain data of a pipeline as it may be shown: by the names of its fields, and in all texts."""
    if isinstance(value, str):
        return told(value)
    if isinstance(value, Mapping):
        hidden = {name for name, inner in value.items() if is_secret_name(str(name)) and not _is_nested(inner)}
        return {name: HIDDEN if name in hidden else without_secrets(inner) for name, inner in value.items()}
    return [without_secrets(inner) for inner in value] if isinstance(value, list) else value


def _is_nested(value: Any) -> bool:
    return isinstance(value, Mapping | list)
