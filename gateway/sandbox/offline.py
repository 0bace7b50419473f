"""The queue: what happened while a device was away, sent when it asks and again until it is acknowledged."""

from __future__ import annotations

from .app_state import share_key
from .iq import result
from .node import SERVER, Node
from .people import LinkedDevice
from .world import World


def activate(world: World, device: LinkedDevice, request: Node) -> Node:
    """The client is ready for its queue, which follows the answer."""
    world.later(0, lambda: flush(world, device))
    return result(request)


def flush(world: World, device: LinkedDevice) -> None:
    """Send everything that waits for `device`, between the two stanzas that frame it."""
    connection = device.connection
    if connection is None or connection.active:
        return
    waiting = list(device.pending)
    kinds = [stanza.tag for stanza in device.pending.values()]
    preview = {tag: kinds.count(tag) for tag in ("message", "receipt", "notification")}
    connection.send(Node("ib", {"from": SERVER}, [Node("offline_preview", {"count": len(kinds), "appdata": 0, **preview})]))
    for key in waiting:
        device.send(key, offline=1)
    connection.send(Node("ib", {"from": SERVER}, [Node("offline", {"count": len(kinds)})]))
    connection.active = True
    share_key(world, device)
    world.changed()
