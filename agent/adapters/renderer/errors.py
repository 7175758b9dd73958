"""What can go wrong with a build, in terms of the agent's error tree."""

from __future__ import annotations

from agent.core.tree import Inputs
from agent.errors import ArtifactError, BuildError, OperationError


class RenderError(BuildError):
    """The manifests cannot be built.

    `kind` says why: build, substitution, decode, invalid-object, remote, limit or internal. `inputs` is what was read
    until then: as long as it is unchanged, so is the error. It is None where trying again can help.
    """

    def __init__(self, message: str, *, kind: str, inputs: Inputs | None = None) -> None:
        super().__init__(message)
        self.kind = kind
        self.inputs = inputs


class ExhaustedError(RenderError):
    """The build was stopped because it took too much time or memory."""

    def __init__(self, message: str) -> None:
        super().__init__(message, kind="limit")


class PathNotFoundError(ArtifactError):
    """The source has no such folder. `inputs` is what has to change before it can have one."""

    def __init__(self, message: str, *, inputs: Inputs | None = None) -> None:
        super().__init__(message)
        self.inputs = inputs


class RendererUnavailableError(OperationError):
    """The renderer's process could not be started, or ended in the middle of a build."""

    reason = "BuildFailed"
