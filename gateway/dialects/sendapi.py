"""SendAPI.co: sessions and their QR codes over `/v1`."""

from __future__ import annotations

from typing import Annotated

import msgspec
from starlette.responses import Response

from gateway.api.http import Call, Endpoint, Line, Shape
from gateway.api.shapes import ErrorEnvelope
from gateway.dialects.dialect import BEARER, Dialect, Loose, Unsupported
from gateway.dialects.words import Bearer, create_with_code, from_hex, to_hex
from gateway.services import qr
from gateway.services.live import LiveSession
from gateway.states import Status
from gateway.times import iso


class Create(Loose):
    name: Annotated[Line, msgspec.Meta(min_length=1, max_length=200)]
    webhook_url: str | None = None


class Paging(msgspec.Struct):
    page: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 1
    per_page: Annotated[int, msgspec.Meta(ge=1, le=100)] = 25


class Created(Shape):
    id: str
    name: str
    status: str
    qr_code: str
    qr_expires_at: str
    created_at: str


class One(Shape):
    id: str
    name: str
    status: str
    phone_number: str | None
    last_seen_at: str | None
    message_count: int
    created_at: str


class Meta(Shape):
    total: int
    page: int
    per_page: int


class Page(Shape):
    data: list[One]
    meta: Meta


class Code(Shape):
    qr_code: str
    expires_at: str


class Deleted(Shape):
    deleted: bool
    id: str


def session_status(live: LiveSession) -> str:
    """`disconnected` means here that it comes back by itself, or was stopped by request; whatever needs somebody is `failed`,
    and whatever waits for a scan is `pending`, since asking for its QR begins anew."""
    state = live.state
    if state.status is Status.CONNECTED:
        return "connected"
    if state.status in (Status.PENDING, Status.QR_EXPIRED):
        return "pending"
    return "disconnected" if state.status is Status.DISCONNECTED and not state.needs_somebody else "failed"


async def _one(call: Call, live: LiveSession) -> One:
    s = live.session
    return One(id=to_hex("sess_", s.id), name=s.name, status=session_status(live), phone_number=s.phone_number,
               last_seen_at=iso(s.last_seen_at), message_count=await call.gateway.store.messages.count(s.id),
               created_at=iso(s.created_at))


async def _find(call: Call) -> LiveSession:
    return await call.gateway.sessions.find(call.key, from_hex("sess_", call.path("id")))


async def create(call: Call) -> Response:
    body = call.parse(Create)
    live, linking = await create_with_code(call, name=body.name, webhook_url=body.webhook_url or "")
    return call.answer(Created(id=to_hex("sess_", live.session.id), name=live.session.name, status=session_status(live),
                               qr_code=qr.png_data_uri(linking.qr), qr_expires_at=iso(linking.expires_at),
                               created_at=iso(live.session.created_at)))


async def list_(call: Call) -> Response:
    paging = call.query(Paging)
    lives = await call.gateway.sessions.of(call.key)
    first = (paging.page - 1) * paging.per_page
    shown = [await _one(call, live) for live in lives[first:first + paging.per_page]]
    return call.answer(Page(data=shown, meta=Meta(total=len(lives), page=paging.page, per_page=paging.per_page)))


async def get(call: Call) -> Response:
    return call.answer(await _one(call, await _find(call)))


async def fresh_qr(call: Call) -> Response:
    linking = await call.gateway.sessions.code_to_scan(await _find(call), fresh=True)
    return call.answer(Code(qr_code=qr.png_data_uri(linking.qr), expires_at=iso(linking.expires_at)),
                       headers={"Cache-Control": "no-store"})


async def delete(call: Call) -> Response:
    live = await _find(call)
    await call.gateway.sessions.delete(live)
    return call.answer(Deleted(deleted=True, id=to_hex("sess_", live.session.id)))


_NOT_FOUND = ("session_not_found",)
SENDAPI = Dialect(
    "sendapi", "SendAPI.co", ("/v1",), Bearer(), BEARER, ErrorEnvelope,
    calls=(
        Endpoint("POST", "/v1/whatsapp/sessions", create, "Make a session and wait for its first QR", "full", Create,
                 tag="SendAPI.co", answer=Created, status=201, errors=("session_limit", "pairing_failed"),
                 example={"name": "Support"}),
        Endpoint("GET", "/v1/whatsapp/sessions", list_, "List the sessions", query=Paging, tag="SendAPI.co", answer=Page),
        Endpoint("GET", "/v1/whatsapp/sessions/{id}", get, "One session", tag="SendAPI.co", answer=One, errors=_NOT_FOUND),
        Endpoint("GET", "/v1/whatsapp/sessions/{id}/qr", fresh_qr, "A fresh QR; the previous one no longer links", "full",
                 tag="SendAPI.co", answer=Code, errors=(*_NOT_FOUND, "already_paired", "pairing_failed")),
        Endpoint("DELETE", "/v1/whatsapp/sessions/{id}", delete, "Unlink and delete a session", "full", tag="SendAPI.co",
                 answer=Deleted, errors=_NOT_FOUND),
    ),
    unsupported=(
        Unsupported("*", "/v1/whatsapp/messages", "POST /api/v1/messages, /api/v1/messages/media or /api/v1/messages/audio"),
        Unsupported("*", "/v1/messages", "POST /api/v1/messages, /api/v1/messages/media or /api/v1/messages/audio"),
        Unsupported("*", "/v1/webhooks", "POST /api/v1/webhooks"),
    ),
)
