"""The processes behind the pool: replaced when they crash or overrun, confined, and never in the way of the loop."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from agent.adapters.renderer import (
    BuildRequest,
    Limits,
    PathNotFoundError,
    RendererPool,
    RenderError,
    RendererUnavailableError,
)
from agent.core.tree import Entry, MemoryTree, Stat, unchanged
from tests.renderer.sources import DEPLOYMENT, configmap, tree

ONE = tree({"a.yaml": configmap("a")})


@asynccontextmanager
async def running(
    binary: Path, *, size: int = 1, limits: Limits | None = None, timeout: float = 30
) -> AsyncIterator[RendererPool]:
    pool = RendererPool(size=size, binary=binary, limits=limits, timeout=timeout)
    await pool.start()
    try:
        yield pool
    finally:
        await pool.stop()


class HookedTree(MemoryTree):
    """Runs something before each file is read."""

    def __init__(self, files: dict[str, bytes], hook: Callable[[], None]) -> None:
        super().__init__(files)
        self.hook = hook

    def read(self, path: str) -> bytes:
        self.hook()
        return super().read(path)


def pids(pool: RendererPool) -> list[int]:
    return [process.pid for process in pool._idle]


def describe(pid: int) -> dict[str, str]:
    """What the system says about a process."""
    about = Path(f"/proc/{pid}")
    said = {name: (about / name).read_text() for name in ("environ", "limits")}
    said["threads"] = "".join((thread / "status").read_text() for thread in (about / "task").iterdir())
    return said | {"open": " ".join(str(link.readlink()) for link in (about / "fd").iterdir())}


def exists(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


class TestReplacement:
    async def test_a_process_that_died_while_idle_goes_unnoticed(self, binary: Path) -> None:
        async with running(binary) as pool:
            (before,) = pids(pool)
            os.kill(before, signal.SIGKILL)
            assert len((await pool.build(BuildRequest(), ONE)).objects) == 1
            assert pids(pool) != [before]

    async def test_a_crash_in_the_middle_fails_that_build_only(self, binary: Path) -> None:
        async with running(binary) as pool:
            (before,) = pids(pool)
            hooked = HookedTree({"a.yaml": configmap("a").encode()}, lambda: os.kill(before, signal.SIGKILL))
            with pytest.raises(RendererUnavailableError, match="the renderer stopped during the build: signal 9"):
                await pool.build(BuildRequest(), hooked)
            assert len((await pool.build(BuildRequest(), ONE)).objects) == 1

    async def test_a_build_that_takes_too_long_is_stopped(self, binary: Path) -> None:
        async with running(binary, timeout=3) as pool:
            (before,) = pids(pool)
            hooked = HookedTree({"a.yaml": configmap("a").encode()}, lambda: os.kill(before, signal.SIGSTOP))
            started = time.monotonic()
            with pytest.raises(RenderError, match=r"the build took longer than 3 s") as caught:
                await pool.build(BuildRequest(), hooked)
            assert caught.value.kind == "limit"
            assert caught.value.inputs is None
            assert time.monotonic() - started < 30
            assert len((await pool.build(BuildRequest(), ONE)).objects) == 1

    async def test_memory_is_bounded(self, binary: Path) -> None:
        async with running(binary, limits=Limits(memory=80 << 20, output=1 << 30)) as pool:
            text = "x" * (1 << 19)
            files = {f"{n}.yaml": configmap(f"c{n}", f'{{k: "{text}"}}') for n in range(80)}
            with pytest.raises(
                RenderError, match="the build needs more than the 83886080 bytes of memory allowed"
            ) as caught:
                await pool.build(BuildRequest(), tree(files))
            assert caught.value.kind == "limit"
            assert len((await pool.build(BuildRequest(), ONE)).objects) == 1

    async def test_cancelling_ends_the_work(self, binary: Path) -> None:
        async with running(binary) as pool:
            (before,) = pids(pool)
            stopped = asyncio.Event()
            loop = asyncio.get_running_loop()

            def stop() -> None:
                os.kill(before, signal.SIGSTOP)
                loop.call_soon_threadsafe(stopped.set)

            task = asyncio.create_task(
                pool.build(BuildRequest(), HookedTree({"a.yaml": configmap("a").encode()}, stop))
            )
            await asyncio.wait_for(stopped.wait(), 60)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert len((await pool.build(BuildRequest(), ONE)).objects) == 1
            assert pids(pool) != [before]

    async def test_what_the_tree_raises_comes_through_and_the_process_stays(self, binary: Path) -> None:
        class BrokenError(Exception):
            pass

        def fail() -> None:
            raise BrokenError("object store is gone")

        async with running(binary) as pool:
            before = pids(pool)
            assert len((await pool.build(BuildRequest(), ONE)).objects) == 1
            with pytest.raises(BrokenError):
                await pool.build(BuildRequest(), HookedTree({"a.yaml": configmap("a").encode()}, fail))
            assert len((await pool.build(BuildRequest(), ONE)).objects) == 1
            assert pids(pool) == before

    @pytest.mark.parametrize(
        "script",
        [
            "#!/bin/sh\nexit 3\n",
            "#!/bin/sh\necho no good >&2\nexit 3\n",
            "#!/bin/sh\nprintf '\\377\\377\\377\\377'\ncat\n",
        ],
    )
    async def test_a_program_that_is_no_renderer(self, tmp_path: Path, script: str) -> None:
        program = tmp_path / "program"
        program.write_text(script)
        program.chmod(0o755)
        async with running(program) as pool:
            with pytest.raises(RendererUnavailableError) as caught:
                await pool.build(BuildRequest(), ONE)
            assert ("no good" in caught.value.message) == ("no good" in script)

    async def test_no_program(self, tmp_path: Path) -> None:
        pool = RendererPool(binary=tmp_path / "missing")
        with pytest.raises(RendererUnavailableError, match="cannot be started"):
            await pool.start()
        await pool.stop()

    async def test_stopping_leaves_no_process(self, binary: Path) -> None:
        async with running(binary, size=2) as pool:
            await asyncio.gather(*(pool.build(BuildRequest(), ONE) for _ in range(4)))
            alive = pids(pool)
        assert len(alive) == 2
        assert not [pid for pid in alive if exists(pid)]
        with pytest.raises(RendererUnavailableError):
            await pool.build(BuildRequest(), ONE)


class TestConfinement:
    async def test_no_environment_no_sockets_and_no_way_to_get_one(self, binary: Path) -> None:
        async with running(binary) as pool:
            await pool.build(BuildRequest(), ONE)
            about = describe(*pids(pool))
        assert about["environ"] == ""
        threads = about["threads"].count("Name:\t")
        assert threads > 1
        assert about["threads"].count("Seccomp:\t2\n") == threads
        assert about["threads"].count("NoNewPrivs:\t1\n") == threads
        assert "Max data size             unlimited" not in about["limits"]
        assert "pipe:" in about["open"]
        assert "socket:" not in about["open"]

    async def test_one_builds_schema_is_not_the_next_ones(self, binary: Path) -> None:
        thing = "apiVersion: example.com/v1\nkind: Thing\nmetadata: {name: t}\nspec: {parts: [{name: a, v: 1}]}\n"
        patch = "apiVersion: example.com/v1\nkind: Thing\nmetadata: {name: t}\nspec: {parts: [{name: b, v: 2}]}\n"
        schema = """{"definitions": {"v1.Thing": {
          "x-kubernetes-group-version-kind": [{"group": "example.com", "version": "v1", "kind": "Thing"}],
          "properties": {"spec": {"properties": {"parts": {"type": "array",
            "x-kubernetes-patch-strategy": "merge", "x-kubernetes-patch-merge-key": "name"}}}}}}}"""
        files = {
            "kustomization.yaml": "resources: [t.yaml]\npatches: [{path: p.yaml}]\n",
            "t.yaml": thing,
            "p.yaml": patch,
        }
        with_schema = {
            **files,
            "kustomization.yaml": files["kustomization.yaml"] + "openapi: {path: s.json}\n",
            "s.json": schema,
        }
        async with running(binary) as pool:
            before = await pool.build(BuildRequest(), tree(files))
            merged = await pool.build(BuildRequest(), tree({**with_schema, "d.yaml": DEPLOYMENT}))
            after = await pool.build(BuildRequest(), tree(files))
        assert b'"name":"a"' not in before.objects[0]
        assert b'"name":"a"' in merged.objects[0]
        assert after.digest == before.digest


FILES = {
    "app/kustomization.yaml": "resources: [../base, a.yaml]\n",
    "app/a.yaml": configmap("a"),
    "app/unused.yaml": configmap("unused"),
    "base/in.yaml": configmap("in"),
    "base/kustomization.yaml": "resources: [in.yaml]\n",
    "walked/one.yaml": configmap("one"),
    "walked/sub/two.yaml": configmap("two"),
    "walked/readme.md": "x",
    "other/x.yaml": configmap("x"),
}


class TestInputs:
    @pytest.mark.parametrize(
        ("path", "change", "same"),
        [
            ("app", {"app/unused.yaml": "changed", "other/x.yaml": "changed", "new/file": "x"}, True),
            ("app", {"app/new.yaml": configmap("new")}, True),
            ("app", {"app/a.yaml": configmap("b")}, False),
            ("app", {"base/in.yaml": configmap("b")}, False),
            ("app", {"base/Kustomization": ""}, False),
            ("app", {"base/kustomization.yaml": None}, False),
            ("walked", {"walked/readme.md": "changed"}, True),
            ("walked", {"app/a.yaml": "changed", "walked2/x": ""}, True),
            ("walked", {"walked/new.yaml": configmap("new")}, False),
            ("walked", {"walked/sub/new.txt": "even this changes a listed folder"}, False),
            ("walked", {"walked/kustomization.yaml": ""}, False),
            ("walked", {"walked/sub/kustomization.yml": ""}, False),
            ("walked", {"walked/sub/two.yaml": None}, False),
        ],
    )
    async def test_exactly_what_was_read_counts(
        self, pool: RendererPool, path: str, change: dict[str, str | None], same: bool
    ) -> None:
        rendered = await pool.build(BuildRequest(path=path), tree(FILES))
        assert unchanged(rendered.inputs, tree(FILES))
        changed = {p: t for p, t in {**FILES, **change}.items() if t is not None}
        assert unchanged(rendered.inputs, tree(changed)) is same

    @pytest.mark.parametrize(
        ("path", "mended"),
        [("broken", {"broken/a.yaml": configmap("a")}), ("nowhere", {"nowhere/a.yaml": configmap("a")})],
    )
    async def test_an_error_stays_until_what_it_came_from_changes(
        self, pool: RendererPool, path: str, mended: dict[str, str]
    ) -> None:
        files = {**FILES, "broken/a.yaml": "{"}
        with pytest.raises((RenderError, PathNotFoundError)) as caught:
            await pool.build(BuildRequest(path=path), tree(files))
        assert caught.value.inputs is not None
        assert unchanged(caught.value.inputs, tree({**files, "app/a.yaml": "", "new": ""}))
        assert not unchanged(caught.value.inputs, tree({**files, **mended}))

    async def test_a_missing_component_that_appears(self, pool: RendererPool) -> None:
        request = BuildRequest(path="app", components=("../c",), ignore_missing_components=True)
        rendered = await pool.build(request, tree(FILES))
        assert not unchanged(rendered.inputs, tree({**FILES, "c/kustomization.yaml": ""}))


class TestManyAtOnce:
    async def test_two_hundred_builds_do_not_hold_up_the_loop(self, pool: RendererPool) -> None:
        class SlowTree(MemoryTree):
            def stat(self, path: str) -> Stat | None:
                time.sleep(0.001)  # as a cold object store would; the thread waits, not the loop
                return super().stat(path)

            def list(self, path: str) -> tuple[Entry, ...]:
                time.sleep(0.001)
                return super().list(path)

        slow = SlowTree({f"apps/{n}/d.yaml": DEPLOYMENT.encode() for n in range(200)})
        await asyncio.gather(*(pool.build(BuildRequest(), ONE) for _ in range(4)))
        late: list[float] = []

        async def watch() -> None:
            while True:
                before = time.perf_counter()
                await asyncio.sleep(0.002)
                late.append(time.perf_counter() - before - 0.002)

        async with asyncio.TaskGroup() as group:
            watcher = group.create_task(watch())
            builds = [
                group.create_task(pool.build(BuildRequest(path=f"apps/{n}", name_prefix=f"p{n}-"), slow))
                for n in range(200)
            ]
            results = await asyncio.gather(*builds)
            watcher.cancel()
        assert [f'"name":"p{n}-chat"'.encode() in r.objects[0] for n, r in enumerate(results)] == [True] * 200
        # The machine may be busy with something else; the typical moment says what this code does to the loop.
        late.sort()
        assert late[len(late) * 95 // 100] < 0.5  # builds take longer than this together, so they ran beside the loop
