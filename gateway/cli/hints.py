"""What to do about a refusal, in the command line's words: the API's hints speak of headers and calls."""

from __future__ import annotations

HINTS = {
    "unauthorized": "Give one with --key or $WAGATEWAY_API_KEY; `wagateway keys create NAME` makes one.",
    "bad_request": "",
    "not_found": "",
    "unprocessable_entity": "",
    "invalid_recipient": "",            # its sentence says it
    "overloaded": "Try again in some seconds; [server] connections is their number.",
    "too_many_streams": "Close some; [server] streams_per_key is their number.",
    "rate_limited": "Try again later, or use a key of a larger plan.",
    "quota_exceeded": "Try again later, or use a key of a larger plan.",
    "session_not_connected": "Link it again: wagateway link NAME.",
    "session_ambiguous": "Name one with --session.",
    "no_session": "Link one: wagateway link.",
    "qr_unavailable": "wagateway link NAME begins a new attempt.",
}
