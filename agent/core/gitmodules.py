"""What `.gitmodules` says: which submodule is where, and where its repository is.

The format is that of Git's configuration. Only what submodules need is read; anything else in the file is skipped.
"""

from __future__ import annotations

import dataclasses
import re
from typing import Final
from urllib.parse import urlsplit, urlunsplit

from agent.core.tree import PathEscapeError, clean

_SECTION: Final = re.compile(r'\[\s*submodule\s+"((?:[^"\\]|\\.)*)"\s*\]', re.IGNORECASE)
_ANY_SECTION: Final = re.compile(r"\[[^\]]*\]")
_ENTRY: Final = re.compile(r"([A-Za-z][A-Za-z0-9-]*)\s*(?:=\s*(.*))?", re.DOTALL)
_SCP: Final = re.compile(r"(?:(?P<user>[^/@:]+)@)?(?P<host>[^/@:\[\]]+):(?P<path>(?!//).+)")
_ESCAPES: Final = {"n": "\n", "t": "\t", "b": "\b"}
_SCHEMES: Final = ("http", "https", "ssh")


class SubmoduleError(ValueError):
    """A submodule whose address or place cannot be used."""


@dataclasses.dataclass(frozen=True, slots=True)
class Submodule:
    """One section of the file. `path` is a clean path below the root."""

    name: str
    path: str
    url: str


def parse_gitmodules(text: str) -> tuple[Submodule, ...]:
    """The submodules by path; sections without a path or URL are left out. Raises SubmoduleError for a hostile path."""
    found: dict[str, Submodule] = {}
    for name, values in _sections(text):
        path, url = values.get("path", ""), values.get("url", "")
        if not path or not url:
            continue
        try:
            place = clean(path)
        except PathEscapeError as error:
            raise SubmoduleError(f"submodule '{name}': {error}") from None
        if not place or ".git" in place.split("/"):
            raise SubmoduleError(f"submodule '{name}': path '{path}' is not a folder of the repository")
        found[place] = Submodule(name, place, url)
    return tuple(found[path] for path in sorted(found))


def submodule_url(parent: str, url: str) -> str:
    """The full address of a submodule of the repository at `parent`, as Git and Flux's Git library find it.

    Raises SubmoduleError for what is neither relative nor of http, https or ssh: nothing is read from the machine.
    """
    if "\n" in url or "\r" in url or "\0" in url:
        raise SubmoduleError("its URL is not a single line")
    scheme, separator, _ = url.partition("://")
    if separator:
        if scheme not in _SCHEMES:
            raise SubmoduleError(f"its URL has the scheme '{scheme}': only {', '.join(_SCHEMES)} are allowed")
        return url
    if url.startswith(("/", "-")) or "::" in url:
        raise SubmoduleError(f"its URL '{url}' is neither relative nor one of {', '.join(_SCHEMES)}")
    short = _SCP.fullmatch(url)
    if short is not None and not url.startswith("."):
        user = f"{short['user']}@" if short["user"] else ""
        return f"ssh://{user}{short['host']}/{short['path'].lstrip('/')}"
    base = urlsplit(parent)
    parts = [part for part in base.path.split("/") if part]
    for part in url.split("/"):
        if part == "..":
            if not parts:
                raise SubmoduleError(f"its URL '{url}' leads above the root of the server")
            parts.pop()
        elif part not in ("", "."):
            parts.append(part)
    return urlunsplit((base.scheme, base.netloc, f"/{'/'.join(parts)}", "", ""))


def _sections(text: str) -> list[tuple[str, dict[str, str]]]:
    found: list[tuple[str, dict[str, str]]] = []
    current: dict[str, str] | None = None
    for line in _lines(text):
        head = _SECTION.match(line) or _ANY_SECTION.match(line)
        if head is not None:
            current = None
            if head.re is _SECTION:
                current = {}
                found.append((re.sub(r"\\(.)", r"\1", head[1]), current))
        entry = _ENTRY.fullmatch(line[head.end() :].strip() if head is not None else line)
        if entry is not None and current is not None:
            current[entry[1].lower()] = _value(entry[2] or "")
    return found


def _lines(text: str) -> list[str]:
    """Lines that say something; those that end in a backslash are joined with the next."""
    joined = re.sub(r"\\\r?\n", "", text)
    stripped = (line.strip() for line in joined.splitlines())
    return [line for line in stripped if line and not line.startswith(("#", ";"))]


def _value(raw: str) -> str:
    """A value without quotes, escapes and the comment behind it."""
    value: list[str] = []
    quoted, kept, characters = False, 0, iter(raw)
    for char in characters:
        if char == "\\":
            following = next(characters, "")
            value.append(_ESCAPES.get(following, following))
            kept = len(value)
        elif char == '"':
            quoted = not quoted
            kept = len(value)
        elif char in "#;" and not quoted:
            break
        else:
            value.append(char)
            if quoted or not char.isspace():
                kept = len(value)
    return "".join(value[:kept])
