"""What devices may ask, as a table: (xmlns, first child) to the answer. What is not in it gets an empty result."""

from __future__ import annotations

from . import app_state, groups, offline, prekeys, usync
from .iq import Answer, refusal, result
from .node import Attribute, Node
from .people import LinkedDevice
from .stamps import now, stanza_id
from .world import World

_PRIVACY = ("readreceipts", "profile", "status", "online", "last", "groupadd", "calladd", "messages")


def answer(world: World, device: LinkedDevice, request: Node) -> None:
    """Answer a device's request, or fail to, if a fault says so."""
    table = _TABLE.get((request.text("xmlns"), request.children[0].tag if request.children else ""))
    connection = device.connection
    if connection is None:
        return
    fault = world.faults.take("iq", device=device.names, xmlns=request.text("xmlns"))
    if fault is not None and fault.mode == "hold":
        return
    if fault is not None and fault.mode == "error":
        connection.send(refusal(request, int(fault.options.get("code", 500)), "sandbox"))
        return
    response = table(world, device, request) if table is not None else result(request)
    if fault is not None and fault.mode == "delay":
        world.later(fault.seconds, lambda: connection.send(response))
        return
    connection.send(response)


def _no_picture(world: World, device: LinkedDevice, request: Node) -> Node:
    return refusal(request, 404, "item-not-found")


def _privacy(world: World, device: LinkedDevice, request: Node) -> Node:
    categories = [Node("category", {"name": name, "value": "all"}) for name in _PRIVACY]
    return result(request, Node("privacy", {}, categories))


def _remove_companion(world: World, device: LinkedDevice, request: Node) -> Node:
    """The device logs itself out; its connection ends after the answer, as WhatsApp's does."""
    asked = request.child("remove-companion-device")
    address = asked.address("jid") if asked is not None else None
    person = world.people.at(address)
    companion = person.devices.get(address.device) if person is not None and address is not None else None
    if companion is None or companion.owner is not device.owner:
        return refusal(request, 404, "item-not-found")
    companion.removed = True
    connection = companion.connection
    if connection is not None:
        world.later(0.05, connection.close)
    world.changed()
    return result(request)


def _media_servers(world: World, device: LinkedDevice, request: Node) -> Node:
    attrs: dict[str, Attribute] = {
        "auth": str(device.pn),
        "ttl": 3600,
        "auth_ttl": 3600,
        "max_buckets": 12,
        "id": stanza_id(),
    }
    return result(request, Node("media_conn", attrs, [Node("host", {"hostname": "mmg.whatsapp.net"})]))


def _server_time(world: World, device: LinkedDevice, request: Node) -> Node:
    return result(request, t=now())


_TABLE: dict[tuple[str, str], Answer] = {
    ("encrypt", "count"): prekeys.count,
    ("encrypt", "registration"): prekeys.upload,
    ("encrypt", "key"): prekeys.hand_out,
    ("usync", "usync"): usync.look_up,
    ("w:profile:picture", "picture"): _no_picture,
    ("passive", "active"): offline.activate,
    ("privacy", "privacy"): _privacy,
    ("privacy", "tokens"): lambda world, device, request: result(request, Node("tokens", {})),
    ("blocklist", ""): lambda world, device, request: result(request, Node("list", {})),
    ("md", "remove-companion-device"): _remove_companion,
    ("w:m", "media_conn"): _media_servers,
    ("w:p", ""): _server_time,
    ("w:p", "ping"): _server_time,
    ("w:sync:app:state", "sync"): app_state.synchronize,
    ("w:g2", "query"): groups.query,
    ("w:g2", "participating"): groups.participating,
    ("w:g2", "create"): groups.create_as_asked,
    ("w:g2", "leave"): groups.leave,
}
