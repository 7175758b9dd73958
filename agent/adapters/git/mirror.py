"""One mirror: a bare repository on disk that holds the commits its followers read.

A mirror is a cache. It may be deleted or damaged at any moment; the next fetch builds it anew, with the commits that
are still being read. Commits are fetched without their history, each kept by a reference of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import time
import weakref
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pygit2

from agent.adapters.git.auth import GitRemote
from agent.adapters.git.committing import Publication, written
from agent.adapters.git.errors import (
    BranchMovedError,
    GitOperationError,
    GitTimeoutError,
    MissingObjectError,
    PushDeclinedError,
)
from agent.adapters.git.objects import GitTree, ObjectStore, fresh_handle
from agent.adapters.git.transport import BRANCH_MOVED, GitTransport
from agent.core.gitref import RemoteRefs
from agent.core.models.gto import without_others

_BRANCHES = "--heads"
BRANCHES_AND_TAGS = f"{_BRANCHES} --tags"
_TAGS = "refs/tags/"
_MANY = 1 << 20
"""Bytes of a listing whose tags are looked at seldom, if they register no models."""
_SELDOM = 3600.0

_KEPT = "refs/weir/kept/"
_HISTORY = "refs/weir/history/"

# Commits that nobody reads any more stay until this many newer ones came: the base of the next incremental fetch.
_RECENT_COMMITS = 4

# With one of these in its words a failed fetch is the other side's doing, and the mirror is not to blame.
_REMOTE_FAILURES = (
    "unable to access",
    "authentication required",
    "authorization failed",
    "handshake failed",
    "epository not found",
    "ould not read from remote",
    "remote error",
    "couldn't find remote ref",
    "not our ref",
    "unadvertised object",
    "RPC failed",
    "hung up",
    "early EOF",
)
_REFUSED_COMMIT = ("not our ref", "unadvertised object")


class Mirror:
    """The repository for one address and set of credentials; `GitMirrors` hands it out.

    Fetches take turns (`_lock`). Listings are shared by all who asked before the listing began, never by those who
    asked later: they may know of a push that it missed.
    """

    def __init__(self, store: ObjectStore, remote: GitRemote, transport: GitTransport, *, repack_after: int) -> None:
        self.last_used = time.monotonic()
        self.remote = remote
        self._store = store
        self._transport = transport
        self._repack_after = repack_after
        self._lock = asyncio.Lock()
        self._listings: dict[str, _SharedListing] = {}
        self._trees: weakref.WeakValueDictionary[str, GitTree] = weakref.WeakValueDictionary()
        self._recent: list[str] = []
        self._fetches = 0
        self._tidy = False

    @property
    def store(self) -> ObjectStore:
        return self._store

    @property
    def is_read(self) -> bool:
        """Whether somebody still holds a tree of this mirror."""
        return len(self._trees) > 0

    async def list_refs(self, scope: str, timeout: float) -> RemoteRefs:
        """What the remote advertises; `scope` are options of `git ls-remote` that narrow it, or empty.

        Of `BRANCHES_AND_TAGS` only the tags that register models are kept, and where many tags do nothing of that,
        branches are listed alone until these are due again.
        """
        self.last_used = time.monotonic()
        listing = self._listings.setdefault(scope, _SharedListing())
        asked = time.monotonic()
        async with _turn(listing.lock, timeout):
            if listing.refs is None or listing.began < asked:
                listing.refs = None
                began = time.monotonic()
                beside = scope == BRANCHES_AND_TAGS
                whole = not beside or began >= listing.tags_due
                options = ("--quiet", *(scope if whole else _BRANCHES).split())
                output = await self._transport.run(
                    self.remote, "ls-remote", *options, self.remote.address, timeout=timeout
                )
                refs = await asyncio.to_thread(parse_listing, output, models_only=beside)
                if beside and len(output) > _MANY and not any(name.startswith(_TAGS) for name in refs.refs):
                    listing.tags_due = began + _SELDOM
                listing.refs, listing.began, listing.whole = refs, began, whole
            return listing.refs

    def last_listed(self, scope: str) -> RemoteRefs | None:
        """What `list_refs` has found last, None if it never has, or has left out the tags."""
        listing = self._listings.get(scope)
        return listing.refs if listing is not None and listing.whole else None

    async def obtain(self, oids: Sequence[str], timeout: float) -> None:
        """Make sure that the commits or tags are here with all their files; fetches what is missing.

        Raises MissingObjectError if the repository on disk turns out damaged; the next call builds it anew.
        """
        self.last_used = time.monotonic()
        async with _turn(self._lock, timeout):
            missing, lost = await asyncio.to_thread(self._survey, oids)
            if missing:
                await self._fetch_commits(missing, [*missing, *lost], timeout)
            self._recent = [*(oid for oid in self._recent if oid not in oids), *oids]
            await asyncio.to_thread(self._forget_old)

    async def obtain_through_history(self, commit: str, branch: str, timeout: float) -> bool:
        """Look for a commit in the whole history of a branch, or of all, and keep it if it is there.

        For servers that only hand out the tips of references. Returns whether the commit was found.
        """
        async with _turn(self._lock, timeout):
            await asyncio.to_thread(self._prepare)
            spec = f"+refs/heads/{branch}:{_HISTORY}{branch}" if branch else f"+refs/heads/*:{_HISTORY}*"
            shallow = (self._store.path / "shallow").exists()
            await self._fetch([spec], ["--unshallow"] if shallow else [], timeout)
            found = await asyncio.to_thread(self._keep, commit)
            if found:
                self._recent = [*(oid for oid in self._recent if oid != commit), commit]
            return found

    def tree(self, oid: str, root: str) -> GitTree:
        """The tree of a kept commit; all who read the same commit share it."""
        tree = self._trees.get(oid)
        if tree is None:
            tree = self._trees[oid] = GitTree(self._store, root)
        return tree

    async def publish(self, publication: Publication, timeout: float) -> str:
        """Make a commit and push it, in one turn, so that nothing of it is tidied away between the two.

        Raises BranchMovedError if the branch is not where `publication` says; PushDeclinedError if a hook of the
        server declines; GitOperationError if the push fails otherwise.
        """
        self.last_used = time.monotonic()
        branch = f"refs/heads/{publication.branch}"
        expected = "" if publication.creates else publication.parent
        async with _turn(self._lock, timeout):
            oid = await asyncio.to_thread(written, self._store, publication)
            arguments = ("push", "--quiet", f"--force-with-lease={branch}:{expected}")
            try:
                await self._transport.run(
                    *(self.remote, *arguments, self.remote.address, f"{oid}:{branch}"),
                    timeout=timeout,
                    folder=self._store.path,
                )
            except GitOperationError as error:
                if error.message == BRANCH_MOVED and not isinstance(error, PushDeclinedError):
                    raise BranchMovedError(f"{publication.branch}: {BRANCH_MOVED}") from error
                raise
        return oid

    async def repack(self, timeout: float) -> None:
        """Once enough fetches left their small packs, write one, without what nobody reads any more."""
        if self._fetches < self._repack_after:
            return
        async with _turn(self._lock, timeout):
            self._tidy = False
            for arguments in (("repack", "-a", "-d", "-q"), ("prune", "--expire=now")):
                await self._transport.run(self.remote, *arguments, timeout=timeout, folder=self._store.path)
            self._fetches, self._tidy = 0, True
            self._store.renew()

    async def delete(self) -> None:
        """Remove the repository from disk."""
        async with self._lock:
            await asyncio.to_thread(shutil.rmtree, self._store.path, ignore_errors=True)
            self._store.reset()

    async def _fetch_commits(self, missing: list[str], wanted: list[str], timeout: float) -> None:
        specs = [f"+{oid}:{_KEPT}{oid}" for oid in wanted]
        try:
            await self._fetch(specs, ["--depth=1"], timeout)
        except GitOperationError as error:
            if len(wanted) == len(missing) or not is_refusal(error):
                raise
            # A commit that was being read is gone from the remote: bring at least what was asked for.
            await self._fetch([f"+{oid}:{_KEPT}{oid}" for oid in missing], ["--depth=1"], timeout)

    async def _fetch(self, specs: list[str], options: list[str], timeout: float) -> None:
        arguments = ("fetch", "--quiet", "--no-tags", "--no-write-fetch-head", *options, self.remote.address, *specs)
        self._tidy = False
        try:
            await self._transport.run(self.remote, *arguments, timeout=timeout, folder=self._store.path)
        except GitTimeoutError:
            raise
        except GitOperationError as error:
            if any(words in error.message for words in _REMOTE_FAILURES):
                raise
            self._store.damaged = True
            raise MissingObjectError(error.message) from error
        self._fetches += 1
        self._tidy = True

    def _survey(self, oids: Sequence[str]) -> tuple[list[str], list[str]]:
        """Prepare the repository, then tell what of `oids` is missing, and what is being read and lost (blocking)."""
        self._prepare()
        # A new handle: one that is open has packs in memory that may be gone from the disk.
        with fresh_handle(self._store.path) as here:
            missing = [oid for oid in dict.fromkeys(oids) if not _is_kept(here, oid)]
            lost = [oid for oid in list(self._trees) if oid not in missing and not _is_kept(here, oid)]
        return missing, lost

    def _prepare(self) -> None:
        """Bring the repository into a state to fetch into (blocking)."""
        path = self._store.path
        if self._store.damaged or not _is_sound(path):
            shutil.rmtree(path, ignore_errors=True)
            path.parent.mkdir(parents=True, exist_ok=True)
            pygit2.init_repository(str(path), bare=True)
            self._store.reset()
        elif not self._tidy:
            # Left by a process that was ended in the middle; nobody else works here.
            for leftover in (*path.glob("*.lock"), *path.glob("refs/**/*.lock"), *path.glob("objects/pack/tmp_*")):
                leftover.unlink(missing_ok=True)
        self._tidy = True

    def _keep(self, commit: str) -> bool:
        with self._store.open() as here:
            if pygit2.Oid(hex=commit) not in here.odb:
                return False
            here.references.create(_KEPT + commit, pygit2.Oid(hex=commit), force=True)
            return True

    def _forget_old(self) -> None:
        """Drop the references of commits that are neither recent nor being read (blocking)."""
        self._recent = self._recent[-_RECENT_COMMITS:]
        needed = {*self._recent, *list(self._trees)}
        with self._store.open() as here:
            for name in list(here.references):
                if name.startswith(_KEPT) and name.removeprefix(_KEPT) not in needed:
                    here.references.delete(name)


class _SharedListing:
    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.refs: RemoteRefs | None = None
        self.began = 0.0
        self.whole = False
        self.tags_due = 0.0


@contextlib.asynccontextmanager
async def _turn(lock: asyncio.Lock, timeout: float) -> AsyncIterator[None]:
    """Hold the lock; who gets no turn in time gives up, so that a hanging server does not pile up those who wait."""
    try:
        async with asyncio.timeout(timeout):
            await lock.acquire()
    except TimeoutError:
        raise GitTimeoutError("context deadline exceeded: an earlier transfer is still under way") from None
    try:
        yield
    finally:
        lock.release()


def _is_sound(path: Path) -> bool:
    """Whether a new handle can be had, that is, the skeleton of the repository is whole (blocking)."""
    try:
        with fresh_handle(path) as here:
            return here.head_is_unborn
    except (pygit2.GitError, OSError, ValueError):
        return False


def _is_kept(here: pygit2.Repository, oid: str) -> bool:
    """Whether the commit is here, at least down to its root folder. A store that cannot be read has nothing."""
    try:
        here[oid].peel(pygit2.Tree)
        return _KEPT + oid in here.references
    except (pygit2.GitError, KeyError, OSError, ValueError):
        return False


def is_refusal(error: GitOperationError) -> bool:
    """Whether the server has no such commit, or will not hand out one that is not the tip of a reference."""
    return any(words in error.message for words in _REFUSED_COMMIT)


def parse_listing(output: bytes, *, models_only: bool = False) -> RemoteRefs:
    """Read what `git ls-remote` prints: an id, a tab and a name on each line; of tags maybe only those of models."""
    lines = (line.partition("\t") for line in output.decode(errors="replace").splitlines())
    refs = {name: oid for oid, _, name in lines if name}
    return RemoteRefs(without_others(refs) if models_only else refs)
