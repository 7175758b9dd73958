"""The system call filter that is in force for a process, read from the kernel, and what it answers to a call."""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
from typing import NamedTuple

_SEIZE, _INTERRUPT, _DETACH, _GET_FILTER = 0x4206, 0x4207, 17, 0x420C
_WALL = 0x40000000
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
ALLOW = 0x7FFF0000
REFUSE = 0x00050000 | errno.EACCES
ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
NUMBERS = {
    "x86_64": {
        "read": 0, "write": 1, "open": 2, "socket": 41, "connect": 42, "bind": 49, "listen": 50, "socketpair": 53,
        "execve": 59, "creat": 85, "ptrace": 101, "openat": 257, "open_by_handle_at": 304, "process_vm_readv": 310,
        "process_vm_writev": 311, "execveat": 322, "io_uring_setup": 425, "openat2": 437, "pidfd_getfd": 438,
    },
    "aarch64": {
        "read": 63, "write": 64, "openat": 56, "ptrace": 117, "socket": 198, "socketpair": 199, "bind": 200,
        "listen": 201, "connect": 203, "execve": 221, "open_by_handle_at": 265, "process_vm_readv": 270,
        "process_vm_writev": 271, "execveat": 281, "io_uring_setup": 425, "openat2": 437, "pidfd_getfd": 438,
    },
}  # fmt: skip
"""System calls by the names of the manual."""


class Instruction(NamedTuple):
    """Of classic BPF."""

    code: int
    if_true: int
    if_false: int
    value: int


def filter_of(pid: int) -> list[Instruction]:
    """The newest filter of a process. Raises PermissionError where the kernel does not show it to us."""
    library = ctypes.CDLL(None, use_errno=True)
    library.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    library.ptrace.restype = ctypes.c_long

    def trace(request: int, data: object = None) -> int:
        found = int(library.ptrace(request, pid, None, data))
        if found < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        return found

    trace(_SEIZE)
    try:
        trace(_INTERRUPT)
        os.waitpid(pid, _WALL)
        length = trace(_GET_FILTER)
        buffer = ctypes.create_string_buffer(8 * length)
        trace(_GET_FILTER, ctypes.cast(buffer, ctypes.c_void_p))
        return [Instruction(*parts) for parts in struct.iter_unpack("=HBBI", buffer.raw)]
    finally:
        trace(_DETACH)


def answer(program: list[Instruction], number: int, *, architecture: int, arguments: tuple[int, ...] = ()) -> int:
    """What the filter makes of a call: ALLOW, REFUSE or another action of the kernel's."""
    data = struct.pack("=IIQ6Q", number, architecture, 0, *(arguments + (0,) * 6)[:6])
    accumulator = position = 0
    while True:
        code, if_true, if_false, value = program[position]
        position += 1
        if code == _RETURN:
            return value
        if code == _LOAD:
            (accumulator,) = struct.unpack_from("=I", data, value)
            continue
        holds = {
            _EQUAL: accumulator == value,
            _AT_LEAST: accumulator >= value,
            _ANY_BIT: bool(accumulator & value),
        }[code]
        position += if_true if holds else if_false


def here() -> tuple[int, dict[str, int]]:
    """The architecture and its system calls. Raises KeyError for one that has no filter."""
    machine = platform.machine()
    return ARCHITECTURES[machine], NUMBERS[machine]
