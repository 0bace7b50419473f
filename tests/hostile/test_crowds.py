"""Ten thousand connections at the real daemon: others go on being answered, the crowd is let go, and nothing of it stays."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import pytest

from tests.hostile.daemon import Crowd, Daemon, daemon, milliseconds, room_for

pytestmark = pytest.mark.e2e
CROWD = 10_000
MEDIAN, SLOWEST = 0.25, 5.0     # seconds of an ordinary request meanwhile, on a machine that does other things too
HALF = b"POST /api/v1/messages HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\nX-Half: of a req"
BODY = b"POST /v2/send/voice HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\nContent-Type: application/json\r\n\r\n{"
WHOLE = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"


def stream(it: Daemon, key: str = "") -> bytes:
    return b"GET /api/v1/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + (key or it.client.key).encode() + b"\r\n\r\n"


async def visited(it: Daemon, crowd: Crowd, count: int, say: bytes) -> None:
    """The crowd comes while others ask, and stays while others ask."""
    coming = asyncio.create_task(asyncio.to_thread(crowd.come, count, say))
    for when, took in (("while they come", await it.answers(pause=0.02)),
                       (f"once they are there, after {await coming:.1f} s", await it.answers("/readyz"))):
        print(f"{count} connections, {when}: {milliseconds(took)}; {it.rss_mb():.0f} MB, {it.fds()} descriptors")
        assert took[len(took) // 2] < MEDIAN and took[-1] < SLOWEST, milliseconds(took)


@pytest.mark.timeout(240)
@pytest.mark.parametrize(("wanted", "seconds"), [(3_000, 3), pytest.param(CROWD, 20, marks=pytest.mark.long)])
async def test_idle_connections_are_let_go_and_nobody_waits_for_them(tmp_path: Path, wanted: int, seconds: int) -> None:
    """A third says nothing, a third half a request, a third half a body."""
    count = room_for(wanted)
    async with daemon(tmp_path, WAGATEWAY_SERVER_REQUEST_SECONDS=str(seconds)) as it:
        await it.answers()
        fds, rss = it.fds(), it.rss_mb()
        with Crowd(it.address, 11) as silent, Crowd(it.address, 12) as halfway, Crowd(it.address, 13) as slow:
            for crowd, say in ((silent, b""), (halfway, HALF), (slow, BODY)):
                await visited(it, crowd, count // 3, say)
            print(f"{it.fds() - fds} are held at once, {it.rss_mb():.0f} MB")
            assert it.fds() - fds > 0.99 * count or wanted < CROWD
            async with asyncio.timeout(60):
                while it.fds() > fds + 3:
                    await asyncio.sleep(0.1)
            for crowd in (halfway, slow):
                assert {said[9:12] for said in crowd.heard(2) if said} == {b"408"}
            assert [crowd.gone() for crowd in (silent, halfway, slow)] == [count // 3] * 3
        print(f"before {rss:.0f} MB; afterwards {await it.settles(fds + 3, rss + 100)}")
        assert it.tracebacks() == []


@pytest.mark.timeout(180)
async def test_connections_beyond_the_limit_make_the_oldest_go(tmp_path: Path) -> None:
    """All were answered, and may stay for a minute: it is their number that ends them."""
    async with daemon(tmp_path, WAGATEWAY_SERVER_CONNECTIONS="500") as it:
        await it.answers()
        fds, rss = it.fds(), it.rss_mb()
        with Crowd(it.address, 14) as answered:
            await visited(it, answered, 3000, WHOLE)
            assert fds + 400 < it.fds() <= fds + 503
            async with asyncio.timeout(20):
                while answered.gone() < 2500:       # some are let go and have not heard of it
                    await asyncio.sleep(0.05)
            assert answered.gone() <= 2600
        print(f"before {rss:.0f} MB; afterwards {await it.settles(fds + 3, rss + 30)}")
        assert it.tracebacks() == []


async def streaming(it: Daemon, count: int, most: int, number: int) -> None:
    other = await it.another_client()
    with Crowd(it.address, number) as crowd:
        await visited(it, crowd, count, stream(it))
        assert Counter(said[9:12] for said in await asyncio.to_thread(crowd.heard, 60)) == {b"200": most, b"429": count - most}
        async with other.stream("/api/v1/events"), asyncio.timeout(5):
            assert (await other.get("/api/v1/usage")).status == 200, "another key has its own"


@pytest.mark.timeout(180)
async def test_one_key_that_opens_streams_gets_its_share_and_no_more(tmp_path: Path) -> None:
    async with daemon(tmp_path, WAGATEWAY_SERVER_STREAMS_PER_KEY="200") as it:
        await it.answers()
        fds, rss = it.fds(), it.rss_mb()
        await streaming(it, 2000, 200, 21)
        first = await it.settles(fds + 3, rss + 80)
        await streaming(it, 2000, 200, 22)
        print(f"before {rss:.0f} MB; {first}; {await it.settles(fds + 3, first['rss_mb'] + 15)}")
        assert it.tracebacks() == []


@pytest.mark.long
@pytest.mark.timeout(600)
async def test_ten_thousand_streams_asked_for_by_one_key(tmp_path: Path) -> None:
    """With the limit as it is by default, four times: what the first costs is all it ever costs."""
    count = room_for(CROWD) - 100
    async with daemon(tmp_path) as it:
        await it.answers()
        fds, rss = it.fds(), it.rss_mb()
        await streaming(it, count, 1000, 31)
        first = await it.settles(fds + 3, rss + 200)
        for number in (32, 33, 34):
            await streaming(it, count, 1000, number)
            print(await it.settles(fds + 3, first["rss_mb"] + 20))
        assert it.tracebacks() == []


@pytest.mark.long
@pytest.mark.timeout(600)
async def test_ten_thousand_streams_held_by_one_key_that_may(tmp_path: Path) -> None:
    count = room_for(CROWD) - 100
    async with daemon(tmp_path, WAGATEWAY_SERVER_STREAMS_PER_KEY="0") as it:
        await it.answers()
        fds, rss = it.fds(), it.rss_mb()
        for number in (41, 42):
            with Crowd(it.address, number) as crowd:
                coming = asyncio.create_task(asyncio.to_thread(crowd.come, count, stream(it)))
                meanwhile = await it.answers(pause=0.1)
                await coming
                assert Counter(said[9:12] for said in await asyncio.to_thread(crowd.heard, 120)) == {b"200": count}
                await asyncio.sleep(16)             # through a heartbeat of all of them
                held = await it.answers(pause=0.1)
                print(f"{count} streams: {it.rss_mb():.0f} MB; while they come {milliseconds(meanwhile)}; held {milliseconds(held)}")
                assert held[len(held) // 2] < MEDIAN and crowd.gone() == 0
            settled = await it.settles(fds + 3, rss + 60 * count / 1000 if number == 41 else rss)
            rss = settled["rss_mb"] + 40            # the second may cost no more than the first
        assert it.tracebacks() == []
