"""A renderer reaches nothing but its pipes: the filter that the kernel holds for it is asked call by call."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.adapters.renderer import BuildRequest, RendererPool
from tests.renderer.seccomp import ALLOW, ARCHITECTURES, REFUSE, answer, filter_of, here
from tests.renderer.sources import configmap, tree


async def test_no_file_no_connection_no_program_and_no_other_process_is_in_reach(binary: Path) -> None:
    try:
        architecture, numbers = here()
    except KeyError as other:
        pytest.skip(f"no filter for {other}")
    pool = RendererPool(size=1, binary=binary, timeout=60)
    await pool.start()
    try:
        await pool.build(BuildRequest(), tree({"a.yaml": configmap("a")}))
        (process,) = pool._idle
        program = filter_of(process.pid)
        # it goes on working after it was looked at
        assert len((await pool.build(BuildRequest(), tree({"b.yaml": configmap("b")}))).objects) == 1
    except PermissionError as refused:
        pytest.skip(f"the kernel does not show filters to us: {refused}")
    finally:
        await pool.stop()
    needed = {"read", "write"}
    said = {name: answer(program, number, architecture=architecture) for name, number in numbers.items()}
    assert {name for name in said if said[name] == ALLOW} == needed
    assert {said[name] for name in said.keys() - needed} == {REFUSE}
    for other in set(ARCHITECTURES.values()) - {architecture}:
        assert answer(program, numbers["read"], architecture=other) == REFUSE
    assert answer(program, numbers["read"] | 0x40000000, architecture=architecture) == REFUSE
