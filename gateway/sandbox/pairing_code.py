"""Linking by pairing code: eight characters the companion shows and somebody types on the phone.

Both sides wrap an ephemeral key under the code, agree on a secret, and the companion hands over the keys that a QR code
would have shown. A wrong code is noticed by the phone alone: the companion's bundle does not open.
"""

from __future__ import annotations

import asyncio
import base64
import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.pbkdf2 import PBKDF2HMAC

from .curve import KeyPair
from .iq import refusal, result
from .node import SERVER, Node
from .pairing import Attempt, PairingError, link
from .people import LinkedDevice, Person
from .signal import hkdf
from .stamps import now, stanza_id
from .world import World

if TYPE_CHECKING:
    from .chat import Connection

_ITERATIONS = 131072
_ANSWER_SECONDS = 20.0
# "Browser (OS)" with names WhatsApp knows: it answers 400 to any other.
_DISPLAY_NAME = re.compile(r"(Chrome|Firefox|Edge|Safari|Opera|Internet Explorer|Brave|IE) \([^()]+\)", re.IGNORECASE)


@dataclass
class CodeRequest:
    """A companion that shows a code: for which number, and its wrapped ephemeral key (salt | iv | ciphertext)."""

    number: str
    wrapped: bytes
    ref: bytes
    finish: asyncio.Future[Node] | None = None


def receive(world: World, connection: Connection, attempt: Attempt, request: Node) -> None:
    """The companion begins (`companion_hello`) or answers the phone (`companion_finish`)."""
    asked = request.child("link_code_companion_reg")
    assert asked is not None, "the caller looked"
    if asked.text("stage") == "companion_finish":
        connection.send(result(request))
        if attempt.code is not None and attempt.code.finish is not None and not attempt.code.finish.done():
            attempt.code.finish.set_result(asked)
        return
    address = asked.address("jid")
    wrapped = asked.bytes_of("link_code_pairing_wrapped_companion_ephemeral_pub")
    display = asked.bytes_of("companion_platform_display").decode("utf-8", "replace")
    names = frozenset({address.user, str(address)}) if address is not None else frozenset()
    fault = world.faults.take("pairing", device=names, mode="code-refused")
    if fault is not None:
        connection.send(refusal(request, int(fault.options.get("code", 429)), "rate-overlimit"))
        return
    if address is None or world.people.person(address.user) is None or len(wrapped) != 80:
        connection.send(refusal(request, 400, "bad-request"))
        return
    if not _DISPLAY_NAME.fullmatch(display):
        connection.send(refusal(request, 400, "bad-request"))
        return
    attempt.code = CodeRequest(address.user, wrapped, base64.b64encode(os.urandom(24)))
    answer = Node("link_code_companion_reg", {}, [Node("link_code_pairing_ref", {}, attempt.code.ref)])
    connection.send(result(request, answer))
    world.changed()


async def enter(world: World, code: str, person: Person) -> LinkedDevice:
    """`person` types `code` on their phone: the linked device.

    Raises PairingError: no companion waits for this number, the code is wrong (another may be tried), or it did not
    answer.
    """
    attempt = _waiting(world, person)
    if attempt is None or attempt.code is None:
        raise PairingError("no_code", f"no device shows a pairing code for {person.number}")
    request = attempt.code
    typed = code.replace("-", "").replace(" ", "").upper().encode()
    companion = await asyncio.to_thread(_unwrap, typed, request.wrapped)
    ephemeral = KeyPair.generate()
    try:
        shared = ephemeral.agree(companion)
    except ValueError:
        raise PairingError("wrong_code", "this is not the code the device shows") from None
    request.finish = asyncio.get_running_loop().create_future()
    children = [
        Node(
            "link_code_pairing_wrapped_primary_ephemeral_pub",
            {},
            await asyncio.to_thread(_wrap, typed, ephemeral.public),
        ),
        Node("primary_identity_pub", {}, person.phone.identity.public),
        Node("link_code_pairing_ref", {}, request.ref),
    ]
    attempt.connection.send(
        Node(
            "notification",
            {"from": SERVER, "type": "link_code_companion_reg", "id": stanza_id(), "t": now()},
            [Node("link_code_companion_reg", {"stage": "primary_hello"}, children)],
        )
    )
    try:
        async with asyncio.timeout(_ANSWER_SECONDS):
            answer = await request.finish
    except TimeoutError:
        raise PairingError("no_answer", "the device did not answer") from None
    identity, secret_part = _open_bundle(answer.bytes_of("link_code_pairing_wrapped_key_bundle"), shared)
    if identity != attempt.identity:
        raise PairingError("mismatch", "the bundle's identity is not that of the device that is connected")
    secret = hkdf(shared + person.phone.identity.agree(identity) + secret_part, b"adv_secret", 32)
    return await link(world, attempt, person, secret)


def is_waiting(world: World, person: Person) -> bool:
    """Whether a device shows a code for this number."""
    return _waiting(world, person) is not None


def _waiting(world: World, person: Person) -> Attempt | None:
    """The newest attempt that shows a code for this number."""
    for attempt in reversed(list(dict.fromkeys(world.attempts.values()))):
        if attempt.code is not None and attempt.code.number == person.number and not attempt.linked:
            return attempt
    return None


def _code_key(code: bytes, salt: bytes) -> bytes:
    return PBKDF2HMAC(hashes.SHA256(), 32, salt, _ITERATIONS).derive(code)


def _ctr(key: bytes, iv: bytes, data: bytes) -> bytes:
    encryptor = Cipher(algorithms.AES(key), modes.CTR(iv)).encryptor()
    return encryptor.update(data) + encryptor.finalize()


def _wrap(code: bytes, public: bytes) -> bytes:
    salt, iv = os.urandom(32), os.urandom(16)
    return salt + iv + _ctr(_code_key(code, salt), iv, public)


def _unwrap(code: bytes, wrapped: bytes) -> bytes:
    return _ctr(_code_key(code, wrapped[:32]), wrapped[32:48], wrapped[48:80])


def _open_bundle(wrapped: bytes, shared: bytes) -> tuple[bytes, bytes]:
    """(the companion's identity, its part of the secret). Raises PairingError when the code was wrong."""
    salt, nonce, sealed = wrapped[:32], wrapped[32:44], wrapped[44:]
    key = hkdf(shared, b"link_code_pairing_key_bundle_encryption_key", 32, salt=salt)
    try:
        bundle = AESGCM(key).decrypt(nonce, sealed, None)
    except (InvalidTag, ValueError):
        raise PairingError("wrong_code", "this is not the code the device shows") from None
    return bundle[:32], bundle[64:96]
