"""What the sandbox remembers of each message a device sent: the stanza's facts, its content, what became of it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from .content import describe
from .node import Address, Node
from .people import LinkedDevice
from .protobufs import Message


@dataclass
class MessageRecord:
    """One message id of one device. `copies` counts how often its stanza arrived (1: no duplicate).

    `ack` is "sent", "held" or the error code; `decrypted_by` the numbers whose phone could read it, `failures`
    why another could not. `chat_states` is what the device was typing in the chat since the message before.
    """

    sequence: int
    device: LinkedDevice
    stanza: Node
    chat: str
    to: str
    at: float = field(default_factory=time.time)
    copies: int = 1
    retries: int = 0
    ack: str = ""
    distributed: bool = False
    message: Message | None = None
    decrypted_by: list[str] = field(default_factory=list)
    failures: list[dict[str, str]] = field(default_factory=list)
    own_copy: bool = False
    chat_states: list[dict[str, Any]] = field(default_factory=list)
    receipts: list[dict[str, Any]] = field(default_factory=list)

    @property
    def id(self) -> str:
        return self.stanza.text("id")

    def describe(self) -> dict[str, Any]:
        """The record as JSON."""
        stanza = self.stanza
        encrypted = _every(stanza, "enc")
        facts = describe(self.message) if self.message is not None else {}
        return {
            "id": self.id,
            "sequence": self.sequence,
            "at": self.at,
            "from": str(self.device.pn),
            "from_number": self.device.owner.number,
            "to": self.to,
            "chat": self.chat,
            "to_address": stanza.text("to"),
            "type": stanza.text("type"),
            "mediatype": next((enc.text("mediatype") for enc in encrypted if enc.text("mediatype")), ""),
            "edit": stanza.text("edit"),
            "bot_node": stanza.child("bot") is not None,
            "nodes": [child.tag for child in stanza.children],
            "participants": [to.text("jid") for to in _every(stanza, "to")],
            "copies": self.copies,
            "retries": self.retries,
            "ack": self.ack,
            "decrypted": bool(self.decrypted_by),
            "decrypted_by": self.decrypted_by,
            "failures": self.failures,
            "own_copy": self.own_copy,
            "chat_states": self.chat_states,
            "receipts": self.receipts,
            **facts,
        }


def _every(node: Node, tag: str) -> list[Node]:
    """All descendants called `tag`."""
    found = []
    for child in node.children:
        if child.tag == tag:
            found.append(child)
        found += _every(child, tag)
    return found


class Records:
    """Every message sent through the sandbox, in the order of arrival."""

    def __init__(self) -> None:
        self._records: dict[tuple[str, str], MessageRecord] = {}
        self._typing: dict[tuple[Address, str], list[dict[str, Any]]] = {}
        self._reached: set[tuple[Address, str]] = set()

    def add(self, record: MessageRecord) -> None:
        record.chat_states = self._typing.pop((record.device.pn, record.to), [])
        self._records[str(record.device.pn), record.id] = record

    def of(self, device: LinkedDevice, message_id: str) -> MessageRecord | None:
        return self._records.get((str(device.pn), message_id))

    def reached(self, device: LinkedDevice, to: str) -> bool:
        """Whether a message of `device` to a number or group was accepted before."""
        return (device.pn, to) in self._reached

    def accept(self, record: MessageRecord) -> None:
        """The message was acknowledged without an error."""
        record.ack = "sent"
        self._reached.add((record.device.pn, record.to))

    def with_id(self, message_id: str) -> MessageRecord | None:
        """The newest message called `message_id`, whoever sent it."""
        return next((record for record in reversed(self._records.values()) if record.id == message_id), None)

    def typing(self, device: LinkedDevice, to: str, state: str, media: str) -> None:
        """Remember a chat state until the next message to the same chat."""
        entry = {"state": state, "media": media, "at": time.time()}
        self._typing.setdefault((device.pn, to), []).append(entry)

    def find(self, *, to: str = "", sender: str = "", after: int = 0) -> list[MessageRecord]:
        """Messages to a number or group, from a number or device, with a sequence number above `after`.

        What a device tells its own phone (requests for keys) is nobody's message and left out.
        """
        return [
            record
            for record in self._records.values()
            if record.sequence > after
            and record.stanza.text("category") != "peer"
            and (not to or to in (record.to, record.chat))
            and (not sender or sender in record.device.names)
        ]

    def __len__(self) -> int:
        return len(self._records)

    def clear(self) -> None:
        self._records.clear()
        self._typing.clear()
