"""Which commit a Git reference means, decided from the listing of a remote.

Pure: a reference and a listing go in, a target or a failure with Flux's words comes out.
Revisions follow Flux's format, `<branch, tag or full name>@sha1:<commit>`, or `sha1:<commit>` for a bare commit.
"""

from __future__ import annotations

import dataclasses
import enum
import re
from collections.abc import Mapping
from typing import Final

import msgspec

from agent.api.gitrepository import DEFAULT_BRANCH, GitRepositoryRef
from agent.core.semver import InvalidConstraintError, Version, parse_constraint, parse_version

_BRANCHES: Final = "refs/heads/"
_TAGS: Final = "refs/tags/"
_PEELED: Final = "^{}"
_COMMIT = re.compile(r"[0-9a-f]{40}")
_LEGACY = re.compile(r"(?:(?P<name>.+)/)?(?P<commit>[0-9a-f]{40})")
_REVISION = re.compile(r"(?:(?P<name>.+)@)?sha1:(?P<commit>[0-9a-f]{40})")


class GitReference(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`spec.ref` of a GitRepository. Several may be set: commit beats name beats tag beats semver beats branch."""

    branch: str = ""
    tag: str = ""
    semver: str = ""
    name: str = ""
    commit: str = ""

    @classmethod
    def from_spec(cls, ref: GitRepositoryRef | None) -> GitReference:
        """The reference a GitRepository's `spec.ref` names; absent fields become empty."""
        if ref is None:
            return cls()
        return cls(
            branch=ref.branch or "",
            tag=ref.tag or "",
            semver=ref.semver or "",
            name=ref.name or "",
            commit=ref.commit or "",
        )


class RemoteRefs(msgspec.Struct, frozen=True):
    """What a remote advertises: full reference name to object id; `<tag>^{}` holds the commit of an annotated tag."""

    refs: Mapping[str, str]

    def commit_of(self, name: str) -> str | None:
        """The commit a reference leads to, through an annotated tag if need be."""
        return self.refs.get(name + _PEELED) or self.refs.get(name)


class Failure(enum.Enum):
    """Why a reference leads nowhere."""

    NOT_FOUND = "not found"
    EMPTY = "empty"
    INVALID = "invalid"


@dataclasses.dataclass(frozen=True, slots=True)
class Unresolved:
    """A reference that leads nowhere, with the message Flux shows; it may succeed once the remote or spec changed."""

    failure: Failure
    message: str


@dataclasses.dataclass(frozen=True, slots=True)
class Candidate:
    """An object worth fetching: `oid` is the tag object of an annotated tag, else the commit itself."""

    oid: str
    commit: str
    revision: str


@dataclasses.dataclass(frozen=True, slots=True)
class Target:
    """Where a reference leads. More than one candidate: versions of equal precedence, the newest commit wins.

    `listed` says that the candidates were in the listing; a commit from the spec need not be the tip of anything.
    """

    candidates: tuple[Candidate, ...]
    listed: bool = True

    @property
    def revision(self) -> str | None:
        """The revision where the listing alone decides it; None while versions tie."""
        return self.candidates[0].revision if len(self.candidates) == 1 else None


def revision(name: str, commit: str) -> str:
    """`main@sha1:<commit>`, or `sha1:<commit>` without a name."""
    return f"{name}@sha1:{commit}" if name else f"sha1:{commit}"


def normalise_revision(text: str) -> str:
    """Turn the form of older Flux releases (`main/<commit>`, bare `<commit>`) into today's; others stay as they are."""
    match = _LEGACY.fullmatch(text)
    return revision(match["name"] or "", match["commit"]) if match else text


def same_revision(one: str, other: str) -> bool:
    """Whether two revisions mean the same, whichever release of Flux wrote them."""
    return normalise_revision(one) == normalise_revision(other)


def commit_of_revision(text: str) -> str | None:
    """The 40 digits of a Git revision; None for another kind of revision."""
    match = _REVISION.fullmatch(normalise_revision(text))
    return match["commit"] if match else None


def resolve(reference: GitReference, remote: RemoteRefs, url: str) -> Target | Unresolved:
    """Find what a reference means in a listing; `url` (without credentials) is only used in messages."""
    if reference.commit:
        return _resolve_commit(reference, remote, url)
    if not remote.refs:
        return _empty(reference, url)
    if reference.name:
        return _resolve_name(reference.name, remote)
    if reference.tag:
        return _resolve_full(_TAGS + reference.tag, reference.tag, remote, url)
    if reference.semver:
        return _resolve_semver(reference.semver, remote)
    branch = reference.branch or DEFAULT_BRANCH
    return _resolve_full(_BRANCHES + branch, branch, remote, url)


def _resolve_commit(reference: GitReference, remote: RemoteRefs, url: str) -> Target | Unresolved:
    if not _COMMIT.fullmatch(reference.commit):
        message = f"unable to resolve commit object for '{reference.commit}': object not found"
        return Unresolved(Failure.INVALID, message)
    if reference.branch:
        branch = _BRANCHES + reference.branch
        if remote.refs and branch not in remote.refs:
            return _missing(branch, url)
    name = revision(reference.branch, reference.commit)
    return Target((Candidate(reference.commit, reference.commit, name),), listed=False)


def _resolve_name(name: str, remote: RemoteRefs) -> Target | Unresolved:
    if name.startswith("/") or name.endswith("/"):
        return Unresolved(Failure.INVALID, f"ref {name} is invalid; Git refs cannot begin or end with a slash '/'")
    if name not in remote.refs:
        return Unresolved(Failure.NOT_FOUND, f"unable to resolve ref '{name}' to a specific commit")
    commit = remote.refs[name] if name.endswith(_PEELED) else remote.refs.get(name + _PEELED, remote.refs[name])
    oid = remote.refs.get(name.removesuffix(_PEELED), commit)
    return Target((Candidate(oid, commit, revision(name, commit)),))


def _resolve_full(full: str, shown: str, remote: RemoteRefs, url: str) -> Target | Unresolved:
    commit = remote.commit_of(full)
    if commit is None:
        return _missing(full, url)
    return Target((Candidate(remote.refs[full], commit, revision(shown, commit)),))


def _resolve_semver(text: str, remote: RemoteRefs) -> Target | Unresolved:
    try:
        constraint = parse_constraint(text)
    except InvalidConstraintError as error:
        return Unresolved(Failure.INVALID, f"semver parse error: {error}")
    matching: list[Version] = []
    for name in remote.refs:
        if name.startswith(_TAGS) and not name.endswith(_PEELED):
            version = parse_version(name.removeprefix(_TAGS))
            if version is not None and constraint.matches(version):
                matching.append(version)
    if not matching:
        return Unresolved(Failure.NOT_FOUND, f"no match found for semver: {text}")
    highest = max(version.precedence for version in matching)
    tags = sorted(version.original for version in matching if version.precedence == highest)
    return Target(tuple(_tag_candidate(tag, remote) for tag in tags))


def _tag_candidate(tag: str, remote: RemoteRefs) -> Candidate:
    oid = remote.refs[_TAGS + tag]
    commit = remote.refs.get(_TAGS + tag + _PEELED, oid)
    return Candidate(oid, commit, revision(tag, commit))


def _missing(full: str, url: str) -> Unresolved:
    return Unresolved(Failure.NOT_FOUND, f"unable to clone '{url}': couldn't find remote ref \"{full}\"")


def _empty(reference: GitReference, url: str) -> Unresolved:
    if reference.name or reference.tag or reference.semver:
        return Unresolved(Failure.NOT_FOUND, f"unable to clone: remote repository is empty: git repository: '{url}'")
    return Unresolved(Failure.EMPTY, "git repository is empty")
