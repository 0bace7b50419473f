"""Requests (``<iq type=get|set>``) and their answers, as a table of what was asked."""

from __future__ import annotations

from collections.abc import Callable

from .node import LID, SERVER, USER, Address, Attribute, Node
from .people import LinkedDevice, Person
from .signal import PreKeyBundle
from .world import World, now, stanza_id

Answer = Callable[[World, LinkedDevice, Node], Node]
PRIVACY = ("readreceipts", "profile", "status", "online", "last", "groupadd", "calladd", "messages")


def result(request: Node, *children: Node) -> Node:
    """The positive answer to *request*."""
    return Node("iq", _envelope(request, "result"), list(children) or None)


def refusal(request: Node, code: int, text: str) -> Node:
    """The negative answer to *request*."""
    return Node("iq", _envelope(request, "error"), [Node("error", {"code": code, "text": text})])


def _envelope(request: Node, kind: str) -> dict[str, Attribute]:
    return {"from": request.address("to") or SERVER, "id": request.text("id"), "type": kind}


def answer(world: World, device: LinkedDevice, request: Node) -> None:
    """Answer a linked device's request, or fail to, if a fault says so."""
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


# prekeys


def _prekey_count(world: World, device: LinkedDevice, request: Node) -> Node:
    return result(request, Node("count", {"value": len(device.one_time)}))


def _upload_prekeys(world: World, device: LinkedDevice, request: Node) -> Node:
    device.registration = request.bytes_of("registration") or device.registration
    listed = request.child("list")
    for key in listed.children if listed is not None else []:
        device.one_time.append((key.bytes_of("id"), key.bytes_of("value")))
    signed = request.child("skey")
    if signed is not None:
        device.signed = signed.bytes_of("id"), signed.bytes_of("value"), signed.bytes_of("signature")
    return result(request)


def _prekeys(world: World, device: LinkedDevice, request: Node) -> Node:
    asked = request.child("key")
    users = []
    for user in asked.children if asked is not None else []:
        address = user.address("jid")
        person = world.people.at(address)
        companion = person.devices.get(address.device) if person is not None and address is not None else None
        if person is None or address is None or (address.device and (companion is None or companion.removed)):
            users.append(Node("user", {"jid": address}, [Node("error", {"code": 404, "text": "item-not-found"})]))
            continue
        bundle = companion.bundle() if companion is not None else person.phone.bundle()
        children = bundle_nodes(bundle)
        if companion is not None:
            children.append(Node("device-identity", {}, companion.device_identity))
        users.append(Node("user", {"jid": address}, children))
    return result(request, Node("list", {}, users))


def bundle_nodes(bundle: PreKeyBundle) -> list[Node]:
    """A prekey bundle as the wire has it."""
    nodes = [
        Node("registration", {}, bundle.registration.to_bytes(4, "big")),
        Node("type", {}, b"\x05"),
        Node("identity", {}, bundle.identity),
    ]
    if bundle.one_time_id is not None and bundle.one_time_key is not None:
        key = [Node("id", {}, bundle.one_time_id.to_bytes(3, "big")), Node("value", {}, bundle.one_time_key)]
        nodes.append(Node("key", {}, key))
    signed = [
        Node("id", {}, bundle.signed_id.to_bytes(3, "big")),
        Node("value", {}, bundle.signed_key),
        Node("signature", {}, bundle.signature),
    ]
    return [*nodes, Node("skey", {}, signed)]


# people


def _usync(world: World, device: LinkedDevice, request: Node) -> Node:
    asked = request.child("usync")
    query = asked.child("query") if asked is not None else None
    listed = asked.child("list") if asked is not None else None
    if asked is None or query is None or listed is None:
        return refusal(request, 400, "bad-request")
    wanted = {child.tag for child in query.children}
    users = [_user(world, user, wanted) for user in listed.children]
    attrs: dict[str, Attribute] = {name: asked.text(name) for name in ("sid", "index", "last", "mode", "context")}
    return result(request, Node("usync", attrs, [Node("result", {}), Node("list", {}, users)]))


def _user(world: World, user: Node, wanted: set[str]) -> Node:
    contact = user.child("contact")
    if contact is not None:
        number = contact.data.decode("utf-8", "replace").partition("@")[0].lstrip("+")
        person = world.people.person(number)
        found = Node("contact", {"type": "out" if person is None else "in"}, contact.data)
        if person is None:
            return Node("user", {"jid": Address(number, USER)}, [found])
        return Node("user", {"jid": person.lid, "pn_jid": person.pn}, [found, *_facts(person, person.lid, wanted)])
    address = user.address("jid")
    person = world.people.at(address)
    if person is None or address is None:
        return Node("user", {"jid": address}, [Node("contact", {"type": "out"})] if "contact" in wanted else [])
    return Node("user", {"jid": address.bare}, _facts(person, address, wanted))


def _facts(person: Person, address: Address, wanted: set[str]) -> list[Node]:
    facts = []
    if "lid" in wanted and address.server != LID:
        facts.append(Node("lid", {"val": person.lid}))
    if "devices" in wanted:
        devices = [Node("device", {"id": 0})]
        devices += [Node("device", {"id": device.number, "key-index": device.key_index}) for device in person.active_devices]
        facts.append(Node("devices", {}, [Node("device-list", {}, devices)]))
    if "status" in wanted:
        facts.append(Node("status", {"t": 1}, b""))
    return facts


def _no_picture(world: World, device: LinkedDevice, request: Node) -> Node:
    return refusal(request, 404, "item-not-found")


# the session


def _activate(world: World, device: LinkedDevice, request: Node) -> Node:
    """The client is ready for its queue, which follows the answer."""
    world.later(0, lambda: flush(world, device))
    return result(request)


def flush(world: World, device: LinkedDevice) -> None:
    """Send everything that waits for *device*, between the two stanzas that frame it."""
    connection = device.connection
    if connection is None or connection.active:
        return
    waiting = list(device.pending.values())
    kinds = [stanza.tag for stanza in waiting]
    preview = {tag: kinds.count(tag) for tag in ("message", "receipt", "notification")}
    connection.send(Node("ib", {"from": SERVER}, [Node("offline_preview", {"count": len(kinds), "appdata": 0, **preview})]))
    for stanza in waiting:
        connection.send(stanza.with_attrs(offline=1))
    connection.send(Node("ib", {"from": SERVER}, [Node("offline", {"count": len(kinds)})]))
    connection.active = True
    for listener in ON_ACTIVE:
        listener(world, device)
    world.changed()


ON_ACTIVE: list[Callable[[World, LinkedDevice], None]] = []
"""Called each time a device has its queue: the phone shares its keys with a new companion here."""


def _privacy(world: World, device: LinkedDevice, request: Node) -> Node:
    categories = [Node("category", {"name": name, "value": "all"}) for name in PRIVACY]
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
    attrs: dict[str, Attribute] = {"auth": str(device.pn), "ttl": 3600, "auth_ttl": 3600, "max_buckets": 12, "id": stanza_id()}
    return result(request, Node("media_conn", attrs, [Node("host", {"hostname": "mmg.whatsapp.net"})]))


def _server_time(world: World, device: LinkedDevice, request: Node) -> Node:
    return Node("iq", {**_envelope(request, "result"), "t": now()})


_TABLE: dict[tuple[str, str], Answer] = {
    ("encrypt", "count"): _prekey_count,
    ("encrypt", "registration"): _upload_prekeys,
    ("encrypt", "key"): _prekeys,
    ("usync", "usync"): _usync,
    ("w:profile:picture", "picture"): _no_picture,
    ("passive", "active"): _activate,
    ("privacy", "privacy"): _privacy,
    ("privacy", "tokens"): lambda world, device, request: result(request, Node("tokens", {})),
    ("blocklist", ""): lambda world, device, request: result(request, Node("list", {})),
    ("md", "remove-companion-device"): _remove_companion,
    ("w:m", "media_conn"): _media_servers,
    ("w:p", ""): _server_time,
    ("w:p", "ping"): _server_time,
}


def add(xmlns: str, tag: str, answer: Answer) -> None:
    """Put another question into the table."""
    _TABLE[xmlns, tag] = answer
