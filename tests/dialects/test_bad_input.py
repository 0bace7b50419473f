"""Whatever a client sends, a dialect answers in its envelope, and nothing of it is a failure of the gateway."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
import structlog

from gateway.dialects.dialect import Dialect
from gateway.dialects.mount import DIALECTS
from tests.running import Running

BAD: tuple[Any, ...] = (None, -1.5, True, "\x00", "é" * 300, ["x"], {"url": None})
RAW = (b"{", b"[]", b"null", b'"x"', b"\xff\xfe", b'{"a": NaN}', b"[" * 5000)


def with_key(dialect: Dialect, key: str) -> dict[str, str]:
    header = {"waha": "X-Api-Key", "evolution": "apikey", "wuzapi": "Token", "wawp": "access-token"}.get(dialect.name)
    return {"Authorization": "", header: key} if header else {}


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda d: d.name)
async def test_a_bad_body_is_told_and_is_no_failure_of_the_gateway(running: Running, dialect: Dialect) -> None:
    running.links.on_pair = lambda pairing: pairing.show_qr()
    headers = with_key(dialect, running.client.key)
    with structlog.testing.capture_logs() as lines:
        for call in dialect.calls:
            if call.body is None:
                continue
            path = f"/{dialect.name}{call.path}".replace("{", "").replace("}", "")
            bodies = [msgspec.json.encode({**call.example, name: bad}) for name in call.example for bad in BAD]
            for body in (*bodies, *RAW):
                answer = await running.client(call.method, path, data=body, headers={**headers, "Content-Type": "application/json"})
                if answer.status >= 400:
                    msgspec.convert(answer.body, dialect.error)
                    assert answer.status in (400, 403, 404, 409, 413, 422, 501) or dialect.name == "wuzapi", (body, answer.body)
    assert [line for line in lines if line["event"] == "request_failed"] == []


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda d: d.name)
async def test_a_bad_path_or_query_is_told_and_is_no_failure_of_the_gateway(running: Running, dialect: Dialect) -> None:
    headers = with_key(dialect, running.client.key)
    with structlog.testing.capture_logs() as lines:
        for call in (call for call in dialect.calls if call.method in ("GET", "DELETE")):
            for bad in ("%00", "%ff", "x" * 3000, "ws_zz", "msg_%F0%9F%8E%A4"):
                path = "/".join(bad if part.startswith("{") else part for part in call.path.split("/"))
                for query in ("", "?page=x&per_page=-1&format=gif&all=7&number=x"):
                    answer = await running.client(call.method, f"/{dialect.name}{path}{query}", headers=headers)
                    if answer.status >= 400:
                        msgspec.convert(answer.body, dialect.error)
    assert [line for line in lines if line["event"] == "request_failed"] == []
