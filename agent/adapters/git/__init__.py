"""Git: remotes, credentials, mirrors on disk, and commits as immutable file trees."""

from agent.adapters.git.auth import (
    GitAuth,
    GitProxy,
    GitRemote,
    HTTPAuth,
    SSHAuth,
    auth_from_secret,
    proxy_from_secret,
)
from agent.adapters.git.committing import Publication
from agent.adapters.git.environment import SSHAlgorithms
from agent.adapters.git.errors import (
    BranchMovedError,
    EmptyRepositoryError,
    GitAuthenticationError,
    GitOperationError,
    GitTimeoutError,
    MissingObjectError,
    PushDeclinedError,
)
from agent.adapters.git.mirrors import GitCommitTree, GitMirrors
from agent.adapters.git.objects import GitTree, Person, TreeChange
from agent.adapters.git.submodules import GitTreeWithSubmodules, with_submodules

__all__ = [
    "BranchMovedError",
    "EmptyRepositoryError",
    "GitAuth",
    "GitAuthenticationError",
    "GitCommitTree",
    "GitMirrors",
    "GitOperationError",
    "GitProxy",
    "GitRemote",
    "GitTimeoutError",
    "GitTree",
    "GitTreeWithSubmodules",
    "HTTPAuth",
    "MissingObjectError",
    "Person",
    "Publication",
    "PushDeclinedError",
    "SSHAlgorithms",
    "SSHAuth",
    "TreeChange",
    "auth_from_secret",
    "proxy_from_secret",
    "with_submodules",
]
