"""Who is behind a number: whether it is on WhatsApp, its LID and its devices (`xmlns=usync`)."""

from __future__ import annotations

from .iq import refusal, result
from .node import LID, USER, Address, Attribute, Node
from .people import LinkedDevice, Person
from .world import World


def look_up(world: World, device: LinkedDevice, request: Node) -> Node:
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
