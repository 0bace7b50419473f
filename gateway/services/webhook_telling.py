"""What a webhook's format is given, and what it makes of it."""

from __future__ import annotations

import hmac
from collections.abc import Callable
from dataclasses import dataclass

from gateway.store.journal import Event
from gateway.store.sessions import Session
from gateway.store.webhooks import Delivery


@dataclass(frozen=True, slots=True)
class Telling:
    """`session` None: it was deleted. `url`: the receiver's; `base`: where the gateway is, for links; `file`: the message's, for a
    format of WITH_FILE that is being delivered."""

    event: Event
    delivery: Delivery
    secret: str
    now: float
    session: Session | None = None
    url: str = ""
    base: str = ""
    file: bytes | None = None


WITH_FILE = ("evolution.base64",)       # formats whose receivers want the files themselves
FILES = ("image", "video", "audio", "document", "sticker")      # types of arrivals that have one
# Kinds of arrivals that change another message, and are none of their own.
CHANGES = ("reaction", "revoke", "edit")

Written = tuple[bytes, dict[str, str]]
Formatter = Callable[[Telling], Written | None]
"""The body and the headers that go with it; None: this format has no words for the event, so it is not delivered. Two events
with the same body are delivered once."""


def hmac_of(secret: str, message: bytes, digest: str = "sha256") -> str:
    """In hexadecimal."""
    return hmac.new(secret.encode(), message, digest).hexdigest()
