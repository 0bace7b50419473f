"""What a connection may cost before any key was shown: an end to headers, to waiting, to how many there are."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import re
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gateway.api import connections
from gateway.api.connections import HEAD_BYTES, HEADERS, PIPELINED
from tests.running import FAST, Running, run_gateway

SHORT = 0.6                     # seconds for a client's part
GET = b"GET /healthz HTTP/1.1\r\nHost: x\r\n"
POST = b"POST /api/v1/messages HTTP/1.1\r\nHost: x\r\n"


@asynccontextmanager
async def short(tmp_path: Path, **server: Any) -> AsyncIterator[Running]:
    async with run_gateway(tmp_path / "state", replace(FAST, server=replace(FAST.server, request_seconds=SHORT, **server))) as it:
        yield it


async def connect(running: Running) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, _, port = running.client.url.removeprefix("http://").rpartition(":")
    return await asyncio.open_connection(host, int(port))


async def read(reader: asyncio.StreamReader, seconds: float = 10.0) -> bytes:
    """Until it is closed, however that is done; '(open)' at the end where it is not."""
    said = b""
    try:
        async with asyncio.timeout(seconds):
            while chunk := await reader.read(65536):
                said += chunk
    except TimeoutError:
        return said + b"(open)"
    except ConnectionError:
        pass
    return said


async def say(running: Running, *parts: bytes, pause: float = 0.0, seconds: float = 10.0) -> bytes:
    reader, writer = await connect(running)
    with contextlib.suppress(ConnectionError):
        for part in parts:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(pause)
    said = await read(reader, seconds)
    writer.close()
    return said


def statuses(said: bytes) -> list[int]:
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", said)]


def told(said: bytes) -> tuple[int, str]:
    """The status and the error's code of one answer, which is in the envelope and the connection's last."""
    head, _, body = said.partition(b"\r\n\r\n")
    assert b"connection: close" in head.lower(), said
    return statuses(said)[0], json.loads(body)["error"]["code"]


# ------------------------------------------------------------------ headers


@pytest.mark.parametrize("head", [
    GET + b"X: " + b"a" * (HEAD_BYTES + 1), GET + b"X: " + b"a" * (HEAD_BYTES + 1) + b"\r\n\r\n",
    b"GET /" + b"a" * (HEAD_BYTES + 1), b"GET /" + b"a" * HEAD_BYTES + b" HTTP/1.1\r\n\r\n",
    GET + b"x:y\r\n" * (HEADERS + 1), GET + b"x: y\r\n" * HEADERS + b"\r\n", GET + b"X" * (HEAD_BYTES + 1), b"G" * (HEAD_BYTES + 1),
], ids=["one without an end", "one", "a path without an end", "a path", "many without an end", "many", "a name", "a method"])
async def test_headers_have_an_end(running: Running, head: bytes) -> None:
    said = await say(running, head)
    assert told(said) in ((431, "headers_too_large"), (400, "bad_request")), said[:200]
    assert told(said)[0] == 431 or head.startswith(b"GG")


async def test_long_headers_and_many_are_taken_up_to_the_end(running: Running) -> None:
    for head in (GET + b"X: " + b"a" * (HEAD_BYTES - 500) + b"\r\n", GET + b"x: y\r\n" * (HEADERS - 2)):
        assert statuses(await say(running, head + b"Connection: close\r\n\r\n")) == [200]


async def test_trailers_are_no_headers_and_have_an_end(running: Running) -> None:
    """What a proxy in front did not see as a header must not become one."""
    key = running.client.key.encode()
    chunked = b"Transfer-Encoding: chunked\r\nContent-Type: application/json\r\n"
    trailer = b"0\r\nAuthorization: Bearer " + key + b"\r\nIdempotency-Key: one\r\n\r\n"
    assert 401 in statuses(await say(running, POST + chunked + b"\r\n", trailer, pause=0.05, seconds=0.5))
    authorized = POST + b"Authorization: Bearer " + key + b"\r\n" + chunked + b"\r\n2\r\n{}\r\n0\r\n"
    assert told(await say(running, authorized, b"X: y\r\n" * 10_000, b"X: " + b"z" * 2 * HEAD_BYTES)) == (431, "headers_too_large")


# ------------------------------------------------------------------ slowness


async def test_a_client_that_says_nothing_is_let_go(tmp_path: Path) -> None:
    async with short(tmp_path) as running:
        began = time.monotonic()
        assert await say(running) == b""
        assert SHORT <= time.monotonic() - began < SHORT + 2


async def test_headers_that_trickle_in_are_408_however_steady_they_come(tmp_path: Path) -> None:
    async with short(tmp_path) as running:
        reader, writer = await connect(running)
        reading = asyncio.create_task(read(reader))
        for byte in GET * 20:
            if reading.done() or writer.is_closing():
                break
            writer.write(bytes([byte]))
            await asyncio.sleep(0.05)
        assert told(await reading) == (408, "request_timeout")
        writer.close()
        # A second request on a connection that was answered before has no longer.
        said = await say(running, GET + b"\r\n", GET)
        assert statuses(said) == [200, 408]


async def test_a_body_may_be_slow_and_not_silent(tmp_path: Path) -> None:
    async with short(tmp_path) as running:
        head = POST + b"Authorization: Bearer " + running.client.key.encode() + b"\r\nContent-Length: 20\r\n\r\n"
        slow = await say(running, head, *[b" "] * 18, b"{", b"}", pause=SHORT / 10, seconds=1)
        assert statuses(slow) == [422]
        began = time.monotonic()
        assert told(await say(running, head, b"{")) == (408, "request_timeout")
        assert time.monotonic() - began < SHORT + 2


async def test_a_body_that_nobody_reads_any_more_does_not_hold_its_connection(tmp_path: Path) -> None:
    """A refusal comes before the body; what is still sent then is thrown away, for so long."""
    async with short(tmp_path) as running:
        reader, writer = await connect(running)
        reading = asyncio.create_task(read(reader))
        writer.write(POST + b"Content-Length: 100000\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            for _ in range(100):
                writer.write(b"a")
                await writer.drain()
                await asyncio.sleep(0.05)
                if reading.done():
                    break
        assert reading.done() and statuses(reading.result()) == [401]
        writer.close()


async def test_an_answer_that_is_not_taken_does_not_hold_its_connection(tmp_path: Path) -> None:
    async with short(tmp_path) as running:
        host, _, port = running.client.url.removeprefix("http://").rpartition(":")
        with socket.socket() as deaf:
            deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            deaf.setblocking(False)
            await asyncio.get_running_loop().sock_connect(deaf, (host, int(port)))
            await asyncio.get_running_loop().sock_sendall(deaf, b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n" * (PIPELINED - 1))
            await asyncio.sleep(0.3)
            held = connections_of(running)
            assert [one.flow.write_paused for one in held if one.cycle is not None] == [True]
            async with asyncio.timeout(SHORT + 5):
                while any(one in connections_of(running) for one in held if one.cycle is not None):
                    await asyncio.sleep(0.05)


def connections_of(running: Running) -> list[connections.Connection]:
    """The daemon's side of all connections, but for the test's own client."""
    import gc

    return [one for one in gc.get_objects() if isinstance(one, connections.Connection) and one in one._door.inside]


# ------------------------------------------------------------------ many


async def test_who_waits_longest_makes_room(tmp_path: Path) -> None:
    async with short(tmp_path, connections=10) as running:
        held = [await connect(running) for _ in range(30)]
        assert (await running.client.get("/healthz")).status == 200
        await asyncio.sleep(0.1)
        gone = [reader.at_eof() for reader, _ in held]
        assert gone[:20] == [True] * 20 and gone[-8:] == [False] * 8
        for _, writer in held:
            writer.close()


async def test_where_all_are_busy_a_new_one_is_told_to_come_again(tmp_path: Path) -> None:
    async with short(tmp_path, connections=5) as running, contextlib.AsyncExitStack() as streams:
        stream = b"GET /api/v1/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + running.client.key.encode() + b"\r\n\r\n"
        held = [await connect(running) for _ in range(5)]
        for reader, writer in held:
            streams.callback(writer.close)
            writer.write(stream)
            assert b"200" in await reader.readline()
        said = await say(running, GET + b"\r\n")
        assert told(said) == (503, "overloaded")
        assert b"retry-after:" in said.lower()
        crowd = await asyncio.gather(*(say(running) for _ in range(40)))
        assert {told(said) if said else () for said in crowd} <= {(503, "overloaded"), ()}
        assert not any(reader.at_eof() for reader, _ in held), "nobody who is served is let go for it"
        held[0][1].close()
        async with asyncio.timeout(5):
            while statuses(await say(running, GET + b"Connection: close\r\n\r\n")) != [200]:
                await asyncio.sleep(0.05)


async def test_requests_sent_ahead_have_an_end_and_leave_no_trace(running: Running, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "uvicorn.error")
    assert statuses(await say(running, (GET + b"\r\n") * 150, seconds=1)) == [200] * 150
    await say(running, (GET + b"\r\n") * (PIPELINED + 5000), seconds=1)
    reader, writer = await connect(running)
    writer.write((GET + b"\r\n") * 150)
    await asyncio.sleep(0.01)
    writer.transport.abort()
    assert (await running.client.get("/healthz")).status == 200
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_nonsense_behind_a_request_does_not_become_its_answer(running: Running) -> None:
    """Where an answer is under way there is no place for another: the connection is cut."""
    stream = b"GET /api/v1/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + running.client.key.encode() + b"\r\n\r\n"
    said = await say(running, stream, b"\x00nonsense\r\n\r\n", pause=0.3)
    assert statuses(said) == [200]
    assert not said.endswith(b"(open)")


async def test_an_offer_of_another_protocol_is_passed_over(running: Running) -> None:
    """As Java's HTTP client makes it (h2c): its body is read, and the next request on its connection is answered."""
    offer = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n"
    assert statuses(await say(running, GET + offer + b"\r\n" + GET + b"\r\n", GET + b"\r\n", pause=0.1, seconds=0.5)) == [200] * 3
    assert statuses(await say(running, *(GET + offer + b"\r\n").split(b"!"), seconds=0.5)) == [200]
    body = b'{"name": "from java"}'
    head = b"POST /api/v1/keys HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + running.client.key.encode() + b"\r\n"
    counted, chunked = b"Content-Length: %d\r\n\r\n" % len(body), b"Transfer-Encoding: chunked\r\n\r\n"
    for parts in ((head + offer + counted, body), (head + offer + counted + body,), (head + offer + counted, body[:5], body[5:]),
                  (head + offer + chunked, b"%x\r\n" % len(body) + body, b"\r\n0\r\n\r\n"),
                  (head + offer[:30], offer[30:] + counted + body[:3], body[3:])):
        said = await say(running, *parts[:-1], parts[-1] + GET + b"\r\n", pause=0.05, seconds=0.5)
        assert statuses(said) == [201, 200], said
        assert b"from java" in said
    assert statuses(await say(running, head + offer + b"Content-Length: 0\r\n\r\n" + GET + b"\r\n", seconds=0.5)) == [422, 200]
    said = await say(running, GET + b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
                     b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n", seconds=0.5)
    assert statuses(said) == [200]


# ------------------------------------------------------------------ streams of one key


async def test_a_key_holds_so_many_streams_and_its_rotated_one_with_it(tmp_path: Path) -> None:
    async with short(tmp_path, streams_per_key=3) as running, contextlib.AsyncExitStack() as held:
        await running.linked()
        mine, url = running.client, "/api/v1/events"
        rotated = (await mine.post(f"/api/v1/keys/{running.key.id}/rotate")).body["key"]
        other = await running.another_client()
        first = mine.stream(url)
        await first.__aenter__()
        await held.enter_async_context(mine.stream("/api/v1/sessions/main/stream"))
        await held.enter_async_context(mine.stream(url, Authorization=f"Bearer {rotated}"))
        for path in (url, "/api/v1/sessions/main/stream"):
            refused = await mine.get(path)
            assert (refused.status, refused.body["error"]["code"]) == (429, "too_many_streams")
            assert refused.body["error"]["details"]["limit"] == 3 and int(refused.headers["Retry-After"]) > 0
        ticket = (await mine.post("/api/v1/events/ticket")).body["url"]
        assert (await mine.get(ticket, headers={"Authorization": ""})).status == 429
        await held.enter_async_context(other.stream(url))
        assert (await mine.get("/api/v1/usage")).status == 200, "only streams are refused"
        await first.__aexit__(None, None, None)
        async with asyncio.timeout(5):
            while (again := await mine.get(url + "?follow=false")).status != 200:
                await asyncio.sleep(0.05)
        assert b"caught_up" in again.body
        assert (await mine.get("/api/v1/sessions/nobody/stream")).status == 404
        assert (await mine.get(url + "?follow=false")).status == 200, "what ended or was refused takes no place"
