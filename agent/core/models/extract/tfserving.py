"""TensorFlow Serving's file of models (`--model_config_file`): a ModelServerConfig as protocol buffer text.

    model_config_list {
      config { name: "m", base_path: "s3://b/m", model_version_policy { specific { versions: 7 } },
               version_labels { key: "stable", value: 7 } }
    }

Fields are those of `model_server_config.proto` and `file_system_storage_path_source.proto`. The text is read without
its schema, which other fields and other messages in it do not disturb.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple, TypeAlias

from agent.core.models.extract.slot import MalformedError, Slot
from agent.core.models.grammar import parse
from agent.core.models.ref import literal

MARK: Final = "model_config_list"
"""What such a file begins with; a script that writes one has it further on."""
LONGEST: Final = 1024 * 1024
"""Bytes of a file that is read: what a ConfigMap can hold."""
_DEEPEST: Final = 24
_LATEST: Final = "latest:1"
"""The policy of a model without one."""

Value: TypeAlias = "str | Message"
Message: TypeAlias = "dict[str, list[Value]]"

_TOKEN: Final = re.compile(
    r"""(?P<skip>[\s,;]+|\#[^\n]*)|(?P<word>[A-Za-z0-9_.+-]+)|(?P<mark>[{}<>\[\]:/])"""
    r"""|(?P<text>"(?:[^"\\\n]|\\["'\\])*"|'(?:[^'\\\n]|\\["'\\])*')"""
)
_CLOSING: Final = {"{": "}", "<": ">"}


class Token(NamedTuple):
    """A part of the text; *kind* is `word`, `mark` or `text`."""

    kind: str
    value: str


def begins(written: str) -> bool:
    """Whether a text is such a file by what comes first in it, comments left out."""
    at = 0
    while (match := _TOKEN.match(written, at)) is not None and match.lastgroup == "skip":
        at = match.end()
    return match is not None and match.group() == MARK


def served_models(data: bytes, path: str) -> Iterator[Slot]:
    """TensorFlow Serving: models, versions and labels; in a ConfigMap, a key of any name whose text begins as one."""
    written = data.decode("utf-8", "replace")
    if MARK not in written:
        return
    if len(data) > LONGEST:
        raise MalformedError(path, f"is longer than {LONGEST // 1024} KiB")
    tokens = _tokens(written, path)
    root, end = _message(tokens, 0, path)
    if end != len(tokens):
        raise MalformedError(path, f"has a {tokens[end].value!r} that closes nothing")
    for models in _inner(root, MARK):
        for config in _inner(models, "config"):
            yield from _model(config, path)


def _model(config: Message, path: str) -> Iterator[Slot]:
    """One model; `specific` with one version fixes the folder, else the server picks among those that it finds."""
    name, base = _text(config, "name"), _text(config, "base_path").rstrip("/")
    if not name or not base:
        raise MalformedError(path, f"has a config of model {name!r} without a name or without a base_path")
    policy = next(iter(_inner(config, "model_version_policy")), {})
    versions = [version for one in _inner(policy, "specific") for version in _plain(one, "versions")]
    slot = f"model[{name}]"
    yield Slot(slot, "model", parse(f"{base}/{versions[0]}" if len(versions) == 1 else base), path)
    chosen = ",".join(versions) if versions else _choice(policy)
    if len(versions) != 1 and chosen != _LATEST:
        yield Slot(f"{slot}.versions", "config", literal(chosen), path, frozenset({"output"}))
    for label in _inner(config, "version_labels"):
        key, version = _text(label, "key"), _text(label, "value")
        yield Slot(f"{slot}.label[{key}]", "model", parse(f"{base}/{version}"), path)


def _choice(policy: Message) -> str:
    if "all" in policy:
        return "all"
    latest = next(iter(_inner(policy, "latest")), {})
    return f"latest:{_text(latest, 'num_versions') or 1}"


def _tokens(written: str, path: str) -> list[Token]:
    found, at = [], 0
    while at < len(written):
        match = _TOKEN.match(written, at)
        if match is None:
            line = written.count("\n", 0, at) + 1
            raise MalformedError(path, f"is no protocol buffer text at line {line}")
        kind = str(match.lastgroup)
        if kind != "skip":
            found.append(Token(kind, match.group()))
        at = match.end()
    return found


def _message(tokens: Sequence[Token], at: int, path: str, depth: int = 0) -> tuple[Message, int]:
    """The fields from *at* to the mark that closes them, and where that is."""
    if depth > _DEEPEST:
        raise MalformedError(path, f"nests deeper than {_DEEPEST} messages")
    found: Message = {}
    while at < len(tokens) and tokens[at].value not in _CLOSING.values():
        name, at = _name(tokens, at, path)
        values, at = _values(tokens, at, path, depth)
        found.setdefault(name, []).extend(values)
    return found, at


def _name(tokens: Sequence[Token], at: int, path: str) -> tuple[str, int]:
    """A field's name, or the name of a type in brackets; and what follows it and its colon."""
    start = tokens[at]
    if start == Token("mark", "["):
        at = _find(tokens, at, "]", path)
    elif start.kind != "word":
        raise MalformedError(path, f"has {start.value[:40]!r} where the name of a field should be")
    at += 1
    return start.value, at + 1 if at < len(tokens) and tokens[at] == Token("mark", ":") else at


def _values(tokens: Sequence[Token], at: int, path: str, depth: int) -> tuple[list[Value], int]:
    """The value at *at*, or those of the list there, and what follows."""
    if at >= len(tokens) or tokens[at] != Token("mark", "["):
        value, at = _value(tokens, at, path, depth)
        return [value], at
    found: list[Value] = []
    at += 1
    while at < len(tokens) and tokens[at] != Token("mark", "]"):
        value, at = _value(tokens, at, path, depth)
        found.append(value)
    if at >= len(tokens):
        raise MalformedError(path, "ends within a list")
    return found, at + 1


def _value(tokens: Sequence[Token], at: int, path: str, depth: int) -> tuple[Value, int]:
    if at >= len(tokens):
        raise MalformedError(path, "ends where a value should be")
    token = tokens[at]
    if token.kind == "text":
        return _joined(tokens, at)
    if token.kind == "word":
        return token.value, at + 1
    if token.value not in _CLOSING:
        raise MalformedError(path, f"has {token.value!r} where a value should be")
    found, at = _message(tokens, at + 1, path, depth + 1)
    if at >= len(tokens) or tokens[at].value != _CLOSING[token.value]:
        raise MalformedError(path, f"has a {token.value!r} that is not closed")
    return found, at + 1


def _joined(tokens: Sequence[Token], at: int) -> tuple[str, int]:
    """Texts that follow each other are one."""
    parts = []
    while at < len(tokens) and tokens[at].kind == "text":
        parts.append(re.sub(r"\\(.)", r"\1", tokens[at].value[1:-1]))
        at += 1
    return "".join(parts), at


def _find(tokens: Sequence[Token], at: int, mark: str, path: str) -> int:
    while at < len(tokens):
        if tokens[at] == Token("mark", mark):
            return at
        at += 1
    raise MalformedError(path, f"has no {mark!r} after a '['")


def _inner(message: Message, field: str) -> list[Message]:
    return [value for value in message.get(field, ()) if isinstance(value, dict)]


def _plain(message: Message, field: str) -> list[str]:
    return [value for value in message.get(field, ()) if isinstance(value, str)]


def _text(message: Message, field: str) -> str:
    """The last one counts, as protocol buffers have it."""
    return next(reversed(_plain(message, field)), "")
