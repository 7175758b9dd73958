"""A small pool of renderer processes: builds and evaluations run in worker threads, the event loop only waits."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from agent.adapters.programs import ProcessDiedError
from agent.adapters.renderer.errors import ExhaustedError, PathNotFoundError, RenderError, RendererUnavailableError
from agent.adapters.renderer.process import Decryption, Limits, Materials, RendererProcess
from agent.adapters.renderer.protocol import (
    BuildRequest,
    CompileRequest,
    EvaluateRequest,
    ExpressionMode,
    Failure,
    Result,
    YamlRequest,
)
from agent.core.evaluation import Evaluation
from agent.core.tree import Inputs, MemoryTree, RecordingTree, Tree

BINARY = Path(__file__).with_name("weir-renderer")
"""Where the package's build puts the renderer."""

EXPRESSIONS_SECONDS = 10.0
"""Bounds one request about expressions; the renderer itself stops each of them long before."""

T = TypeVar("T")

_NOTHING = Materials(MemoryTree({}))

_evaluation = msgspec.json.Decoder(Evaluation)


class _Bound(msgspec.Struct, frozen=True):
    """What a request is called in errors and how many seconds it may take."""

    what: str
    seconds: float


class Rendered(msgspec.Struct, frozen=True, kw_only=True):
    """The objects of a build as JSON, in kustomize's order, and what they were made from.

    `exposed` are values that were encrypted in the source and are in other objects than Secrets now.

    `digest` ("sha256:…") is over the objects; `duration` is in seconds, without the wait for
    a free process.
    """

    objects: tuple[bytes, ...]
    inputs: Inputs
    digest: str
    duration: float
    warnings: tuple[str, ...] = ()
    exposed: frozenset[str] = frozenset()

    def __repr__(self) -> str:
        """Without the objects, which may be Secrets."""
        return f"Rendered({len(self.objects)} objects, {self.digest}, {self.duration:.3f} s)"


class RendererPool:
    """Builds with up to `size` processes at once. A process that crashes or overruns is replaced."""

    def __init__(
        self, *, size: int = 2, binary: Path = BINARY, limits: Limits | None = None, timeout: float = 60.0
    ) -> None:
        """`timeout` is in seconds and bounds one build from the moment a process takes it."""
        self._size = size
        self._binary = binary
        self._limits = limits or Limits()
        self._build_bound = _Bound("build", timeout)
        self._evaluation_bound = _Bound("evaluation", min(timeout, EXPRESSIONS_SECONDS))
        self._idle: list[RendererProcess] = []
        self._places = asyncio.Semaphore(size)
        self._threads: ThreadPoolExecutor | None = None

    async def start(self) -> None:
        """Starts the processes. Raises RendererUnavailableError where that is impossible."""
        self._threads = ThreadPoolExecutor(self._size, thread_name_prefix="renderer")
        for _ in range(self._size):
            self._idle.append(await self._spawn())

    async def stop(self) -> None:
        """Waits for builds under way, then ends the processes."""
        if self._threads is None:
            return
        for _ in range(self._size):
            await self._places.acquire()
        for process in self._idle:
            await self._in_thread(process.close)
        self._idle.clear()
        self._threads.shutdown()
        self._threads = None
        for _ in range(self._size):
            self._places.release()

    async def build(self, request: BuildRequest, tree: Tree, decryption: Decryption | None = None) -> Rendered:
        """Builds the request from the tree, which is read in a worker thread.

        What is encrypted is decrypted by `decryption`, which is closed in the end, or else left as it is.

        Raises RenderError, PathNotFoundError or RendererUnavailableError, and whatever the tree itself raises.
        """
        request = msgspec.structs.replace(request, decrypt=decryption is not None)
        recording = RecordingTree(tree)
        materials = Materials(recording, decryption)
        try:
            result, documents, duration = await self._request(request, b"", materials, self._build_bound)
        except (RenderError, PathNotFoundError) as err:
            # Time, memory and keys may suffice another time; the rest depends on nothing but what was read.
            if not isinstance(err, ExhaustedError) and getattr(err, "kind", "") != "decryption":
                err.inputs = recording.inputs
            raise
        digest = hashlib.sha256()
        for document in documents:
            digest.update(len(document).to_bytes(8, "big"))
            digest.update(document)
        return Rendered(
            objects=documents,
            inputs=recording.inputs,
            digest="sha256:" + digest.hexdigest(),
            duration=duration,
            warnings=result.warnings,
            exposed=frozenset(result.exposed),
        )

    async def documents(self, text: bytes) -> tuple[bytes, ...]:
        """The documents of a YAML text as JSON, read as Kubernetes reads YAML. Raises as `build` does."""
        _, documents, _ = await self._request(YamlRequest(), text, _NOTHING, self._build_bound)
        return documents

    async def compile(self, mode: ExpressionMode, expressions: Sequence[str]) -> tuple[Evaluation, ...]:
        """What is wrong with each CEL expression; a sound one gives an evaluation without error.

        Raises RenderError or RendererUnavailableError.
        """
        return await self._evaluations(CompileRequest(mode, tuple(expressions)), b"")

    async def evaluate(
        self, mode: ExpressionMode, expressions: Sequence[str], variables: Mapping[str, Any]
    ) -> tuple[Evaluation, ...]:
        """The value of each CEL expression over the variables, which are plain JSON values.

        Raises RenderError (too much time or memory) or RendererUnavailableError.
        """
        return await self._evaluations(EvaluateRequest(mode, tuple(expressions)), msgspec.json.encode(variables))

    async def _evaluations(self, request: CompileRequest | EvaluateRequest, body: bytes) -> tuple[Evaluation, ...]:
        if not request.expressions:
            return ()
        _, documents, _ = await self._request(request, body, _NOTHING, self._evaluation_bound)
        return tuple(_evaluation.decode(document) for document in documents)

    async def _request(
        self, request: msgspec.Struct, body: bytes, materials: Materials, bound: _Bound
    ) -> tuple[Result, tuple[bytes, ...], float]:
        async with self._places:
            started = time.monotonic()
            try:
                message, data = await self._converse(request, body, materials, bound)
            finally:
                # while there is a thread for it: the next build does not hold up the end of this one
                if materials.decryption is not None:
                    await self._in_thread(materials.decryption.close)
            duration = time.monotonic() - started
        if isinstance(message, Failure):
            if message.kind == "path-not-found":
                raise PathNotFoundError(message.message)
            raise RenderError(message.message, kind=message.kind)
        return message, tuple(_cut(data, message.sizes)), duration

    async def _converse(
        self, request: msgspec.Struct, body: bytes, materials: Materials, bound: _Bound
    ) -> tuple[Result | Failure, bytes]:
        for last in (False, True):
            process = self._idle.pop() if self._idle else await self._spawn()
            try:
                work = functools.partial(process.ask, request, body, materials)
                return await self._timed((process, materials.decryption), work, bound)
            except ProcessDiedError as err:
                if "out of memory" in str(err):
                    memory = self._limits.memory
                    raise ExhaustedError(
                        f"the {bound.what} needs more than the {memory} bytes of memory allowed"
                    ) from err
                if err.spoke or last:
                    raise RendererUnavailableError(f"the renderer stopped during the {bound.what}: {err}") from err
            finally:
                if process.alive:
                    self._idle.append(process)
                else:
                    await self._in_thread(process.close)
        raise AssertionError("unreachable")

    async def _timed(self, busy: tuple[RendererProcess, Decryption | None], work: Callable[[], T], bound: _Bound) -> T:
        """Runs the work in a thread; at the deadline or on cancellation those busy are killed, which ends the work."""
        future = asyncio.ensure_future(self._in_thread(work))
        try:
            done, _ = await asyncio.wait([future], timeout=bound.seconds)
        except asyncio.CancelledError:
            _kill(busy)
            with contextlib.suppress(Exception):
                await future
            raise
        if not done:
            _kill(busy)
            with contextlib.suppress(Exception):
                await future
            raise ExhaustedError(f"the {bound.what} took longer than {bound.seconds:g} s and was stopped")
        return future.result()

    async def _spawn(self) -> RendererProcess:
        starting = asyncio.ensure_future(
            self._in_thread(functools.partial(RendererProcess, self._binary, self._limits))
        )
        try:
            return await asyncio.shield(starting)
        except asyncio.CancelledError:
            # nobody else knows the process, so nobody else would end it
            with contextlib.suppress(OSError):
                await self._in_thread((await starting).close)
            raise
        except OSError as err:
            raise RendererUnavailableError(
                f"the renderer cannot be started: {err}; installing the package compiles it"
            ) from err

    async def _in_thread(self, work: Callable[[], T]) -> T:
        if self._threads is None:
            raise RendererUnavailableError("the renderer is not running")
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)


def _kill(busy: tuple[RendererProcess, Decryption | None]) -> None:
    for one in busy:
        if one is not None:
            one.kill()


def _cut(data: bytes, sizes: tuple[int, ...]) -> list[bytes]:
    documents, at = [], 0
    for size in sizes:
        documents.append(data[at : at + size])
        at += size
    return documents
