"""What Evolution API is asked and answers, with its own names."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from gateway.api.contacts import MOST_NUMBERS
from gateway.api.http import Shape
from gateway.api.messages import Emoji, Text
from gateway.dialects.dialect import MOST_LISTED, Loose


class Webhook(Loose):
    """`events`: none named: all but the QR codes. n8n's node says `webhookByEvents` and `webhookBase64`."""

    url: str = ""
    enabled: bool = True
    events: Annotated[list[str], msgspec.Meta(max_length=MOST_LISTED)] = msgspec.field(default_factory=list)
    byEvents: bool = False
    base64: bool = False
    webhookByEvents: bool = False
    webhookBase64: bool = False
    headers: dict[str, Any] | None = None


class SetWebhook(Loose):
    webhook: Webhook


class Create(Loose):
    instanceName: str
    qrcode: bool = False
    number: str | int | None = None
    integration: str | None = None
    webhook: Webhook | str | None = None


class ConnectQuery(msgspec.Struct):
    number: str | None = None


class FetchQuery(msgspec.Struct):
    instanceName: str = ""
    instanceId: str = ""


class QuotedKey(Loose):
    id: str = ""


class Quoted(Loose):
    key: QuotedKey


class SendText(Loose):
    number: str | int
    text: Text
    quoted: Quoted | None = None


class SendMedia(Loose):
    number: str | int
    mediatype: Literal["image", "video", "document", "audio"]
    media: str = ""
    mimetype: str = ""
    caption: Text = ""
    fileName: str = ""
    quoted: Quoted | None = None


class SendAudio(Loose):
    number: str | int
    audio: str = ""
    quoted: Quoted | None = None


class MessageId(Loose):
    id: str


class SendReaction(Loose):
    key: MessageId
    reaction: Emoji


class ReadMessages(Loose):
    readMessages: Annotated[list[MessageId], msgspec.Meta(min_length=1, max_length=MOST_LISTED)]


class MessageKey(Loose):
    key: MessageId


class GetMedia(Loose):
    message: MessageKey
    convertToMp4: bool = False


class Numbers(Loose):
    numbers: Annotated[list[str | int], msgspec.Meta(min_length=1, max_length=MOST_NUMBERS)]


class Presence(Loose):
    presence: Literal["available", "unavailable"]


class ChatPresence(Loose):
    """`delay`: how long it is shown, in milliseconds, while the answer waits."""

    number: str | int
    presence: Literal["available", "unavailable", "composing", "recording", "paused"]
    delay: Annotated[float, msgspec.Meta(ge=0)] = 0


class Qr(Shape):
    pairingCode: str | None
    code: str
    base64: str
    count: int


class Instance(Shape):
    instanceName: str
    instanceId: str
    integration: str
    webhookWaBusiness: str | None
    accessTokenWaBusiness: str
    status: str


class Created(Shape):
    """`hash` is the key that the instance answers to: the caller's own."""

    instance: Instance
    hash: str
    webhook: dict[str, Any]
    websocket: dict[str, bool]
    rabbitmq: dict[str, bool]
    nats: dict[str, bool]
    sqs: dict[str, bool]
    settings: dict[str, Any]
    qrcode: Qr | None = None


class Row(Shape):
    """An instance, as far as the gateway has what Evolution's database has of it."""

    id: str
    name: str
    connectionStatus: str
    ownerJid: str | None
    profileName: str | None
    number: str | None
    token: str
    createdAt: str
    updatedAt: str
    profilePicUrl: str | None = None
    integration: str = "WHATSAPP-BAILEYS"
    businessId: str | None = None
    clientName: str = "wagateway"
    disconnectionReasonCode: int | None = None
    disconnectionObject: str | None = None
    disconnectionAt: str | None = None


class NameState(Shape):
    instanceName: str
    state: str


class State(Shape):
    instance: NameState


class Connection(Shape):
    """The QR of an instance that is not linked, else its state."""

    pairingCode: str | msgspec.UnsetType | None = msgspec.UNSET
    code: str | msgspec.UnsetType = msgspec.UNSET
    base64: str | msgspec.UnsetType = msgspec.UNSET
    count: int | msgspec.UnsetType = msgspec.UNSET
    instance: NameState | msgspec.UnsetType = msgspec.UNSET


class WebhookRow(Shape):
    id: str
    url: str
    enabled: bool
    events: list[str]
    webhookByEvents: bool
    webhookBase64: bool
    headers: dict[str, Any] | None
    createdAt: str
    updatedAt: str
    instanceId: str


class Deleted(Shape):
    status: str
    error: bool
    response: dict[str, str]


class Key(Shape):
    remoteJid: str
    fromMe: bool
    id: str


class Message(Shape):
    key: Key
    pushName: str
    status: str
    message: dict[str, Any]
    contextInfo: dict[str, Any] | None
    messageType: str
    messageTimestamp: int
    instanceId: str
    source: str


class MediaContent(Shape):
    mediaType: str
    fileName: str
    caption: str | None
    size: dict[str, Any]
    mimetype: str
    base64: str
    buffer: None = None


class OnWhatsApp(Shape):
    jid: str
    exists: bool
    number: str


class Seen(Shape):
    message: str
    read: str


class Told(Shape):
    presence: str


class FailureText(Shape):
    message: Any


class Failure(Shape):
    status: int
    error: str
    response: FailureText
