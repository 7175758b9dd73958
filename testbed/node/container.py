"""One container through its whole life: preparation, runs, probes, hooks, restarts with back-off, its end."""

import asyncio
import contextlib
import time
import uuid
from pathlib import Path
from typing import Literal, Protocol

import aiohttp

from testbed.node.backoff import BackOff
from testbed.node.environment import CommandLine, ConfigError
from testbed.node.kubeapi import ApiError, Obj
from testbed.node.launch import LocalProcess, StartError, run_briefly
from testbed.node.probes import checker, http_get, run_probe
from testbed.node.status import ContainerView, Role, Running, State, Terminated, Waiting, utc_now

RestartPolicy = Literal["Always", "OnFailure", "Never"]
_RETRY_SECONDS = 1.0
_LONGEST_MESSAGE = 4096  # bytes, as with the kubelet


class ImageError(Exception):
    """The image cannot be had now; ``reason`` is the kubelet's word for it (ErrImagePull, ErrImageNeverPull)."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class Host(Protocol):
    """What a container needs of its Pod."""

    @property
    def folder(self) -> Path:
        """The Pod's own folder, where its programs start."""

    @property
    def grace_seconds(self) -> float:
        """terminationGracePeriodSeconds of the Pod."""

    async def prepare(self, container: Obj) -> CommandLine:
        """What to execute; ImageError or ConfigError while something is missing."""

    def port_of(self, container: Obj, port: int | str) -> int:
        """The local port behind a container port number or name."""

    def log_of(self, container: Obj) -> Path:
        """The file that takes the container's output."""

    def termination_log_of(self, container: Obj) -> Path:
        """The file that plays terminationMessagePath."""

    def changed(self, message: tuple[str, str] | None = None) -> None:
        """The container's state changed; with (reason, message) also tell it as an Event."""


class ContainerRunner:
    """Runs one container until it ends for good or is stopped."""

    def __init__(
        self, spec: Obj, host: Host, *, role: Role, policy: RestartPolicy, backoff: BackOff, restarts: int, reason: str
    ) -> None:
        self.role = role
        self.settled = asyncio.Event()
        """Set once the container started (startup probe passed) or ended for good."""
        self._spec = spec
        self._host = host
        self._policy = policy
        self._backoff = backoff
        self._restarts = restarts
        self._state: State = Waiting(reason)
        self._last: Terminated | None = None
        self._container_id = ""
        self._started = self._ready = self._final = False
        self._stopping = asyncio.Event()
        self._kill = asyncio.Event()
        self._nearer = asyncio.Event()
        self._kill_at = float("inf")

    @property
    def view(self) -> ContainerView:
        """The container as its status shows it."""
        return ContainerView(
            name=self._spec["name"],
            image=self._spec["image"],
            role=self.role,
            state=self._state,
            last=self._last,
            restarts=self._restarts,
            started=self._started,
            ready=self._ready,
            final=self._final,
            container_id=self._container_id,
        )

    @property
    def succeeded(self) -> bool:
        """Whether it ended for good with exit status 0."""
        return self._final and isinstance(self._state, Terminated) and self._state.exit_code == 0

    def stop(self, deadline: float) -> None:
        """Ask it to end: preStop, SIGTERM, and SIGKILL at ``deadline`` (time.monotonic seconds)."""
        self._stopping.set()
        self._kill_at = min(self._kill_at, deadline)
        self._kill.set()
        self._nearer.set()

    async def run(self) -> None:
        """Run until it ends for good (by its restart policy) or stop was called."""
        failures = 0
        try:
            while (command := await self._prepare()) is not None:
                began = time.monotonic()
                ended = await self._run_once(command)
                self._state, self._started, self._ready = ended, False, False
                if self._stopping.is_set() or not self._runs_again(ended.exit_code):
                    return
                failures = 1 if time.monotonic() - began > self._backoff.forgets_after else failures + 1
                await self._back_off(ended, self._backoff.delay(failures))
                if self._stopping.is_set():
                    return
                self._restarts += 1
        finally:
            self._final = True
            self.settled.set()
            self._host.changed()

    def _runs_again(self, exit_code: int) -> bool:
        return self._policy == "Always" or (self._policy == "OnFailure" and exit_code != 0)

    async def _back_off(self, ended: Terminated, seconds: float) -> None:
        self._last = ended
        if seconds > 0:
            text = f"back-off {seconds:g}s restarting failed container={self._spec['name']}"
            self._state = Waiting("CrashLoopBackOff", text)
            self._host.changed(("BackOff", text))
            await self._pause(seconds)
            if self._stopping.is_set():
                self._state = ended
        else:
            self._host.changed()

    async def _prepare(self) -> CommandLine | None:
        pulls = 0
        while not self._stopping.is_set():
            try:
                return await self._host.prepare(self._spec)
            except ImageError as error:
                pulls += 1
                self._wait(error.reason, str(error))
                await self._pause(_RETRY_SECONDS)
                if error.reason == "ErrImagePull":
                    self._wait("ImagePullBackOff", f'Back-off pulling image "{self._spec["image"]}": {error}')
                    await self._pause(self._backoff.delay(pulls))
            except ConfigError as error:
                self._wait("CreateContainerConfigError", str(error))
                await self._pause(_RETRY_SECONDS)
            except (ApiError, aiohttp.ClientError, TimeoutError):
                await self._pause(_RETRY_SECONDS)
        return None

    def _wait(self, reason: str, message: str) -> None:
        if self._state != Waiting(reason, message):
            self._state = Waiting(reason, message)
            self._host.changed(("Failed", message))

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            return

    async def _run_once(self, command: CommandLine) -> Terminated:
        started_at, container_id = utc_now(), f"process-node://{uuid.uuid4().hex}"
        try:
            process = await LocalProcess.start(command, self._host.folder, self._host.log_of(self._spec))
        except StartError as error:
            return Terminated(128, "StartError", started_at, utc_now(), container_id, str(error))
        try:
            self._on_running(Running(started_at), container_id)
            async with asyncio.TaskGroup() as group:
                attendants = [
                    group.create_task(self._attend(command)),
                    group.create_task(self._end_when_asked(process, command)),
                ]
                code = await process.wait()
                for task in attendants:
                    task.cancel()
        finally:
            await process.kill()
        message = await asyncio.to_thread(_last_words, self._host.termination_log_of(self._spec))
        return Terminated(code, "Error" if code else "Completed", started_at, utc_now(), container_id, message)

    def _on_running(self, state: Running, container_id: str) -> None:
        self._state, self._container_id = state, container_id
        if not self._stopping.is_set():
            self._kill.clear()
            self._kill_at = float("inf")
        if "startupProbe" not in self._spec:
            self._on_started()
        self._host.changed()

    def _on_started(self) -> None:
        self._started = True
        self._ready = "readinessProbe" not in self._spec
        self.settled.set()
        self._host.changed()

    async def _attend(self, command: CommandLine) -> None:
        """postStart, then the startup probe, then liveness and readiness for as long as the program runs."""
        hook = (self._spec.get("lifecycle") or {}).get("postStart")
        if hook:
            await self._hook(hook, command, self._host.grace_seconds)
        if "startupProbe" in self._spec:
            await self._probe("startupProbe", command, self._on_startup)
            if not self._started:
                return
        async with asyncio.TaskGroup() as group:
            if "livenessProbe" in self._spec:
                group.create_task(self._probe("livenessProbe", command, self._on_liveness))
            if "readinessProbe" in self._spec:
                group.create_task(self._probe("readinessProbe", command, self._on_readiness))

    async def _probe(self, kind: str, command: CommandLine, on_verdict: "_OnVerdict") -> None:
        probe = self._spec[kind]

        async def execute(argv: tuple[str, ...], seconds: float) -> str | None:
            return await self._execute(argv, command, seconds)

        check = checker(probe, lambda port: self._host.port_of(self._spec, port), execute)
        await run_probe(probe, check, on_verdict, eager=kind != "livenessProbe")

    def _on_startup(self, passed: bool, message: str) -> bool:
        if passed:
            self._on_started()
        else:
            self._fail("Startup", "startupProbe", message)
        return True

    def _on_liveness(self, passed: bool, message: str) -> bool:
        if not passed:
            self._fail("Liveness", "livenessProbe", message)
        return not passed

    def _on_readiness(self, passed: bool, message: str) -> bool:
        if passed != self._ready:
            self._ready = passed
            self._host.changed(None if passed else ("Unhealthy", f"Readiness probe failed: {message}"))
        return False

    def _fail(self, title: str, kind: str, message: str) -> None:
        grace = self._spec[kind].get("terminationGracePeriodSeconds", self._host.grace_seconds)
        self._kill_at = min(self._kill_at, time.monotonic() + grace)
        self._kill.set()
        self._host.changed(("Unhealthy", f"{title} probe failed: {message}"))

    async def _end_when_asked(self, process: LocalProcess, command: CommandLine) -> None:
        await self._kill.wait()
        hook = (self._spec.get("lifecycle") or {}).get("preStop")
        if hook:
            await self._hook(hook, command, max(0.0, self._kill_at - time.monotonic()))
        process.terminate()
        while (left := self._kill_at - time.monotonic()) > 0:
            self._nearer.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await self._nearer.wait()
        await process.kill()

    async def _hook(self, hook: Obj, command: CommandLine, seconds: float) -> None:
        failure: str | None = None
        try:
            if "sleep" in hook:
                await asyncio.sleep(min(seconds, hook["sleep"]["seconds"]))
            elif "exec" in hook:
                failure = await self._execute(tuple(hook["exec"]["command"]), command, seconds)
            elif "httpGet" in hook:
                failure = await http_get(hook["httpGet"], lambda port: self._host.port_of(self._spec, port), seconds)
        except (aiohttp.ClientError, OSError) as error:  # TimeoutError is an OSError
            failure = str(error)
        if failure:
            self._host.changed(("FailedLifecycleHook", failure))

    async def _execute(self, argv: tuple[str, ...], command: CommandLine, seconds: float) -> str | None:
        return await run_briefly(command.instead(argv), self._host.folder, self._host.log_of(self._spec), seconds)


def _last_words(path: Path) -> str:
    """What the container left in its termination log, which then is empty for the next run."""
    try:
        data = path.read_bytes()
        path.unlink()
    except FileNotFoundError:
        return ""
    return data[:_LONGEST_MESSAGE].decode(errors="replace")


class _OnVerdict(Protocol):
    def __call__(self, passed: bool, message: str, /) -> bool: ...
