"""The control API: JSON over HTTP on loopback, with which a test holds the phone, writes as a contact and breaks things.

Every answer is JSON; a refusal is `{"error": code, "message": sentence}` with status 400, 404 or 409. Calls that
take `wait` (seconds) answer as soon as what they ask for is there, and with what there is when the time is up.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from . import faults, groups, pairing, pairing_code, receipts
from .actions import ACTIONS
from .compose import ComposeError, compose
from .content import media_of, thumbnail_of
from .groups import Group
from .media import MediaError, unseal
from .node import Node
from .people import Behaviour, LinkedDevice, Person
from .records import MessageRecord
from .stamps import now
from .world import World

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_RECEIPTS = ("delivered", "read", "played", "inactive", "server-error")
_LONGEST_WAIT = 60.0
_FIRST_PHONE = "15550100001"


class Refused(Exception):
    """The call cannot be done: an HTTP status, a code and a sentence."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code = status, code


@web.middleware
async def _refusals(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except Refused as error:
        return _json({"error": error.code, "message": str(error)}, error.status)
    except pairing.PairingError as error:
        return _json({"error": error.code, "message": str(error)}, 409)
    except (ComposeError, ValueError, TypeError) as error:
        return _json({"error": "bad_request", "message": str(error)}, 400)
    except MediaError as error:
        return _json({"error": "media", "message": str(error)}, 409)
    except web.HTTPException as error:
        return _json({"error": "http", "message": error.reason}, error.status)


def _json(body: Any, status: int = 200) -> web.Response:
    return web.json_response(body, status=status)


async def _body(request: web.Request) -> dict[str, Any]:
    if not request.can_read_body:
        return {}
    try:
        body = await request.json()
    except json.JSONDecodeError as error:
        raise Refused(400, "bad_request", f"the body is not JSON: {error}") from None
    if not isinstance(body, dict):
        raise Refused(400, "bad_request", "the body has to be a JSON object")
    return body


def _number(value: Any) -> str:
    number = str(value or "").strip().lstrip("+").partition("@")[0]
    if not number.isdigit():
        raise Refused(400, "bad_request", f"not a phone number: {value!r}")
    return number


class Control:
    """The routes, over one world. `application()` builds the aiohttp application that serves them."""

    def __init__(self, world: World, cut: Callable[[], int], environment: Callable[[], dict[str, str]]) -> None:
        self._world = world
        self._cut = cut
        self._environment = environment
        self._given: set[str] = set()

    def application(self) -> web.Application:
        application = web.Application(middlewares=[_refusals], client_max_size=256 * 1024 * 1024)
        application.add_routes(
            [
                web.get("/state", self.state),
                web.get("/environment", self.environment),
                web.post("/phones", self.create_phone),
                web.post("/phones/{number}/send", self.send_from_phone),
                web.post("/scan", self.scan),
                web.post("/enter-code", self.enter_code),
                web.get("/contacts", self.contacts),
                web.post("/contacts", self.create_contact),
                web.post("/contacts/{number}/send", self.send_from_contact),
                web.post("/contacts/{number}/presence", self.presence),
                web.post("/contacts/{number}/typing", self.typing),
                web.post("/contacts/{number}/receipt", self.receipt),
                web.post("/contacts/{number}/reinstall", self.reinstall),
                web.post("/numbers/{number}", self.number),
                web.get("/messages", self.messages),
                web.delete("/messages", self.forget_messages),
                web.get("/messages/{id}", self.message),
                web.get("/messages/{id}/media", self.media),
                web.get("/messages/{id}/thumbnail", self.thumbnail),
                web.get("/events", self.events),
                web.get("/groups", self.list_groups),
                web.post("/groups", self.create_group),
                web.post("/devices/{device}/{action}", self.act),
                web.post("/cut", self.cut),
                web.get("/faults", self.faults),
                web.post("/faults", self.add_fault),
                web.delete("/faults", self.clear_faults),
            ]
        )
        return application

    # people and linking

    async def state(self, request: web.Request) -> web.Response:
        world = self._world
        return _json(
            {
                "devices": [_device(device) for device in world.people.devices],
                "phones": [_person(person) for person in world.people if person.devices],
                "waiting_codes": len({id(attempt) for attempt in world.attempts.values() if not attempt.linked}),
                "connections": len(world.connections),
                "messages": len(world.records),
                "uploads": world.media.uploads,
                "downloads": world.media.downloads,
                "retries": world.incoming.retries,
                "sequence": world.last_sequence,
                "faults": world.faults.describe(),
                "groups": [group.describe() for group in world.groups.values()],
            }
        )

    async def environment(self, request: web.Request) -> web.Response:
        return _json(self._environment())

    async def create_phone(self, request: web.Request) -> web.Response:
        body = await _body(request)
        person = self._person(body.get("number") or self._free_number())
        if body.get("name"):
            person.name = str(body["name"])
        return _json(_person(person), 201)

    async def scan(self, request: web.Request) -> web.Response:
        body = await _body(request)
        person = self._person(body.get("phone") or self._free_number())
        device = await pairing.scan(self._world, str(body.get("qr", "")), person)
        return _json(_device(device), 201)

    async def enter_code(self, request: web.Request) -> web.Response:
        body = await _body(request)
        person = self._person(body.get("phone"))
        seconds = _seconds(body.get("wait", 0))
        await self._world.wait_until(lambda: pairing_code.is_waiting(self._world, person), seconds)
        device = await pairing_code.enter(self._world, str(body.get("code", "")), person)
        return _json(_device(device), 201)

    async def contacts(self, request: web.Request) -> web.Response:
        return _json([_person(person) for person in self._world.people])

    async def create_contact(self, request: web.Request) -> web.Response:
        body = await _body(request)
        person = self._person(body.get("number"))
        if body.get("name"):
            person.name = str(body["name"])
        habit = person.behaviour
        person.behaviour = Behaviour(
            *(_delay(body.get(name, getattr(habit, name))) for name in ("deliver", "read", "play", "echo"))
        )
        return _json(_person(person), 201)

    async def number(self, request: web.Request) -> web.Response:
        body = await _body(request)
        number = _number(request.match_info["number"])
        self._world.people.set_on_whatsapp(number, bool(body.get("on_whatsapp", True)))
        return _json({"number": number, "on_whatsapp": self._world.people.on_whatsapp(number)})

    # messages

    async def messages(self, request: web.Request) -> web.Response:
        query = request.query
        wanted = int(query.get("count", "1"))
        to, sender = query.get("to", "").lstrip("+"), query.get("from", "").lstrip("+")
        after = int(query.get("after", "0"))
        any_state = not query.get("decrypted")

        def found() -> list[MessageRecord]:
            records = self._world.records.find(to=to, sender=sender, after=after)
            return [record for record in records if any_state or record.decrypted_by]

        await self._world.wait_until(lambda: len(found()) >= wanted, _seconds(query.get("wait", 0)))
        return _json([record.describe() for record in found()])

    async def forget_messages(self, request: web.Request) -> web.Response:
        count = len(self._world.records)
        self._world.records.clear()
        self._world.seen.clear()
        return _json({"forgotten": count})

    async def message(self, request: web.Request) -> web.Response:
        return _json(self._record(request).describe())

    async def media(self, request: web.Request) -> web.Response:
        message = self._record(request).message
        pointer = media_of(message) if message is not None else None
        if pointer is None:
            raise Refused(404, "no_media", "this message has no file")
        plain = unseal(self._world.media.get(pointer.encrypted_sha256), pointer.key, pointer.kind, pointer.sha256)
        return web.Response(body=plain, content_type="application/octet-stream")

    async def thumbnail(self, request: web.Request) -> web.Response:
        message = self._record(request).message
        jpeg = thumbnail_of(message) if message is not None else b""
        if not jpeg:
            raise Refused(404, "no_thumbnail", "this message has no thumbnail")
        return web.Response(body=jpeg, content_type="image/jpeg")

    async def send_from_contact(self, request: web.Request) -> web.Response:
        body = await _body(request)
        author = self._person(request.match_info["number"])
        group = self._group(body.get("group"))
        owner = self._linked_phone(body.get("to"), group, author)
        chat = str(group.address) if group is not None else str(author.lid)
        message = compose(self._world, body, chat, str(author.lid))
        message_id = self._world.incoming.write(
            author, owner, message, group=group, message_id=body.get("id"), corrupt=bool(body.get("corrupt"))
        )
        return _json({"id": message_id, "from": author.number, "to": owner.number}, 201)

    async def send_from_phone(self, request: web.Request) -> web.Response:
        body = await _body(request)
        owner, to = self._person(request.match_info["number"]), self._person(body.get("to"))
        message = compose(self._world, body, str(to.lid), str(owner.lid))
        message_id = self._world.incoming.write(owner, owner, message, to=to, message_id=body.get("id"))
        return _json({"id": message_id, "from": owner.number, "to": to.number}, 201)

    async def receipt(self, request: web.Request) -> web.Response:
        body = await _body(request)
        person = self._person(request.match_info["number"])
        record = self._world.records.with_id(str(body.get("id", "")))
        if record is None:
            raise Refused(404, "no_message", "nobody sent a message with this id")
        kind = str(body.get("type", "delivered"))
        if kind not in _RECEIPTS:
            raise Refused(400, "bad_request", f"type is one of {', '.join(_RECEIPTS)}")
        receipts.send(self._world, record.device, person, record, kind)
        return _json(record.describe())

    async def presence(self, request: web.Request) -> web.Response:
        body = await _body(request)
        person = self._person(request.match_info["number"])
        person.available = bool(body.get("available", True))
        for device, address in person.watchers.items():
            if device.connection is not None:
                kind = None if person.available else "unavailable"
                last = None if person.available else now()
                device.connection.send(Node("presence", {"from": address, "type": kind, "last": last}))
        return _json(_person(person))

    async def typing(self, request: web.Request) -> web.Response:
        body = await _body(request)
        author = self._person(request.match_info["number"])
        owner = self._linked_phone(body.get("to"), None, author)
        state = str(body.get("state", "composing"))
        if state not in ("composing", "recording", "paused"):
            raise Refused(400, "bad_request", "state is composing, recording or paused")
        child = Node("paused") if state == "paused" else Node("composing", {"media": "audio"} if state == "recording" else {})
        for device in owner.active_devices:
            if device.connection is not None:
                device.connection.send(Node("chatstate", {"from": author.lid}, [child]))
        return _json({"state": state})

    async def reinstall(self, request: web.Request) -> web.Response:
        person = self._person(request.match_info["number"])
        person.reinstall()
        return _json(_person(person))

    async def events(self, request: web.Request) -> web.Response:
        query = request.query
        after, kind, wanted = int(query.get("after", "0")), query.get("kind", ""), int(query.get("count", "1"))
        device = self._world.people.device(query["device"]) if "device" in query else None
        if "device" in query and device is None:
            raise Refused(404, "no_device", "no such linked device")

        def found() -> list[dict[str, Any]]:
            return [
                seen.describe()
                for seen in self._world.seen
                if seen.sequence > after and kind in ("", seen.kind) and (device is None or seen.device == str(device.pn))
            ]

        await self._world.wait_until(lambda: len(found()) >= wanted, _seconds(query.get("wait", 0)))
        return _json(found())

    # groups, devices, faults

    async def list_groups(self, request: web.Request) -> web.Response:
        return _json([group.describe() for group in self._world.groups.values()])

    async def create_group(self, request: web.Request) -> web.Response:
        body = await _body(request)
        members = [_number(member) for member in body.get("members", [])]
        group = groups.create(self._world, str(body.get("subject", "Group")), members)
        return _json(group.describe(), 201)

    async def act(self, request: web.Request) -> web.Response:
        action = ACTIONS.get(request.match_info["action"])
        if action is None:
            raise Refused(404, "no_action", f"actions: {', '.join(ACTIONS)}")
        device = self._world.people.device(request.match_info["device"])
        if device is None:
            raise Refused(404, "no_device", "no such linked device")
        action(self._world, device)
        return _json(_device(device))

    async def cut(self, request: web.Request) -> web.Response:
        return _json({"cut": self._cut()})

    async def faults(self, request: web.Request) -> web.Response:
        return _json(self._world.faults.describe())

    async def add_fault(self, request: web.Request) -> web.Response:
        return _json(faults.from_json(self._world.faults, await _body(request)).describe(), 201)

    async def clear_faults(self, request: web.Request) -> web.Response:
        id_ = request.query.get("id")
        return _json({"cleared": self._world.faults.clear(request.query.get("kind"), int(id_) if id_ else None)})

    # what a request names

    def _person(self, number: Any) -> Person:
        person = self._world.people.person(_number(number))
        if person is None:
            raise Refused(409, "not_on_whatsapp", f"{number} is not on WhatsApp")
        return person

    def _free_number(self) -> str:
        """A number no other call was given and that has no companion yet."""
        number = int(_FIRST_PHONE)
        taken = self._given | {person.number for person in self._world.people if person.devices}
        while str(number) in taken or not self._world.people.on_whatsapp(str(number)):
            number += 1
        self._given.add(str(number))
        return str(number)

    def _linked_phone(self, number: Any, group: Group | None, author: Person) -> Person:
        """Whose companions get what a contact writes: the one named, or the only phone that has any."""
        if number:
            return self._person(number)
        linked = [person for person in self._world.people if person.active_devices and person is not author]
        if group is not None:
            linked = [person for person in linked if person.number in group.members]
        if len(linked) != 1:
            raise Refused(400, "bad_request", f"name the receiver in to: {len(linked)} phones have linked devices")
        return linked[0]

    def _group(self, address: Any) -> Group | None:
        if not address:
            return None
        group = self._world.groups.get(str(address))
        if group is None:
            raise Refused(404, "no_group", f"no group {address}")
        return group

    def _record(self, request: web.Request) -> MessageRecord:
        record = self._world.records.with_id(request.match_info["id"])
        if record is None:
            raise Refused(404, "no_message", "nobody sent a message with this id")
        return record


def _seconds(value: Any) -> float:
    seconds = float(value or 0)
    if not seconds >= 0:                # nan too, with which nothing would ever be due
        raise Refused(400, "bad_request", f"a number of seconds, not {value!r}")
    return min(seconds, _LONGEST_WAIT)


def _delay(value: Any) -> float | None:
    """A behaviour's delay: seconds, or null, false or "off" for never."""
    if value in (None, False, "off"):
        return None
    if not 0 <= float(value) <= faults.LONGEST:
        raise Refused(400, "bad_request", f"a delay of seconds, not {value!r}")
    return float(value)


def _device(device: LinkedDevice) -> dict[str, Any]:
    return {
        "jid": str(device.pn),
        "lid": str(device.lid),
        "phone": device.owner.number,
        "device": device.number,
        "online": device.online,
        "connected": device.connection is not None,
        "muted": device.connection is not None and device.connection.muted,
        "available": device.available,
        "removed": device.removed,
        "logins": device.logins,
        "prekeys": len(device.one_time),
        "queued": len(device.pending),
    }


def _person(person: Person) -> dict[str, Any]:
    habit = person.behaviour
    return {
        "number": person.number,
        "name": person.name,
        "jid": str(person.pn),
        "lid": str(person.lid),
        "deliver": habit.deliver,
        "read": habit.read,
        "play": habit.play,
        "echo": habit.echo,
        "devices": [str(device.pn) for device in person.active_devices],
    }
