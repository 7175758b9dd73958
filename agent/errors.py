"""The error tree: every failure that can reach a status is one of these.

A class fixes two things: the `reason` that appears on the Ready condition (Flux's or Kubernetes' own word for it)
and what happens `next`. Adapters translate foreign exceptions into this tree at the border and redact there;
nothing above an adapter catches a library's exception.

    WeirError
    ├── ConfigurationError     STALL   bad spec: no retry until the object changes
    ├── WaitingError           WAIT    something else has to happen first (a dependency, a source, an approval)
    └── OperationError         RETRY   the world said no this time
"""

from __future__ import annotations

import enum
from typing import ClassVar


class Next(enum.Enum):
    """What the queue does after a failed pass."""

    RETRY = "retry"
    WAIT = "wait"
    STALL = "stall"


class WeirError(Exception):
    """A failure with a reason for the status and a message for a person.

    `message` names the object, the field and the remedy; it never holds a secret.
    """

    reason: str = "ReconciliationFailed"
    next: ClassVar[Next] = Next.RETRY

    def __init__(self, message: str, *, reason: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        if reason is not None:
            self.reason = reason


class ConfigurationError(WeirError):
    """The object's own spec is wrong; retrying cannot help."""

    next = Next.STALL
    observed: ClassVar[bool] = True
    """Whether the status says that this generation was dealt with."""


class FeatureGateError(ConfigurationError):
    """The spec is fine, and needs a feature that this agent was started without; Flux leaves the generation open."""

    reason = "FeatureGateDisabled"
    observed = False


class WaitingError(WeirError):
    """Not a fault: another object has to move first. `after` is the delay in seconds before the next look."""

    next = Next.WAIT

    def __init__(self, message: str, *, after: float, reason: str | None = None) -> None:
        super().__init__(message, reason=reason)
        self.after = after


class OperationError(WeirError):
    """Something outside failed and may succeed later."""


class UnexpectedError(OperationError):
    """A bug, as the status tells of it. The log has the whole error; its text may hold anything, so it stays there."""

    def __init__(self, error: Exception) -> None:
        super().__init__(f"unexpected {type(error).__name__}: this is a fault of Weir, see its log")


class AuthenticationError(OperationError):
    """Credentials are missing or unusable (not: refused by the other side)."""

    reason = "AuthenticationFailed"


class BuildError(OperationError):
    """Rendering, decryption or substitution failed."""

    reason = "BuildFailed"


class ArtifactError(OperationError):
    """The source's artifact is missing, unreachable or not what it claims to be."""

    reason = "ArtifactFailed"


class ApplyError(OperationError):
    """The API server refused an object."""

    reason = "ReconciliationFailed"


class PruneError(OperationError):
    """An object that left the inventory could not be deleted."""

    reason = "PruneFailed"


class HealthError(OperationError):
    """Applied objects did not become healthy."""

    reason = "HealthCheckFailed"
