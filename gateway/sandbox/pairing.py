"""Linking a device: the codes it shows, the phone that scans one, and what both sides say until it is linked."""

from __future__ import annotations

import asyncio
import base64
import binascii
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .adv import Vouching
from .node import SERVER, Node
from .people import LinkedDevice, Person
from .stamps import now, stanza_id
from .world import World

if TYPE_CHECKING:
    from .chat import Connection
    from .pairing_code import CodeRequest

_REFS = 6
_ANSWER_SECONDS = 20.0
_RESTART_SECONDS = 0.05
"""Between the client's signature and the request to log in: it still has its own pairing to write down."""


class PairingError(Exception):
    """The phone cannot link this: the message says why. `code` is a short word for it."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(eq=False)
class Attempt:
    """An unpaired client, connected and showing codes."""

    connection: Connection
    noise_key: bytes
    registration: Any
    refs: list[str] = field(default_factory=list)
    answers: dict[str, asyncio.Future[Node]] = field(default_factory=dict)
    code: CodeRequest | None = None
    linked: bool = False

    @property
    def identity(self) -> bytes:
        return bytes(self.registration.eIdent)


def begin(world: World, connection: Connection, noise_key: bytes, registration: Any) -> None:
    """Give an unpaired client its references, each good for one code."""
    attempt = Attempt(connection, noise_key, registration)
    connection.attempt = attempt
    if world.faults.take("pairing", mode="outdated") is not None:
        connection.end(Node("failure", {"reason": 405, "location": "sandbox"}))
        return
    attempt.refs = ["2@" + base64.b64encode(os.urandom(48)).decode() for _ in range(_REFS)]
    world.attempts |= dict.fromkeys(attempt.refs, attempt)
    connection.send(
        Node(
            "iq",
            {"from": SERVER, "type": "set", "id": stanza_id(), "xmlns": "md"},
            [Node("pair-device", {}, [Node("ref", {}, ref.encode()) for ref in attempt.refs])],
        )
    )
    if world.faults.take("pairing", mode="passkey-at-start") is not None:
        connection.send(_passkey_request())
    if world.faults.take("pairing", mode="no-multidevice") is not None:
        connection.send(Node("ib", {"from": SERVER}, [Node("downgrade_webclient")]))
    world.changed()


def _passkey_request() -> Node:
    """WhatsApp asks for WebAuthn before it lets this device link: the challenge goes to the companion."""
    options = (
        b'{"challenge":"c2FuZGJveC1jaGFsbGVuZ2U","timeout":60000,"rpId":"whatsapp.com",'
        b'"allowCredentials":[],"userVerification":"required"}'
    )
    return Node(
        "notification",
        {"from": SERVER, "type": "passkey_prologue_request", "id": stanza_id(), "t": now()},
        [Node("passkey_request_options", {}, options)],
    )


def end(world: World, attempt: Attempt) -> None:
    """The client has gone: its codes are worth nothing now."""
    for ref in attempt.refs:
        world.attempts.pop(ref, None)
    waiting = list(attempt.answers.values())
    if attempt.code is not None and attempt.code.finish is not None:
        waiting.append(attempt.code.finish)
    for answer in waiting:
        if not answer.done():
            answer.set_exception(PairingError("gone", "the device disconnected while it was being linked"))


def read_qr(text: str) -> tuple[str, bytes, bytes, bytes]:
    """(reference, Noise key, identity, secret) of the raw text of a code. Raises PairingError."""
    parts = text.strip().rpartition("#")[2].split(",")
    try:
        noise_key, identity, secret = (base64.b64decode(part, validate=True) for part in parts[1:4])
    except (ValueError, binascii.Error):
        raise PairingError("not_a_code", "this is not the text of a WhatsApp linking code") from None
    if len(noise_key) != 32 or len(identity) != 32 or len(secret) != 32:
        raise PairingError("not_a_code", "the keys in the code do not have 32 bytes")
    return parts[0], noise_key, identity, secret


async def scan(world: World, text: str, person: Person) -> LinkedDevice:
    """`person` holds a phone to the code `text`: the linked device. Raises PairingError."""
    ref, noise_key, identity, secret = read_qr(text)
    attempt = world.attempts.get(ref)
    if attempt is None:
        raise PairingError("expired", "this code has expired, or was made by another server")
    if (noise_key, identity) != (attempt.noise_key, attempt.identity):
        raise PairingError("mismatch", "the code's keys are not those of the device that is connected")
    return await link(world, attempt, person, secret)


async def link(world: World, attempt: Attempt, person: Person, secret: bytes) -> LinkedDevice:
    """Vouch for the device and wait for its signature. Raises PairingError."""
    if attempt.linked:
        raise PairingError("used", "this code was scanned already")
    if world.faults.take("pairing", device=person.names, mode="passkey") is not None:
        attempt.connection.send(_passkey_request())
        raise PairingError("passkey_required", "WhatsApp asks this account for a passkey before it links a device")
    attempt.linked = True
    registration = attempt.registration
    device = person.add_device(attempt.noise_key, attempt.identity)
    device.removed = True  # until it has signed
    device.key_index = device.number
    vouching = Vouching.by(person.phone.identity, attempt.identity, device.key_index, now())
    request = stanza_id()
    attempt.answers[request] = asyncio.get_running_loop().create_future()
    attempt.connection.send(
        Node(
            "iq",
            {"from": SERVER, "type": "set", "id": request, "xmlns": "md", "t": now()},
            [
                Node(
                    "pair-success",
                    {},
                    [
                        Node("device-identity", {}, vouching.container(secret)),
                        Node("platform", {"name": "android"}),
                        Node("device", {"jid": device.pn, "lid": device.lid}),
                    ],
                )
            ],
        )
    )
    try:
        async with asyncio.timeout(_ANSWER_SECONDS):
            answer = await attempt.answers[request]
    except TimeoutError:
        del person.devices[device.number]
        raise PairingError("no_answer", "the device did not answer") from None
    except PairingError:
        del person.devices[device.number]
        raise
    sign = answer.child("pair-device-sign")
    complete = vouching.countersigned(sign.bytes_of("device-identity")) if sign is not None else None
    if complete is None:
        del person.devices[device.number]
        error = answer.child("error")
        reason = error.text("text") if error is not None else "its signature is not right"
        raise PairingError("refused", f"the device refused: {reason}")
    device.device_identity = complete
    device.registration = bytes(registration.eRegid)
    device.signed = bytes(registration.eSkeyID), bytes(registration.eSkeyVal), bytes(registration.eSkeySig)
    device.removed = False
    # Pairing is over; the client is told to come back and log in. It leaves by itself.
    restart = Node("stream:error", {"code": 515})
    world.later(_RESTART_SECONDS, lambda: attempt.connection.end(restart, linger=_ANSWER_SECONDS))
    world.changed()
    return device
