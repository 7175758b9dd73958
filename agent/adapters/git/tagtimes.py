"""When annotated tags were made: the one thing about them that a listing does not tell."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Collection
from pathlib import Path
from typing import Final

import pygit2

from agent.adapters.git.auth import GitRemote
from agent.adapters.git.errors import MissingObjectError
from agent.adapters.git.transport import GitTransport

_AT_ONCE: Final = 500
"""Tags that one transfer brings: their ids are arguments."""


async def tag_times(
    transport: GitTransport, folder: Path, remote: GitRemote, oids: Collection[str], timeout: float
) -> dict[str, int]:
    """Seconds since 1970 by id, through a repository in `folder` that is removed again. Raises GitOperationError.

    The mirror is left out of it: a filter would make a partial clone of it for good.
    """
    await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="tags-", dir=folder) as scratch:
        place, wanted = Path(scratch), sorted(oids)
        await asyncio.to_thread(pygit2.init_repository, scratch, bare=True)
        for first in range(0, len(wanted), _AT_ONCE):
            specs = [f"+{oid}:refs/tags/{oid}" for oid in wanted[first : first + _AT_ONCE]]
            options = ("--quiet", "--no-tags", "--no-write-fetch-head", "--depth=1", "--filter=tree:0")
            await transport.run(remote, "fetch", *options, remote.address, *specs, timeout=timeout, folder=place)
        return await asyncio.to_thread(_read, place, wanted)


def _read(place: Path, oids: Collection[str]) -> dict[str, int]:
    repository = pygit2.Repository(str(place))
    try:
        tags = [repository[oid] for oid in oids]
    except (KeyError, ValueError, pygit2.GitError) as error:
        raise MissingObjectError(f"a tag was not brought: {error}") from error
    finally:
        repository.free()
    return {str(tag.id): tag.tagger.time if tag.tagger else 0 for tag in tags if isinstance(tag, pygit2.Tag)}
