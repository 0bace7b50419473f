"""/api/v1/sessions: slots for linked devices and their linking."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import msgspec
from starlette.responses import Response

from gateway.api.http import Call, Endpoint, Line, Strict
from gateway.api.shapes import Deleted, Profile, QrShape, SessionList, SessionShape, TicketShape
from gateway.config import parse_quiet_hours
from gateway.errors import GatewayError, InvalidField
from gateway.jid import JID, parse_recipient
from gateway.services import qr
from gateway.services.live import LiveSession
from gateway.services.sessions import public
from gateway.times import iso

NonNegative = Annotated[float, msgspec.Meta(ge=0, le=1_000_000)]


class SessionSettings(Strict, omit_defaults=True):
    """A session's own pacing and presence. What is left out stays as it is, null follows the daemon's settings again.
    `quiet_hours`: local times, as `22:00-07:00`; empty: none."""

    messages_per_hour: Annotated[int, msgspec.Meta(ge=0, le=100_000)] | msgspec.UnsetType | None = msgspec.UNSET
    min_gap_seconds: NonNegative | msgspec.UnsetType | None = msgspec.UNSET
    recording_presence: bool | msgspec.UnsetType | None = msgspec.UNSET
    quiet_hours: str | msgspec.UnsetType | None = msgspec.UNSET
    presence: Literal["available", "unavailable"] | msgspec.UnsetType | None = msgspec.UNSET


class CreateSession(Strict):
    """`session_key`: your own name for it, which stands for the id everywhere. `pairing_phone`: also ask for a code to type on
    the phone of this number."""

    session_key: str | None = None
    name: Annotated[Line, msgspec.Meta(max_length=200)] = ""
    webhook_url: str | None = None
    pairing_phone: str | None = None
    settings: SessionSettings | None = None


class PatchSession(Strict):
    session_key: str | None = None
    name: Annotated[Line, msgspec.Meta(max_length=200)] | None = None
    webhook_url: str | msgspec.UnsetType | None = msgspec.UNSET
    settings: SessionSettings | None = None


class Relink(Strict):
    pairing_phone: str | None = None


class Page(Strict):
    """`status`: only sessions that are so now."""

    status: Literal["pending", "connected", "disconnected", "qr_expired", "logged_out", "banned", "failed"] | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 100
    cursor: str = ""


async def shape(call: Call, live: LiveSession) -> SessionShape:
    (one,) = await shapes(call, [live])
    return one


async def shapes(call: Call, lives: Sequence[LiveSession]) -> list[SessionShape]:
    now = call.gateway.clock()
    traffic = await call.gateway.store.messages.traffic([live.session.id for live in lives], now - 3600, now)
    return [_shape(live, *traffic[live.session.id]) for live in lives]


def _shape(live: LiveSession, queued: int, sent: int) -> SessionShape:
    pace = live.pace
    pacing = {"messages_per_hour": pace.messages_per_hour, "min_gap_seconds": pace.min_gap_seconds,
              "recording_presence": pace.recording_presence, "quiet_hours": pace.quiet_hours, "sent_last_hour": sent}
    return msgspec.convert({**public(live), "pacing": pacing, "queued": queued}, SessionShape)


def phone_of(text: str | None) -> JID | None:
    if text is None:
        return None
    try:
        jid = parse_recipient(text)
    except ValueError as error:
        raise InvalidField("pairing_phone", f"pairing_phone: {error}", "invalid_recipient") from None
    if jid.phone is None:
        raise InvalidField("pairing_phone", "pairing_phone: a phone number is needed, not a JID", "invalid_recipient")
    return jid


def settings_of(own: SessionSettings | None) -> dict[str, Any]:
    values: dict[str, Any] = msgspec.to_builtins(own) if own else {}
    try:
        parse_quiet_hours(values.get("quiet_hours") or "")
    except ValueError as error:
        raise InvalidField("settings.quiet_hours", f"settings.quiet_hours: {error}") from None
    return values


async def create(call: Call) -> Response:
    body = call.parse(CreateSession)
    live = await call.gateway.sessions.create(
        call.key, session_key=body.session_key, name=body.name, webhook_url=body.webhook_url or "",
        pairing_phone=phone_of(body.pairing_phone),
        settings={name: value for name, value in settings_of(body.settings).items() if value is not None})
    return call.answer(await shape(call, live), headers={"Location": f"/api/v1/sessions/{live.session.id}"})


async def list_(call: Call) -> Response:
    page = call.query(Page)
    after = _cursor(page.cursor) if page.cursor else (0.0, "")
    mine = sorted((live for live in call.gateway.sessions.live() if live.session.owner == call.key.owner
                   and page.status in (None, live.state.status.value)), key=_place)
    rest = [live for live in mine if _place(live) > after]
    last = rest[page.limit - 1] if len(rest) > page.limit else None
    return call.answer(SessionList(sessions=await shapes(call, rest[:page.limit]),
                                   next_cursor=_to_cursor(_place(last)) if last else None))


def _place(live: LiveSession) -> tuple[float, str]:
    """In the order of creation, which later sessions do not change."""
    return live.session.created_at, live.session.id


def _to_cursor(place: tuple[float, str]) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(place)).decode().rstrip("=")


def _cursor(text: str) -> tuple[float, str]:
    try:
        return msgspec.json.decode(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)), type=tuple[float, str])
    except (ValueError, RecursionError):
        raise InvalidField("cursor", "cursor: not one that this API gave") from None


async def get(call: Call) -> Response:
    return call.answer(await shape(call, await call.gateway.sessions.find(call.key, call.path("id"))))


async def patch(call: Call) -> Response:
    live = await call.gateway.sessions.find(call.key, call.path("id"))
    body = call.parse(PatchSession)
    columns: dict[str, Any] = {}
    if body.session_key is not None:
        columns["session_key"] = call.gateway.sessions.check_session_key(body.session_key)
    if body.name is not None:
        columns["name"] = body.name or live.session.session_key
    if body.webhook_url is not msgspec.UNSET:
        columns["webhook_url"] = body.webhook_url or ""
    if body.settings is not None:
        merged = live.session.settings | settings_of(body.settings)
        columns["settings"] = {name: value for name, value in merged.items() if value is not None}
    await call.gateway.sessions.update(live, **columns)
    return call.answer(await shape(call, live))


async def delete(call: Call) -> Response:
    live = await call.gateway.sessions.find(call.key, call.path("id"))
    note = await call.gateway.sessions.delete(live)
    return call.answer(Deleted(deleted=True, id=live.session.id, note=note))


async def relink(call: Call) -> Response:
    live = await call.gateway.sessions.find(call.key, call.path("id"))
    phone = phone_of(call.parse(Relink).pairing_phone)
    await live.relink(phone.user if phone else None)
    return call.answer(await shape(call, live))


async def connect(call: Call) -> Response:
    live = await call.gateway.sessions.find(call.key, call.path("id"))
    if live.session.jid is None:
        raise GatewayError("session_not_connected", "The session is not linked yet; POST …/relink begins that.")
    await live.connect()
    return call.answer(await shape(call, live))


async def disconnect(call: Call) -> Response:
    live = await call.gateway.sessions.find(call.key, call.path("id"))
    await live.disconnect()
    return call.answer(await shape(call, live))


async def profile(call: Call) -> Response:
    session = (await call.gateway.sessions.find(call.key, call.path("id"))).session
    linked = session.jid is not None
    return call.answer(Profile(
        session=session.id, jid=str(session.jid.non_ad()) if session.jid else None, lid=str(session.lid.non_ad()) if session.lid
        else None, phone_number=session.phone_number, push_name=session.push_name if linked else None,
        platform=session.platform if linked else None))


async def get_qr(call: Call) -> Response:
    live = await call.gateway.sessions.find(call.key, call.path("id"))
    if live.session.jid is not None or live.state.status.value != "pending":
        call.gateway.keys.check_scope(call.key, "full")         # it would begin a new attempt
    linking = await call.gateway.sessions.code_to_scan(live)
    accept = call.request.headers.get("accept", "")
    headers = {"Cache-Control": "no-store", "Expires-At": iso(linking.expires_at)}
    if "image/svg+xml" in accept:
        return Response(qr.svg(linking.qr), 200, headers, "image/svg+xml")
    if "image/png" in accept:
        return Response(qr.png(linking.qr), 200, headers, "image/png")
    return call.answer(QrShape(qr_code=qr.png_data_uri(linking.qr), code=linking.qr, expires_at=iso(linking.expires_at)),
                       headers={"Cache-Control": "no-store"})


async def ticket(call: Call) -> Response:
    live = await call.gateway.sessions.find(call.key, call.path("id"))
    made = call.gateway.tickets.issue(call.key, live.session.id)
    return call.answer(TicketShape(ticket=made.text, expires_at=iso(made.use_before),
                                   url=f"/api/v1/sessions/{live.session.id}/stream?ticket={made.text}"))


_NOT_FOUND = ("session_not_found",)
ENDPOINTS = [
    Endpoint("POST", "/api/v1/sessions", create, "Make a session and begin to link it", "full", CreateSession, tag="sessions",
             answer=SessionShape, status=201, errors=("session_exists", "session_limit", "invalid_recipient"),
             example={"session_key": "my-session"},
             description="Linking begins at once: watch its stream or get its QR. With `pairing_phone` a pairing code is "
                         "asked for as well."),
    Endpoint("GET", "/api/v1/sessions", list_, "List your sessions", query=Page, answer=SessionList, tag="sessions"),
    Endpoint("GET", "/api/v1/sessions/{id}", get, "One session, by id or session_key", answer=SessionShape, errors=_NOT_FOUND,
             tag="sessions"),
    Endpoint("PATCH", "/api/v1/sessions/{id}", patch, "Change name, session_key, webhook_url or settings", "full", PatchSession,
             answer=SessionShape, errors=(*_NOT_FOUND, "session_exists"), tag="sessions",
             example={"settings": {"messages_per_hour": 30}}),
    Endpoint("DELETE", "/api/v1/sessions/{id}", delete, "Unlink, destroy the keys, remove the session", "full", answer=Deleted,
             errors=_NOT_FOUND, tag="sessions"),
    Endpoint("POST", "/api/v1/sessions/{id}/relink", relink, "Begin a fresh attempt to link", "full", Relink,
             answer=SessionShape, errors=(*_NOT_FOUND, "invalid_recipient"), tag="sessions", example={}),
    Endpoint("POST", "/api/v1/sessions/{id}/connect", connect, "Connect a session that was disconnected", "full",
             answer=SessionShape, errors=(*_NOT_FOUND, "session_not_connected"), tag="sessions"),
    Endpoint("POST", "/api/v1/sessions/{id}/disconnect", disconnect, "Disconnect, staying linked", "full", answer=SessionShape,
             errors=_NOT_FOUND, tag="sessions"),
    Endpoint("GET", "/api/v1/sessions/{id}/qr", get_qr, "The QR code that waits", answer=QrShape, tag="sessions",
             errors=(*_NOT_FOUND, "already_paired", "pairing_failed"),
             produces=("application/json", "image/png", "image/svg+xml"),
             description="JSON, PNG or SVG by Accept. Where the last attempt ran out, a fresh one begins (scope 'full')."),
    Endpoint("GET", "/api/v1/sessions/{id}/profile", profile, "The linked account", answer=Profile, errors=_NOT_FOUND,
             tag="sessions"),
    Endpoint("POST", "/api/v1/sessions/{id}/stream-ticket", ticket, "A ticket for EventSource, which cannot set headers",
             answer=TicketShape, status=201, errors=_NOT_FOUND, tag="events"),
]
