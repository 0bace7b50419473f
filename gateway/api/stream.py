"""Server-Sent Events. The first frame is the present state, then what changes; `Last-Event-ID` resumes from the journal."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec
import structlog
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from gateway.api.http import Call, Endpoint, Strict
from gateway.api.shapes import TicketShape
from gateway.errors import GatewayError, InvalidField
from gateway.services import qr
from gateway.services.feed import Revoked, SlowReader, Stopping
from gateway.services.live import LiveSession
from gateway.services.tickets import STREAM_SECONDS
from gateway.states import Status
from gateway.store.journal import TYPES, Event
from gateway.times import iso, parse_iso

log = structlog.get_logger("gateway.api.stream")

RETRY_MILLISECONDS = 2000
SLOW_SECONDS = 30.0             # a reader that takes nothing for this long is cut off
CUT = "gateway.cut"             # in the ASGI scope: a callable that cuts the connection


class StreamQuery(Strict):
    ticket: str = ""
    types: str = ""
    last_event_id: str = ""
    follow: bool = True


def frame(event: Event, now: float) -> ServerSentEvent | None:
    """An event as the wire has it; None for a code that nobody can scan any more."""
    data = event.data
    if event.type in ("qr", "pairing_code") and parse_iso(data["expires_at"]) <= now:
        return None
    if event.type == "qr":
        data = {"qr_code": qr.png_data_uri(data["code"]), **data}
    return ServerSentEvent(_json({**data, "at": iso(event.at)}), event=event.type, id=str(event.seq))


class Rendered:
    """The last events as bytes: thousands of readers get the same ones."""

    MOST = 64

    def __init__(self) -> None:
        self._kept: dict[int, tuple[Event, bytes]] = {}     # by identity: every reader is offered the same object

    def bytes_of(self, event: Event, now: float) -> bytes | None:
        if (kept := self._kept.get(id(event))) is not None:
            return kept[1]
        sent = frame(event, now)
        if sent is None:
            return None
        encoded = sent.encode()
        if event.type not in ("qr", "pairing_code"):        # those depend on the time
            if len(self._kept) >= self.MOST:
                del self._kept[next(iter(self._kept))]
            self._kept[id(event)] = event, encoded
        return encoded


RENDERED = Rendered()


def present(live: LiveSession, head: int) -> ServerSentEvent:
    """The one frame that says how the session stands."""
    state, s = live.state.public(), live.session
    data: dict[str, Any] = {"session": s.id, "present": True, "state": state}
    if live.qr is not None and live.state.reason.code != "code_waiting":
        type_ = "qr"
        data |= {"qr_code": qr.png_data_uri(live.qr.code), "code": live.qr.code, "expires_at": iso(live.qr.expires_at)}
    elif live.code is not None:
        type_ = "pairing_code"
        data |= {"code": live.code.code, "expires_at": iso(live.code.expires_at)}
    elif live.state.status is Status.CONNECTED:
        type_ = "connected"
        data |= {"jid": str(s.jid), "lid": str(s.lid) if s.lid else None, "phone_number": s.phone_number,
                 "push_name": s.push_name, "platform": s.platform}
    elif live.state.needs_somebody:
        type_ = "error"
        data |= {"code": live.state.reason.code, "message": live.state.reason.sentence, "action": live.state.reason.action}
    elif live.state.status is Status.DISCONNECTED:
        type_, data = "disconnected", data | state
    else:
        type_, data = "status", data | state
    return ServerSentEvent(_json(data), event=type_, id=str(head))


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _position(request: Request, query: StreamQuery, head: int) -> int | None:
    """The journal number to go on after; None: from now."""
    text = request.headers.get("last-event-id", "") or query.last_event_id
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise InvalidField("Last-Event-ID", "Last-Event-ID: not one that this stream gave")
    return min(int(text), head)


def _types(query: StreamQuery) -> tuple[str, ...]:
    types = tuple(part for part in query.types.split(",") if part)
    for part in types:
        if part not in TYPES:
            raise InvalidField("types", f"types: {part[:40]!r} is none of {', '.join(TYPES)}")
    return types


async def stream_session(call: Call) -> Response:
    live = await call.gateway.sessions.find(call.key, call.path("id"))
    if call.ticket is not None and call.ticket.session_id != live.session.id:
        raise GatewayError("ticket_invalid")
    return _stream(call, [live], live.session.id)


async def stream_all(call: Call) -> Response:
    if call.ticket is not None and call.ticket.session_id is not None:
        raise GatewayError("ticket_invalid")
    mine = [live for live in call.gateway.sessions.live() if live.session.owner == call.key.owner]
    return _stream(call, mine, None)


class TicketOver(Exception):
    """A stream opened with a ticket has had its time."""


class _Stream(EventSourceResponse):
    """A reader that takes nothing for `SLOW_SECONDS` is cut off: there is no way left to tell it why, but the log
    says so, and it can come back with its last number."""

    left: Callable[[], None]        # its place is free again

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._cut: Callable[[], None] = scope[CUT]
        try:
            await super().__call__(scope, receive, send)
        finally:
            self.left()

    async def _send_with_timeout(self, send: Send, message: Message) -> None:
        """The library's own opens a cancel scope for every frame, which is a third of what a frame costs. A timer does: the
        cut connection ends the response."""
        timer = asyncio.get_running_loop().call_later(SLOW_SECONDS, self._cut_off)
        try:
            await send(message)
        finally:
            timer.cancel()

    def _cut_off(self) -> None:
        log.info("slow_reader_cut_off", seconds=SLOW_SECONDS)
        self._cut()


def _stream(call: Call, lives: list[LiveSession], session_id: str | None) -> Response:
    gateway, query = call.gateway, call.query(StreamQuery)
    position = _position(call.request, query, gateway.feed.head)
    types = _types(query)

    async def frames() -> AsyncIterator[ServerSentEvent | bytes]:
        subscription = gateway.feed.subscribe(owner=call.key.owner, session_id=session_id, types=types, after=position,
                                              key_id=call.key.id)
        head = gateway.feed.head
        over = None
        if call.ticket is not None:
            over = asyncio.get_running_loop().call_later(STREAM_SECONDS, subscription.end, TicketOver())
        try:
            if (key := await gateway.store.keys.one(call.key.id)) is None or key.revoked_at is not None:
                subscription.end(Revoked())             # between its check and this reader, which it could not end yet
            yield ServerSentEvent(comment="wagateway", retry=RETRY_MILLISECONDS)
            if position is None:
                for first in [present(live, head) for live in lives]:
                    if not types or first.event in types:
                        yield first
            async for event in subscription.events(follow=query.follow):
                if (sent := RENDERED.bytes_of(event, gateway.clock())) is not None:
                    yield sent
            yield _farewell("caught_up", "That is all there is.")
        except SlowReader as error:
            yield _farewell("too_slow", f"You were {error}; come back with Last-Event-ID.")
        except Stopping:
            yield _farewell("stopping", "The gateway or the session ends here; come back with Last-Event-ID.")
        except Revoked:
            yield _farewell("revoked", "The API key of this stream was revoked.")
        except TicketOver:
            yield _farewell("ticket_expired", "The ticket's time is over; come back with another.")
        finally:
            if over is not None:
                over.cancel()
            gateway.feed.close(subscription)

    gateway.streams.enter(call.key)
    response = _Stream(frames(), ping=gateway.settings.server.heartbeat_seconds, sep="\n",
                       headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
    response.left = lambda: gateway.streams.leave(call.key)
    return response


def _farewell(code: str, text: str) -> ServerSentEvent:
    return ServerSentEvent(_json({"code": code, "message": text}), event="bye")


async def ticket(call: Call) -> Response:
    made = call.gateway.tickets.issue(call.key, None)
    return call.answer(TicketShape(ticket=made.text, expires_at=iso(made.use_before), url=f"/api/v1/events?ticket={made.text}"))


ENDPOINTS = [
    Endpoint("GET", "/api/v1/sessions/{id}/stream", stream_session, "One session's events (SSE)", query=StreamQuery,
             errors=("session_not_found", "ticket_invalid", "too_many_streams"), tag="events", tickets=True,
             produces=("text/event-stream",),
             description="First frame: the present state, with the QR if one waits. Events: " + ", ".join(TYPES) + "."),
    Endpoint("GET", "/api/v1/events", stream_all, "All your sessions' events (SSE)", query=StreamQuery,
             errors=("ticket_invalid", "too_many_streams"), tag="events", tickets=True, produces=("text/event-stream",)),
    Endpoint("POST", "/api/v1/events/ticket", ticket, "A ticket for all your sessions' stream", answer=TicketShape, status=201,
             tag="events"),
]
