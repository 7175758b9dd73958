"""How a command ends that a person or a pipeline runs: with a status and a line, never with a traceback."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Final

from agent.errors import WeirError

INTERRUPTED: Final = 130
"""As a shell reports an end by SIGINT."""


def exit_status(act: Callable[[], int], fail: Callable[[str], int]) -> int:
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
        try:
            sys.stdout.flush()
        except OSError:
            _drop_output()
        return fail(f"input or output failed: {error.strerror or type(error).__name__}")
    except Exception as error:  # noqa: BLE001 - a pipeline gets a line that says what happened, whatever it is
        return fail(f"unexpected {type(error).__name__}: this is a fault of Weir")


def _written(status: int) -> int:
    # At its end Python would try once more, and complain in words of its own.
    sys.stdout.flush()
    return status


def _drop_output() -> None:
    """What is left to be written goes nowhere: Python must not complain about it at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
