"""What the native API answers. Handlers build these, so the OpenAPI document cannot say anything else."""

from __future__ import annotations

from typing import Any

import msgspec

from gateway.api.http import Shape


class SessionShape(Shape):
    """A session. Times are UTC, ISO-8601."""

    id: str
    session_key: str
    name: str
    status: str
    reason: str
    sentence: str
    detail: str
    since: str
    next_retry: str | None
    until: str | None
    action: str
    phone_number: str | None
    jid: str | None
    lid: str | None
    push_name: str
    platform: str
    webhook_url: str | None
    settings: dict[str, Any]
    restricted_until: str | None
    created_at: str
    last_connected_at: str | None
    last_seen_at: str | None
    pacing: dict[str, Any]
    queued: int


class SessionList(Shape):
    sessions: list[SessionShape]
    next_cursor: str | None


class QrShape(Shape):
    qr_code: str
    code: str
    expires_at: str


class Deleted(Shape):
    deleted: bool
    id: str
    note: str = ""


class ErrorShape(Shape):
    code: str
    message: str


class MessageShape(Shape, omit_defaults=True):
    """A message. `status` goes pending, sent, delivered, read, played, or is failed (`received`: one that arrived); `stage`
    says where a pending one is. `text` is told by `GET /api/v1/messages/{id}` only: lists go without bodies."""

    id: str
    session: str
    direction: str
    type: str
    ptt: bool
    status: str
    stage: str
    created_at: str
    attempts: int
    may_have_been_delivered: bool
    toPhone: str | msgspec.UnsetType | None = msgspec.UNSET
    to: str | msgspec.UnsetType = msgspec.UNSET
    chat: str | msgspec.UnsetType = msgspec.UNSET
    from_: str | msgspec.UnsetType = msgspec.field(name="from", default=msgspec.UNSET)
    from_lid: str | msgspec.UnsetType | None = msgspec.UNSET
    whatsapp_id: str | None = None
    sent_at: str | None = None
    delivered_at: str | None = None
    read_at: str | None = None
    played_at: str | None = None
    failed_at: str | None = None
    not_before: str | None = None
    error: ErrorShape | None = None
    mimetype: str | None = None
    size: int | None = None
    seconds: int | None = None
    waveform: list[int] | None = None
    width: int | None = None
    height: int | None = None
    filename: str | None = None
    text: str | None = None
    from_me: bool | None = None
    push_name: str | None = None
    timestamp: str | None = None
    group: str | None = None
    reply_to_whatsapp_id: str | None = None
    quoted_whatsapp_id: str | None = None
    target_whatsapp_id: str | None = None
    resend_of: str | None = None


class TimelineEntry(Shape):
    """`status`: accepted, handed_over, sent, delivered, read, played, failed; of an inbound message: received, read, played."""

    status: str
    at: str


class Timeline(Shape):
    id: str
    events: list[TimelineEntry]


class ErrorBody(Shape):
    """`code` is of the table of codes, `details` is an object: `field` names what was wrong, `hint` says what to do."""

    code: str
    message: str
    details: dict[str, Any]


class ErrorEnvelope(Shape):
    error: ErrorBody


class VoiceWarning(Shape):
    """Something that will be heard or seen, and that the sender may not expect. `code` is stable."""

    code: str
    text: str


class VoiceReport(Shape):
    """`container`, `codec`, `sample_rate`, `channels`: of the file. `declared_seconds`: what the file says, `duration`: what was
    decoded, `seconds`: what WhatsApp shows. `rms_dbfs`, `peak_dbfs`: loudness of what would be sent. `passthrough`: the
    Opus packets would be sent as they are. `waveform`: 64 values of 0 to 100."""

    container: str
    codec: str
    sample_rate: int
    channels: int
    declared_seconds: float | None
    duration: float
    seconds: int
    rms_dbfs: float | None
    peak_dbfs: float | None
    passthrough: bool
    input_bytes: int
    output_bytes: int
    output_mimetype: str
    profile: str
    warnings: list[VoiceWarning]
    waveform: list[int]


class Profile(Shape):
    """The linked account; all null until a phone has linked the session."""

    session: str
    jid: str | None
    lid: str | None
    phone_number: str | None
    push_name: str | None
    platform: str | None


class MessageList(Shape):
    messages: list[MessageShape]
    next_cursor: str | None


class TicketShape(Shape):
    ticket: str
    url: str
    expires_at: str


class KeyShape(Shape):
    """Keys of one `owner` have the same sessions and messages."""

    id: str
    name: str
    scope: str
    plan: str
    created_at: str
    last_used_at: str | None
    revoked_at: str | None
    replaces: str | None
    owner: str


class NewKey(KeyShape):
    """`key` is shown this once."""

    key: str


class KeyList(Shape):
    keys: list[KeyShape]


class UsageShape(Shape):
    """0 as a limit: none."""

    plan: str
    scope: str
    sessions: dict[str, int]
    messages_today: dict[str, int]
    messages_month: dict[str, int]
    period_start: str
    period_end: str
    requests_per_minute: dict[str, int]


class Health(Shape):
    status: str
    version: str


class Ready(Shape):
    """`sessions`: how many there are of each status, for an admin key; null for others."""

    ready: bool
    sessions: dict[str, int] | None
    problems: list[str]
