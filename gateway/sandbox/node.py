"""The words of WhatsApp's protocol: a node (stanza) and the addresses that stand in its attributes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

USER = "s.whatsapp.net"
LID = "lid"
GROUP = "g.us"
NEWSLETTER = "newsletter"


class Address(NamedTuple):
    """A JID as the wire has it. On the wire an address is not a string: clients check its type."""

    user: str
    server: str
    device: int = 0

    @property
    def bare(self) -> Address:
        """Without its device."""
        return self._replace(device=0)

    def __str__(self) -> str:
        device = f":{self.device}" if self.device else ""
        return f"{self.user}{device}@{self.server}" if self.user else self.server

    @classmethod
    def parse(cls, text: str) -> Address:
        """`user[:device]@server`; a bare number is a user. Raises ValueError for anything else."""
        user, at, server = text.strip().partition("@")
        if not at:
            user, server = user.lstrip("+"), USER
        name, colon, device = user.partition(":")
        if not server or not name or (colon and not device.isdecimal()):
            raise ValueError(f"not a WhatsApp address: {text!r}")
        return cls(name, server, int(device) if colon else 0)


SERVER = Address("", USER)
"""WhatsApp itself: the only sender whose requests a client obeys."""

Attribute = str | int | Address | None
Content = list["Node"] | bytes | str | None


@dataclass(slots=True)
class Node:
    """A tag, attributes and a content: child nodes, bytes, text or nothing. Attributes of None or "" are not sent."""

    tag: str
    attrs: Mapping[str, Attribute] = field(default_factory=dict)
    content: Content = None

    @property
    def children(self) -> list[Node]:
        return self.content if isinstance(self.content, list) else []

    def child(self, tag: str) -> Node | None:
        """The first child called `tag`."""
        return next(self.all(tag), None)

    def all(self, tag: str) -> Iterator[Node]:
        return (node for node in self.children if node.tag == tag)

    def bytes_of(self, tag: str) -> bytes:
        """The byte content of the child called `tag`, b"" when there is none."""
        node = self.child(tag)
        return node.data if node is not None else b""

    @property
    def data(self) -> bytes:
        """The content as bytes; text is encoded (short byte strings may arrive as tokens)."""
        if isinstance(self.content, str):
            return self.content.encode()
        return self.content if isinstance(self.content, bytes) else b""

    def text(self, name: str) -> str:
        """Attribute `name` as a string, "" when absent."""
        value = self.attrs.get(name)
        return "" if value is None else str(value)

    def address(self, name: str) -> Address | None:
        """Attribute `name` when it is an address, also one that was sent as a string."""
        value = self.attrs.get(name)
        if isinstance(value, str):
            try:
                return Address.parse(value) if "@" in value else None
            except ValueError:
                return None
        return value if isinstance(value, Address) else None

    def with_attrs(self, **attrs: Attribute) -> Node:
        """A copy with `attrs` added or replaced (`class_` stands for `class`)."""
        added = {name.rstrip("_"): value for name, value in attrs.items()}
        return Node(self.tag, {**self.attrs, **added}, self.content)
