"""A client introduces itself: it is to be linked, or it logs in as a linked device, or it is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import pairing
from .chat import payload_of
from .node import Attribute, Node
from .stamps import now
from .world import World

if TYPE_CHECKING:
    from .chat import Connection
    from .people import LinkedDevice


def introduce(connection: Connection, noise_key: bytes, payload: bytes) -> None:
    """Read the ClientPayload that ended the handshake. Raises ProtocolError when it is none."""
    world, client = connection.world, payload_of(payload)
    if client.HasField("devicePairingData"):
        pairing.begin(world, connection, noise_key, client.devicePairingData)
        return
    person = world.people.person(str(client.username))
    device = person.devices.get(client.device) if person is not None else None
    names = device.names if device is not None else frozenset({str(client.username)})
    fault = world.faults.take("login", device=names)
    if fault is not None:
        reason = int(fault.options.get("reason", 503))
        ban: dict[str, Attribute] = {}
        if reason == 402:
            ban = {"code": fault.options.get("code", 101), "expire": fault.options.get("expire", 3600)}
        if reason in (401, 403) and device is not None:
            device.removed = True
        refuse(connection, reason, **ban)
    elif device is None or device.removed or device.noise_key != noise_key:
        refuse(connection, 401)
    else:
        admit(world, connection, device)


def refuse(connection: Connection, reason: int, **attrs: Attribute) -> None:
    """Say why and close."""
    connection.end(Node("failure", {"reason": reason, "location": "sandbox", **attrs}))


def admit(world: World, connection: Connection, device: LinkedDevice) -> None:
    """The device is in; a connection it may still have is told that it was replaced."""
    replace(device)
    device.connection = connection
    device.logins += 1
    connection.device = device
    connection.send(
        Node("success", {"t": now(), "props": 27, "location": "sandbox", "lid": device.lid, "companion_enc_static": ""})
    )
    world.changed()


def replace(device: LinkedDevice) -> None:
    """Somebody else has connected with this device's keys."""
    end(device, Node("stream:error", {}, [Node("conflict", {"type": "replaced"})]))


def log_out(world: World, device: LinkedDevice) -> None:
    """The phone removes the device: told at once when it is connected, else at its next login (401)."""
    device.removed = True
    end(device, Node("stream:error", {"code": 401}, [Node("conflict", {"type": "device_removed"})]))
    world.changed()


def end(device: LinkedDevice, last: Node) -> None:
    """End the device's connection, if it has one, with `last`; it may come back at once."""
    connection, device.connection = device.connection, None
    device.available = False
    if connection is not None:
        connection.end(last)
