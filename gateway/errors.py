"""The gateway's errors as values: a stable code, an HTTP status, a hint for whoever runs this, and whether the
failure is certain (a send that WhatsApp did not confirm is not simply failed).

`TABLE` is the one list of codes; the API's documentation and its tests read it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Code:
    """One row of the error table. `status` is what HTTP answers; `hint` says what the reader can do."""

    code: str
    status: int
    sentence: str
    hint: str = ""


_ROWS = (
    # -- asking
    Code("bad_request", 400, "The request cannot be understood.", "Compare it with /docs."),
    Code("unauthorized", 401, "The API key is missing or not valid.", "Send it as 'Authorization: Bearer KEY'."),
    Code("forbidden", 403, "This key's scope does not allow that.", "Use a key of a wider scope."),
    Code("not_found", 404, "There is nothing here under that name.", "Another key's resources answer like this too."),
    Code("method_not_allowed", 405, "This resource does not take that method.", "The Allow header lists those it takes."),
    Code("not_acceptable", 406, "None of the accepted types can be produced."),
    Code("unsupported_media_type", 415, "The body's content type is not one of those taken here."),
    Code("payload_too_large", 413, "The body or the file is larger than allowed."),
    Code("unprocessable_entity", 422, "A field is missing, unknown or of the wrong form.", "details.field names it."),
    Code("invalid_recipient", 422, "That is not a phone number or a JID.", "E.164, as +237612345678, or a WhatsApp JID."),
    Code("headers_too_large", 431, "The request's line and headers are larger than allowed.", "64 KiB, and 200 headers, are."),
    Code("request_timeout", 408, "The request did not come in time.", "See [server] request_seconds."),
    Code("overloaded", 503, "All connections are taken.", "Wait as Retry-After says; [server] connections is their number."),
    Code("too_many_streams", 429, "The key's event streams are as many as it may hold open.",
         "Close some; [server] streams_per_key is their number."),
    Code("rate_limited", 429, "Too many requests or messages for this key's plan.", "Wait as Retry-After says."),
    Code("quota_exceeded", 429, "The plan's quota is used up.", "Wait as Retry-After says, or use a larger plan."),
    Code("internal_error", 500, "Something failed in the gateway.", "The log has the details under this request's id."),
    Code("stopping", 503, "The gateway is stopping.", "Ask again in some seconds."),
    Code("storage_unavailable", 503, "The gateway's store cannot be written.", "Look at the disk: full or read-only?"),
    Code("vault_refused", 409, "The vault cannot do that now."),
    Code("backup_failed", 409, "No backup was made."),
    # -- sessions
    Code("session_not_found", 404, "There is no session of that id or key."),
    Code("session_exists", 409, "A session of that session_key exists already."),
    Code("session_not_connected", 409, "The session is not connected and is not reconnecting.",
         "Link it again: POST /api/v1/sessions/{id}/relink."),
    Code("session_ambiguous", 409, "Several sessions could send this.", "Name one in 'session'."),
    Code("no_session", 409, "No session is linked yet.", "POST /api/v1/sessions and scan its QR."),
    Code("already_paired", 409, "The session is already paired.", "Relink it, or delete it, to pair another phone."),
    Code("qr_unavailable", 409, "No QR code is waiting.", "POST /api/v1/sessions/{id}/relink begins a new attempt."),
    Code("pairing_failed", 502, "WhatsApp could not be asked for a code."),
    Code("session_limit", 409, "The plan's number of sessions is reached."),
    # -- messages
    Code("message_not_found", 404, "There is no message of that id."),
    Code("idempotency_conflict", 409, "This Idempotency-Key was used with another body."),
    Code("not_on_whatsapp", 422, "That number is not on WhatsApp."),
    Code("send_failed", 502, "WhatsApp refused the message."),
    Code("send_unconfirmed", 504, "WhatsApp has not confirmed the message.", "It may still arrive; look at its status."),
    Code("upload_failed", 502, "WhatsApp's media server did not take the file."),
    Code("account_restricted", 403, "WhatsApp restricts this account from opening new chats for now."),
    Code("session_gone", 409, "The session was logged out or deleted before the message left."),
    Code("expired", 409, "The message waited longer than allowed and was not sent."),
    Code("cancelled", 409, "The message was cancelled before it left."),
    Code("wrong_state", 409, "The message is not in a state that allows that.", "Look at its status and stage."),
    Code("media_unavailable", 410, "The media is no longer on WhatsApp's servers, or its retention is over."),
    # -- fetching
    Code("fetch_failed", 422, "The URL could not be fetched."),
    Code("fetch_forbidden", 422, "The URL leads to an address that may not be fetched.",
         "Allow its network with [fetch] allow_networks if that is wanted."),
    Code("fetch_too_large", 413, "The file behind the URL is larger than allowed."),
    Code("fetch_timeout", 422, "The URL did not deliver in time."),
    Code("fetch_bad_url", 422, "That is not a URL that can be fetched."),
    # -- media
    Code("empty", 422, "The file is empty."),
    Code("too_large", 413, "The file is larger than allowed."),
    Code("not_audio", 415, "The file is not a known audio or video format."),
    Code("no_audio", 422, "The file has no audio that can be decoded."),
    Code("protected", 422, "The audio is encrypted (DRM)."),
    Code("bad_rate", 422, "The audio's sample rate is not supported."),
    Code("bad_channels", 422, "The audio's number of channels is not supported."),
    Code("too_complex", 422, "The file has too many streams."),
    Code("too_long", 422, "The audio is longer than allowed."),
    Code("damaged", 422, "Too much of the file cannot be decoded."),
    Code("timeout", 422, "The file took too long to convert."),
    Code("unsupported", 415, "The file is of an unsupported kind."),
    Code("not_image", 415, "The file is not a JPEG, PNG, WebP or GIF image."),
    Code("not_video", 415, "The file is not an MP4, 3GPP, MOV or WebM video."),
    # -- webhooks, tickets
    Code("webhook_not_found", 404, "There is no webhook or delivery of that id."),
    Code("ticket_invalid", 401, "The stream ticket is unknown, used up or expired."),
    Code("not_supported", 501, "This gateway does not offer that call."),
)

TABLE: Mapping[str, Code] = {row.code: row for row in _ROWS}


class GatewayError(Exception):
    """An expected failure, told by its code. `details` goes to the client; never put secrets there.

    `certain` is False for a send whose fate only a receipt can tell."""

    def __init__(self, code: str, message: str = "", *, certain: bool = True, retry_after: float | None = None,
                 **details: Any) -> None:
        row = TABLE[code]
        self.code, self.status, self.hint = code, row.status, row.hint
        self.message = message or row.sentence
        self.details: dict[str, Any] = details
        self.certain = certain
        self.retry_after = retry_after
        super().__init__(f"{code}: {self.message}")


class InvalidField(GatewayError):
    """One field of a request is wrong; `field` names it."""

    def __init__(self, field: str, message: str, code: str = "unprocessable_entity") -> None:
        super().__init__(code, message, field=field)


class ConfigError(Exception):
    """The settings cannot be used; the text says which and why."""
