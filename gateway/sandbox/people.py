"""Who is on the sandbox's WhatsApp: people, their phones and the devices linked to them."""

from __future__ import annotations

import hashlib
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from .node import LID, USER, Address, Attribute, Node
from .sender_keys import SenderKeys
from .signal import PreKeyBundle, SignalDevice

if TYPE_CHECKING:
    from .chat import Connection

StanzaKey = tuple[str, ...]
"""What an acknowledgement names: class, id, and for receipts the type and the sender."""


_HIGHEST_DEVICE = 255
"""An address has one byte for the device."""


@dataclass(slots=True)
class Behaviour:
    """What a person's phone does with a message, in seconds; None: never.

    `deliver` counts from arrival, `read` from the delivered receipt, `play` (voice notes only) from the read
    one, or from the delivered one when `read` is None. `echo` seconds after arrival the person writes a text back.
    """

    deliver: float | None = 0.0
    read: float | None = None
    play: float | None = None
    echo: float | None = None


class LinkedDevice:
    """A companion of a person's phone: its keys, its connection and what waits for it until it is acknowledged."""

    def __init__(self, owner: Person, number: int, noise_key: bytes, identity: bytes) -> None:
        self.owner = owner
        self.number = number
        self.noise_key = noise_key
        self.identity = identity
        self.registration = b"\x00" * 4
        self.signed: tuple[bytes, bytes, bytes] = (b"", b"", b"")
        self.one_time: deque[tuple[bytes, bytes]] = deque()
        self.device_identity = b""
        self.key_index = 0
        self.platform = ""
        self.connection: Connection | None = None
        self.removed = False
        self.available = False
        self.logins = 0
        self.key_shared = False
        self.pending: dict[StanzaKey, Node] = {}
        self.sent: dict[StanzaKey, list[float]] = {}        # when each of those went over a connection

    @property
    def pn(self) -> Address:
        return self.owner.pn._replace(device=self.number)

    @property
    def lid(self) -> Address:
        return self.owner.lid._replace(device=self.number)

    @cached_property
    def names(self) -> frozenset[str]:
        """Every name a fault may call this device by."""
        return frozenset({self.owner.number, str(self.pn), str(self.lid)})

    @property
    def online(self) -> bool:
        return self.connection is not None and self.connection.active

    def deliver(self, key: StanzaKey, stanza: Node) -> None:
        """Send `stanza` now, or when the device is back; again at each connection until `settle(key)`."""
        self.pending[key] = stanza
        if self.connection is not None and self.connection.active:
            self.send(key)

    def send(self, key: StanzaKey, **attrs: Attribute) -> None:
        """What waits under `key` goes over the connection, if there is one."""
        if self.connection is not None and not self.connection.muted:
            self.sent.setdefault(key, []).append(time.time())
            self.connection.send(self.pending[key].with_attrs(**attrs))

    def settle(self, key: StanzaKey) -> list[float] | None:
        """The device has it. When it was sent; None: it did not wait for this device."""
        sent = self.sent.pop(key, [])
        return sent if self.pending.pop(key, None) is not None else None

    def bundle(self) -> PreKeyBundle:
        """The device's keys with the next of its one-time prekeys, which is then gone."""
        signed_id, signed_key, signature = self.signed
        one_time_id, one_time_key = self.one_time.popleft() if self.one_time else (None, None)
        return PreKeyBundle(
            int.from_bytes(self.registration, "big"),
            self.identity,
            int.from_bytes(signed_id, "big"),
            signed_key,
            signature,
            None if one_time_id is None else int.from_bytes(one_time_id, "big"),
            one_time_key,
        )


@dataclass(eq=False)
class Person:
    """Somebody with a number. The phone (device 0) is virtual and always reachable; companions are real programs."""

    number: str
    name: str
    behaviour: Behaviour = field(default_factory=Behaviour)
    devices: dict[int, LinkedDevice] = field(default_factory=dict)
    available: bool = False
    watchers: dict[LinkedDevice, Address] = field(default_factory=dict)

    @cached_property
    def phone(self) -> SignalDevice:
        return SignalDevice()

    @cached_property
    def sender_keys(self) -> SenderKeys:
        return SenderKeys()

    @property
    def pn(self) -> Address:
        return Address(self.number, USER)

    @cached_property
    def lid(self) -> Address:
        """The hidden identity: a number that has nothing of the phone number in it, the same in every sandbox."""
        digest = int.from_bytes(hashlib.sha256(b"lid:" + self.number.encode()).digest()[:8], "big")
        return Address(str(10**14 + digest % (9 * 10**14)), LID)

    @cached_property
    def names(self) -> frozenset[str]:
        return frozenset({self.number, str(self.pn), str(self.lid)})

    @property
    def active_devices(self) -> list[LinkedDevice]:
        return [device for device in self.devices.values() if not device.removed]

    def add_device(self, noise_key: bytes, identity: bytes) -> LinkedDevice:
        """A new companion of this phone, under the next number; after 255 those of removed ones are used again.

        Raises ValueError when 255 are linked.
        """
        number = max(self.devices, default=0) + 1
        if number > _HIGHEST_DEVICE:
            number = next((used for used, device in self.devices.items() if device.removed), 0)
            if not number:
                raise ValueError(f"{self.number} has {_HIGHEST_DEVICE} linked devices")
        device = LinkedDevice(self, number, noise_key, identity)
        self.devices[number] = device
        return device

    def reinstall(self) -> None:
        """The person has a new phone: other keys, and nothing of its predecessor's sessions."""
        self.__dict__.pop("phone", None)
        self.__dict__.pop("sender_keys", None)


class Directory:
    """Everybody, by number and by LID. A number nobody mentioned before belongs to somebody as soon as it is asked.

    Numbers ending in 0000, shorter than 7 digits, or said to be so by `set_on_whatsapp` are not on WhatsApp.
    """

    def __init__(self) -> None:
        self._people: dict[str, Person] = {}
        self._by_lid: dict[str, Person] = {}
        self._on_whatsapp: dict[str, bool] = {}

    def __iter__(self) -> Iterator[Person]:
        return iter(list(self._people.values()))

    def on_whatsapp(self, number: str) -> bool:
        return self._on_whatsapp.get(number, len(number) >= 7 and not number.endswith("0000"))

    def set_on_whatsapp(self, number: str, exists: bool) -> None:
        self._on_whatsapp[number] = exists

    def person(self, number: str) -> Person | None:
        """Whoever has `number` (digits), None when it is not on WhatsApp."""
        if not number.isascii() or not number.isdigit() or not self.on_whatsapp(number):
            return None
        if number not in self._people:
            person = Person(number, f"Contact {number[-4:]}")
            self._people[number] = person
            self._by_lid[person.lid.user] = person
        return self._people[number]

    def at(self, address: Address | None) -> Person | None:
        """Whoever an address names, by PN or by LID."""
        if address is None:
            return None
        if address.server == LID:
            return self._by_lid.get(address.user)
        return self.person(address.user) if address.server in (USER, "c.us") else None

    def device(self, name: str) -> LinkedDevice | None:
        """A linked device by its JID, or by its phone's number when that has one companion or only one online."""
        name = name.strip().lstrip("+")
        found = [device for person in self._people.values() for device in person.devices.values() if name in device.names]
        exact = [device for device in found if name != device.owner.number]
        candidates = exact or [device for device in found if not device.removed] or found
        online = [device for device in candidates if device.online]
        return (online or candidates)[-1] if candidates else None

    @property
    def devices(self) -> list[LinkedDevice]:
        return [device for person in self._people.values() for device in person.devices.values()]
