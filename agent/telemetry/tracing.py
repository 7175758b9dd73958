"""Traces: a span for each pass, and below it one for each of its steps, sent by OTLP.

They are on where the environment names a receiver (`OTEL_EXPORTER_OTLP_ENDPOINT`), as in every program with
OpenTelemetry's SDK, which reads its other variables too. Where it does not, the SDK is not even imported.

A pass belongs to a task and what that starts, so the steps find it by themselves: `span` and `traced` are for anybody,
and do nothing outside of a traced pass.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from agent import __version__
from agent.errors import WeirError
from agent.telemetry.logging import named

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span, Tracer

P = ParamSpec("P")
T = TypeVar("T")
_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_FLUSH_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class _Pass:
    """The traced pass that the running code is part of; `common` are the attributes that its steps get as well."""

    tracer: Tracer
    root: Span
    common: dict[str, str]


_current: ContextVar[_Pass | None] = ContextVar("traced_pass", default=None)


class Tracing:
    """Makes the spans of passes."""

    def __init__(self, provider: TracerProvider) -> None:
        self._tracer = provider.get_tracer("weir", __version__)

    @contextmanager
    def whole(self, title: str, /, **attributes: str) -> Iterator[None]:
        """A pass as long as the block, with these attributes, which its steps get too."""
        common = {f"weir.{key}": value for key, value in attributes.items()}
        with self._tracer.start_as_current_span(
            title, attributes=common, record_exception=False, set_status_on_exception=False
        ) as root:
            token = _current.set(_Pass(self._tracer, root, common))
            try:
                with _failing(root):
                    yield
            finally:
                _current.reset(token)


@contextmanager
def span(name: str) -> Iterator[None]:
    """A step of the current pass, as long as the block. One that raises is marked as failed."""
    current = _current.get()
    if current is None:
        yield
        return
    with (
        current.tracer.start_as_current_span(
            name, attributes=current.common, record_exception=False, set_status_on_exception=False
        ) as step,
        _failing(step),
    ):
        yield


def traced(name: str) -> Callable[[Callable[P, Awaitable[T]]], Callable[P, Coroutine[Any, Any, T]]]:
    """The same for a whole coroutine function."""

    def decorate(function: Callable[P, Awaitable[T]]) -> Callable[P, Coroutine[Any, Any, T]]:
        @functools.wraps(function)
        async def stepping(*args: P.args, **kwargs: P.kwargs) -> T:
            with span(name):
                return await function(*args, **kwargs)

        return stepping

    return decorate


def note(**attributes: str) -> None:
    """Something that the pass has found out: an attribute of it, of the current step and of those to come."""
    current = _current.get()
    if current is not None:
        from opentelemetry.trace import get_current_span  # noqa: PLC0415 - only where tracing is on

        found = {f"weir.{key}": value for key, value in attributes.items()}
        current.common.update(found)
        for known in (current.root, get_current_span()):
            known.set_attributes(found)


@contextmanager
def _failing(step: Span) -> Iterator[None]:
    """Messages of our own errors hold no secrets; those of others might, so only their type is told."""
    from opentelemetry.trace import StatusCode  # noqa: PLC0415 - only where tracing is on

    try:
        yield
    except Exception as error:
        told = error.message if isinstance(error, WeirError) else type(error).__name__
        step.set_status(StatusCode.ERROR, told)
        raise


@asynccontextmanager
async def tracing_from(environment: Mapping[str, str]) -> AsyncIterator[Tracing | None]:
    """Tracing as the environment wishes, None if it does not; at the end of the block the last spans are sent."""
    disabled = environment.get("OTEL_SDK_DISABLED", "").lower() == "true"
    elsewhere = environment.get("OTEL_TRACES_EXPORTER", "otlp") != "otlp"
    if disabled or elsewhere or not any(environment.get(name) for name in _ENDPOINTS):
        yield None
        return
    try:
        provider = _provider()
    except ImportError as error:
        named("tracing").error("no traces: install the extra weir[otel]", error=error)
        yield None
        return
    try:
        yield Tracing(provider)
    finally:
        await asyncio.to_thread(provider.force_flush, int(_FLUSH_SECONDS * 1000))
        await asyncio.to_thread(provider.shutdown)


def _provider() -> TracerProvider:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

    about = Resource.create({"service.version": __version__})
    if str(about.attributes.get("service.name", "")).partition(":")[0] == "unknown_service":
        about = about.merge(Resource({"service.name": "weir"}))
    provider = TracerProvider(resource=about, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(timeout=_FLUSH_SECONDS)))
    return provider
