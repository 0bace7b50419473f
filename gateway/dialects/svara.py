"""Svara: voice notes over `/v1`, for whoever leaves the hosted service. Of its platforms, this gateway is WhatsApp alone."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

import msgspec
from starlette.responses import Response

from gateway.api.http import Call, Endpoint, Shape, json_response, retry_headers
from gateway.api.idempotency import once, remember
from gateway.api.messages import body_limit, check_file_url
from gateway.dialects.dialect import BEARER, Dialect, Loose, Unsupported
from gateway.dialects.words import Bearer, create_with_code, digits, from_hex, recipient, to_hex
from gateway.errors import GatewayError
from gateway.services import qr
from gateway.services.drafts import Draft
from gateway.services.live import LiveSession
from gateway.states import Status
from gateway.store.messages import Message
from gateway.times import iso

NO_LIMIT = 1_000_000_000        # Svara's limits are numbers: this one stands for none
PLATFORMS = ("whatsapp",)

_CODE_OF = {400: "bad_request", 401: "unauthorized", 402: "payment_required", 404: "not_found", 413: "payload_too_large",
            422: "unprocessable_entity", 429: "rate_limited", 500: "internal_error", 502: "platform_error"}
_STATUS_OF = {403: 401, 409: 422, 410: 404, 415: 422, 503: 500, 504: 502}       # what Svara has no word for
_MESSAGE_STATUS = {"pending": "queued", "sent": "sent", "delivered": "delivered", "read": "delivered", "played": "delivered",
                   "failed": "failed"}
_SESSION_STATUS = {Status.PENDING: "qr_pending", Status.CONNECTED: "connected", Status.QR_EXPIRED: "qr_expired"}


class SessionName(Loose):
    session_id: str = ""


class Send(Loose):
    platform: str
    recipient: str | int
    audio_url: str
    session: SessionName | None = None


class Created(Shape):
    session_id: str
    qr_code: str
    status: str


class One(Shape):
    session_id: str
    status: str
    phone_number: str | None
    created_at: str
    last_connected_at: str | None


class Listed(Shape):
    id: str
    phone_number: str | None
    status: str
    created_at: str
    last_connected_at: str | None


class Sessions(Shape):
    sessions: list[Listed]


class Deleted(Shape):
    deleted: bool


class Queued(Shape):
    id: str
    status: str
    platform: str
    recipient: str
    created_at: str


class Failure(Shape):
    code: str
    message: str


class MessageStatus(Queued):
    delivered_at: str | None
    error: Failure | None


class ErrorBody(Shape):
    code: str
    message: str
    details: dict[str, Any]


class Envelope(Shape):
    error: ErrorBody


class Sums(Shape):
    total_sent: int
    total_delivered: int
    total_failed: int
    by_platform: dict[str, int]


class Limits(Shape):
    monthly_quota: int
    remaining: int
    rate_limit_per_minute: int


class Usage(Shape):
    plan: str
    period_start: str
    period_end: str
    usage: Sums
    limits: Limits


# ------------------------------------------------------------------ the style


class Style(Bearer):
    def error(self, error: GatewayError) -> Response:
        status = _STATUS_OF.get(error.status, error.status)
        if error.code == "quota_exceeded":
            status = 402
        elif error.details.get("field") == "body":          # not a field of it: the body as a whole
            status = 400
        code = "unsupported_platform" if "supported" in error.details else _CODE_OF.get(status, error.code)
        details: dict[str, Any] = error.details
        if error.code == "rate_limited":
            details = {"limit": details.get("limit"), "window": details.get("window"),
                       "retry_after": int(retry_headers(error).get("Retry-After", "1"))}
        elif code != error.code:
            details = {"reason": error.code, **details}
        return json_response(Envelope(error=ErrorBody(code=code, message=error.message, details=details)), status,
                             retry_headers(error))


def rate_headers_always(response: Response) -> None:
    """Where the plan has no limit, a large one; where there is no key, none is left."""
    limit = 0 if response.status_code == 401 else NO_LIMIT
    for name, value in (("X-RateLimit-Limit", limit), ("X-RateLimit-Remaining", limit),
                        ("X-RateLimit-Reset", int(time.time()) + 60)):
        response.headers.setdefault(name, str(value))


# ------------------------------------------------------------------ sessions


def session_status(live: LiveSession) -> str:
    return _SESSION_STATUS.get(live.state.status, "disconnected")


async def _find(call: Call) -> LiveSession:
    return await call.gateway.sessions.find(call.key, from_hex("ws_", call.path("session_id")))


async def create(call: Call) -> Response:
    live, linking = await create_with_code(call)
    return call.answer(Created(session_id=to_hex("ws_", live.session.id), qr_code=qr.png_data_uri(linking.qr),
                               status=session_status(live)))


async def get(call: Call) -> Response:
    live = await _find(call)
    s = live.session
    return call.answer(One(session_id=to_hex("ws_", s.id), status=session_status(live),
                           phone_number=digits(s.jid.non_ad()) if s.jid else None, created_at=iso(s.created_at),
                           last_connected_at=iso(s.last_connected_at)))


async def list_(call: Call) -> Response:
    lives = await call.gateway.sessions.of(call.key)
    return call.answer(Sessions(sessions=[
        Listed(id=to_hex("ws_", live.session.id), phone_number=digits(live.session.jid.non_ad()) if live.session.jid else None,
               status=session_status(live), created_at=iso(live.session.created_at),
               last_connected_at=iso(live.session.last_connected_at)) for live in lives]))


async def delete(call: Call) -> Response:
    await call.gateway.sessions.delete(await _find(call))
    return call.answer(Deleted(deleted=True))


# ------------------------------------------------------------------ messages


def _queued(message: Message) -> dict[str, Any]:
    return {"id": to_hex("msg_", message.id), "status": _MESSAGE_STATUS[message.status], "platform": "whatsapp",
            "recipient": digits(message.chat), "created_at": iso(message.created_at)}


@once
async def send(call: Call) -> Response:
    platform = call.body.fields.get("platform")
    if isinstance(platform, str) and platform not in PLATFORMS:     # whatever its other fields are
        raise GatewayError("unprocessable_entity", f"The platform '{platform[:40]}' is not supported: this gateway links "
                           f"WhatsApp devices. Supported: {', '.join(PLATFORMS)}.", field="platform", supported=list(PLATFORMS))
    body = call.parse(Send)
    chat = recipient(body.recipient, "recipient")
    url = check_file_url(body.audio_url, "audio_url")
    named = body.session.session_id if body.session else ""
    live = await call.gateway.sessions.to_send(call.key, from_hex("ws_", named))

    def word(message: Message) -> Response:
        return call.answer(msgspec.convert(_queued(message), Queued))

    return word(await call.gateway.outbox.accept(call.key, live, chat, Draft("ptt", url=url), remember=remember(call, word)))


async def status(call: Call) -> Response:
    message = await call.gateway.store.messages.one(from_hex("msg_", call.path("message_id")))
    if message is None or message.owner != call.key.owner or message.direction != "out":
        raise GatewayError("message_not_found")
    error = Failure(code=message.error_code, message=message.error_text or "") if message.error_code else None
    return call.answer(MessageStatus(**_queued(message), delivered_at=iso(message.delivered_at), error=error))


async def usage(call: Call) -> Response:
    quota = await call.gateway.keys.quota(call.key)
    monthly = quota.month_limit or NO_LIMIT
    return call.answer(Usage(
        plan=call.key.plan, period_start=_second(quota.month_start), period_end=_second(quota.month_end),
        usage=Sums(total_sent=quota.month_sent, total_delivered=quota.month_delivered, total_failed=quota.month_failed,
                   by_platform={"whatsapp": quota.month_sent}),
        limits=Limits(monthly_quota=monthly, remaining=max(0, monthly - quota.month_used),
                      rate_limit_per_minute=call.gateway.keys.plan(call.key).requests_per_minute or NO_LIMIT)))


def _second(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


_SESSION, _MESSAGE = ("session_not_found",), ("bad_request", "session_not_found", "session_not_connected", "session_ambiguous",
                                              "no_session", "invalid_recipient", "fetch_bad_url", "quota_exceeded",
                                              "idempotency_conflict")
SVARA = Dialect(
    "svara", "Svara", ("/v1",), Style(), BEARER, Envelope, finish=rate_headers_always,
    calls=(
        Endpoint("POST", "/v1/whatsapp/sessions", create, "Make a session and wait for its first QR", "full", tag="Svara",
                 answer=Created, status=201, errors=("session_limit", "pairing_failed")),
        Endpoint("GET", "/v1/whatsapp/sessions", list_, "List the sessions", tag="Svara", answer=Sessions),
        Endpoint("GET", "/v1/whatsapp/sessions/{session_id}", get, "One session", tag="Svara", answer=One, errors=_SESSION),
        Endpoint("DELETE", "/v1/whatsapp/sessions/{session_id}", delete, "Unlink and delete a session", "full", tag="Svara",
                 answer=Deleted, errors=_SESSION),
        Endpoint("POST", "/v1/send", send, "Send a voice note", "send", Send, tag="Svara", answer=Queued, status=202,
                 errors=_MESSAGE, max_body=body_limit("ptt"),
                 example={"platform": "whatsapp", "recipient": "237612345678", "audio_url": "https://example.com/hello.mp3",
                          "session": {"session_id": "ws_0f8fad5bd9cb469fa16570867728950e"}}),
        Endpoint("GET", "/v1/status/{message_id}", status, "What became of a voice note", tag="Svara", answer=MessageStatus,
                 errors=("message_not_found",)),
        Endpoint("GET", "/v1/usage", usage, "Counts and limits of this month", tag="Svara", answer=Usage),
    ),
    unsupported=(
        Unsupported("*", "/v1/linkedin/{rest:path}", "POST /v1/send with platform 'whatsapp'; LinkedIn is not linked here"),
        Unsupported("*", "/v1/telegram/{rest:path}", "POST /v1/send with platform 'whatsapp'; Telegram is not linked here"),
        Unsupported("*", "/v1/webhooks", "POST /api/v1/webhooks with format 'svara'"),
    ),
)
