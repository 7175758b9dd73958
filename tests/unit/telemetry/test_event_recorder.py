"""Events: written in order, off the reconcile path, and never worth more than the work they tell of."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from agent.api.kustomization import Kustomization
from agent.errors import OperationError
from agent.telemetry.events import _BACKLOG, _PRESSING, EventRecorder, Involved, ObjectReference, reference_to
from agent.telemetry.metrics import Metrics
from tests.unit.runtime.virtual_time import run

APP = Involved(
    ObjectReference(
        api_version="kustomize.toolkit.fluxcd.io/v1",
        kind="Kustomization",
        namespace="flux-system",
        name="app",
        uid="u1",
    )
)


@dataclass
class Writer:
    """Remembers what it was asked to write; `gate` holds it up, `failures` are raised first."""

    written: list[str] = field(default_factory=list)
    bodies: list[dict[str, object]] = field(default_factory=list)
    failures: list[Exception] = field(default_factory=list)
    gate: asyncio.Event | None = None
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    wrote: asyncio.Event = field(default_factory=asyncio.Event)

    async def create_event(
        self,
        regarding: Mapping[str, str],
        *,
        event_type: str,
        reason: str,
        message: str,
        component: str,
        annotations: Mapping[str, str] | None = None,
    ) -> None:
        self.begun.set()
        if self.gate is not None:
            await self.gate.wait()
        if self.failures:
            raise self.failures.pop(0)
        self.written.append(message)
        self.wrote.set()
        self.bodies.append(
            {"regarding": regarding, "type": event_type, "reason": reason, "component": component, "notes": annotations}
        )


@asynccontextmanager
async def running(recorder: EventRecorder) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(recorder.run())
    try:
        yield task
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def until(writer: Writer, count: int) -> None:
    async with asyncio.timeout(30):
        while len(writer.written) < count:
            writer.wrote.clear()
            await writer.wrote.wait()


def tell(recorder: EventRecorder, message: str) -> None:
    recorder.event(APP, "Normal", "Progressing", message, component="kustomize-controller", annotations={"a": "b"})


def dropped(metrics: Metrics, why: str) -> float:
    return metrics.registry.get_sample_value("weir_events_dropped_total", {"why": why}) or 0.0


async def test_events_are_written_in_the_order_they_were_told() -> None:
    writer = Writer()
    recorder = EventRecorder(writer, Metrics())
    async with running(recorder):
        for number in range(50):
            tell(recorder, str(number))
        await until(writer, 50)
    assert writer.written == [str(number) for number in range(50)]
    assert writer.bodies[0] == {
        "regarding": {
            "apiVersion": "kustomize.toolkit.fluxcd.io/v1",
            "kind": "Kustomization",
            "namespace": "flux-system",
            "name": "app",
            "uid": "u1",
        },
        "type": "Normal",
        "reason": "Progressing",
        "component": "kustomize-controller",
        "notes": {"a": "b"},
    }


async def test_what_is_queued_at_a_stop_is_still_written_also_the_one_in_the_air() -> None:
    writer = Writer(gate=asyncio.Event())
    recorder = EventRecorder(writer, Metrics())
    for number in range(3):
        tell(recorder, str(number))
    async with running(recorder) as task:
        await writer.begun.wait()
        task.cancel()
        assert writer.gate is not None
        writer.gate.set()
        with suppress(asyncio.CancelledError):
            await task
        assert task.cancelled()
    assert writer.written == ["0", "1", "2"]


def test_events_wait_for_calm_for_a_quarter_of_the_time_unless_there_are_too_many() -> None:
    async def main() -> None:
        writer, waits = Writer(), list[int]()

        async def calm() -> None:
            waits.append(len(writer.written))
            await asyncio.sleep(1)

        recorder = EventRecorder(writer, Metrics(), calm=calm)
        async with running(recorder):
            tell(recorder, "0")
            await until(writer, 1)
            await asyncio.sleep(2.5)
            tell(recorder, "1")
            await until(writer, 2)
            assert waits == [0], "for three seconds after the first had waited for one, no other has to"
            await asyncio.sleep(2.5)
            for number in range(_PRESSING + 10):
                tell(recorder, str(number))
            await until(writer, 2 + 10)
            assert waits == [0]
            await until(writer, 2 + _PRESSING)
            assert len(waits) == 2

    run(main())


async def test_a_failing_writer_costs_its_events_and_nothing_else() -> None:
    writer = Writer(failures=[OperationError("the API server is away"), RuntimeError("a bug")])
    metrics = Metrics()
    recorder = EventRecorder(writer, metrics)
    async with running(recorder) as task:
        for number in range(3):
            tell(recorder, str(number))
        await until(writer, 1)
        assert not task.done()
    assert writer.written == ["2"]
    assert (dropped(metrics, "OperationError"), dropped(metrics, "RuntimeError")) == (1, 1)


async def test_a_full_backlog_drops_and_counts_and_never_blocks() -> None:
    metrics = Metrics()
    recorder = EventRecorder(Writer(), metrics)
    for number in range(_BACKLOG + 7):
        tell(recorder, str(number))
    assert dropped(metrics, "backlog") == 7


def test_annotations_for_events_are_metadata_of_all_events_about_an_object() -> None:
    annotations = {"event.toolkit.fluxcd.io/change_request": "33", "team": "serving", "event.toolkit.fluxcd.io": "x"}
    spec = {"interval": "1m", "prune": True, "sourceRef": {"kind": "GitRepository", "name": "r"}}
    app = Kustomization.from_object({"metadata": {"name": "app", "annotations": annotations}, "spec": spec})
    assert reference_to(app).metadata == {"event.toolkit.fluxcd.io/change_request": "33"}
