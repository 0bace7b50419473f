"""Receipts: what recipients' phones tell the sender, and what devices tell about messages they received."""

from __future__ import annotations

import time

from .content import describe
from .node import GROUP, Address, Attribute, Node
from .people import LinkedDevice, Person, StanzaKey
from .protobufs import Message
from .records import MessageRecord
from .stamps import now
from .world import World


def key(stanza: Node) -> StanzaKey:
    """What the acknowledgement of a receipt names. Delivered, read and the message itself share one id."""
    return ("receipt", stanza.text("id"), stanza.text("type"), stanza.text("from"), stanza.text("participant"))


def react(world: World, device: LinkedDevice, person: Person, record: MessageRecord) -> None:
    """`person` has decrypted the message; the receipts follow as their behaviour says."""
    habit = person.behaviour
    voice = record.message is not None and record.message.audioMessage.PTT
    moment = 0.0
    for kind, seconds in (("delivered", habit.deliver), ("read", habit.read), ("played", habit.play if voice else None)):
        if seconds is None:
            continue
        moment += seconds
        fault = world.faults.take("receipt", device=device.names, to=person.names, type=kind)
        if fault is not None and fault.mode == "drop":
            continue
        delay = moment + (fault.seconds if fault is not None else 0.0)
        if delay <= 0:
            send(world, device, person, record, kind)
        else:
            world.later(delay, lambda kind=kind: send(world, device, person, record, kind))  # type: ignore[misc]


def echo(world: World, device: LinkedDevice, person: Person, record: MessageRecord) -> None:
    """`person` answers with what they read, when that is their habit."""
    text = describe(record.message).get("text") if record.message is not None else None
    if person.behaviour.echo is not None and text and not record.to.endswith(GROUP):
        answer = Message(conversation=f"You wrote: {text}")
        world.later(person.behaviour.echo, lambda: _write(world, person, device.owner, answer))


def _write(world: World, author: Person, owner: Person, message: Message) -> None:
    world.incoming.write(author, owner, message)


def send(world: World, device: LinkedDevice, person: Person, record: MessageRecord, kind: str) -> None:
    """Tell every device of the sender that `person` got (delivered), saw (read) or heard (played) the message."""
    record.receipts.append({"type": kind, "from": person.number, "at": time.time()})
    group = record.to.endswith(GROUP)
    attrs: dict[str, Attribute] = {
        "from": Address.parse(record.to) if group else person.lid,
        "participant": person.lid if group else None,
        "id": record.id,
        "type": None if kind == "delivered" else kind,
        "t": now(),
    }
    stanza = Node("receipt", attrs)
    for receiver in device.owner.active_devices:
        receiver.deliver(key(stanza), stanza)
    world.changed()


def handle_receipt(world: World, device: LinkedDevice, stanza: Node) -> None:
    """A device received a message (its queue forgets it), read one, or could not decrypt one."""
    kind = stanza.text("type")
    listed = stanza.child("list")
    ids = [stanza.text("id"), *(item.text("id") for item in (listed.children if listed is not None else []))]
    to = stanza.address("to")
    person = world.people.at(to)
    reader = stanza.address("participant")
    author = world.people.at(reader) if reader is not None else person
    world.see(
        "receipt",
        str(device.pn),
        type=kind or "delivered",
        ids=ids,
        to=person.number if person is not None else str(to),
        author=author.number if author is not None else "",
    )
    if device.connection is not None:
        device.connection.send(
            Node("ack", {"class": "receipt", "id": stanza.text("id"), "from": to, "type": kind, "t": now(),
                         "participant": reader})
        )  # fmt: skip
    for message_id in ids:
        if kind == "retry":
            retry = stanza.child("retry")
            world.incoming.write_again(device, message_id, int((retry or stanza).text("count") or "1"), stanza)
        elif kind in ("read", "played"):
            _tell_author(world, device, author, message_id, kind)
        settle(world, device, ("message", message_id))
    world.changed()


def settle(world: World, device: LinkedDevice, place: StanzaKey) -> None:
    """The device's queue forgets a stanza: the device has said that it has it."""
    if (sent := device.settle(place)) is not None and place[0] in ("message", "receipt"):
        world.see("taken", str(device.pn), what=place[0], id=place[1], sent=sent)


def _tell_author(world: World, device: LinkedDevice, author: Person | None, message_id: str, kind: str) -> None:
    """A read receipt goes to the devices of whoever wrote the message, when a real program did."""
    for writer in author.active_devices if author is not None else []:
        record = world.records.of(writer, message_id)
        if record is not None:
            send(world, writer, device.owner, record, kind)
            return
