"""What is wrong with a request is said, by code and field; nothing is queued, and nothing of it is a 500."""

from __future__ import annotations

import asyncio
import io
import json
import zipfile
from typing import Any

import aiohttp
import pytest
import structlog

from tests.running import Answer, Running

TO = "+237612345678"
TEXT = "/api/v1/messages"
AUDIO = "/api/v1/messages/audio"


together = pytest.mark.asyncio(loop_scope="module")


async def raw(running: Running, body: Any, path: str = TEXT, kind: str = "application/json", method: str = "POST",
              **headers: str) -> Answer:
    return await running.client(method, path, data=body, headers={"Content-Type": kind, **headers})


def error(answer: Answer) -> tuple[int, str, Any]:
    assert set(answer.body) == {"error"}, answer.body
    assert set(answer.body["error"]) == {"code", "message", "details"}
    return answer.status, answer.body["error"]["code"], answer.body["error"]["details"].get("field")


async def queued(running: Running) -> int:
    return len((await running.client.get(TEXT)).body["messages"])


@together
@pytest.mark.parametrize("body", [
    b"{", b"[1]", b'"text"', b"null", b"\xff\xfe", b'{"to": "\xff"}', b"[" * 100_000, b'{"a":' * 50_000, b'{"to": NaN}',
    b'{"to": "\\ud800 alone"}', b'{"to": "1", "message": "\\udc00\\ud800"}', b"\xef\xbb\xbf{}", b"{} trailing", b"{'to': 1}",
    b'{"to": 1' + b"0" * 5000 + b"}", b'{"to": 1e999}',
])
async def test_what_is_not_a_json_object_is_422_and_names_the_body(shared: Running, body: bytes) -> None:
    assert error(await raw(shared, body)) == (422, "unprocessable_entity", "body")


@together
@pytest.mark.parametrize(("body", "field"), [
    ({}, "to"),
    ({"to": TO}, "message"),
    ({"to": TO, "message": ""}, "message"),
    ({"to": TO, "message": "x" * 65_537}, "message"),
    ({"to": TO, "message": "a\x00b"}, "message"),
    ({"to": TO, "message": None}, "message"),
    ({"to": TO, "message": 5}, "message"),
    ({"to": TO, "message": ["x"]}, "message"),
    ({"to": 237612345678, "message": "x"}, "to"),
    ({"to": TO, "message": "x", "mesage": "y"}, "mesage"),
    ({"to": TO, "message": "x", "reply_to": "nothing"}, "reply_to"),
    ({"to": TO, "message": "x", "session": 10**40}, "session"),
])
async def test_a_wrong_field_is_422_and_named(shared: Running, body: dict[str, Any], field: str) -> None:
    before = await queued(shared)
    status, code, named = error(await shared.client.post(TEXT, body))
    assert (status, code) == (422, "unprocessable_entity")
    assert named == field
    assert await queued(shared) == before


@together
@pytest.mark.parametrize("to", [
    "", "abc", "+1", "12345", "+2376123456789012", "0", "+0123456789", "++237612345678", "@s.whatsapp.net", "x@g.us",
    "237612345678@example.com", "status@broadcast", "1@broadcast", "237612345678@s.whatsapp.net@g.us", "٢٣٧٦١٢٣٤٥٦٧٨",
    "+999999999999999", "\x00", "237612345678\n", "'; DROP TABLE messages; --", "9" * 10_000,
])
async def test_a_number_that_cannot_be_one_is_422(shared: Running, to: str) -> None:
    answer = await shared.client.post(TEXT, {"to": to, "message": "x"})
    if to == "237612345678\n":                  # whitespace around a number is nobody's mistake
        assert answer.status == 202
    else:
        assert error(answer) == (422, "invalid_recipient", "to")


@together
@pytest.mark.parametrize("header", [
    "", "Bearer", "Bearer ", "Bearer x", "Basic dXNlcjpwYXNz", "Bearer wag_", "Bearer wag__", "Bearer wag_000000000000_x",
    "Bearer " + "x" * 10_000, "Bearer wag_\xff_\xff",
])
async def test_a_bad_key_is_401_and_says_how_to_send_one(shared: Running, header: str) -> None:
    for method, path in (("GET", "/api/v1/usage"), ("POST", TEXT), ("POST", AUDIO), ("DELETE", "/api/v1/sessions/x")):
        answer = await shared.client(method, path, headers={"Authorization": header})
        assert error(answer)[:2] == (401, "unauthorized")
        assert answer.headers["WWW-Authenticate"] == "Bearer"


async def test_a_key_that_is_nearly_right_or_revoked_is_401(running: Running) -> None:
    key = running.client.key
    prefix, id_, secret = key.split("_", 2)
    for text in (f"{prefix}_{id_}_{secret[:-1]}", f"{prefix}_{id_}_{secret}x", f"xyz_{id_}_{secret}", f"{prefix}_{id_}_", secret):
        assert (await running.client.get("/api/v1/usage", headers={"Authorization": f"Bearer {text}"})).status == 401
    other = await running.another_client()
    await running.gateway.keys.revoke(other.key.split("_")[1])
    assert (await other.get("/api/v1/usage")).status == 401


async def test_an_upload_of_somebody_unknown_is_refused_before_it_is_read(running: Running) -> None:
    """Ten megabytes announced, none sent: the answer comes all the same."""
    host, port = running.client.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    head = f"POST {AUDIO} HTTP/1.1\r\nHost: x\r\nContent-Length: 10000000\r\nContent-Type: application/json\r\n\r\n"
    writer.write(head.encode())
    assert b" 401 " in await asyncio.wait_for(reader.readline(), 5)
    writer.close()
    await writer.wait_closed()


async def test_another_keys_session_and_message_are_404(running: Running) -> None:
    session, _ = await running.linked()
    message = (await running.client.post(TEXT, {"to": TO, "message": "mine"})).body["id"]
    other = await running.another_client()
    for method, path in (("GET", ""), ("PATCH", ""), ("DELETE", ""), ("GET", "/qr"), ("GET", "/stream"), ("GET", "/profile"),
                         ("POST", "/relink"), ("POST", "/connect"), ("POST", "/disconnect"), ("POST", "/stream-ticket")):
        for name in (session, "main", "nobody"):
            answer = await other(method, f"/api/v1/sessions/{name}{path}", {} if method == "PATCH" else None)
            assert error(answer)[:2] == (404, "session_not_found"), (method, path)
    for method, path in (("GET", ""), ("DELETE", ""), ("GET", "/events"), ("GET", "/media"), ("POST", "/read"),
                         ("POST", "/resend"), ("POST", "/reaction")):
        for name in (message, "nobody"):
            body = {"emoji": "👍"} if path == "/reaction" else None
            assert error(await other(method, f"{TEXT}/{name}{path}", body))[:2] == (404, "message_not_found"), (method, path)
    assert error(await other.post(TEXT, {"to": TO, "message": "x", "session": session}))[:2] == (404, "session_not_found")
    assert (await other.get(TEXT)).body["messages"] == []
    assert (await other.get("/api/v1/sessions")).body["sessions"] == []


async def test_a_session_that_is_not_connected_and_not_reconnecting_is_409(running: Running) -> None:
    answer = await running.client.post(TEXT, {"to": TO, "message": "x"})
    assert error(answer)[:2] == (409, "no_session")
    session, _ = await running.linked()
    await running.client.post(f"/api/v1/sessions/{session}/disconnect")
    answer = await running.client.post(TEXT, {"to": TO, "message": "x"})
    assert error(answer)[:2] == (409, "session_not_connected")
    assert answer.body["error"]["details"]["state"]["reason"] == "stopped"
    await running.client.post("/api/v1/sessions", {"session_key": "unlinked"})
    answer = await running.client.post(TEXT, {"to": TO, "message": "x", "session": "unlinked"})
    assert error(answer)[:2] == (409, "session_not_connected")
    assert await queued(running) == 0


async def test_two_connected_sessions_and_none_named_is_409_and_lists_them(running: Running) -> None:
    await running.linked("one", "15550001111")
    await running.linked("two", "15550002222")
    answer = await running.client.post(TEXT, {"to": TO, "message": "x"})
    assert error(answer)[:2] == (409, "session_ambiguous")
    assert answer.body["error"]["details"]["sessions"] == ["one", "two"]


# ------------------------------------------------------------------ files


def bomb() -> bytes:
    """A zip that says audio outside and is nothing but zeros inside."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as z:
        z.writestr("a.wav", bytes(50_000_000))
    return out.getvalue()


def silent_video() -> bytes:
    import av
    out = io.BytesIO()
    with av.open(out, "w", format="mp4") as container:
        stream = container.add_stream("mpeg4", rate=5)
        stream.width = stream.height = 32
        stream.pix_fmt = "yuv420p"
        for _ in range(5):
            container.mux(stream.encode(av.VideoFrame(32, 32, "yuv420p")))
        container.mux(stream.encode())
    return out.getvalue()


async def upload(running: Running, data: bytes, path: str = AUDIO, **fields: str) -> Answer:
    form = aiohttp.FormData()
    for name, value in ({} if "inspect" in path else {"to": TO, **fields}).items():
        form.add_field(name, value)
    form.add_field("file", io.BytesIO(data), filename="voice.mp3", content_type="audio/mpeg")
    return await running.client("POST", path, data=form)


async def test_what_cannot_become_a_voice_note_is_refused_and_nothing_is_queued(running: Running, tone_wav: bytes) -> None:
    await running.linked()
    cut = tone_wav[:44]
    for data, status, codes in ((b"", 422, {"empty"}), (b"not audio at all", 415, {"not_audio"}), (bomb(), 415, {"not_audio"}),
                                (silent_video(), 422, {"no_audio"}), (cut, 422, {"no_audio", "damaged"}),
                                (b"ID3" + bytes(50_000), 415, {"not_audio", "unsupported"}),
                                (b"%PDF-1.7 ...", 415, {"not_audio"})):
        for path in (AUDIO, "/api/v1/voice/inspect"):
            answer = await upload(running, data, path)
            assert (answer.status, error(answer)[1]) in ((status, code) for code in codes), (answer.body, data[:20])
    assert await queued(running) == 0


@together
@pytest.mark.parametrize(("kind", "data", "code"), [
    ("image", b"GIF89a", {"not_image", "damaged"}), ("image", b"plain text", {"not_image"}),
    ("video", b"\x00" * 100, {"not_video"}), ("video", b"", {"empty"}), ("document", b"", {"empty"}),
    ("image", b"\x89PNG\r\n\x1a\n" + bytes(100), {"damaged", "not_image"}),
])
async def test_what_is_no_picture_or_video_is_refused(shared: Running, kind: str, data: bytes, code: set[str]) -> None:
    before = await queued(shared)
    answer = await upload(shared, data, "/api/v1/messages/media", mediaType=kind)
    assert answer.status in (415, 422)
    assert error(answer)[1] in code
    assert await queued(shared) == before


async def test_what_is_too_large_is_413_by_its_length_and_by_its_bytes(running: Running) -> None:
    await running.linked()
    assert error(await upload(running, bytes(17 << 20)))[:2] == (413, "too_large")
    assert error(await raw(running, io.BytesIO(b" " * (2 << 20))))[:2] == (413, "payload_too_large")

    async def endless() -> Any:
        for _ in range(4000):
            yield b" " * 1024

    answer = await running.client("POST", TEXT, data=endless(), headers={"Content-Type": "application/json"})
    assert error(answer)[:2] == (413, "payload_too_large")
    uri = json.dumps({"to": TO, "audioUrl": "data:audio/mpeg;base64," + "A" * (23 << 20)}).encode()
    answer = await running.client("POST", AUDIO, data=io.BytesIO(uri), headers={"Content-Type": "application/json"})
    assert answer.status == 413
    assert await queued(running) == 0


@together
@pytest.mark.parametrize("url", ["ftp://example.com/a.mp3", "file:///etc/passwd", "/etc/passwd", "javascript:alert(1)",
                                 "gopher://x"])
async def test_a_url_that_nobody_fetches_is_422(shared: Running, url: str) -> None:
    for path, field in ((AUDIO, "audioUrl"), ("/api/v1/voice/inspect", "url")):
        body = {field: url} | ({"to": TO} if path == AUDIO else {})
        assert error(await shared.client.post(path, body)) == (422, "fetch_bad_url", field)


@together
@pytest.mark.parametrize(("url", "code"), [
    ("http://127.0.0.1:1/a.mp3", "fetch_failed"), ("http://10.0.0.1/a.mp3", "fetch_forbidden"),
    ("http://[::ffff:169.254.169.254]/latest", "fetch_forbidden"), ("http://169.254.169.254/latest/meta-data", "fetch_forbidden"),
])
async def test_an_unreachable_or_forbidden_url_fails_the_message_and_says_why(shared: Running, url: str, code: str) -> None:
    answer = await shared.client.post(AUDIO, {"to": TO, "audioUrl": url})
    assert answer.status == 202
    failed = await shared.message(answer.body["id"], "failed")
    assert failed["error"]["code"] == code
    assert failed["error"]["message"]
    assert failed["may_have_been_delivered"] is False
    inspected = await shared.client.post("/api/v1/voice/inspect", {"url": url})
    assert error(inspected)[:2] == (422, code)


# ------------------------------------------------------------------ forms


def part(name: str, value: bytes, *, filename: str | None = None) -> bytes:
    head = f'Content-Disposition: form-data; name="{name}"' + (f'; filename="{filename}"' if filename is not None else "")
    return b"--b\r\n" + head.encode() + b"\r\n\r\n" + value + b"\r\n"


@together
@pytest.mark.parametrize(("body", "kind", "status"), [
    (b"", "multipart/form-data; boundary=b", 422),
    (b"x", "multipart/form-data", 400),
    (b"x", "multipart/form-data; boundary=", 400),
    (part("to", TO.encode()), "multipart/form-data; boundary=other", 400),
    (part("to", TO.encode())[:-10], "multipart/form-data; boundary=b", 422),
    (b"--b\r\nContent-Disposition: form-data\r\n\r\nx\r\n--b--", "multipart/form-data; boundary=b", 400),
    (b"--b\r\nbroken", "multipart/form-data; boundary=b", 422),
    (part("to", TO.encode()) * 2 + b"--b--", "multipart/form-data; boundary=b", 422),
    (part("file", b"1", filename="a") + part("file", b"2", filename="b") + b"--b--", "multipart/form-data; boundary=b", 422),
    (part("to", TO.encode()) + part("sound", b"1", filename="a") + b"--b--", "multipart/form-data; boundary=b", 422),
    (part("to", TO.encode()) + part("nonsense", b"1") + b"--b--", "multipart/form-data; boundary=b", 422),
    (b"".join(part(f"f{i}", b"1") for i in range(100)) + b"--b--", "multipart/form-data; boundary=b", 400),
    (b"".join(part(f"f{i}", b"1", filename="x") for i in range(10)) + b"--b--", "multipart/form-data; boundary=b", 400),
    (part("to", b"\xff\xfe") + part("file", b"1", filename="a") + b"--b--", "multipart/form-data; boundary=b; charset=x", 415),
    (part("to", b"\xff\xfe") + part("file", b"1", filename="a") + b"--b--", "multipart/form-data; boundary=b; charset=hex", 415),
    (part("to", b"x-" + b"99a" * 300_000), "multipart/form-data; boundary=b; charset=punycode", 415),
    (part("to", b"+2AA-") + b"--b--", "multipart/form-data; boundary=b; charset=utf-7", 415),
    (part("to", b"\\ud800") + b"--b--", "multipart/form-data; charset=unicode_escape; boundary=b", 415),
    (part("to", b"\xe9") + b"--b--", "multipart/form-data; boundary=b; charset=ISO-8859-1", 422),
    (part("to", TO.encode()) + part("ptt", b"perhaps") + b"--b--", "multipart/form-data; boundary=b", 422),
])
async def test_a_broken_form_is_told_and_nothing_is_queued(shared: Running, body: bytes, kind: str, status: int) -> None:
    before = await queued(shared)
    answer = await raw(shared, body, AUDIO, kind)
    assert error(answer)[0] == status, answer.body
    assert await queued(shared) == before


@together
@pytest.mark.parametrize("kind", ["text/plain", "application/xml", "application/x-www-form-urlencoded",
                                  "multipart/form-data; boundary=b", "nonsense", "application/json-patch"])
async def test_another_content_type_is_415(shared: Running, kind: str) -> None:
    assert error(await raw(shared, b"to=1", kind=kind))[:2] == (415, "unsupported_media_type")


async def test_a_compressed_body_is_415(running: Running) -> None:
    answer = await raw(running, b"\x1f\x8b", **{"Content-Encoding": "gzip"})
    assert error(answer)[:2] == (415, "unsupported_media_type")


# ------------------------------------------------------------------ queries and headers


@together
@pytest.mark.parametrize(("query", "field"), [
    ("limit=0", "limit"), ("limit=501", "limit"), ("limit=x", "limit"), ("limit=1e999", "limit"), ("limit=" + "9" * 400, "limit"),
    ("cursor=x", "cursor"), ("cursor=-1", "cursor"), ("cursor=" + "9" * 40, "cursor"), ("cursor=%C2%B2", "cursor"),
    ("status=lost", "status"), ("type=%00", "type"), ("direction=up", "direction"), ("before=yesterday", "before"),
    ("after=2026-01-01T00:00:00", "after"), ("to=abc", "to"), ("statsu=failed", "statsu"), ("before=%ff", "before"),
])
async def test_a_wrong_query_is_422_and_named(shared: Running, query: str, field: str) -> None:
    status, code, named = error(await shared.client.get(f"{TEXT}?{query}"))
    assert (status, named) == (422, field)
    assert code in ("unprocessable_entity", "invalid_recipient")


@together
@pytest.mark.parametrize("cursor", ["x", "bm9uc2Vuc2U", "W05hTiwieCJd", "WzFlNDAwLCJ4Il0", "W10", "%00", "W1tbW1tbW1tb", "e30"])
async def test_a_cursor_of_sessions_that_this_api_did_not_give_is_422(shared: Running, cursor: str) -> None:
    assert error(await shared.client.get(f"/api/v1/sessions?cursor={cursor}")) == (422, "unprocessable_entity", "cursor")


@together
@pytest.mark.parametrize("key", ["x" * 256, "a\tb"])
async def test_an_idempotency_key_that_is_none_is_422(shared: Running, key: str) -> None:
    answer = await shared.client.post(TEXT, {"to": TO, "message": "x"}, headers={"Idempotency-Key": key})
    assert error(answer) == (422, "unprocessable_entity", "Idempotency-Key")


@together
@pytest.mark.parametrize(("body", "field"), [
    ({"session_key": "with space"}, "session_key"), ({"session_key": ""}, "session_key"),
    ({"session_key": "x" * 65}, "session_key"), ({"session_key": "a/b"}, "session_key"), ({"name": "x" * 201}, "name"),
    ({"name": "a\x00b"}, "name"),
    ({"webhook_url": "ftp://x"}, "webhook_url"), ({"pairing_phone": "abc"}, "pairing_phone"),
    ({"pairing_phone": "1@g.us"}, "pairing_phone"), ({"settings": {"messages_per_hour": -1}}, "settings.messages_per_hour"),
    ({"settings": {"messages_per_hour": 10**30}}, "settings.messages_per_hour"),
    ({"settings": {"quiet_hours": "always"}}, "settings.quiet_hours"),
    ({"settings": {"min_gap_seconds": "2"}}, "settings.min_gap_seconds"), ({"settings": {"nonsense": 1}}, "settings.nonsense"),
    ({"settings": {"presence": "dnd"}}, "settings.presence"),
])
async def test_a_session_with_a_wrong_field_is_not_made(shared: Running, body: dict[str, Any], field: str) -> None:
    status, _, named = error(await shared.client.post("/api/v1/sessions", body))
    assert (status, named) == (422, field)
    assert len((await shared.client.get("/api/v1/sessions")).body["sessions"]) == 1


async def test_neither_keys_nor_bodies_are_logged(running: Running, tone_wav: bytes) -> None:
    secret = "the words of a private message"
    session, _ = await running.linked()
    with structlog.testing.capture_logs() as lines:
        sent = await running.client.post(TEXT, {"to": TO, "message": secret})
        await running.message(sent.body["id"], "sent")
        await running.client.post(TEXT, {"to": TO, "message": secret, "unknown": secret})
        await raw(running, json.dumps({"to": secret}).encode() + b"}")
        await running.client.get(f"{TEXT}/{secret}")
        await running.client.get("/api/v1/usage", headers={"Authorization": f"Bearer {running.client.key}x"})
        made = await running.client.post("/api/v1/keys", {"name": "another"})
        ticket = await running.client.post(f"/api/v1/sessions/{session}/stream-ticket")
        async with running.client.http.get(running.client.url + ticket.body["url"]):
            pass
        await running.client("POST", AUDIO, {"to": TO, "audioUrl": f"http://user:{running.client.key}@127.0.0.1:1/?k={secret}"})
    text = json.dumps(lines, default=str)
    for hidden in (secret, running.client.key, made.body["key"], ticket.body["ticket"], "237612345678"):
        assert hidden not in text


@together
async def test_a_name_of_a_megabyte_is_not_said_back(shared: Running) -> None:
    for body in ({"x" * 1_000_000: 1}, {"settings": {"x" * 1_000_000: 1}}):
        answer = await shared.client.post("/api/v1/sessions", body)
        assert answer.status == 422
        assert len(str(answer.body)) < 1000
        assert "not known" in answer.body["error"]["message"]


@together
@pytest.mark.parametrize("path", ["/api/v1/sessions?statsu=connected", "/api/v1/messages?form=1", "/api/v1/events?type=qr",
                                  "/api/v1/sessions/main/stream?type=qr", "/api/v1/webhooks/deliveries?state=parked"])
async def test_a_mistyped_name_in_a_query_is_refused_by_name(shared: Running, path: str) -> None:
    answer = await shared.client.get(path)
    assert (answer.status, answer.body["error"]["details"]["field"]) == (422, path.partition("?")[2].partition("=")[0])
