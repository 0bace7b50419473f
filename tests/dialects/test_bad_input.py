"""Whatever a client sends, a dialect answers in its envelope, and nothing of it is a failure of the gateway."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

import msgspec
import pytest
import structlog

from gateway.dialects.dialect import Dialect
from gateway.dialects.mount import DIALECTS
from gateway.media.fetch import clean_filename
from tests.running import Running

BAD: tuple[Any, ...] = (None, -1.5, True, "\x00", "é" * 300, ["x"], {"url": None})
RAW = (b"{", b"[]", b"null", b'"x"', b"\xff\xfe", b'{"a": NaN}', b"[" * 5000)


def with_key(dialect: Dialect, key: str) -> dict[str, str]:
    if dialect.name == "gowa":
        return {"Authorization": f"Basic {b64encode(f'me:{key}'.encode()).decode()}"}
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
    running.links.on_pair = lambda pairing: pairing.show_qr()           # there are services where a GET begins to link
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


LONG = "é" * 65_537
TEXTS: tuple[tuple[str, str, dict[str, Any], str], ...] = (      # dialect, path, body, the field that is a text
    ("waha", "/api/sendText", {"chatId": "237612345678@c.us"}, "text"),
    ("waha", "/api/sendImage", {"chatId": "237612345678@c.us", "file": {"data": "aGk="}}, "caption"),
    ("evolution", "/message/sendText/default", {"number": "237612345678"}, "text"),
    ("evolution", "/message/sendMedia/default", {"number": "237612345678", "mediatype": "image", "media": "aGk="}, "caption"),
    ("wuzapi", "/chat/send/text", {"Phone": "237612345678"}, "Body"),
    ("wuzapi", "/chat/send/image", {"Phone": "237612345678", "Image": "aGk="}, "Caption"),
    ("gowa", "/send/message", {"phone": "237612345678"}, "message"),
    ("gowa", "/send/file", {"phone": "237612345678", "file_url": "data:text/plain,hi"}, "caption"),
)


@pytest.mark.parametrize(("name", "path", "body", "field"), TEXTS, ids=[f"{name}{path}" for name, path, *_ in TEXTS])
@pytest.mark.parametrize("text", [LONG, "a\x00b"], ids=["too long", "nul"])
async def test_a_text_has_the_bounds_it_has_natively(running: Running, name: str, path: str, body: dict[str, Any], field: str,
                                                     text: str) -> None:
    await running.linked("default")
    dialect = next(dialect for dialect in DIALECTS if dialect.name == name)
    answer = await running.client.post(f"/{name}{path}", {**body, field: text}, headers=with_key(dialect, running.client.key))
    assert answer.status in (400, 422), answer.body
    assert field in str(answer.body)
    assert running.links.sent == []


@pytest.mark.parametrize("filename", ["../../etc/passwd", "a\r\nb\u202etxt.pdf", "é" * 3000 + ".pdf"])
async def test_a_files_name_is_one_that_can_be_shown(running: Running, filename: str) -> None:
    await running.linked("default")
    asked = {"evolution": ("/message/sendMedia/default", {"number": "237612345678", "mediatype": "document", "media": "aGk=",
                                                          "fileName": filename}),
             "waha": ("/api/sendFile", {"chatId": "237612345678@c.us", "file": {"data": "aGk=", "filename": filename}}),
             "wuzapi": ("/chat/send/document", {"Phone": "237612345678", "Document": "aGk=", "FileName": filename})}
    for dialect in DIALECTS:
        if dialect.name in asked:
            path, body = asked[dialect.name]
            answer = await running.client.post(f"/{dialect.name}{path}", body, headers=with_key(dialect, running.client.key))
            assert answer.status in (200, 201), answer.body
            sent = running.links.sent[-1].message
            assert sent.filename == clean_filename(filename)


@pytest.mark.parametrize("depth", [200, 700, 950])
async def test_a_deep_body_is_no_failure_of_the_gateway(running: Running, depth: int) -> None:
    deep = b'{"ContextInfo":' * depth + b"{}" + b"}" * depth
    for dialect in DIALECTS:
        headers = {**with_key(dialect, running.client.key), "Content-Type": "application/json", "Idempotency-Key": "1"}
        for call in dialect.calls:
            if call.scope == "send":
                path = f"/{dialect.name}{call.path}".replace("{", "").replace("}", "")
                with structlog.testing.capture_logs() as lines:
                    await running.client(call.method, path, data=deep, headers=headers)
                assert [line for line in lines if line["event"] == "request_failed"] == [], path


async def test_a_sessions_name_is_a_line(running: Running) -> None:
    answer = await running.client.post("/sendapi/v1/whatsapp/sessions", {"name": "a\nb"})
    assert answer.status == 422
