"""Messages to devices: what contacts write, what a phone tells its companions, and writing again on request."""

from __future__ import annotations

import os
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .content import media_of, unwrap
from .node import Attribute, Node
from .people import LinkedDevice, Person
from .protobufs import Message, ProtocolMessage
from .signal import PreKeyBundle
from .signal_wire import SignalError
from .stamps import now

if TYPE_CHECKING:
    from .groups import Group
    from .world import World

_MOST_REMEMBERED = 4096
_MOST_RETRIES = 5


@dataclass(frozen=True, slots=True)
class _Written:
    """A message as it was before encryption, for a device that asks for it again."""

    author: Person
    attrs: dict[str, Attribute]
    plain: bytes
    mediatype: str


class Incoming:
    """Writes to devices. Every device gets its own ciphertext and keeps it queued until it says it has it."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._written: OrderedDict[tuple[str, str], _Written] = OrderedDict()
        self.retries = 0

    def write(
        self,
        author: Person,
        owner: Person,
        message: Message,
        *,
        group: Group | None = None,
        to: Person | None = None,
        message_id: str | None = None,
        corrupt: bool = False,
    ) -> str:
        """`author` writes to `owner` (in `group`), whose companions get it; the message's id.

        With `to`, `owner` wrote to them on their own phone and the companions get the copy. A `corrupt` message does
        not decrypt; the device asks for it again and then gets it whole.
        """
        message_id = message_id or "3A" + os.urandom(9).hex().upper()
        attrs: dict[str, Attribute] = {
            "id": message_id,
            "type": _stanza_type(message),
            "t": now(),
            "notify": author.name,
            "addressing_mode": "lid",
            "edit": _edit(message),
        }
        if group is not None:
            attrs |= {"from": group.address, "participant": author.lid, "participant_pn": author.pn}
        elif to is not None:
            attrs |= {"from": author.lid, "recipient": to.lid, "peer_recipient_pn": to.pn}
            sent = Message()
            sent.deviceSentMessage.destinationJID = str(to.lid)
            sent.deviceSentMessage.message.CopyFrom(message)
            message = sent
        else:
            attrs |= {"from": author.lid, "sender_pn": author.pn}
        written = _Written(author, attrs, bytes(message.SerializeToString()), _mediatype(message))
        for device in owner.active_devices:
            self._send(device, written, group, corrupt)
        return message_id

    def write_to_companion(self, device: LinkedDevice, message: Message) -> None:
        """The phone of `device` tells it something: keys, history. Not a message of any chat."""
        attrs: dict[str, Attribute] = {
            "id": "3A" + os.urandom(9).hex().upper(),
            "from": device.owner.pn,
            "category": "peer",
            "type": "text",
            "t": now(),
        }
        self._send(device, _Written(device.owner, attrs, bytes(message.SerializeToString()), ""), None, False)

    def write_again(self, device: LinkedDevice, message_id: str, count: int, receipt: Node) -> None:
        """`device` could not read a message: encrypt it on a new session, from the keys it sent or uploaded."""
        written = self._written.get((str(device.pn), message_id))
        if written is None or count > _MOST_RETRIES:
            return
        self.retries += 1
        keys = receipt.child("keys")
        bundle = _bundle_in(receipt, keys) if keys is not None else device.bundle()
        enc = self._encrypt(device, written.author, written.plain, bundle)
        enc = enc.with_attrs(count=count, mediatype=written.mediatype)
        stanza = Node("message", {**written.attrs, "t": now()}, [enc])
        # After the acknowledgement that is on its way: it names the same id and would take this out of the queue.
        self._world.later(0.02, lambda: device.deliver(("message", message_id), stanza))

    def _send(self, device: LinkedDevice, written: _Written, group: Group | None, corrupt: bool) -> None:
        author = written.author
        message_id = str(written.attrs["id"])
        place = str(device.pn), message_id
        self._written[place] = written
        if len(self._written) > _MOST_REMEMBERED:
            self._written.popitem(last=False)
        if group is None:
            encrypted = [self._encrypt(device, author, written.plain)]
        else:
            shared = Message()
            shared.senderKeyDistributionMessage.groupID = str(group.address)
            distribution = author.sender_keys.distribution(str(group.address))
            shared.senderKeyDistributionMessage.axolotlSenderKeyDistributionMessage = distribution
            sealed = author.sender_keys.encrypt(str(group.address), written.plain)
            encrypted = [
                self._encrypt(device, author, bytes(shared.SerializeToString())),
                Node("enc", {"v": 2, "type": "skmsg"}, sealed),
            ]
        encrypted[-1] = encrypted[-1].with_attrs(mediatype=written.mediatype)
        if corrupt:
            broken = bytearray(encrypted[-1].data)
            broken[-1] ^= 1
            encrypted[-1] = Node("enc", encrypted[-1].attrs, bytes(broken))
        device.deliver(("message", message_id), Node("message", written.attrs, list(encrypted)))

    def _encrypt(self, device: LinkedDevice, author: Person, plain: bytes, bundle: PreKeyBundle | None = None) -> Node:
        peer = (device.owner.number, device.number)
        if bundle is not None or not author.phone.knows(peer):
            author.phone.start(peer, bundle or device.bundle())
        kind, data = author.phone.encrypt(peer, plain)
        return Node("enc", {"v": 2, "type": kind}, data)


def _bundle_in(receipt: Node, keys: Node) -> PreKeyBundle:
    """The bundle a retry receipt carries."""
    one_time, signed = keys.child("key"), keys.child("skey")
    if signed is None:
        raise SignalError("a retry receipt with keys but without a signed prekey")
    return PreKeyBundle(
        int.from_bytes(receipt.bytes_of("registration"), "big"),
        keys.bytes_of("identity"),
        int.from_bytes(signed.bytes_of("id"), "big"),
        signed.bytes_of("value"),
        signed.bytes_of("signature"),
        int.from_bytes(one_time.bytes_of("id"), "big") if one_time is not None else None,
        one_time.bytes_of("value") if one_time is not None else None,
    )


def _stanza_type(message: Message) -> str:
    message, _ = unwrap(message)
    if message.HasField("reactionMessage"):
        return "reaction"
    return "media" if media_of(message) is not None else "text"


def _mediatype(message: Message) -> str:
    if message.HasField("deviceSentMessage"):
        message = message.deviceSentMessage.message
    pointer = media_of(message)
    if pointer is None:
        return ""
    return "ptt" if unwrap(message)[0].audioMessage.PTT else pointer.kind


def _edit(message: Message) -> str | None:
    """The stanza says that a message changes another: 1 edited, 7 revoked by its sender."""
    if message.HasField("protocolMessage") and message.protocolMessage.type == ProtocolMessage.REVOKE:
        return "7"
    return "1" if message.HasField("protocolMessage") else None
