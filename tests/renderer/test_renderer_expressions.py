"""CEL as the Flux controllers have it, evaluated in the renderer."""

import asyncio
import contextlib
import os
import time
from pathlib import Path
from typing import Any

import pytest

from agent.adapters.renderer import BuildRequest, ExpressionMode, Limits, RendererPool, RenderError
from agent.core.evaluation import Evaluation
from tests.renderer.sources import configmap, tree

OBJECT: dict[str, Any] = {
    "metadata": {"name": "chat", "generation": 3, "labels": {}},
    "status": {
        "phase": "Loaded",
        "replicas": 2,
        "ratio": 0.5,
        "large": 2**53 + 1,
        "huge": 2**70,
        "conditions": [{"type": "Ready", "status": "True"}],
    },
}


async def value(pool: RendererPool, expression: str, mode: ExpressionMode = "health", **more: Any) -> Evaluation:
    (evaluation,) = await pool.evaluate(mode, [expression], more or OBJECT)
    return evaluation


@pytest.mark.parametrize(
    "expression",
    [
        "status.phase == 'Loaded' && metadata.generation == 3",
        "status.conditions.exists(c, c.type == 'Ready' && c.status == 'True')",
        "has(status.phase) && !has(status.missing)",
        # numbers keep their types, and compare across them
        "type(status.replicas) == int && type(status.ratio) == double && status.replicas == 2.0 && status.ratio < 1",
        "status.large == 9007199254740993",
        "type(status.huge) == double",
        # the extensions
        "'a,b'.split(',').size() == 2 && 'x'.replace('x', 'y') == 'y'",
        "sets.contains([1, 2], [1])",
        "base64.encode(b'x') == 'eA=='",
        "metadata.?labels.?team.orValue('none') == 'none' && status.?phase.hasValue()",
        # the zone is UTC where none is said, and all zones are there although the process has no files
        "timestamp('2026-01-01T00:30:00Z').getHours() == 0",
        "timestamp('2026-01-01T00:30:00Z').getHours('Europe/Berlin') == 1",
    ],
)
async def test_what_health_expressions_can_say(pool: RendererPool, expression: str) -> None:
    assert await value(pool, expression) == Evaluation(value=True)


@pytest.mark.parametrize(
    ("expression", "error"),
    [
        ("spec.a.b", "failed to evaluate the CEL expression 'spec.a.b': no such attribute(s): spec.a.b"),
        ("status.x == 1", "failed to evaluate the CEL expression 'status.x == 1': no such key: x"),
        ("status.phase", "failed to evaluate CEL expression as boolean: 'status.phase'"),
        ("has(spec.a)", "failed to evaluate the CEL expression 'has(spec.a)': no such attribute(s): spec.a"),
    ],
)
async def test_an_expression_over_what_is_not_there(pool: RendererPool, expression: str, error: str) -> None:
    assert await value(pool, expression) == Evaluation(error=error)
    assert await pool.compile("health", [expression]) == (Evaluation(),)


async def test_false_is_no_error_and_no_object_is_no_surprise(pool: RendererPool) -> None:
    assert await pool.evaluate("health", ["status.phase == 'Broken'", "true"], OBJECT) == (
        Evaluation(value=False),
        Evaluation(value=True),
    )
    assert await pool.evaluate("health", ["true"], {}) == (Evaluation(value=True),)
    assert await pool.evaluate("health", [], OBJECT) == ()


@pytest.mark.parametrize(
    ("mode", "expression", "error"),
    [
        ("health", "status.", "failed to parse the CEL expression 'status.': ERROR: <input>:1:8: Syntax error: "),
        ("health", "", "failed to parse the CEL expression '': ERROR: <input>:1:0: Syntax error: "),
        ("ready", "self.", "failed to parse the CEL expression 'self.': ERROR: <input>:1:6: Syntax error: "),
        ("ready", "status.a", "ERROR: <input>:1:1: undeclared reference to 'status' (in container '')"),
        ("ready", "1", "CEL expression output type mismatch: expected bool, got int"),
        ("ready", "dep.a", "CEL expression output type mismatch: expected bool, got dyn"),
        ("ready", "[1, 'a'].size() == 2", "ERROR: <input>:1:5: expected type 'int' but found 'string'"),
    ],
)
async def test_what_no_object_can_make_work(
    pool: RendererPool, mode: ExpressionMode, expression: str, error: str
) -> None:
    (compiled,) = await pool.compile(mode, [expression])
    assert compiled.invalid
    assert error in compiled.error
    assert await pool.evaluate(mode, [expression], OBJECT) == (compiled,)


async def test_health_expressions_are_not_type_checked(pool: RendererPool) -> None:
    assert await pool.compile("health", ["anything.at.all", "1", "[1, 'a'].size() == 2"]) == (Evaluation(),) * 3


async def test_ready_expressions_see_both_objects(pool: RendererPool) -> None:
    expression = "dep.status.generation == self.metadata.generation && dep.status.conditions.all(c, c.ok)"
    self = {"metadata": {"generation": 3}}
    dep: dict[str, Any] = {"status": {"generation": 3, "conditions": [{"ok": True}]}}
    assert await value(pool, expression, "ready", self=self, dep=dep) == Evaluation(value=True)
    dep["status"]["conditions"].append({"ok": False})
    assert await value(pool, expression, "ready", self=self, dep=dep) == Evaluation(value=False)


async def test_an_expression_that_would_run_for_ages_is_stopped(pool: RendererPool) -> None:
    numbers = "[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]"
    endless = "true"
    for name in "abcdefghijkl":
        endless = f"{numbers}.all({name}, {endless})"
    started = time.monotonic()
    stopped = await value(pool, endless)
    assert stopped.error.endswith(("operation cancelled: actual cost limit exceeded", "operation interrupted"))
    assert time.monotonic() - started < 60
    assert await value(pool, "true") == Evaluation(value=True)


async def test_an_expression_that_would_need_all_memory_is_stopped_and_nobody_else(binary: Path) -> None:
    pool = RendererPool(size=1, binary=binary, limits=Limits(memory=128 << 20))
    await pool.start()
    try:
        text = "'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa'" + ".replace('a', 'aaaaaaaaaaaaaaaa')" * 8
        with pytest.raises(RenderError, match="the evaluation needs more than the 134217728 bytes of memory"):
            await value(pool, f"{text}.size() > 0")
        assert await value(pool, "true") == Evaluation(value=True)
    finally:
        await pool.stop()


async def test_builds_and_expressions_share_the_processes(pool: RendererPool) -> None:
    before = await pool.build(BuildRequest(), tree({"a.yaml": configmap("a")}))
    assert await value(pool, "status.phase == 'Loaded'") == Evaluation(value=True)
    after = await pool.build(BuildRequest(), tree({"a.yaml": configmap("a")}))
    assert before.digest == after.digest


async def test_a_process_that_died_meanwhile_is_replaced(binary: Path) -> None:
    pool = RendererPool(size=1, binary=binary)
    await pool.start()
    try:
        os.kill(pool._idle[0].pid, 9)
        assert await value(pool, "true") == Evaluation(value=True)
    finally:
        await pool.stop()


def children() -> set[int]:
    found: set[int] = set()
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(OSError):  # a thread that ends meanwhile
            found |= {int(pid) for pid in (task / "children").read_text().split()}
    return found


async def test_a_process_that_starts_while_nobody_waits_any_more_is_ended(binary: Path) -> None:
    pool = RendererPool(size=1, binary=binary)
    await pool.start()
    try:
        pool._idle.pop().close()
        before = children()
        waiting = asyncio.create_task(value(pool, "true"))
        async with asyncio.timeout(60):
            while children() == before:  # noqa: ASYNC110 - nobody tells when a process has begun
                await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert await value(pool, "true") == Evaluation(value=True)
        assert children() - before == {pool._idle[0].pid}
    finally:
        await pool.stop()
