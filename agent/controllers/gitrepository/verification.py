"""Signatures of what a GitRepository fetched: nothing of it is stored before they were found good.

Every pass looks at them again, also without news: a key that left the Secret no longer vouches for anything.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from agent.adapters.git import GitCommitTree, GitMirrors, GitRemote
from agent.adapters.signatures import SignatureError, verify_pgp, verify_ssh
from agent.api.gitrepository import GitRepositoryVerification
from agent.core.gitref import GitReference
from agent.core.signedobject import MalformedObjectError, SignedObject, signed_commit, signed_tag
from agent.core.source_outcome import Verified
from agent.errors import ConfigurationError, OperationError

_SSH_KEYS = ".sshpub"
_TAGS = "refs/tags/"


class VerificationError(OperationError):
    """A signature is missing or not good, or the keys cannot be had."""

    reason = "VerificationError"


class VerificationModeError(ConfigurationError):
    """A tag is to be verified, and no tag is followed."""

    reason = "InvalidVerificationMode"


def check_mode(verification: GitRepositoryVerification, reference: GitReference) -> None:
    """Raises VerificationModeError, as Flux stalls."""
    if _wants_tag(verification) and not _follows_tag(reference):
        raise VerificationModeError("cannot verify tag object's signature if a tag reference is not specified")


async def verify(
    verification: GitRepositoryVerification,
    keys: Mapping[str, bytes],
    mirrors: GitMirrors,
    remote: GitRemote,
    commit: GitCommitTree,
) -> Verified:
    """Check the signatures that the mode asks for; `keys` is the Secret's content. Raises VerificationError."""
    said = []
    if _wants_tag(verification):
        said.append(await _verified_tag(keys, mirrors, remote, commit))
    if _wants_head(verification):
        raw = await mirrors.read_object(remote, commit.sha)
        key = await _checked(keys, "commit", commit.sha, "InvalidCommitSignature", lambda: signed_commit(raw))
        said.append(f"commit '{commit.sha}' with key '{key}'")
    message = "verified signature of" + "".join(f"\n\t- {one}" for one in said)
    return Verified(mode=_mode(verification), message=message)


async def _verified_tag(
    keys: Mapping[str, bytes], mirrors: GitMirrors, remote: GitRemote, commit: GitCommitTree
) -> str:
    name = commit.revision.rpartition("@")[0].removeprefix(_TAGS).removesuffix("^{}")
    shown = f"{name}@{commit.oid}"
    unsigned = VerificationError(
        f"cannot verify signature of tag '{shown}' since it is not signed", reason="InvalidGitObject"
    )
    if commit.oid == commit.sha:
        raise unsigned
    raw = await mirrors.read_object(remote, commit.oid)

    def read() -> SignedObject:
        found = signed_tag(raw, commit.sha)
        if not found.signature:
            raise unsigned
        return found

    key = await _checked(keys, "tag", shown, "InvalidTagSignature", read)
    return f"tag '{shown}' with key '{key}'"


async def _checked(
    keys: Mapping[str, bytes], kind: str, name: str, reason: str, read: Callable[[], SignedObject]
) -> str:
    """The key that made the signature."""
    try:
        return await asyncio.to_thread(_key_of, keys, read())
    except (SignatureError, MalformedObjectError) as error:
        message = f"signature verification of {kind} '{name}' failed: unable to verify Git {kind}: {error}"
        raise VerificationError(message, reason=reason) from None


def _key_of(keys: Mapping[str, bytes], signed: SignedObject) -> str:
    if not signed.signature:
        raise SignatureError("unable to verify payload as the provided signature is empty")
    ours = [content for name, content in sorted(keys.items()) if name.endswith(_SSH_KEYS) == (signed.kind == "ssh")]
    match signed.kind:
        case "ssh":
            if not ours:
                raise SignatureError("it has an SSH signature, and the Secret has no SSH public keys (*.sshpub)")
            return verify_ssh(signed.payload, signed.signature, ours)
        case "pgp":
            if not ours:
                raise SignatureError("it has a PGP signature, and the Secret has no PGP public keys (*.asc)")
            return verify_pgp(signed.payload, signed.signature, ours)
        case "unknown":
            raise SignatureError("its signature is neither of PGP nor of SSH")


def _mode(verification: GitRepositoryVerification) -> str:
    return "HEAD" if verification.mode in {"", "head"} else verification.mode


def _wants_tag(verification: GitRepositoryVerification) -> bool:
    return _mode(verification) in {"Tag", "TagAndHEAD"}


def _wants_head(verification: GitRepositoryVerification) -> bool:
    return _mode(verification) != "Tag"


def _follows_tag(reference: GitReference) -> bool:
    if reference.commit:
        return False
    if reference.name:
        return reference.name.startswith(_TAGS)
    return bool(reference.tag or reference.semver)
