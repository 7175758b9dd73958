"""What the benchmarks count as the memory of a program."""

from __future__ import annotations

import os
import subprocess
import sys

from bench.usage import core_wait, memory

PARENT = """
import subprocess, sys
pipe = subprocess.PIPE
same = subprocess.Popen([sys.executable, "-c", "input()"], stdin=pipe)
other = subprocess.Popen(["cat"], stdin=pipe)
print(same.pid, other.pid, flush=True)
input()
same.communicate(b"\\n"), other.communicate()
"""


def test_a_child_that_still_runs_its_parents_program_is_not_counted() -> None:
    """Between fork and exec it has the parent's memory, which would count twice."""
    command = [sys.executable, "-c", PARENT]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        _, other = map(int, parent.stdout.readline().split())
        assert memory([parent.pid]).keys() == {parent.pid, other}
        assert all(memory([parent.pid]).values())
        parent.communicate(b"\n")


def test_waiting_for_a_core_is_told_of_processes_that_are_there() -> None:
    assert core_wait([os.getpid()]) >= 0
    assert core_wait([2**22 + 1]) == 0
