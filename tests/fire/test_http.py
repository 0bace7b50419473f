"""What strangers send to the port: nothing of it is a 5xx, stops the daemon, keeps others waiting, or stays behind."""

from __future__ import annotations

import asyncio
import contextlib
import re
import resource
import statistics
import time
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.e2e.world import World
from tests.e2e.world import world as open_world
from tests.fire.harness import measure

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module")]
IDLE = 2000


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    """One daemon for all of them: it has to outlive each."""
    async with open_world(tmp_path_factory.mktemp("http")) as it:
        await it.start()
        yield it


def address(world: World) -> tuple[str, int]:
    host, _, port = world.client.url.removeprefix("http://").rpartition(":")
    return host, int(port)


async def say(world: World, raw: bytes, silence: float = 1.0) -> bytes:
    """Everything that comes back until the daemon closes, or falls silent."""
    reader, writer = await asyncio.open_connection(*address(world))
    said = b""
    with contextlib.suppress(ConnectionError):
        writer.write(raw)
        await writer.drain()
        with contextlib.suppress(TimeoutError):
            while chunk := await asyncio.wait_for(reader.read(65536), silence):
                said += chunk
    writer.close()
    return said


def statuses(said: bytes) -> list[int]:
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", said)]


REQUEST = b"POST /api/v1/messages HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
SMUGGLING = {
    "two lengths": REQUEST + b"Content-Length: 2\r\nContent-Length: 30\r\n\r\n{}GET /healthz HTTP/1.1\r\n\r\n",
    "length and chunks": REQUEST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
                         b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
    "chunks not last": REQUEST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\nGET /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
    "chunks with a space": REQUEST + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\nGET /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
    "chunks misspelt": REQUEST + b"Transfer-Encoding: xchunked\r\nContent-Length: 2\r\n\r\n{}GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
    "a negative length": REQUEST + b"Content-Length: -1\r\n\r\n{}",
    "a length with a plus": REQUEST + b"Content-Length: +2\r\n\r\n{}",
    "a huge length": REQUEST + b"Content-Length: 99999999999999999999999\r\n\r\n{}",
    "a chunk size that overflows": REQUEST + b"Transfer-Encoding: chunked\r\n\r\nfffffffffffffffffff\r\nx",
    "a bare line feed": b"GET /healthz HTTP/1.1\nHost: x\n\nGET /healthz HTTP/1.1\nHost: x\n\n",
    "a folded header": b"GET /healthz HTTP/1.1\r\nHost: x\r\nX: a\r\n b\r\n\r\n",
    "a nul in a header": b"GET /healthz HTTP/1.1\r\nHost: x\r\nX: a\0b\r\n\r\n",
    "no host": b"GET /healthz HTTP/1.1\r\n\r\n",
    "not HTTP": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64),
    "a method of noise": b"\xff\xfe / HTTP/1.1\r\nHost: x\r\n\r\n",
}


async def test_smuggled_huge_and_broken_requests_are_refused_and_the_daemon_goes_on(world: World) -> None:
    outcomes = await asyncio.gather(*(say(world, raw) for raw in SMUGGLING.values()))
    for name, said in zip(SMUGGLING, outcomes, strict=True):
        assert all(status < 500 for status in statuses(said)), (name, said[:300])
    # What a proxy in front of us could have read as a body is never answered as a request of its own.
    for name in ("two lengths", "chunks not last", "chunks with a space"):
        assert 200 not in statuses(outcomes[list(SMUGGLING).index(name)]), name
    for raw in (b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Big: " + b"a" * 1_000_000 + b"\r\n\r\n",
                b"GET /healthz HTTP/1.1\r\nHost: x\r\n" + b"".join(b"X-%d: y\r\n" % i for i in range(20_000)) + b"\r\n",
                b"GET /" + b"a" * 1_000_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n"):
        assert all(status < 500 for status in statuses(await say(world, raw)))
    assert (await world.client.get("/healthz")).status == 200


async def test_pipelined_requests_are_answered_in_order(world: World) -> None:
    said = await say(world, b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\nGET /nothing HTTP/1.1\r\nHost: x\r\n\r\n" * 50)
    assert statuses(said) == [200, 404] * 50


async def test_thousands_of_silent_and_slow_connections_keep_nobody_waiting(world: World) -> None:
    """Idle ones, and ones that send a request a byte at a time."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    count = min(IDLE, limit // 2 - 100)
    assert world.process is not None
    before = measure(world.process.pid)
    held = []
    for _ in range(0, count, 100):
        held += await asyncio.gather(*(asyncio.open_connection(*address(world)) for _ in range(100)))
    for place, (_, writer) in enumerate(held):
        if place % 4:
            writer.write(b"POST /api/v1/messages HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{"[: 10 + place % 70])
    took = []
    for _ in range(100):
        begun = time.perf_counter()
        assert (await world.client.get("/healthz")).status == 200
        took.append(time.perf_counter() - begun)
        held[len(took)][1].write(b"x")
    assert statistics.median(took) < 0.05
    for _, writer in held:
        writer.close()
    async with asyncio.timeout(10):
        while measure(world.process.pid)["fds"] > before["fds"] + 20:
            await asyncio.sleep(0.05)
    assert measure(world.process.pid)["rss_mb"] < before["rss_mb"] + 60
    print(f"{count} connections: {before} -> {measure(world.process.pid)}; median answer {statistics.median(took) * 1000:.1f} ms")


async def test_the_time_of_a_refusal_does_not_tell_how_much_of_a_key_is_right(world: World) -> None:
    """Keys are looked up by their hash; what differs is noise. The two are asked in turn, so that noise hits both."""
    right = world.client.key
    almost = right[:-1] + ("A" if right[-1] != "A" else "B")
    wrong = "".join("B" if c == "A" else "A" for c in right)
    times: dict[str, list[float]] = {almost: [], wrong: []}
    for _ in range(150):
        for key, took in times.items():
            begun = time.perf_counter()
            async with world.http.get(world.client.url + "/api/v1/sessions", headers={"Authorization": f"Bearer {key}"}) as answer:
                assert answer.status == 401
            took.append(time.perf_counter() - begun)
    medians = [statistics.median(took) for took in times.values()]
    assert abs(medians[0] - medians[1]) < 0.0005 + 0.25 * min(medians), medians
