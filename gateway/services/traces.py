"""OpenTelemetry traces of messages, with the optional extra `otel`: one trace a message, one span a step of its way.

The spans are made from the journal's events, so sending knows nothing of them. The trace's id is the message's id: whoever has
one finds the other. No number, name or content is in a span.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import structlog

from gateway.services.feed import Feed
from gateway.store.journal import Event
from gateway.times import parse_iso

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter

log = structlog.get_logger("gateway.traces")
ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
STEPS = ("created_at", "sent_at", "delivered_at", "read_at", "played_at")


def wanted() -> bool:
    """OpenTelemetry's own variables say where traces go; without them there are none."""
    return any(os.environ.get(name) for name in ENDPOINTS)


def begin(feed: Feed, version: str, exporter: SpanExporter | None = None) -> Callable[[], None]:
    """Exports from now on, in the background, to where OpenTelemetry's variables say (or to `exporter`). Returns what ends it;
    that waits for the last spans, bounded by OTEL_EXPORTER_OTLP_TIMEOUT."""
    try:
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        if exporter is None:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            exporter = OTLPSpanExporter()
    except ImportError:
        log.warning("traces_not_sent", why="the extra 'otel' is not installed: pip install 'wagateway[otel]'")
        return lambda: None
    provider = TracerProvider(resource=Resource.create({"service.name": "wagateway", "service.version": version}))
    provider.add_span_processor(BatchSpanProcessor(exporter))
    tracer = provider.get_tracer("wagateway")

    def listen(event: Event) -> None:
        if event.type == "receipt":
            _tell(tracer, event.data)

    feed.listen(listen)
    return provider.shutdown


def _tell(tracer: Any, message: dict[str, Any]) -> None:
    """The span of the step that a message has just made: from the step before to this one."""
    from opentelemetry import trace
    from opentelemetry.trace import NonRecordingSpan, SpanContext, Status, StatusCode, TraceFlags

    status = message["status"]
    if message["stage"] != "done" or status == "pending":
        return
    number = uuid.UUID(message["id"]).int
    parent = NonRecordingSpan(SpanContext(number, number & (1 << 64) - 1 or 1, True, TraceFlags(TraceFlags.SAMPLED)))
    before = [message[name] for name in STEPS if message.get(name) and name != f"{status}_at"]
    span = tracer.start_span(
        f"message {status}", trace.set_span_in_context(parent), start_time=_nanoseconds(before[-1]), attributes={
            "wagateway.session": message["session"], "wagateway.message": message["id"], "wagateway.kind": message["type"],
            "wagateway.ptt": message["ptt"], "wagateway.attempts": message["attempts"]})
    if status == "failed":
        span.set_status(Status(StatusCode.ERROR, message["error"]["code"]))
    span.end(_nanoseconds(message.get(f"{status}_at") or message["at"]))


def _nanoseconds(text: str) -> int:
    return int(parse_iso(text) * 1e9)
