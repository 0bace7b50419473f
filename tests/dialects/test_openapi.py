"""The description of each dialect says what it does: a fuzzer believes it."""

from __future__ import annotations

import asyncio
import uuid

import pytest
import structlog

from gateway.api.openapi import document
from gateway.dialects.dialect import Dialect
from gateway.dialects.mount import DIALECTS
from tests.dialects.test_bad_input import with_key
from tests.hostile.fuzzer import fuzz
from tests.running import Running


@pytest.mark.timeout(120)
@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda d: d.name)
async def test_a_fuzzer_finds_no_server_error_and_no_answer_that_is_not_described(running: Running, dialect: Dialect) -> None:
    session, _ = await running.linked("default")
    running.links.on_pair = lambda pairing: pairing.show_code() if pairing.phone else pairing.show_qr()
    hexed = uuid.UUID(session).hex
    named = {"svara": {"session_id": f"ws_{hexed}"}, "sendapi": {"id": f"sess_{hexed}"}, "waha": {"session": "default"},
             "evolution": {"instance": "default"}, "gowa": {"device_id": "default"}}.get(dialect.name, {})
    own = {name: value for name, value in with_key(dialect, running.client.key).items() if value}
    headers = own or {"Authorization": f"Bearer {running.client.key}"}
    real = {f"/{dialect.name}{call.path}": named for call in dialect.calls if any(f"{{{name}}}" in call.path for name in named)}
    with structlog.testing.capture_logs() as lines:
        found, calls = await asyncio.to_thread(fuzz, document([dialect.group()]), running.client.url, headers, real,
                                               may_say=(500, 501) if dialect.name == "wuzapi" else (501,))
    assert not found, "\n\n".join(found[:5])
    assert calls > 4 * len(dialect.calls)
    assert [line for line in lines if line["log_level"] in ("error", "critical")] == []
