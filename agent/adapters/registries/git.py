"""Git over https, where a server clones a repository: the commit of a branch or tag, as `git ls-remote` learns it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from agent.adapters.registries.access import Access, RegistryError
from agent.adapters.registries.fetcher import Fetcher
from agent.core.models.ref import Digest
from agent.core.registries.outcome import Found

_REFERENCE: Final = re.compile(r"^(https?://[^@]+?\.git)(?:@(.+))?$")
_LINES: Final = 200_000
"""More than an answer has room for, unless they are empty."""
_COMMIT: Final = re.compile(r"^(?:[0-9a-f]{40}|[0-9a-f]{64})$")
_SERVICE: Final = "git-upload-pack"


async def resolve(fetcher: Fetcher, access: Access, canonical: str) -> Found:
    """The commit that a name means now, of HEAD without one. Raises RegistryError."""
    found = _REFERENCE.match(canonical)
    if found is None:
        raise RegistryError("unsupported", "the reference names no Git repository on a web server")
    where, name = found.groups()
    answer = await fetcher.get(
        f"{where}/info/refs?service={_SERVICE}",
        endpoint=access.endpoint,
        headers=access.authorization(),
        scope=access.scope,
    )
    answer.expected("the Git server", "repository")
    if answer.headers.get("content-type") != f"application/x-{_SERVICE}-advertisement":
        raise RegistryError("unreadable", "the server does not answer as a Git server does")
    return _meant(dict(_advertised(answer.body)), name)


def _meant(refs: dict[str, str], name: str | None) -> Found:
    wanted = name or "HEAD"
    if _COMMIT.match(wanted):
        if wanted in refs.values():
            return _of(wanted)
        raise RegistryError("unsupported", "a Git server tells of the tips of branches, not of every commit")
    for ref in (wanted, f"refs/heads/{wanted}", f"refs/tags/{wanted}^{{}}", f"refs/tags/{wanted}"):
        if ref in refs:
            return _of(refs[ref])
    raise RegistryError("not-found", "the repository has no such branch or tag")


def _of(commit: str) -> Found:
    algorithm = "sha1" if len(commit) == 40 else "sha256"
    return Found(revision=commit, digest=Digest(algorithm, commit, "object", algorithm))


def _advertised(body: bytes) -> Iterator[tuple[str, str]]:
    """(name, commit) of what is advertised: lines with their length in front, in four hexadecimal digits."""
    position, lines = 0, 0
    while position < len(body):
        lines += 1
        if lines > _LINES:
            raise RegistryError("refused", f"the Git server advertises more than {_LINES} lines")
        try:
            length = int(body[position : position + 4], 16)
        except ValueError:
            raise RegistryError("unreadable", "the answer of the Git server is broken") from None
        line = body[position + 4 : position + length]
        position += max(length, 4)
        commit, _, name = line.partition(b"\0")[0].strip().decode(errors="replace").partition(" ")
        if _COMMIT.match(commit) and name:
            yield name, commit
