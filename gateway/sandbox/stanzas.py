"""Where each stanza of a client goes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import outgoing, pairing_code, questions, receipts
from .node import SERVER, Address, Node
from .people import LinkedDevice
from .world import World

if TYPE_CHECKING:
    from .chat import Connection


def receive(connection: Connection, node: Node) -> None:
    """Handle one stanza of a client that has introduced itself."""
    if connection.attempt is not None:
        _receive_unpaired(connection, node)
    elif connection.device is not None and connection.device.connection is connection:
        device, world = connection.device, connection.world
        match node.tag:
            case "iq" if node.text("type") in ("get", "set"):
                questions.answer(world, device, node)
            case "message":
                outgoing.handle_message(world, device, node)
            case "receipt":
                receipts.handle_receipt(world, device, node)
            case "ack":
                _settle(world, device, node)
                world.changed()
            case "presence":
                _presence(world, device, node)
            case "chatstate":
                _chat_state(world, device, node)


def _settle(world: World, device: LinkedDevice, node: Node) -> None:
    """The device has a stanza and it need not be sent again."""
    kind, stanza_id = node.text("class"), node.text("id")
    if kind == "receipt":
        receipts.settle(world, device, (kind, stanza_id, node.text("type"), node.text("to"), node.text("participant")))
    else:
        receipts.settle(world, device, (kind, stanza_id))


def _presence(world: World, device: LinkedDevice, node: Node) -> None:
    """The device says whether its user is there, or wants to know whether somebody else is."""
    kind = node.text("type") or "available"
    to = node.address("to")
    if kind in ("available", "unavailable"):
        device.available = kind == "available"
        world.see("presence", str(device.pn), state=kind, name=node.text("name"))
        return
    person = world.people.at(to)
    world.see("presence", str(device.pn), state=kind, to=person.number if person is not None else str(to))
    if kind == "subscribe" and to is not None and person is not None and device.connection is not None:
        person.watchers[device] = to
        device.connection.send(Node("presence", {"from": to, "type": None if person.available else "unavailable"}))


def _chat_state(world: World, device: LinkedDevice, node: Node) -> None:
    """The user is typing, recording or has stopped."""
    to = node.address("to") or Address("", "")
    person = world.people.at(to)
    number = person.number if person is not None else str(to)
    for state in node.children[:1]:
        world.records.typing(device, number, state.tag, state.text("media"))
        world.see("chat_state", str(device.pn), to=number, state=state.tag, media=state.text("media"))


def _receive_unpaired(connection: Connection, node: Node) -> None:
    attempt = connection.attempt
    assert attempt is not None
    if node.tag != "iq":
        return
    if node.text("type") in ("result", "error"):
        waiting = attempt.answers.get(node.text("id"))
        if waiting is not None and not waiting.done():
            waiting.set_result(node)
    elif node.child("link_code_companion_reg") is not None:
        pairing_code.receive(connection.world, connection, attempt, node)
    elif node.text("xmlns") in ("w:p", "urn:xmpp:ping"):
        connection.send(Node("iq", {"from": SERVER, "id": node.text("id"), "type": "result"}))
