"""What the rest of Weir uses of Git: list a remote's references, check out a commit, compare two commits."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime as dt
import time
from collections.abc import Collection
from pathlib import Path

import pygit2

from agent.adapters.git.auth import GitRemote
from agent.adapters.git.committing import Publication
from agent.adapters.git.environment import OPENSSH_ALGORITHMS, SSHAlgorithms
from agent.adapters.git.errors import BranchMovedError, EmptyRepositoryError, GitOperationError, MissingObjectError
from agent.adapters.git.mirror import BRANCHES_AND_TAGS, Mirror, is_refusal
from agent.adapters.git.objects import CommitInfo, GitTree, ObjectStore, Person
from agent.adapters.git.tagtimes import tag_times
from agent.adapters.git.transport import GitTransport
from agent.core.gitref import Candidate, Failure, GitReference, RemoteRefs, Target, Unresolved, resolve

_PREFIX = "failed to checkout and determine revision: "
_KINDS = (("refs/heads/", BRANCHES_AND_TAGS), ("refs/tags/", "--tags"))
_UNUSED_SECONDS = 24 * 3600.0


@dataclasses.dataclass(frozen=True, slots=True)
class GitCommitTree:
    """A commit that was checked out: what it is called, who made it, and its files.

    `oid` is the annotated tag that led to it, else the commit itself.
    """

    revision: str
    oid: str
    sha: str
    message: str
    author: Person
    committer: Person
    tree: GitTree

    @property
    def subject(self) -> str:
        """The first line of the message."""
        return self.message.strip().partition("\n")[0]

    @property
    def time(self) -> dt.datetime:
        """When it was committed."""
        return self.committer.when


class GitMirrors:
    """All mirrors of this process, below `cache_dir` (which it owns and which may be empty or deleted at any time).

    At most `concurrency` transfers run at once. Every method's `timeout` is in seconds and applies to each transfer,
    and to the wait for an earlier transfer of the same mirror, but not to the wait for a free slot. `repack_after` is
    how many fetches leave their packs before `maintain` joins them.
    """

    def __init__(
        self, cache_dir: Path, *, concurrency: int = 16, repack_after: int = 50, ssh: SSHAlgorithms = OPENSSH_ALGORITHMS
    ) -> None:
        self._folder = cache_dir / "git"
        self._transport = GitTransport(cache_dir / "run", concurrency=concurrency, ssh=ssh)
        self._transport.clear()
        self._repack_after = repack_after
        self._mirrors: dict[str, Mirror] = {}

    async def list_refs(self, remote: GitRemote, timeout: float, reference: GitReference | None = None) -> RemoteRefs:
        """List what the remote advertises; with a reference only the kinds of references that it needs, and the
        tags that register models.

        This is all that a poll without news costs: `resolve(reference, refs, remote.address)` gives the revision.
        Raises GitOperationError, with Flux's words.
        """
        try:
            return await _listing(self._mirror(remote), reference, timeout)
        except GitOperationError as error:
            raise _explained(error, f"{_PREFIX}unable to list remote for '{remote.address}': ") from error

    def last_listed(self, remote: GitRemote, reference: GitReference) -> RemoteRefs | None:
        """What the remote has last named where a reference was looked for, with all tags of models; asks nobody.

        None if that was not listed, as where a commit is followed, or where many other tags are looked at seldom.
        """
        return None if reference.commit else self._mirror(remote).last_listed(_scope(reference))

    async def tag_times(self, remote: GitRemote, oids: Collection[str], timeout: float) -> dict[str, int]:
        """When annotated tags that the remote names were made, in seconds since 1970, by their ids.

        Brings the tags and their commits, and no files where the server can leave them out. Raises GitOperationError.
        """
        try:
            return await tag_times(self._transport, self._folder, remote, oids, timeout)
        except GitOperationError as error:
            raise _explained(error, f"failed to read tags of '{remote.address}': ") from error

    async def checkout(
        self, remote: GitRemote, reference: GitReference, timeout: float, listed: RemoteRefs | None = None
    ) -> GitCommitTree:
        """Find the commit a reference means and make its files readable, fetching only what is not here yet.

        `listed` is what `list_refs` has said a moment ago; without it the remote is asked.
        Raises GitOperationError (unreachable, refused, reference not found), GitTimeoutError, EmptyRepositoryError.
        """
        if listed is not None:
            try:
                return await self._checkout(remote, reference, timeout, listed)
            except GitOperationError as error:
                if not is_refusal(error):
                    raise
        return await self._checkout(remote, reference, timeout, None)

    async def _checkout(
        self, remote: GitRemote, reference: GitReference, timeout: float, listed: RemoteRefs | None
    ) -> GitCommitTree:
        mirror = self._mirror(remote)
        refs = listed or RemoteRefs({})
        try:
            if listed is None and not reference.commit:
                refs = await _listing(mirror, reference, timeout)
            target = _resolved(reference, refs, remote)
            try:
                return await self._obtain(mirror, target, reference, timeout)
            except MissingObjectError:
                # The mirror was found damaged; this time it is built anew.
                return await self._obtain(mirror, target, reference, timeout)
        except GitOperationError as error:
            if error.message.startswith(_PREFIX):
                raise
            raise _explained(error, f"{_PREFIX}unable to clone '{remote.address}': ") from error

    async def publish(self, remote: GitRemote, publication: Publication, timeout: float) -> str:
        """Commit on top of a commit that was checked out from the same remote, and push; the new commit's id.

        The push happens only if the branch is still at that commit (or, for a new branch, does not exist yet): what
        others have pushed is never overwritten. Raises BranchMovedError then, PushDeclinedError where a hook of the
        server declines, GitOperationError for other failures.
        """
        try:
            return await self._mirror(remote).publish(publication, timeout)
        except BranchMovedError:
            raise
        except GitOperationError as error:
            raise _explained(error, f"failed to push to '{remote.address}': ") from error

    async def read_object(self, remote: GitRemote, oid: str) -> bytes:
        """The raw content of a commit or tag that was checked out. Raises MissingObjectError if it is not here."""
        return await asyncio.to_thread(self._mirror(remote).store.blob, oid)

    async def maintain(self, timeout: float) -> None:
        """Tidy up; to be called every few minutes. Repacks busy mirrors, deletes those unused for a day."""
        for name, mirror in list(self._mirrors.items()):
            if not mirror.is_read and time.monotonic() - mirror.last_used > _UNUSED_SECONDS:
                del self._mirrors[name]
                await mirror.delete()
            else:
                await mirror.repack(timeout)

    def _mirror(self, remote: GitRemote) -> Mirror:
        name = remote.fingerprint
        if name not in self._mirrors:
            store = ObjectStore(self._folder / f"{name}.git")
            self._mirrors[name] = Mirror(store, remote, self._transport, repack_after=self._repack_after)
        mirror = self._mirrors[name]
        if remote.expires > mirror.remote.expires:
            mirror.remote = remote  # the same identity with a newer token
        return mirror

    async def _obtain(self, mirror: Mirror, target: Target, reference: GitReference, timeout: float) -> GitCommitTree:
        if target.listed:
            await mirror.obtain([candidate.oid for candidate in target.candidates], timeout)
        else:
            await self._obtain_commit(mirror, reference, timeout)
        return await asyncio.to_thread(_newest, mirror, target.candidates)

    async def _obtain_commit(self, mirror: Mirror, reference: GitReference, timeout: float) -> None:
        """Fetch a commit by its id; where the server refuses that, look through the history as Flux does."""
        try:
            await mirror.obtain([reference.commit], timeout)
        except GitOperationError as error:
            if not is_refusal(error):
                raise
            await self._obtain_from_history(mirror, reference, timeout)

    async def _obtain_from_history(self, mirror: Mirror, reference: GitReference, timeout: float) -> None:
        branch = reference.branch
        if branch and not pygit2.reference_is_valid_name(f"refs/heads/{branch}"):
            raise _missing_branch(branch, mirror.remote)
        try:
            found = await mirror.obtain_through_history(reference.commit, branch, timeout)
        except GitOperationError as error:
            if "couldn't find remote ref" in error.message:
                raise _missing_branch(branch, mirror.remote) from error
            raise
        if not found:
            raise GitOperationError(
                f"{_PREFIX}unable to resolve commit object for '{reference.commit}': object not found"
            )


async def _listing(mirror: Mirror, reference: GitReference | None, timeout: float) -> RemoteRefs:
    """The references of the kind that is needed; all where there are none of it, to tell that from an empty remote."""
    scope = _scope(reference)
    refs = await mirror.list_refs(scope, timeout)
    return refs if refs.refs or not scope else await mirror.list_refs("", timeout)


def _scope(reference: GitReference | None) -> str:
    if reference is None or reference.commit:
        return ""
    if reference.name:
        return next((option for start, option in _KINDS if reference.name.startswith(start)), "")
    return "--tags" if reference.tag or reference.semver else BRANCHES_AND_TAGS


def _resolved(reference: GitReference, refs: RemoteRefs, remote: GitRemote) -> Target:
    result = resolve(reference, refs, remote.address)
    match result:
        case Unresolved(Failure.EMPTY, message):
            raise EmptyRepositoryError(_PREFIX + message)
        case Unresolved(_, message):
            raise GitOperationError(_PREFIX + message)
        case Target():
            return result


def _newest(mirror: Mirror, candidates: tuple[Candidate, ...]) -> GitCommitTree:
    """Read the candidates' commits and take the latest (blocking)."""
    read: list[tuple[Candidate, CommitInfo]] = [(one, mirror.store.commit(one.oid)) for one in candidates]
    candidate, commit = max(read, key=lambda pair: pair[1].committer.when)
    return GitCommitTree(
        revision=candidate.revision,
        oid=candidate.oid,
        sha=commit.sha,
        message=commit.message,
        author=commit.author,
        committer=commit.committer,
        tree=mirror.tree(candidate.oid, commit.tree),
    )


def _missing_branch(branch: str, remote: GitRemote) -> GitOperationError:
    return GitOperationError(
        f"{_PREFIX}unable to clone '{remote.address}': couldn't find remote ref \"refs/heads/{branch}\""
    )


def _explained(error: GitOperationError, prefix: str) -> GitOperationError:
    return type(error)(prefix + error.message)
