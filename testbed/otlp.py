"""A receiver of OpenTelemetry traces, OTLP over HTTP, that remembers them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span


@dataclass
class TraceReceiver:
    """The spans that came, and the names of the services that sent them."""

    endpoint: str = ""
    spans: list[Span] = field(default_factory=list)
    services: set[str] = field(default_factory=set)

    async def receive(self, request: web.Request) -> web.Response:
        """Take an export."""
        export = ExportTraceServiceRequest.FromString(await request.read())
        for group in export.resource_spans:
            about = {entry.key: entry.value.string_value for entry in group.resource.attributes}
            self.services.add(about["service.name"])
            self.spans += [one for scope in group.scope_spans for one in scope.spans]
        return web.Response()

    def named(self, name: str) -> Span:
        """The only span of that name."""
        (found,) = [one for one in self.spans if one.name == name]
        return found


def attributes(span: Span) -> dict[str, str]:
    """The attributes that are texts."""
    return {entry.key: entry.value.string_value for entry in span.attributes}


@asynccontextmanager
async def trace_receiver() -> AsyncIterator[TraceReceiver]:
    """A receiver on loopback until the block ends."""
    receiver = TraceReceiver()
    application = web.Application()
    application.router.add_post("/v1/traces", receiver.receive)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    receiver.endpoint = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield receiver
    await runner.cleanup()
