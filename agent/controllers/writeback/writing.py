"""From a rejected reference to a commit or a pull request. Every step may be repeated, by this process or another.

A commit is made on the newest one of the branch, and pushed only if the branch is still there: what others push at the
same time is never overwritten, and is looked at anew. A commit that is found to be our own was pushed before a restart.
"""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from agent.adapters.forges import Forges, Where
from agent.adapters.git import (
    BranchMovedError,
    GitCommitTree,
    GitMirrors,
    GitOperationError,
    GitProxy,
    GitRemote,
    Person,
    Publication,
)
from agent.adapters.identity import Login
from agent.adapters.signatures import SignatureError, Signer, pgp_signer, ssh_signer
from agent.controllers.kustomization.build import Builder
from agent.controllers.sources import SourceSnapshot
from agent.controllers.writeback.credentials import api_token, auth_of
from agent.controllers.writeback.locating import Locator, Place, Unlocatable
from agent.core.gitref import GitReference
from agent.core.rollout.quarantine import Rejected
from agent.core.writeback.edits import Changed
from agent.core.writeback.message import branch_for, commit_message, is_own
from agent.core.writeback.policy import Policy, PolicyError
from agent.core.writeback.result import Written, proposed
from agent.errors import OperationError

RACES = 5
"""How often a branch may move away under a commit before the whole is tried again later."""
_PGP, _SSH, _PASSPHRASE = "git.asc", "git.ssh", "passphrase"


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What is to be written back: `canary` is (namespace, name), `secret` the data of the Secret that may write.

    `verified`: the source takes signed commits only. `login` takes the place of the Secret's own credentials.
    """

    canary: tuple[str, str]
    entries: Sequence[Rejected]
    policy: Policy
    place: Place
    source: SourceSnapshot
    url: str
    timeout: float
    secret: Mapping[str, bytes]
    proxy: GitProxy | None
    verified: bool = False
    login: Login | None = None

    @property
    def revision(self) -> str:
        """The rejected template."""
        return self.entries[0].revision

    @property
    def name(self) -> str:
        """`namespace/name` of the Canary."""
        return "/".join(self.canary)

    @property
    def token(self) -> str:
        """For the server's API. Raises PolicyError."""
        return api_token(self.secret, "/".join(self.policy.secret), self.login)


class Writer:
    """Writes through mirrors of its own credentials, never through those that fetch."""

    def __init__(self, mirrors: GitMirrors, forges: Forges, builder: Builder) -> None:
        self._mirrors = mirrors
        self._forges = forges
        self._locator = Locator(builder)

    async def write(self, task: Task) -> Written:
        """Put the references back. Raises PolicyError, Unlocatable, Moved; and OperationError to try again."""
        auth = auth_of(task.url, task.secret, "/".join(task.policy.secret), task.login)
        remote = GitRemote(task.url, auth, task.proxy)
        signer = _signer(task.secret)
        if task.policy.mode == "pull-request":
            return await self._propose(task, remote, signer)
        if task.verified and signer is None:
            raise PolicyError(
                f"the GitRepository takes signed commits only (spec.verify): put a key into secret "
                f"{'/'.join(task.policy.secret)} as {_PGP} or {_SSH}, or use pull-request"
            )
        await self._refuse_protected(task)
        return await self._commit(task, remote, signer)

    async def _commit(self, task: Task, remote: GitRemote, signer: Signer | None) -> Written:
        branch = task.policy.branch
        for attempt in range(RACES):
            tip = await self._mirrors.checkout(remote, GitReference(branch=branch), task.timeout)
            if is_own(tip.message, task.name, task.revision):
                return _committed(task, tip.sha)
            publication = await self._publication(task, tip, signer)
            try:
                return _committed(task, await self._mirrors.publish(remote, publication, task.timeout))
            except BranchMovedError:
                await asyncio.sleep(0.1 * 2**attempt)
        raise OperationError(f"{branch} moved {RACES} times while a commit was made for it", reason="WriteBackFailed")

    async def _propose(self, task: Task, remote: GitRemote, signer: Signer | None) -> Written:
        base, head = task.policy.branch, branch_for(*task.canary, task.revision)
        where = Where.of(task.policy.provider, task.url, task.policy.api)
        token = task.token
        found = await self._forges.find(where, token, head=head, base=base)
        if found is None:
            tip = await self._mirrors.checkout(remote, GitReference(branch=base), task.timeout)
            publication = await self._publication(task, tip, signer)
            await self._branch(task, remote, replace(publication, branch=head, creates=True))
            title, _, text = publication.message.partition("\n\n")
            found = await self._forges.propose(where, token, head=head, base=base, title=title, text=text)
        return proposed(task.revision, _what(task), head, found.url, found.state)

    async def _branch(self, task: Task, remote: GitRemote, publication: Publication) -> None:
        """Push the branch of a pull request; one that is our own already stays as it is."""
        try:
            await self._mirrors.publish(remote, publication, task.timeout)
        except BranchMovedError:
            tip = await self._mirrors.checkout(remote, GitReference(branch=publication.branch), task.timeout)
            if not is_own(tip.message, task.name, task.revision):
                raise Unlocatable(
                    f"branch {publication.branch} holds what is not Weir's: look at it, and delete it to go on"
                ) from None

    async def _publication(self, task: Task, tip: GitCommitTree, signer: Signer | None) -> Publication:
        revision = f"{task.policy.branch}@sha1:{tip.sha}"
        tree = await task.source.history.tree_at(revision) if task.source.history is not None else None
        if tree is None:
            raise GitOperationError(f"commit {tip.sha} of {task.policy.branch} cannot be read")
        changed = await self._locator.locate(task.place, tree, task.entries)
        await asyncio.to_thread(_refuse_foreign, tip, changed, tree.read)
        return Publication(
            branch=task.policy.branch,
            parent=tip.sha,
            files=changed,
            message=commit_message(task.name, task.place.target.name, task.entries, tip.sha),
            committer=Person(*task.policy.committer, dt.datetime.now(dt.UTC)),
            sign=signer,
        )

    async def _refuse_protected(self, task: Task) -> None:
        """Raises PolicyError for a protected branch, where the kind of server is named and tells."""
        if task.policy.protected or not task.policy.provider:
            return
        where = Where.of(task.policy.provider, task.url, task.policy.api)
        if await self._forges.is_protected(where, task.token, task.policy.branch):
            raise PolicyError(
                f"{task.policy.branch} is protected: use pull-request, or set weir.dev/write-back-protected: allow"
            )


def _what(task: Task) -> str:
    return f"{', '.join(entry.restore for entry in task.entries)} put back on {task.place.target.name}"


def _committed(task: Task, sha: str) -> Written:
    return Written(
        revision=task.revision,
        state="committed",
        text=f"{_what(task)}: commit {sha} on {task.policy.branch}",
        commit=sha,
        branch=task.policy.branch,
    )


def _refuse_foreign(tip: GitCommitTree, changed: Changed, read: Callable[[str], bytes]) -> None:
    """Raises Unlocatable for a file that comes from an included repository or a submodule."""
    for path in changed:
        try:
            own = tip.tree.read(path) == read(path)
        except OSError:
            own = False
        if not own:
            raise Unlocatable(f"the reference stands in {path}, which is of another repository: put it back there")


def _signer(secret: Mapping[str, bytes]) -> Signer | None:
    passphrase = secret.get(_PASSPHRASE, b"").decode(errors="replace").rstrip("\r\n")
    try:
        if secret.get(_PGP):
            return pgp_signer(secret[_PGP], passphrase)
        if secret.get(_SSH):
            return ssh_signer(secret[_SSH])
    except SignatureError as error:
        raise PolicyError(f"the key that signs write-backs: {error}") from None
    return None
