"""Prekeys: how many the server still has of a device, uploading them, and handing them out."""

from __future__ import annotations

from .iq import result
from .node import Node
from .people import LinkedDevice
from .signal import PreKeyBundle
from .world import World


def count(world: World, device: LinkedDevice, request: Node) -> Node:
    return result(request, Node("count", {"value": len(device.one_time)}))


def upload(world: World, device: LinkedDevice, request: Node) -> Node:
    device.registration = request.bytes_of("registration") or device.registration
    listed = request.child("list")
    for key in listed.children if listed is not None else []:
        device.one_time.append((key.bytes_of("id"), key.bytes_of("value")))
    signed = request.child("skey")
    if signed is not None:
        device.signed = signed.bytes_of("id"), signed.bytes_of("value"), signed.bytes_of("signature")
    return result(request)


def hand_out(world: World, device: LinkedDevice, request: Node) -> Node:
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
