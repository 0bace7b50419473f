"""Traces of messages: spans from the journal, to a collector on loopback."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from gateway.events import Receipt
from gateway.jid import JID
from tests.running import Running, run_gateway

TO = "+237612345678"


@pytest.fixture
async def collected(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[list[ExportTraceServiceRequest]]:
    """What an OTLP collector got."""
    got: list[ExportTraceServiceRequest] = []

    async def take(request: web.Request) -> web.Response:
        got.append(ExportTraceServiceRequest.FromString(await request.read()))
        return web.Response(content_type="application/x-protobuf")

    app = web.Application()
    app.router.add_post("/v1/traces", take)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{runner.addresses[0][1]}")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "none")
    yield got
    await runner.cleanup()


async def _send(running: Running) -> str:
    _, link = await running.linked()
    id_ = str((await running.client.post("/api/v1/messages", {"to": TO, "message": "a secret body"})).body["id"])
    await running.message(id_, "sent")
    jid = JID.parse("237612345678@s.whatsapp.net")
    link.emit(Receipt("delivered", jid, jid, (running.links.sent[-1].id,), 0))
    await running.message(id_, "delivered")
    return id_


async def test_a_message_is_a_trace_of_its_own_id_with_a_span_for_each_step(
        tmp_path: Path, collected: list[ExportTraceServiceRequest]) -> None:
    async with run_gateway(tmp_path / "s") as running:
        id_ = await _send(running)
    async with asyncio.timeout(10):
        while not collected:
            await asyncio.sleep(0.01)
    raw = b"".join(request.SerializeToString() for request in collected)
    spans = [s for request in collected for r in request.resource_spans for scope in r.scope_spans for s in scope.spans]
    assert [span.name for span in spans] == ["message sent", "message delivered"]
    assert {span.trace_id for span in spans} == {uuid.UUID(id_).bytes}
    assert all(span.start_time_unix_nano <= span.end_time_unix_nano for span in spans)
    assert b"secret body" not in raw and b"237612345678" not in raw


async def test_without_opentelemetrys_variables_nothing_is_sent(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    from gateway.services import traces

    monkeypatch.delenv("OTEL_EXPORTER_OTLP_ENDPOINT", raising=False)
    assert not traces.wanted()
    await _send(running)
