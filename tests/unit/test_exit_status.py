"""How a command ends that a person or a pipeline runs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from agent.errors import ApplyError
from agent.exitstatus import exit_status


def ended(error: BaseException | None) -> tuple[int, list[str]]:
    """The exit status of a command that raises this, and what it complains about."""
    said: list[str] = []

    def act() -> int:
        if error is not None:
            raise error
        return 3

    def fail(line: str) -> int:
        said.append(line)
        return 1

    return exit_status(act, fail), said


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (None, 3, []),
        (ApplyError("the API server is away"), 1, ["the API server is away"]),
        (KeyboardInterrupt(), 130, []),
        (OSError(28, "No space left on device"), 1, ["input or output failed: No space left on device"]),
        (RuntimeError("a password"), 1, ["unexpected RuntimeError: this is a fault of Weir"]),
    ],
)
def test_each_end_has_its_status_and_line(error: BaseException | None, status: int, said: list[str]) -> None:
    assert ended(error) == (status, said)


def test_a_reader_that_has_seen_enough_is_no_fault() -> None:
    program = (
        "import sys; from agent.exitstatus import exit_status\n"
        "def act():\n"
        "    sys.stdin.read()\n"  # until the reader is gone
        "    print('x' * 100_000, flush=True)\n"
        "    return 3\n"
        "sys.exit(exit_status(act, lambda line: 1))\n"
    )
    command = [sys.executable, "-c", program]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        process.stdin.close()
        assert process.stderr.read() == b""
        assert process.wait() == 0


@pytest.mark.parametrize("flush", [True, False])
def test_output_that_cannot_be_written_is_told_in_one_line(flush: bool) -> None:
    program = (
        "import sys; from agent.exitstatus import exit_status\n"
        f"def act():\n    print('x', flush={flush})\n    return 0\n"
        "sys.exit(exit_status(act, lambda line: print(line, file=sys.stderr) or 1))\n"
    )
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run([sys.executable, "-c", program], stdout=full, stderr=subprocess.PIPE, check=False)
    assert (done.returncode, done.stderr.decode()) == (1, "input or output failed: No space left on device\n")


@pytest.mark.parametrize("arguments", [["version"], ["--help"], ["plan", "--help"], ["run", "--help"]], ids=" ".join)
@pytest.mark.parametrize(
    ("redirected", "status", "said"),
    [
        (">/dev/full", 1, "weir: input or output failed: No space left on device\n"),
        (">&-", 1, "weir: input or output failed: standard output is closed\n"),
        ("| (exec <&-)", 0, ""),
    ],
)
def test_every_command_ends_so_where_its_output_goes_nowhere(
    arguments: list[str], redirected: str, status: int, said: str
) -> None:
    script = f'"$@" {redirected}; exit "${{PIPESTATUS[0]}}"'
    command = ["bash", "-c", script, "bash", sys.executable, "-m", "agent.cli", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (status, said)
