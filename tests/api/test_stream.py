"""Event streams: the present first, then what changes; tickets; resuming; readers that are let go, with a reason."""

from __future__ import annotations

import asyncio
import os
import socket
from dataclasses import replace
from typing import Any

import pytest

from gateway.api import stream
from gateway.events import Connected, Disconnected, MessageArrived
from gateway.jid import JID
from gateway.messages import MessageKey, Received
from gateway.services import feed as feeds
from gateway.services import tickets
from tests.running import FAST, Client, Running, frames, run_gateway, until

together = pytest.mark.asyncio(loop_scope="module")

PN = JID.parse("237612345678@s.whatsapp.net")


def arrival(number: int, text: str = "x") -> MessageArrived:
    return MessageArrived(Received(MessageKey(PN, PN, f"A{number}"), 1_700_000_000, "text", False, PN, None, "Ama", text))


async def test_the_first_frame_is_the_qr_that_waits(running: Running) -> None:
    made = await running.client.post("/api/v1/sessions", {"session_key": "main"})
    await until(lambda: running.links.pairings)
    running.links.pairing(made.body["id"]).show_qr("2@code")
    await until(lambda: running.gateway.sessions.live()[0].qr)
    async with running.client.stream("/api/v1/sessions/main/stream") as events:
        _, event, data = await anext(events)
    assert (event, data["code"], data["present"]) == ("qr", "2@code", True)
    assert data["qr_code"].startswith("data:image/png;base64,")
    assert data["expires_at"].endswith("Z")


async def test_one_stream_tells_of_all_sessions_of_a_key_and_of_no_other(running: Running) -> None:
    one, first = await running.linked("one", "15550001111")
    two, _ = await running.linked("two", "15550002222")
    other = await running.another_client()
    async with running.client.stream("/api/v1/events") as events, other.stream("/api/v1/events?types=message,deleted") as foreign:
        present = [await anext(events) for _ in range(2)]
        assert {data["session"] for _, _, data in present} == {one, two}
        first.emit(arrival(1, "hello"))
        _, event, data = await anext(events)
        assert (event, data["session"], data["text"]) == ("message", one, "hello")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(foreign), 0.3)


async def test_who_comes_while_a_change_is_being_told_sees_it(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once, a subscriber between the commit of a change and its being taken over saw the old state, and never the new one."""
    session, link = await running.linked()
    sessions, reached, go_on = running.gateway.store.sessions, asyncio.Event(), asyncio.Event()
    read = sessions.one

    async def slow(*arguments: Any) -> Any:
        reached.set()
        await go_on.wait()
        return await read(*arguments)

    monkeypatch.setattr(sessions, "one", slow)
    link.emit(Disconnected())
    await asyncio.wait_for(reached.wait(), 5)
    try:
        async with running.client.stream(f"/api/v1/sessions/{session}/stream") as events:
            assert (await asyncio.wait_for(anext(events), 5))[1] == "disconnected"
    finally:
        go_on.set()


async def test_only_the_types_that_were_asked_for_are_told(running: Running) -> None:
    session, link = await running.linked()
    async with running.client.stream(f"/api/v1/sessions/{session}/stream?types=message,receipt") as events:
        link.emit(Disconnected())
        link.emit(Connected())
        link.emit(arrival(1))
        _, event, _ = await anext(events)
        assert event == "message"
    answer = await running.client.get(f"/api/v1/sessions/{session}/stream?types=message,gossip")
    assert (answer.status, answer.body["error"]["details"]["field"]) == (422, "types")


async def test_a_resumed_stream_gets_what_it_missed_once_and_in_order(running: Running) -> None:
    session, link = await running.linked()
    for number in range(30):
        link.emit(arrival(number, str(number)))
    async with running.client.stream(f"/api/v1/sessions/{session}/stream?types=message", Last_Event_ID="0") as events:
        got = [await anext(events) for _ in range(10)]
    async with running.client.stream(f"/api/v1/sessions/{session}/stream?types=message&last_event_id={got[-1][0]}") as events:
        got += [await anext(events) for _ in range(20)]
    assert [data["text"] for _, _, data in got] == [str(number) for number in range(30)]


@together
@pytest.mark.parametrize("last", ["x", "-1", "1.5", "9" * 30, "²"])
async def test_a_last_event_id_that_no_stream_gave_is_422(shared: Running, last: str) -> None:
    answer = await shared.client.get("/api/v1/sessions/main/stream", params={"last_event_id": last})
    assert (answer.status, answer.body["error"]["details"]["field"]) == (422, "Last-Event-ID")


async def test_a_code_that_ran_out_is_not_replayed(running: Running) -> None:
    made = await running.client.post("/api/v1/sessions", {"session_key": "main"})
    await until(lambda: running.links.pairings)
    pairing = running.links.pairing(made.body["id"])
    pairing.show_qr("2@old", seconds=-1)
    pairing.show_qr("2@new")
    async with running.client.stream("/api/v1/sessions/main/stream?types=qr", Last_Event_ID="0") as events:
        assert (await anext(events))[2]["code"] == "2@new"


async def test_a_quiet_stream_says_something_at_every_heartbeat(running: Running) -> None:
    session, _ = await running.linked()
    async with running.client.http.get(f"{running.client.url}/api/v1/sessions/{session}/stream",
                                       headers={"Authorization": f"Bearer {running.client.key}"}) as response:
        assert response.headers["Content-Type"].startswith("text/event-stream")
        assert response.headers["Cache-Control"] == "no-store"
        async with asyncio.timeout(3):                  # the test's heartbeat is a second
            while b": ping" not in await response.content.readline():
                pass


async def test_the_end_of_the_gateway_is_told(running: Running) -> None:
    await running.linked()
    async with running.client.stream("/api/v1/events") as events:
        await anext(events)
        running.gateway.feed.stop()
        assert [(event, data["code"]) async for _, event, data in events] == [("bye", "stopping")]
    assert running.gateway.feed.readers == 0


async def test_the_end_of_a_session_ends_its_stream_and_not_that_of_the_key(running: Running) -> None:
    session, _ = await running.linked()
    client = running.client
    async with client.stream(f"/api/v1/sessions/{session}/stream") as its, client.stream("/api/v1/events") as all_:
        await anext(its), await anext(all_)
        await running.client.delete(f"/api/v1/sessions/{session}")
        told = [(event, data.get("code")) async for _, event, data in its]
        assert told[-2:] == [("deleted", None), ("bye", "stopping")]
        assert [(await anext(all_))[1] for _ in told[:-1]] == [event for event, _ in told[:-1]]


async def test_head_opens_no_stream(running: Running) -> None:
    session, _ = await running.linked()
    answer = await running.client("HEAD", f"/api/v1/sessions/{session}/stream")
    assert answer.status == 200
    assert running.gateway.feed.readers == 0


# ------------------------------------------------------------------ tickets


async def get(running: Running, path: str) -> int:
    async with running.client.http.get(running.client.url + path) as response:
        return response.status


async def test_a_ticket_opens_its_sessions_stream_and_nothing_else(running: Running) -> None:
    one, _ = await running.linked("one", "15550001111")
    two, _ = await running.linked("two", "15550002222")
    ticket = (await running.client.post(f"/api/v1/sessions/{one}/stream-ticket")).body
    async with running.client.http.get(running.client.url + ticket["url"]) as response:
        _, _, data = await anext(frames(response.content))
        assert data["session"] == one
    text = ticket["ticket"]
    assert await get(running, f"/api/v1/sessions/{two}/stream?ticket={text}") == 401
    assert await get(running, f"/api/v1/events?ticket={text}") == 401
    for path in (f"/api/v1/sessions/{one}", "/api/v1/usage", "/api/v1/messages", f"/api/v1/sessions/{one}/qr"):
        assert await get(running, f"{path}?ticket={text}") == 401
    assert await get(running, f"/api/v1/sessions/{one}/stream?ticket=nonsense") == 401
    assert running.client.key not in ticket["url"]


async def test_a_ticket_of_the_key_opens_the_keys_stream(running: Running) -> None:
    one, _ = await running.linked()
    ticket = (await running.client.post("/api/v1/events/ticket")).body
    async with running.client.http.get(running.client.url + ticket["url"]) as response:
        assert (await anext(frames(response.content)))[2]["session"] == one
    assert await get(running, f"/api/v1/sessions/{one}/stream?ticket={ticket['ticket']}") == 401


async def test_a_stream_of_a_ticket_ends_with_its_time(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "STREAM_SECONDS", 0.2)
    await running.linked()
    ticket = (await running.client.post("/api/v1/events/ticket")).body
    async with running.client.http.get(running.client.url + ticket["url"]) as response:
        told = [(event, data.get("code")) async for _, event, data in frames(response.content)]
    assert told[-1] == ("bye", "ticket_expired")


async def test_a_revoked_key_takes_its_streams_and_tickets_with_it(running: Running) -> None:
    await running.linked()
    made = (await running.client.post(f"/api/v1/keys/{running.key.id}/rotate")).body
    new = Client(running.client.http, running.client.url, made["key"])
    ticket = (await running.client.post("/api/v1/events/ticket")).body
    async with running.client.stream("/api/v1/events") as old_events, new.stream("/api/v1/events") as new_events:
        await anext(old_events), await anext(new_events)
        assert (await new.delete(f"/api/v1/keys/{running.key.id}")).status == 200
        assert [(event, data["code"]) async for _, event, data in old_events] == [("bye", "revoked")]
        assert running.gateway.feed.readers == 1
    assert await get(running, ticket["url"]) == 401
    assert tickets.USE_WITHIN == 60


async def test_a_key_revoked_between_its_check_and_its_stream_reads_nothing(running: Running) -> None:
    await running.linked()
    another = await running.another_client()
    ticket = (await another.post("/api/v1/events/ticket")).body
    await running.gateway.keys.revoke(another.key.split("_")[1])            # the ticket was on its way out just then
    async with running.client.http.get(running.client.url + ticket["url"]) as response:
        assert [(event, data["code"]) async for _, event, data in frames(response.content)] == [("bye", "revoked")]
    assert running.gateway.feed.readers == 0


# ------------------------------------------------------------------ slow readers


async def connect_and_not_read(running: Running, path: str, readers: int = 1) -> socket.socket:
    """A reader with a small window that sends its request and then looks away."""
    host, port = running.client.url.removeprefix("http://").split(":")
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(sock, (host, int(port)))
    request = f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {running.client.key}\r\n\r\n"
    await loop.sock_sendall(sock, request.encode())
    await until(lambda: running.gateway.feed.readers == readers)
    return sock


async def read_all(sock: socket.socket) -> bytes:
    received = b""
    async with asyncio.timeout(5):
        while more := await asyncio.get_running_loop().sock_recv(sock, 1 << 20):
            received += more
    return received


async def test_a_reader_that_takes_nothing_is_cut_off_and_the_others_are_not(
        tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "SLOW_SECONDS", 0.3)
    async with run_gateway(tmp_path / "s", replace(FAST, server=replace(FAST.server, heartbeat_seconds=60))) as running:
        session, link = await running.linked()
        async with running.client.stream("/api/v1/events?types=message") as events:
            await until(lambda: running.gateway.feed.readers)
            before = len(os.listdir("/proc/self/fd"))
            sock = await connect_and_not_read(running, f"/api/v1/sessions/{session}/stream", readers=2)
            for number in range(100):                   # 6 MB: more than the kernel keeps for one connection
                link.emit(arrival(number, "x" * 60_000))
            assert [(await anext(events))[2]["whatsapp_id"] for _ in range(100)] == [f"A{number}" for number in range(100)]
            await until(lambda: running.gateway.feed.readers == 1)
            await until(lambda: len(os.listdir("/proc/self/fd")) == before + 1)     # ours: the gateway's end is closed
        received = await read_all(sock)                 # what the kernel had taken, and then nothing
        assert len(received) < 6_000_000
        assert not received.endswith(b"\r\n0\r\n\r\n")
        sock.close()


async def test_a_reader_that_falls_behind_is_told_so_when_it_reads_again(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeds, "QUEUE", 20)
    async with run_gateway(tmp_path / "s") as running:
        session, link = await running.linked()
        sock = await connect_and_not_read(running, f"/api/v1/sessions/{session}/stream")
        for number in range(150):
            link.emit(arrival(number, "x" * 60_000))
        await until(lambda: any(s._ended for s in running.gateway.feed._subscriptions))
        received = b""
        async with asyncio.timeout(10):
            while b"event: bye" not in received[-4000:]:
                received = received[-4000:] + await asyncio.get_running_loop().sock_recv(sock, 1 << 20)
        assert b'"code":"too_slow"' in received
        sock.close()
        await until(lambda: running.gateway.feed.readers == 0)
