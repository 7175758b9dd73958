"""Submodules: each is fetched into the mirror of its own repository, and shown at its place in the commit's files.

Credentials only go where they were meant for. Those of http (password, token, client certificate) are used for
submodules of the same scheme, host and port as the repository; others are asked anonymously. An SSH key is never
shown to a server, and only used with hosts that are in the Secret's `known_hosts`.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Iterator, Mapping
from urllib.parse import SplitResult, urlsplit

from agent.adapters.git.auth import GitRemote, HTTPAuth, SSHAuth
from agent.adapters.git.errors import GitOperationError, GitTimeoutError
from agent.adapters.git.mirrors import GitCommitTree, GitMirrors
from agent.adapters.git.objects import GitTree, TreeChange
from agent.core.gitmodules import SubmoduleError, parse_gitmodules, submodule_url
from agent.core.gitref import GitReference
from agent.core.tree import Entry, Stat, parent_and_name

_GITMODULES = ".gitmodules"
_DEPTH = 10  # as deep as Flux's Git library goes
_MOST = 1000
_MAX_GITMODULES = 1024 * 1024
_PORTS = {"http": 80, "https": 443, "ssh": 22}


class GitTreeWithSubmodules:
    """A commit's files, and in place of the empty folders of its submodules theirs."""

    def __init__(self, root: GitTree, parts: Mapping[str, GitTree]) -> None:
        self.root = root
        self.parts = dict(parts)

    def stat(self, path: str) -> Stat | None:
        """What is at the path, None where nothing is."""
        tree, below = self._at(path)
        return tree.stat(below)

    def read(self, path: str) -> bytes:
        """The content of a file."""
        tree, below = self._at(path)
        return tree.read(below)

    def list(self, path: str) -> tuple[Entry, ...]:
        """The entries of a folder by name."""
        tree, below = self._at(path)
        return tree.list(below)

    def gitlink(self, path: str) -> str | None:
        """The commit of the submodule at the path, None if there is none."""
        folder, name = parent_and_name(path)
        tree, below = self._at(folder)
        return tree.gitlink(f"{below}/{name}" if below else name)

    def diff(self, older: GitTree | GitTreeWithSubmodules) -> tuple[TreeChange, ...]:
        """What changed from another tree of the same repository to this one: of a submodule its path, and its files.

        Of one that came, went or moved to another repository only the path.
        """
        before = {} if isinstance(older, GitTree) else older.parts
        found = list(self.root.diff(older if isinstance(older, GitTree) else older.root))
        for path, now in self.parts.items():
            then = before.get(path)
            if then is not None and then.oid != now.oid and now.is_of_one_store_with(then):
                found += [change._replace(path=f"{path}/{change.path}") for change in now.diff(then)]
        return tuple(sorted(found, key=lambda change: change.path))

    def _at(self, path: str) -> tuple[GitTree, str]:
        """The tree that has the path, and where in it."""
        for place in _places(path):
            part = self.parts.get(place)
            if part is not None:
                return part, path[len(place) + 1 :]
        return self.root, path


@dataclasses.dataclass(slots=True)
class _Search:
    """One look for all submodules of a commit; `wanted` tells whether what is at a path is of interest."""

    mirrors: GitMirrors
    origin: GitRemote
    timeout: float
    wanted: Callable[[str], bool]
    parts: dict[str, GitTree] = dataclasses.field(default_factory=dict)


async def with_submodules(
    mirrors: GitMirrors,
    remote: GitRemote,
    commit: GitCommitTree,
    timeout: float,
    wanted: Callable[[str], bool] = lambda _path: True,
) -> GitTreeWithSubmodules:
    """The commit's files with those of its submodules, and of theirs.

    `timeout` in seconds bounds all of it. Raises GitOperationError that names the submodule.
    """
    search = _Search(mirrors, remote, timeout, wanted)
    try:
        async with asyncio.timeout(timeout):
            await _descend(search, remote.url, commit.tree, "", 1)
    except TimeoutError:
        raise GitTimeoutError(
            "failed to checkout and determine revision: context deadline exceeded: the submodules were not fetched "
            f"within {timeout:g}s"
        ) from None
    return GitTreeWithSubmodules(commit.tree, search.parts)


async def _descend(search: _Search, parent: str, tree: GitTree, above: str, depth: int) -> None:
    for path, url, sha in await asyncio.to_thread(_submodules, parent, tree, above):
        if not search.wanted(path):
            continue
        if depth > _DEPTH or len(search.parts) >= _MOST:
            raise _failure(path, f"more than {_MOST} submodules, or nested deeper than {_DEPTH}")
        remote = _remote(search.origin, url, path)
        try:
            found = await search.mirrors.checkout(remote, GitReference(commit=sha), search.timeout)
        except GitOperationError as error:
            hint = _hint(search.origin, remote)
            raise type(error)(_failure(path, error.message.removeprefix(_PREFIX) + hint).message) from error
        search.parts[path] = found.tree
        await _descend(search, url, found.tree, path, depth + 1)


def _submodules(parent: str, tree: GitTree, above: str) -> list[tuple[str, str, str]]:
    """Path, address and commit of the submodules in one repository (blocking)."""
    stat = tree.stat(_GITMODULES)
    if stat is None or stat.kind != "file":
        return []
    if stat.size > _MAX_GITMODULES:
        raise _failure(above, f"{_GITMODULES} is larger than {_MAX_GITMODULES} bytes")
    try:
        listed = parse_gitmodules(tree.read(_GITMODULES).decode(errors="replace"))
    except SubmoduleError as error:
        raise _failure(above, str(error)) from None
    found = []
    for one in listed:
        sha, path = tree.gitlink(one.path), f"{above}/{one.path}" if above else one.path
        if sha is None:
            continue  # left behind in the file; the commit has no such submodule
        try:
            found.append((path, submodule_url(parent, one.url), sha))
        except SubmoduleError as error:
            raise _failure(path, str(error)) from None
    return found


def _remote(origin: GitRemote, url: str, path: str) -> GitRemote:
    """How to reach a submodule, with no more of the credentials than its host may have."""
    parts = urlsplit(url)
    try:
        same = _host(parts) == _host(urlsplit(origin.url))
    except ValueError:
        raise _failure(path, "its URL is not valid") from None
    auth = origin.auth
    if parts.scheme == "ssh":
        if not isinstance(auth, SSHAuth):
            raise _failure(path, f"'{parts.hostname}' is asked over ssh, for which the repository has no credentials")
        return GitRemote(url, dataclasses.replace(auth, username=parts.username or "git"), origin.proxy)
    if isinstance(auth, SSHAuth) or auth is None:
        return GitRemote(url, HTTPAuth(), origin.proxy)
    return GitRemote(url, auth if same else HTTPAuth(ca_certificates=auth.ca_certificates), origin.proxy)


def _hint(origin: GitRemote, remote: GitRemote) -> str:
    here, there = urlsplit(origin.url), urlsplit(remote.url)
    if there.scheme == "ssh" or _host(here) == _host(there):
        return ""
    return f" (asked without credentials: those of the repository are for {here.hostname} alone)"


def _host(parts: SplitResult) -> tuple[str, str | None, int | None]:
    return parts.scheme, parts.hostname, parts.port or _PORTS.get(parts.scheme)


def _places(path: str) -> Iterator[str]:
    """The path and the folders above it, the longest first."""
    while path:
        yield path
        path = path.rpartition("/")[0]


_PREFIX = "failed to checkout and determine revision: "


def _failure(path: str, problem: str) -> GitOperationError:
    return GitOperationError(f"{_PREFIX}submodule '{path or '.'}': {problem}")
