"""The result of a health check."""

from __future__ import annotations

import enum

import msgspec


class Status(enum.Enum):
    """kstatus's words."""

    CURRENT = "Current"
    IN_PROGRESS = "InProgress"
    FAILED = "Failed"
    TERMINATING = "Terminating"
    NOT_FOUND = "NotFound"
    UNKNOWN = "Unknown"


class Health(msgspec.Struct, frozen=True):
    """A status and, for a person, why."""

    status: Status
    message: str = ""


CURRENT = Health(Status.CURRENT)


def in_progress(message: str) -> Health:
    """Not there yet."""
    return Health(Status.IN_PROGRESS, message)


def failed(message: str) -> Health:
    """Will not get there by waiting."""
    return Health(Status.FAILED, message)
