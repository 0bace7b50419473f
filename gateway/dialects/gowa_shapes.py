"""What GOWA is asked and answers, with its own names."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from gateway.api.http import Shape
from gateway.api.messages import Emoji, Text
from gateway.dialects.dialect import Loose


class Hooked(Loose):
    """`webhook_secret`: 16 characters at least. `webhook_events`: names with commas; empty: all."""

    webhook_url: str | None = None
    webhook_secret: str = ""
    webhook_events: str = ""
    webhook_insecure_skip_verify: bool = False


class Create(Hooked):
    device_id: str | None = None


class DeviceQuery(msgspec.Struct):
    """As the header X-Device-Id."""

    device_id: str = ""


class PhoneQuery(DeviceQuery, kw_only=True):
    phone: str


class Chat(Loose):
    phone: str | int


class Message(Chat, kw_only=True):
    """`duration`: when it vanishes from the chat, in seconds."""

    reply_message_id: str | None = None
    duration: int = 0


class SendText(Message, kw_only=True):
    message: Text
    mentions: list[str] = msgspec.field(default_factory=list)


class SendAudio(Message, kw_only=True):
    """The file as a part named `audio`, or its URL."""

    audio_url: str = ""
    ptt: bool = False


class SendImage(Message, kw_only=True):
    """The file as a part named `image`, or its URL."""

    image_url: str = ""
    caption: Text = ""
    view_once: bool = False


class SendVideo(Message, kw_only=True):
    """The file as a part named `video`, or its URL."""

    video_url: str = ""
    caption: Text = ""
    view_once: bool = False


class SendFile(Message, kw_only=True):
    """The file as a part named `file`, or its URL."""

    file_url: str = ""
    caption: Text = ""


class Presence(Loose):
    type: Literal["available", "unavailable"]


class ChatPresence(Chat, kw_only=True):
    action: Literal["start", "stop"]


class Reaction(Chat, kw_only=True):
    emoji: Emoji


class Answer(Shape):
    """`code` is SUCCESS, or says what went wrong."""

    status: int
    code: str
    message: str
    results: Any
