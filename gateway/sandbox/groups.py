"""Groups: who is in one, and the answers clients need to write to it."""

from __future__ import annotations

import itertools
import time
from dataclasses import dataclass, field
from typing import Any

from .iq import refusal, result
from .node import GROUP, Address, Attribute, Node
from .people import LinkedDevice, Person
from .stamps import now, stanza_id
from .world import World

_IDS = itertools.count(120363000000000001)


@dataclass
class Group:
    """A group; `members` are numbers, the first is its creator and its administrator."""

    subject: str
    members: list[str]
    address: Address = field(default_factory=lambda: Address(str(next(_IDS)), GROUP))
    created: int = field(default_factory=lambda: int(time.time()))

    def describe(self) -> dict[str, Any]:
        return {"jid": str(self.address), "subject": self.subject, "members": self.members}


def create(world: World, subject: str, members: list[str]) -> Group:
    """A new group of people on WhatsApp, announced to the companions of its members. Raises ValueError."""
    people = [world.people.person(number) for number in dict.fromkeys(members)]
    missing = [number for number, person in zip(dict.fromkeys(members), people, strict=True) if person is None]
    if missing or not people:
        raise ValueError(f"not on WhatsApp: {', '.join(missing)}" if missing else "a group needs a member")
    group = Group(subject, [person.number for person in people if person is not None])
    world.groups[str(group.address)] = group
    for person in people:
        for device in person.active_devices if person is not None else []:
            announce(world, device, group)
    world.changed()
    return group


def announce(world: World, device: LinkedDevice, group: Group) -> None:
    """Tell a device that its owner has been put into `group`."""
    attrs: dict[str, Attribute] = {
        "from": group.address,
        "type": "w:gp2",
        "id": stanza_id(),
        "t": now(),
        "notify": group.subject,
        "participant": _person(world, group.members[0]).lid,
        "addressing_mode": "lid",
    }
    stanza = Node("notification", attrs, [Node("create", {"type": "new", "key": stanza_id()}, [_node(world, group)])])
    device.deliver(("notification", str(attrs["id"])), stanza)


def _person(world: World, number: str) -> Person:
    person = world.people.person(number)
    assert person is not None, "members are on WhatsApp"
    return person


def _node(world: World, group: Group) -> Node:
    creator = _person(world, group.members[0])
    participants = []
    for number in group.members:
        person = _person(world, number)
        kind = "superadmin" if person is creator else None
        participants.append(Node("participant", {"jid": person.lid, "phone_number": person.pn, "type": kind}))
    attrs: dict[str, Attribute] = {
        "id": group.address.user,
        "subject": group.subject,
        "creation": group.created,
        "creator": creator.lid,
        "creator_pn": creator.pn,
        "s_t": group.created,
        "s_o": creator.lid,
        "size": len(group.members),
        "addressing_mode": "lid",
        "a_v_id": 1,
        "p_v_id": 1,
    }
    return Node("group", attrs, participants)


def query(world: World, device: LinkedDevice, request: Node) -> Node:
    group = world.groups.get(request.text("to"))
    if group is None:
        return refusal(request, 404, "item-not-found")
    if device.owner.number not in group.members:
        return refusal(request, 403, "forbidden")
    return result(request, _node(world, group))


def participating(world: World, device: LinkedDevice, request: Node) -> Node:
    mine = [_node(world, group) for group in world.groups.values() if device.owner.number in group.members]
    return result(request, Node("groups", {}, mine))


def create_as_asked(world: World, device: LinkedDevice, request: Node) -> Node:
    asked = request.child("create")
    invited = [world.people.at(entry.address("jid")) for entry in asked.all("participant")] if asked is not None else []
    members = [device.owner.number, *(person.number for person in invited if person is not None)]
    group = create(world, asked.text("subject") if asked is not None else "", members)
    return result(request, _node(world, group))


def leave(world: World, device: LinkedDevice, request: Node) -> Node:
    asked = request.child("leave")
    left = []
    for entry in asked.children if asked is not None else []:
        group = world.groups.get(str(entry.address("id") or Address(entry.text("id").partition("@")[0], GROUP)))
        if group is not None and device.owner.number in group.members:
            group.members.remove(device.owner.number)
            left.append(Node("group", {"id": group.address}))
    return result(request, Node("leave", {}, left))
