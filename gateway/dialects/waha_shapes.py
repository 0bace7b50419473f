"""What WAHA is asked and answers, with its own names."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from gateway.api.http import Shape
from gateway.api.messages import Emoji, Text
from gateway.dialects.dialect import MOST_LISTED, Loose
from gateway.dialects.words import DEFAULT

MOST_WEBHOOKS = 20


class Hmac(Loose):
    key: str | None = None


class WebhookConfig(Loose):
    """`hmac.key` signs; 16 characters at least."""

    url: str
    events: Annotated[list[str], msgspec.Meta(max_length=MOST_LISTED)]
    hmac: Hmac | None = None
    customHeaders: list[Any] | None = None


class Config(Loose):
    webhooks: Annotated[list[WebhookConfig], msgspec.Meta(max_length=MOST_WEBHOOKS)] | None = None


class Create(Loose):
    name: str | None = None
    start: bool = True
    config: Config | None = None


class Update(Loose):
    config: Config | None = None


class ListQuery(msgspec.Struct):
    all: bool = False


class QrQuery(msgspec.Struct):
    format: Literal["image", "raw"] = "image"


class Chat(Loose):
    chatId: str | int
    session: str = DEFAULT


class SendSeen(Chat):
    messageId: str | None = None
    messageIds: Annotated[list[str], msgspec.Meta(max_length=MOST_LISTED)] | None = None


class Presence(Loose):
    presence: Literal["online", "offline", "typing", "recording", "paused"]
    chatId: str | int | None = None


class Reaction(Loose):
    messageId: str
    reaction: Emoji
    session: str = DEFAULT


class NumberQuery(msgspec.Struct):
    phone: str
    session: str = DEFAULT


class RequestCode(Loose):
    phoneNumber: str | int
    method: str | None = None


class File(Loose):
    mimetype: str = ""
    filename: str | None = None
    url: str = ""
    data: str = ""


class SendText(Chat, kw_only=True):
    text: Text
    reply_to: str | None = None


class SendVoice(Chat, kw_only=True):
    file: File
    reply_to: str | None = None


class SendCaptioned(SendVoice, kw_only=True):
    caption: Text | None = None


class Code(Shape):
    code: str


class Me(Shape):
    id: str
    pushName: str


class Session(Shape):
    name: str
    status: str
    me: Me | None


class Media(Shape):
    """The gateway serves no files of what it sent, so `url` is null."""

    url: str | None
    mimetype: str
    filename: str | None
    error: str | None


class Message(Shape):
    id: str
    timestamp: int
    from_: str = msgspec.field(name="from")
    fromMe: bool
    to: str
    participant: str | None
    body: str
    hasMedia: bool
    media: Media | None
    ack: int
    ackName: str
    replyTo: dict[str, Any] | None
    vCards: list[str]
    data: dict[str, Any] = msgspec.field(name="_data")


class Result(Shape):
    result: bool


class NumberExists(Shape):
    """`chatId`: left out where there is nobody."""

    numberExists: bool
    chatId: str | msgspec.UnsetType = msgspec.UNSET


class Failure(Shape):
    statusCode: int
    message: str
    error: str
