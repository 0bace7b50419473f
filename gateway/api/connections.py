"""The edge of the HTTP server: what a connection may cost, before any key was shown.

uvicorn's protocol reads requests well, but takes headers of any size and number, as many requests at once and as slow a client
as come. Here each of these has an end, and when all places are taken, who keeps his waiting longest makes room for the next.
"""

from __future__ import annotations

import asyncio
import resource
from http import HTTPStatus
from typing import Any

import httptools
import structlog
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from gateway.api.http import envelope, json_response, retry_headers
from gateway.errors import GatewayError

log = structlog.get_logger("gateway.api.connections")

HEAD_BYTES = 64 << 10           # of a request's line and headers; nginx takes 32 KiB by default
HEADERS = 200                   # of one request
PIPELINED = 200                 # requests sent ahead of their answers
_FRAMING = (b"content-length", b"transfer-encoding")
LINGER_SECONDS = 5.0            # a refusal is left to be read, while the rest of what is sent is thrown away
RETRY_SECONDS = 5.0             # what a client is told that found no place
LOOK_SECONDS = 5.0              # how often a connection's time is looked at, at most
TELL_EVERY_SECONDS = 60.0       # of places that ran out, in the log


def descriptors_for_clients() -> int:
    """Half of what the process may open: the links, the databases and what is fetched need theirs."""
    return max(16, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2)


class Door:
    """The connections of one server: at most `most`. `seconds`: for a request's headers to come, of silence within a body, and
    for an answer that is not taken."""

    def __init__(self, most: int, seconds: float) -> None:
        self.most, self.seconds = most, seconds
        self.inside: set[Connection] = set()
        self.waiting: dict[Connection, None] = {}       # for their clients, the longest first
        self.turned_away: set[Connection] = set()       # not inside, and still reading why
        self.made_room = self.refused = 0
        self._told = float("-inf")

    def enter(self, one: Connection) -> bool:
        """False when every place is taken by somebody who is being answered."""
        if len(self.inside) >= self.most:
            longest = next(iter(self.waiting), None)
            self._tell(one.loop.time())
            if longest is None:
                self.refused += 1
                return False
            self.made_room += 1
            self.leave(longest)
            longest.transport.abort()
        self.inside.add(one)
        return True

    def may_tell_why(self, one: Connection) -> bool:
        """Of those that found no place, some at a time."""
        if len(self.turned_away) >= max(8, self.most // 8):
            return False
        self.turned_away.add(one)
        return True

    def leave(self, one: Connection) -> None:
        self.inside.discard(one)
        self.turned_away.discard(one)
        self.waiting.pop(one, None)

    def _tell(self, now: float) -> None:
        if now - self._told > TELL_EVERY_SECONDS:
            self._told = now
            log.warning("connections_full", most=self.most, idle=len(self.waiting), closed_so_far=self.made_room,
                        refused_so_far=self.refused)


class Connection(HttpToolsProtocol):
    """One client. It *waits for its client* while no request is complete, or an answer is not taken."""

    def __init__(self, door: Door, **uvicorn: Any) -> None:
        super().__init__(**uvicorn)
        self._door = door
        self._since = self.loop.time()          # when what is awaited now began
        self._head_open = False                 # a request's headers have begun and not ended
        self._message_open = False              # a request has begun and not ended
        self._head_bytes = 0
        self._unread_bytes = 0                  # since something was understood
        self._refusal = "bad_request"
        self._deaf = False                      # refused: nothing more is read
        self._known = False                     # the headers that are read now were read before
        self._cycles: list[RequestResponseCycle] = []       # not answered yet
        self._look: asyncio.TimerHandle | None = None

    # ------------------------------------------------------------------ coming and going

    def connection_made(self, transport: asyncio.Transport) -> None:        # type: ignore[override]
        super().connection_made(transport)
        if not self._door.enter(self):
            if not self._door.may_tell_why(self):
                transport.abort()
                return
            self._refuse(GatewayError("overloaded", retry_after=RETRY_SECONDS))
        self._look_later()
        self._settle()

    def connection_lost(self, exc: Exception | None) -> None:
        self._door.leave(self)
        if self._look is not None:
            self._look.cancel()
        super().connection_lost(exc)
        for cycle in self._unanswered():        # uvicorn tells the newest only; the others would go on writing
            cycle.disconnected = True
            cycle.message_event.set()

    def _look_later(self) -> None:
        self._look = self.loop.call_later(min(LOOK_SECONDS, self._door.seconds / 4), self._look_at_time)

    def _look_at_time(self) -> None:
        self._settle()
        until = self._until()
        if until is not None and self.loop.time() >= until:
            asked = self._head_open or (self._message_open and self._unanswered())
            if not asked or self._deaf or self.transport.is_closing():
                self.transport.abort()          # a close would wait for what is not taken
                return
            self._refuse(GatewayError("request_timeout"))
        self._look_later()

    def _until(self) -> float | None:
        """The loop's time by which the client must have done its part; None: it has nothing to do."""
        if self._deaf and not self._unanswered():
            return self._since + LINGER_SECONDS
        if self.transport.is_closing() or self.flow.write_paused:
            return self._since + self._door.seconds
        if self.flow.read_paused or self.pipeline:
            return None                         # it is we who are behind
        if self._message_open or self.cycle is None:
            return self._since + self._door.seconds
        return None if self._unanswered() else self._since + self.timeout_keep_alive

    def _settle(self) -> None:
        """Where the door finds it."""
        waits = self.flow.write_paused or self._deaf or not self._unanswered() or (
            self._message_open and not self.flow.read_paused)
        if not waits:
            self._door.waiting.pop(self, None)
        elif self in self._door.inside:
            self._door.waiting.setdefault(self)

    def _unanswered(self) -> list[RequestResponseCycle]:
        self._cycles = [cycle for cycle in self._cycles if not cycle.response_complete]
        return self._cycles

    # ------------------------------------------------------------------ what comes in

    def data_received(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        if self._deaf:
            return
        self._unread_bytes += len(data)
        try:
            self._feed(data)
        except httptools.HttpParserError:
            self._refuse(GatewayError(self._refusal))
        else:
            if self._unread_bytes > HEAD_BYTES:
                self._refuse(GatewayError("headers_too_large"))
        self._settle()

    def _feed(self, data: bytes) -> None:
        """An offer of another protocol (h2c, which Java's client makes with its first request) is passed over, as RFC 9110 7.8
        allows. httptools stops reading there, before the body: another parser goes on from that place."""
        while data:
            try:
                self.parser.feed_data(data)
                return
            except httptools.HttpParserUpgrade as offer:
                data = data[offer.args[0]:]
            framing = b"".join(b"%s: %s\r\n" % field for field in self.headers if field[0] in _FRAMING)
            self.parser = httptools.HttpRequestParser(self)
            if framing:
                self._message_open = self.cycle.more_body = self._known = True
                self.cycle.message_event.clear()
                self.parser.feed_data(b"POST / HTTP/1.1\r\n%s\r\n" % framing)

    def on_message_begin(self) -> None:
        if self._known:
            return
        super().on_message_begin()
        self._message_open = self._head_open = True
        self._head_bytes, self._since = 0, self.loop.time()

    def on_url(self, url: bytes) -> None:
        if not self._known:
            super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._head_open:
            return                              # a trailer: no header, whatever it is called (RFC 9110 6.5.1)
        self._head_bytes += len(name) + len(value) + 4
        if len(self.headers) >= HEADERS:
            self._stop_reading("headers_too_large")
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        if self._known:
            self._known = False
            return
        if self._head_bytes + len(self.url) > HEAD_BYTES:
            self._stop_reading("headers_too_large")
        if len(self.pipeline) >= PIPELINED:
            self._stop_reading("bad_request")
        self._head_open, self._unread_bytes, self._since = False, 0, self.loop.time()
        super().on_headers_complete()
        self._cycles.append(self.cycle)

    def on_body(self, body: bytes) -> None:
        self._unread_bytes = 0
        if not self.cycle.response_complete:    # what comes after an answer has one end, however much it is
            self._since = self.loop.time()
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._message_open, self._unread_bytes = False, 0
        if self.cycle.response_complete:
            self._since = self.loop.time()      # uvicorn waits for no further request then
        super().on_message_complete()

    def _stop_reading(self, code: str) -> None:
        self._refusal = code
        raise ValueError(code)                  # out of the parser, which tells `data_received`

    # ------------------------------------------------------------------ what goes out

    def on_response_complete(self) -> None:
        self._since = self.loop.time()
        super().on_response_complete()
        self._settle()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._since = self.loop.time()
        self._settle()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._since = self.loop.time()
        self._settle()

    def _refuse(self, error: GatewayError) -> None:
        """Answers, and hears nothing more. Where other answers are under way it cannot be told: they are cut off."""
        if self._deaf:
            return
        self._deaf, self._since = True, self.loop.time()
        unanswered = self._unanswered()
        if len(unanswered) > 1 or any(cycle.response_started for cycle in unanswered) or self.flow.write_paused:
            self.transport.abort()
            return
        for cycle in unanswered:                # whoever works on it hears that the client is gone
            cycle.disconnected = cycle.response_complete = True
            cycle.message_event.set()
        answer = json_response(envelope(error), error.status, {**retry_headers(error), "Connection": "close"})
        head = b"".join(b"%s: %s\r\n" % field for field in answer.raw_headers)
        phrase = HTTPStatus(error.status).phrase.encode()
        self.transport.write(b"HTTP/1.1 %d %s\r\n%s\r\n%s" % (error.status, phrase, head, bytes(answer.body)))
        self.transport.write_eof()


def protocol(door: Door) -> type[asyncio.Protocol]:
    """As uvicorn wants it: a class that needs nothing besides uvicorn's own."""

    class Inside(Connection):
        def __init__(self, **uvicorn: Any) -> None:
            super().__init__(door, **uvicorn)

    return Inside
