"""Messages that devices send: acknowledged, decrypted by the virtual phones, passed on to other devices."""

from __future__ import annotations

import logging

from google.protobuf.message import DecodeError

from . import receipts
from .node import GROUP, NEWSLETTER, Address, Attribute, Node
from .people import LinkedDevice, Person
from .prekeys import bundle_nodes
from .protobufs import Message
from .records import MessageRecord
from .signal_wire import SignalError
from .stamps import now
from .world import World

log = logging.getLogger(__name__)

_MOST_RETRIES = 4
NOT_FOUND, NOT_A_MEMBER = 404, 403


def handle_message(world: World, device: LinkedDevice, stanza: Node) -> None:
    """One `<message>`. A stanza that came before, by its id, is counted and acknowledged but not read again."""
    to = stanza.address("to")
    if to is None or not stanza.text("id"):
        log.warning("a message without address or id: %s", stanza)
        return
    record = world.records.of(device, stanza.text("id"))
    if record is not None and _is_retry(stanza):
        record.retries += 1
        _read_retry(world, device, stanza, to, record)
        return
    person = world.people.at(to)
    if record is not None:
        record.copies += 1
    else:
        number, chat = (person.number, str(person.pn)) if person is not None else (str(to), str(to))
        record = MessageRecord(world.next_sequence(), device, stanza, chat, number)
        world.records.add(record)
    deliver = _answer(world, device, record, _refusal(world, device, to, person))
    if deliver and not record.distributed:
        record.distributed = True
        _distribute(world, device, stanza, to, record)
    world.changed()


def _answer(world: World, device: LinkedDevice, record: MessageRecord, refused: int) -> bool:
    """Acknowledge as WhatsApp would or as a fault says; whether the recipients get the message."""
    chats = "known" if world.records.reached(device, record.to) else "new"
    recipients = frozenset({record.to, record.chat, record.stanza.text("to")})
    fault = world.faults.take("ack", device=device.names, to=recipients, chats=chats)
    if fault is None:
        _acknowledge(world, device, record, refused)
        return not refused
    if fault.mode == "error":
        refused = int(fault.options.get("code", 500))
        _acknowledge(world, device, record, refused)
    else:
        record.ack = "held"
        if fault.mode == "delay":
            world.later(fault.seconds, lambda: _acknowledge(world, device, record, refused))
    return bool(fault.options.get("deliver", not refused))


def _refusal(world: World, device: LinkedDevice, to: Address, person: Person | None) -> int:
    """Why WhatsApp would not take the message, 0 when it does."""
    if to.server == GROUP:
        group = world.groups.get(str(to))
        if group is None:
            return NOT_FOUND
        return 0 if device.owner.number in group.members else NOT_A_MEMBER
    return 0 if person is not None or to.server == NEWSLETTER or to.user == "status" else NOT_FOUND


def _acknowledge(world: World, device: LinkedDevice, record: MessageRecord, error: int) -> None:
    if error:
        record.ack = str(error)
    else:
        world.records.accept(record)
    attrs: dict[str, Attribute] = {
        "class": "message",
        "id": record.id,
        "from": record.stanza.address("to"),
        "t": now(),
        "error": error or None,
        "server_id": record.sequence if record.to.endswith(NEWSLETTER) else None,
    }
    if device.connection is not None:
        device.connection.send(Node("ack", attrs))
    world.changed()


def _is_retry(stanza: Node) -> bool:
    enc = stanza.child("enc")
    return enc is not None and "count" in enc.attrs


def _distribute(world: World, device: LinkedDevice, stanza: Node, to: Address, record: MessageRecord) -> None:
    """Give every addressed device its ciphertext: phones read it here, companions get a stanza of their own."""
    plaintext = stanza.child("plaintext")
    if plaintext is not None:
        _publish(to, plaintext, record)
        return
    participants, direct = stanza.child("participants"), stanza.child("enc")
    companions: dict[LinkedDevice, list[Node]] = {}
    for entry in participants.children if participants is not None else []:
        address, enc = entry.address("jid"), entry.child("enc")
        person = world.people.at(address)
        if person is None or address is None or enc is None:
            continue
        if address.device == 0:
            _read(world, device, person, enc, record)
        elif address.device in person.devices:
            companions.setdefault(person.devices[address.device], []).append(enc)
    if direct is not None and direct.text("type") == "skmsg":
        for member in world.members(str(to)):
            if member is not device.owner:
                _read(world, device, member, direct, record)
            for companion in member.active_devices:
                if companion is not device:
                    companions.setdefault(companion, []).append(direct)
    elif direct is not None:
        person = world.people.at(to)
        if person is not None:
            _read(world, device, person, direct, record)
    for companion, encrypted in companions.items():
        pass_on(device, companion, stanza, encrypted)


def _publish(channel: Address, plaintext: Node, record: MessageRecord) -> None:
    """A message to a newsletter is not encrypted: everybody can read it."""
    try:
        record.message = Message.FromString(plaintext.data)
        record.decrypted_by.append(str(channel))
    except DecodeError as error:
        record.failures.append({"number": str(channel), "reason": str(error)})


def _read_retry(world: World, device: LinkedDevice, stanza: Node, to: Address, record: MessageRecord) -> None:
    """A message encrypted again for one device that could not read it."""
    enc = stanza.child("enc")
    reader = stanza.address("participant") or to
    person = world.people.at(reader)
    if person is None or enc is None:
        return
    if reader.device:
        companion = person.devices.get(reader.device)
        if companion is not None:
            pass_on(device, companion, stanza, [enc])
        return
    _read(world, device, person, enc, record)
    world.changed()


def _read(world: World, device: LinkedDevice, person: Person, enc: Node, record: MessageRecord) -> None:
    """`person`'s phone decrypts, remembers what it read and answers; when it cannot, it asks for a retry."""
    peer = (device.owner.number, device.number)
    is_owner = person is device.owner
    try:
        fault = None if is_owner else world.faults.take("decrypt", device=device.names, to=person.names)
        if fault is not None:
            person.phone.forget(peer)
            raise SignalError("the sandbox was told not to read this")
        if enc.text("type") == "skmsg":
            plain = person.sender_keys.decrypt(record.to, peer, enc.data)
        else:
            plain = person.phone.decrypt(peer, enc.text("type"), enc.data)
        message = Message.FromString(plain)
    except (SignalError, DecodeError) as error:
        record.failures.append({"number": person.number, "reason": str(error)})
        if record.retries < _MOST_RETRIES:
            _ask_again(world, device, person, record)
        return
    if message.HasField("senderKeyDistributionMessage"):
        shared = message.senderKeyDistributionMessage
        try:
            person.sender_keys.receive_distribution(shared.groupID, peer, shared.axolotlSenderKeyDistributionMessage)
        except SignalError as error:
            record.failures.append({"number": person.number, "reason": str(error)})
        message.ClearField("senderKeyDistributionMessage")
    if is_owner:
        record.own_copy = True
        if message.HasField("deviceSentMessage") and record.message is None and record.to == person.number:
            record.message = message.deviceSentMessage.message  # a note to oneself
            record.decrypted_by.append(person.number)
        elif record.message is None and record.stanza.text("category") == "peer":
            record.message = message
        return
    if not _has_content(message):
        return
    record.message = message
    if person.number not in record.decrypted_by:
        record.decrypted_by.append(person.number)
        receipts.react(world, device, person, record)
        receipts.echo(world, device, person, record)


def _has_content(message: Message) -> bool:
    return any(field.name != "messageContextInfo" for field, _ in message.ListFields())


def _ask_again(world: World, device: LinkedDevice, person: Person, record: MessageRecord) -> None:
    """A retry receipt with fresh keys: the sender builds a new session from them and encrypts again."""
    bundle = person.phone.bundle()
    registration, *keys = bundle_nodes(bundle)
    in_group = record.to.endswith(GROUP)
    is_owner = person is device.owner
    attrs: dict[str, Attribute] = {
        "from": Address.parse(record.to) if in_group else person.lid,
        "participant": person.lid if in_group else None,
        "recipient": record.stanza.address("to") if is_owner and not in_group else None,
        "id": record.id,
        "type": "retry",
        "t": now(),
    }
    retry = Node("retry", {"count": record.retries + 1, "id": record.id, "t": now(), "v": 1})
    stanza = Node("receipt", attrs, [retry, registration, Node("keys", {}, keys)])
    device.deliver(receipts.key(stanza), stanza)


def pass_on(sender: LinkedDevice, receiver: LinkedDevice, stanza: Node, encrypted: list[Node]) -> None:
    """The stanza that a companion gets of somebody's message."""
    if receiver.removed:
        return
    to = stanza.address("to")
    group = to if to is not None and to.server == GROUP else None
    own = sender.owner is receiver.owner
    attrs: dict[str, Attribute] = {
        "from": group or sender.lid,
        "participant": sender.lid if group else None,
        "participant_pn": sender.owner.pn if group else None,
        "recipient": to if own and not group else None,
        "peer_recipient_pn": stanza.address("peer_recipient_pn") if own else None,
        "sender_pn": None if own or group else sender.owner.pn,
        "addressing_mode": "lid",
        "id": stanza.text("id"),
        "type": stanza.text("type"),
        "t": now(),
        "notify": sender.owner.name,
        "edit": stanza.text("edit"),
    }
    identity = stanza.child("device-identity")
    children = [*encrypted, identity] if identity is not None else encrypted
    receiver.deliver(("message", stanza.text("id")), Node("message", attrs, children))
