"""What can go wrong between Weir and a Git server, in Flux's words for reasons.

`AuthenticationFailed` is only for credentials that cannot be used at all (a key set that makes no sense, an encrypted
key without its passphrase). Everything a server or the network says is `GitOperationFailed`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from agent.errors import AuthenticationError, OperationError

# The length of a scheme is bounded: servers have a say in the texts, and could make the search as slow as they like.
_USERINFO = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]{0,30}://)([^/@\s'\"]*)@")
_MASK = "*****"


class GitAuthenticationError(AuthenticationError):
    """The credentials given for a repository or proxy cannot be used."""


class GitOperationError(OperationError):
    """The remote, the network or the reference failed the operation."""

    reason = "GitOperationFailed"


class GitTimeoutError(GitOperationError):
    """The operation did not finish within its deadline; its processes were ended."""


class EmptyRepositoryError(GitOperationError):
    """The repository exists and has no commit."""

    reason = "EmptyGitRepository"


class BranchMovedError(GitOperationError):
    """A push was refused because the branch is no longer where the commit was made on."""


class PushDeclinedError(GitOperationError):
    """A hook of the server has declined a push: the same push would be declined again."""


class MissingObjectError(GitOperationError):
    """The local mirror lacks an object or cannot be read; the next checkout builds the mirror anew."""


def redact(text: str, secrets: Iterable[str] = ()) -> str:
    """Mask the secrets, and whatever stands before the `@` of a URL except a plain user name of ssh."""
    for secret in secrets:
        if secret:
            text = text.replace(secret, _MASK)
    return _USERINFO.sub(_without_password, text)


def _without_password(match: re.Match[str]) -> str:
    scheme, userinfo = match.groups()
    if scheme == "ssh://":
        return f"{scheme}{userinfo.partition(':')[0]}@"
    return scheme
