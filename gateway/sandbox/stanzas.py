"""Where each stanza of a client goes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import iq
from .node import SERVER, Node

if TYPE_CHECKING:
    from .chat import Connection


def receive(connection: Connection, node: Node) -> None:
    """Handle one stanza of a client that has introduced itself."""
    if connection.attempt is not None:
        _receive_unpaired(connection, node)
    elif connection.device is not None and connection.device.connection is connection:
        device = connection.device
        if node.tag == "iq" and node.text("type") in ("get", "set"):
            iq.answer(connection.world, device, node)


def _receive_unpaired(connection: Connection, node: Node) -> None:
    attempt = connection.attempt
    assert attempt is not None
    if node.tag != "iq":
        return
    if node.text("type") in ("result", "error"):
        waiting = attempt.answers.get(node.text("id"))
        if waiting is not None and not waiting.done():
            waiting.set_result(node)
    elif node.text("xmlns") in ("w:p", "urn:xmpp:ping"):
        connection.send(Node("iq", {"from": SERVER, "id": node.text("id"), "type": "result"}))
