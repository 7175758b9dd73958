"""How a command ends that a person or a pipeline runs: with a status and a line, never with a traceback."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable
from typing import Final

from agent.errors import WeirError

FAILED: Final = 1
"""What was asked for could not be done, or not be told."""
INTERRUPTED: Final = 130
"""As a shell reports an end by SIGINT."""


def write(data: bytes) -> None:
    """Put *data* on standard output, at once. Raises OSError where it cannot be written, also where it is closed."""
    if sys.stdout is None:
        raise OSError(errno.EBADF, "standard output is closed")
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def complain(message: str) -> int:
    """The line that tells why a command failed; returns the exit status for that."""
    sys.stderr.write(f"weir: {message}\n")
    return FAILED


def exit_status(act: Callable[[], int], fail: Callable[[str], int] = complain) -> int:
    """The exit status of a command: what `act` returns, or `fail` with the line that tells what went wrong."""
    try:
        return _written(act())
    except WeirError as error:
        return fail(error.message)
    except BrokenPipeError:
        # Whoever reads has seen enough.
        _drop_output()
        return 0
    except KeyboardInterrupt:
        return INTERRUPTED
    except OSError as error:
        _drop_output()
        return fail(f"input or output failed: {error.strerror or type(error).__name__}")
    except Exception as error:  # noqa: BLE001 - a pipeline gets a line that says what happened, whatever it is
        return fail(f"unexpected {type(error).__name__}: this is a fault of Weir")


def _written(status: int) -> int:
    # At its end Python would try once more, and complain in words of its own.
    if sys.stdout is not None:
        sys.stdout.flush()
    return status


def _drop_output() -> None:
    """What is left to be written goes nowhere: Python must not complain about it at its end."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
