"""What strangers write to the port of the real daemon, without a key: it has an end, it is no request of anybody else, it stays
nowhere."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import socket
import time
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.hostile.daemon import Daemon, daemon, milliseconds

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module")]
GROWTH_MB = 25
GET = b"GET /healthz HTTP/1.1\r\nHost: x\r\n"
POST = b"POST /api/v1/messages HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
# Its key may be in the body, which is read before anybody is known.
FORM = b"POST /v2/send/voice HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=b\r\n"
CHUNK = b"10000\r\n" + b"X" * 65536 + b"\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"
SECOND = b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def it(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Daemon]:
    """One for all of them: it has to outlive each, and to be as small after the last as after the first."""
    async with daemon(tmp_path_factory.mktemp("wire"), WAGATEWAY_SERVER_REQUEST_SECONDS="1") as it:
        await it.answers()
        yield it
        assert it.tracebacks() == []


def flood(to: tuple[str, int], head: bytes, block: bytes, most: int) -> tuple[int, bytes]:
    """Writes the block again and again until the other side has enough; blocks. Bytes written, and what was said."""
    said = b""
    with socket.create_connection(to, timeout=10) as one:
        sent = 0
        with contextlib.suppress(OSError):
            one.sendall(head)
            while sent < most:
                one.sendall(block)
                sent += len(block)
        with contextlib.suppress(OSError):
            while chunk := one.recv(65536):
                said += chunk[:5000]
    return sent, said


MEGABYTES = 24 << 20
FLOODS = {
    "one header": (GET + b"X: ", b"a" * 65536), "many headers": (GET, b"X-A: b\r\n" * 8192), "a path": (b"GET /", b"a" * 65536),
    "a query": (b"GET /healthz?", b"a=b&" * 16384), "trailers": (POST + CHUNKED + b"0\r\n", b"X-A: b\r\n" * 8192),
    "one trailer": (FORM + CHUNKED + b"0\r\nX: ", b"a" * 65536), "a chunk's extension": (FORM + CHUNKED + b"5;a=", b"a" * 65536),
    "extensions": (FORM + CHUNKED, b"1;aaaaaaaaaaaaaaaaaaaaaaaaaa\r\nx\r\n" * 2000), "a chunk's size": (FORM + CHUNKED, b"0" * 65536),
    "a body": (POST + CHUNKED, CHUNK), "a form": (FORM + CHUNKED, CHUNK),
    "a form's header": (FORM + CHUNKED + b"5\r\n--b\r\n\r\n", CHUNK),
    "requests": (b"", (GET + b"\r\n") * 2000), "requests for much": (b"", SECOND * 1500), "line ends": (b"", b"\r\n" * 32768),
    "offers": (b"", (GET + b"Connection: upgrade\r\nUpgrade: h2c\r\n\r\n") * 800), "zeros": (b"", bytes(65536)),
}


@pytest.mark.timeout(120)
@pytest.mark.parametrize("name", FLOODS)
async def test_what_has_no_end_is_given_one(it: Daemon, name: str) -> None:
    """Ten at once, twice: others are answered meanwhile, and the second time costs nothing more."""
    fds, grown = it.fds(), []
    for _ in range(2):
        before, peak = it.rss_mb(), 0.0
        floods = [asyncio.create_task(asyncio.to_thread(flood, it.address, *FLOODS[name], MEGABYTES)) for _ in range(10)]
        took = []
        while not all(one.done() for one in floods):
            took += await it.answers(times=2)
            peak = max(peak, it.rss_mb())
            await asyncio.sleep(0.02)
        took.sort()
        statuses = {int(status) for _, said in (one.result() for one in floods) for status in re.findall(rb"HTTP/1\.1 (\d+) ", said)}
        assert not {status for status in statuses if status >= 500}, statuses
        assert peak - before < 120, f"{name}: ten of them need {peak - before:.0f} MB"
        assert took[len(took) // 2] < 1, milliseconds(took)
        grown.append((await it.settles(fds + 3, before + 100))["rss_mb"] - before)
    taken = sum(one.result()[0] for one in floods) >> 20
    print(f"{name}: {statuses or 'cut off'}; of {taken} MB it kept {grown[0]:.1f} and {grown[1]:.1f}; others {milliseconds(took)}")
    assert grown[1] < GROWTH_MB


# ------------------------------------------------------------------ requests within requests


SMUGGLED = {
    "lengths that differ": POST + b"Content-Length: 2\r\nContent-Length: 60\r\n\r\n{}" + SECOND,
    "lengths in one header": POST + b"Content-Length: 2, 60\r\n\r\n{}" + SECOND,
    "a length and chunks": POST + b"Content-Length: 60\r\n" + CHUNKED + b"0\r\n\r\n" + SECOND,
    "chunks and a length": POST + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n" + SECOND,
    "chunked is not last": POST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n" + SECOND,
    "chunked twice": POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n" + SECOND,
    "two encodings": POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n" + SECOND,
    "a space before the colon": POST + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n" + SECOND,
    "a tab before the colon": POST + b"Content-Length\t: 5\r\n\r\n0\r\n\r\n" + SECOND,
    "misspelt": POST + b"Transfer-Encoding: xchunked\r\nContent-Length: 2\r\n\r\n{}" + SECOND,
    "a vertical tab": POST + b"Transfer-Encoding:\x0bchunked\r\nContent-Length: 2\r\n\r\n{}" + SECOND,
    "quoted": POST + b'Transfer-Encoding: "chunked"\r\nContent-Length: 2\r\n\r\n{}' + SECOND,
    "a folded header": POST + b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n" + SECOND,
    "a bare line feed in the head": POST.replace(b"\r\n", b"\n") + b"Content-Length: 2\n\n{}" + SECOND,
    "a bare carriage return": POST + b"X: a\rContent-Length: 60\r\nContent-Length: 2\r\n\r\n{}" + SECOND,
    "a nul in a name": POST + b"Content-Length\x00: 60\r\nContent-Length: 2\r\n\r\n{}" + SECOND,
    "a nul in a value": POST + b"Content-Length: 2\x00\r\n\r\n{}" + SECOND,
    "a length with a plus": POST + b"Content-Length: +2\r\n\r\n{}" + SECOND,
    "a negative length": POST + b"Content-Length: -2\r\n\r\n{}" + SECOND,
    "a hexadecimal length": POST + b"Content-Length: 0x2\r\n\r\n{}" + SECOND,
    "a length with an underscore": POST + b"Content-Length: 1_0\r\n\r\n{}" + SECOND,
    "a length of other digits": POST + "Content-Length: ２\r\n\r\n{}".encode() + SECOND,
    "a length beyond 64 bits": POST + b"Content-Length: 18446744073709551618\r\n\r\n{}" + SECOND,
    "an empty length": POST + b"Content-Length: \r\n\r\n{}" + SECOND,
    "a chunk size beyond 64 bits": POST + CHUNKED + b"10000000000000002\r\n{}\r\n0\r\n\r\n" + SECOND,
    "a chunk size with a plus": POST + CHUNKED + b"+2\r\n{}\r\n0\r\n\r\n" + SECOND,
    "a chunk size with 0x": POST + CHUNKED + b"0x2\r\n{}\r\n0\r\n\r\n" + SECOND,
    "a negative chunk size": POST + CHUNKED + b"-2\r\n{}\r\n0\r\n\r\n" + SECOND,
    "a chunk without its end": POST + CHUNKED + b"2\r\n{}0\r\n\r\n" + SECOND,
    "a chunk that ends with a line feed": POST + CHUNKED + b"2\n{}\n0\n\n" + SECOND,
    "a line feed in an extension": POST + CHUNKED + b"2;a\nb\r\n{}\r\n0\r\n\r\n" + SECOND,
    "a body of HTTP/1.0 in chunks": POST.replace(b"1.1", b"1.0") + CHUNKED + b"0\r\n\r\n" + SECOND,
    "a space in the path": b"GET /healthz HTTP/1.1\r\nX: y /x HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n" + SECOND,
    "no version": b"GET /healthz\r\n\r\n" + SECOND,
    "a version that is none": b"GET /healthz HTTP/1.1.1\r\nHost: x\r\n\r\n" + SECOND,
    "HTTP/2 without an offer": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + SECOND,
    "a tunnel": b"CONNECT 127.0.0.1:22 HTTP/1.1\r\nHost: x\r\n\r\n" + SECOND,
    "a name with a space": POST + b"X Y: z\r\nContent-Length: 2\r\n\r\n{}" + SECOND,
    "a header without a colon": POST + b"nonsense\r\nContent-Length: 2\r\n\r\n{}" + SECOND,
    "a header without a name": POST + b": x\r\nContent-Length: 2\r\n\r\n{}" + SECOND,
    "a line end before the headers": b"GET /healthz HTTP/1.1\r\n Host: x\r\n\r\n" + SECOND,
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64),
}


async def said(it: Daemon, raw: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(*it.address)
    out = b""
    with contextlib.suppress(ConnectionError):
        writer.write(raw)
        with contextlib.suppress(TimeoutError):
            while chunk := await asyncio.wait_for(reader.read(65536), 1.0):
                out += chunk
    writer.close()
    return out


async def test_no_request_is_hidden_in_another(it: Daemon) -> None:
    """What a proxy in front may take for a body, or for the end of one, is never answered as a request."""
    answers = dict(zip(SMUGGLED, await asyncio.gather(*(said(it, raw) for raw in SMUGGLED.values())), strict=True))
    seen = {name: [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", answer)] for name, answer in answers.items()}
    print(json.dumps(seen))
    assert {name: statuses for name, statuses in seen.items() if any(status >= 500 for status in statuses)} == {}
    assert [name for name, answer in answers.items() if b'"openapi"' in answer] == []
    assert len(SMUGGLED) >= 40


# ------------------------------------------------------------------ growth


@pytest.mark.timeout(120)
async def test_callers_that_come_and_go_leave_nothing(it: Daemon) -> None:
    """Wrong keys, unknown paths, broken requests, connections that break off: by the thousand."""
    kinds = [GET + b"\r\n", b"GET /nothing/%d HTTP/1.1\r\nHost: x\r\n\r\n", b"nonsense %d\r\n\r\n",
             POST + b"Content-Length: 9%d\r\n\r\n{",
             b"GET /api/v1/usage HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer wag_%012x_wrong\r\n\r\n",
             b"GET /api/v1/events?ticket=%d HTTP/1.1\r\nHost: x\r\n\r\n", b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n"]

    def come_and_go(count: int) -> None:
        for number in range(count):
            kind = kinds[number % len(kinds)]
            with contextlib.suppress(OSError), socket.create_connection(it.address, timeout=5) as one:
                one.sendall(kind % number if b"%" in kind else kind)
                if number % 3:
                    one.recv(2000)

    fds = it.fds()
    await asyncio.to_thread(come_and_go, 3000)
    before = it.rss_mb()
    began = time.monotonic()
    await asyncio.to_thread(come_and_go, 7000)
    print(f"7000 callers in {time.monotonic() - began:.1f} s; {before:.0f} MB before, {await it.settles(fds + 3, before + 8)}")
    assert (await it.client.get("/api/v1/usage")).status == 200
