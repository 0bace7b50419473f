"""The Signal protocol for one virtual device: X3DH key agreement and the double ratchet, as WhatsApp uses them.

`SignalDevice` holds an identity, its prekeys and a list of sessions for each peer device. Peers are named by
(number, device), never by the address a message came from: a PN and a LID name the same device.

Source: "The X3DH Key Agreement Protocol" and "The Double Ratchet Algorithm" (signal.org), message version 3.
"""

from __future__ import annotations

import hashlib
import hmac
import itertools
import os
from collections.abc import Hashable
from dataclasses import dataclass, field

from cryptography.hazmat.primitives import hashes, padding
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from .curve import DJB_TYPE, KeyPair, verify
from .signal_wire import SignalError, number, octets, read_fields, write_fields

VERSION = 0x33
_MOST_SKIPPED = 2000
_MOST_SESSIONS = 8
_REGISTRATION_IDS = itertools.count(1000)


def hkdf(material: bytes, info: bytes, length: int, salt: bytes | None = None) -> bytes:
    """HKDF-SHA256; no salt means 32 zero bytes (RFC 5869)."""
    return HKDF(hashes.SHA256(), length, salt, info).derive(material)


def cbc_encrypt(key: bytes, iv: bytes, plain: bytes) -> bytes:
    """AES-CBC with PKCS#7 padding."""
    padder = padding.PKCS7(128).padder()
    encryptor = Cipher(algorithms.AES(key), modes.CBC(iv)).encryptor()
    return encryptor.update(padder.update(plain) + padder.finalize()) + encryptor.finalize()


def cbc_decrypt(key: bytes, iv: bytes, sealed: bytes) -> bytes:
    """Raises ValueError when the length or the padding is wrong."""
    decryptor = Cipher(algorithms.AES(key), modes.CBC(iv)).decryptor()
    unpadder = padding.PKCS7(128).unpadder()
    return unpadder.update(decryptor.update(sealed) + decryptor.finalize()) + unpadder.finalize()


def next_chain(chain: bytes) -> tuple[bytes, bytes]:
    """(message seed, next chain key), for the double ratchet and for sender keys alike."""
    return hmac.digest(chain, b"\x01", hashlib.sha256), hmac.digest(chain, b"\x02", hashlib.sha256)


@dataclass(frozen=True, slots=True)
class PreKeyBundle:
    """What is needed to write to a device that never answered. Public keys have 32 bytes."""

    registration: int
    identity: bytes
    signed_id: int
    signed_key: bytes
    signature: bytes
    one_time_id: int | None = None
    one_time_key: bytes | None = None


@dataclass(frozen=True, slots=True)
class _Chain:
    key: bytes
    index: int = 0

    def step(self) -> tuple[bytes, _Chain]:
        seed, following = next_chain(self.key)
        return seed, _Chain(following, self.index + 1)


@dataclass(frozen=True, slots=True)
class _Unanswered:
    """Sent along until the peer answers: it lets the peer build the session from any of the first messages."""

    one_time_id: int | None
    signed_id: int
    base_key: bytes


@dataclass(slots=True)
class SignalSession:
    """One double ratchet. `base_key` (the initiator's ephemeral public key) tells sessions of one peer apart."""

    local_identity: bytes
    remote_identity: bytes
    base_key: bytes
    _root: bytes
    _ratchet: KeyPair
    _sending: _Chain
    _receiving: dict[bytes, _Chain] = field(default_factory=dict)
    _skipped: dict[tuple[bytes, int], bytes] = field(default_factory=dict)
    _previous: int = 0
    _unanswered: _Unanswered | None = None

    @classmethod
    def initiate(cls, identity: KeyPair, bundle: PreKeyBundle) -> SignalSession:
        """Alice's side. Raises SignalError when the signed prekey is not signed by its identity."""
        if not verify(bundle.identity, DJB_TYPE + bundle.signed_key, bundle.signature):
            raise SignalError("the bundle's signed prekey is not signed by its identity")
        base, ratchet = KeyPair.generate(), KeyPair.generate()
        shared = identity.agree(bundle.signed_key) + base.agree(bundle.identity) + base.agree(bundle.signed_key)
        if bundle.one_time_key is not None:
            shared += base.agree(bundle.one_time_key)
        root, receiving = _x3dh(shared)
        new_root, sending = _ratchet_root(root, ratchet.agree(bundle.signed_key))
        return cls(
            identity.public,
            bundle.identity,
            base.public,
            new_root,
            ratchet,
            _Chain(sending),
            {bundle.signed_key: _Chain(receiving)},
            _unanswered=_Unanswered(bundle.one_time_id, bundle.signed_id, base.public),
        )

    @classmethod
    def respond(cls, identity: KeyPair, signed: KeyPair, one_time: KeyPair | None, remote: bytes, base: bytes) -> SignalSession:
        """Bob's side: `signed` is his signed prekey, his first ratchet key as well."""
        shared = signed.agree(remote) + identity.agree(base) + signed.agree(base)
        if one_time is not None:
            shared += one_time.agree(base)
        root, sending = _x3dh(shared)
        return cls(identity.public, remote, base, root, signed, _Chain(sending))

    def encrypt(self, plain: bytes, registration: int) -> tuple[str, bytes]:
        """("msg" or "pkmsg", the wire bytes)."""
        counter = self._sending.index
        seed, self._sending = self._sending.step()
        cipher, mac, iv = _message_keys(seed)
        body = bytes([VERSION]) + write_fields(
            {1: DJB_TYPE + self._ratchet.public, 2: counter, 3: self._previous, 4: cbc_encrypt(cipher, iv, plain)}
        )
        message = body + _mac(mac, self.local_identity, self.remote_identity, body)
        if self._unanswered is None:
            return "msg", message
        pending = self._unanswered
        return "pkmsg", bytes([VERSION]) + write_fields(
            {
                1: pending.one_time_id,
                2: DJB_TYPE + pending.base_key,
                3: DJB_TYPE + self.local_identity,
                4: message,
                5: registration,
                6: pending.signed_id,
            }
        )

    def decrypt(self, message: bytes) -> bytes:
        """The plaintext of a "msg". Nothing changes unless the MAC is right. Raises SignalError."""
        if len(message) < 9 or message[0] != VERSION:
            raise SignalError("not a Signal message of version 3")
        body, mac = message[:-8], message[-8:]
        fields = read_fields(body[1:])
        remote, counter = octets(fields, 1, 33)[1:], number(fields, 2)
        step: tuple[bytes, KeyPair, _Chain] | None = None
        skipped: dict[tuple[bytes, int], bytes] = {}
        following: _Chain | None = None
        seed = self._skipped.get((remote, counter))
        if seed is None:
            chain = self._receiving.get(remote)
            if chain is None:
                step, chain = self._turn(remote)
            if counter < chain.index:
                raise SignalError(f"message {counter} of this chain was read already")
            if counter - chain.index > _MOST_SKIPPED:
                raise SignalError(f"message {counter} is too far ahead")
            following = chain
            while following.index < counter:
                at = following.index
                skipped[remote, at], following = following.step()
            seed, following = following.step()
        cipher, mac_key, iv = _message_keys(seed)
        if not hmac.compare_digest(mac, _mac(mac_key, self.remote_identity, self.local_identity, body)):
            raise SignalError("the MAC does not match")
        try:
            plain = cbc_decrypt(cipher, iv, octets(fields, 4))
        except ValueError as error:
            raise SignalError("the ciphertext does not open") from error
        if step is not None:
            self._previous = max(self._sending.index - 1, 0)
            self._root, self._ratchet, self._sending = step
        if following is None:
            del self._skipped[remote, counter]
        else:
            self._receiving[remote] = following
            self._skipped |= skipped
        self._unanswered = None
        return plain

    def _turn(self, remote: bytes) -> tuple[tuple[bytes, KeyPair, _Chain], _Chain]:
        """The DH ratchet: what sending becomes, and the chain to read `remote`'s messages with."""
        root, receiving = _ratchet_root(self._root, _agree(self._ratchet, remote))
        ratchet = KeyPair.generate()
        root, sending = _ratchet_root(root, _agree(ratchet, remote))
        return (root, ratchet, _Chain(sending)), _Chain(receiving)


def _agree(pair: KeyPair, public: bytes) -> bytes:
    try:
        return pair.agree(public)
    except ValueError as error:
        raise SignalError("a public key of low order") from error


def _x3dh(shared: bytes) -> tuple[bytes, bytes]:
    out = hkdf(b"\xff" * 32 + shared, b"WhisperText", 64)
    return out[:32], out[32:]


def _ratchet_root(root: bytes, shared: bytes) -> tuple[bytes, bytes]:
    out = hkdf(shared, b"WhisperRatchet", 64, salt=root)
    return out[:32], out[32:]


def _message_keys(seed: bytes) -> tuple[bytes, bytes, bytes]:
    out = hkdf(seed, b"WhisperMessageKeys", 80)
    return out[:32], out[32:64], out[64:]


def _mac(key: bytes, sender: bytes, receiver: bytes, body: bytes) -> bytes:
    return hmac.digest(key, DJB_TYPE + sender + DJB_TYPE + receiver + body, hashlib.sha256)[:8]


class SignalDevice:
    """A virtual device's keys and sessions."""

    def __init__(self) -> None:
        self.identity = KeyPair.generate()
        self.registration = next(_REGISTRATION_IDS)
        self.signed_id = 1
        self._signed = KeyPair.generate()
        self._signature = self.identity.sign(DJB_TYPE + self._signed.public)
        self._one_time: dict[int, KeyPair] = {}
        self._one_time_ids = itertools.count(1)
        self._sessions: dict[Hashable, list[SignalSession]] = {}

    def bundle(self) -> PreKeyBundle:
        """A bundle with a one-time prekey made for it."""
        one_time_id, pair = next(self._one_time_ids) & 0xFFFFFF, KeyPair.generate()
        self._one_time[one_time_id] = pair
        return PreKeyBundle(
            self.registration,
            self.identity.public,
            self.signed_id,
            self._signed.public,
            self._signature,
            one_time_id,
            pair.public,
        )

    def knows(self, peer: Hashable) -> bool:
        """Whether a message to `peer` needs no bundle."""
        return bool(self._sessions.get(peer))

    def forget(self, peer: Hashable) -> None:
        """Drop the sessions with `peer`, as a reinstalled app does."""
        self._sessions.pop(peer, None)

    def start(self, peer: Hashable, bundle: PreKeyBundle) -> None:
        """A new session with `peer` to write on. Raises SignalError for a bad signature."""
        self._keep(peer, SignalSession.initiate(self.identity, bundle))

    def encrypt(self, peer: Hashable, plain: bytes) -> tuple[str, bytes]:
        """("msg" or "pkmsg", bytes) on the current session. Raises SignalError without one."""
        if not self.knows(peer):
            raise SignalError("no session with this device")
        return self._sessions[peer][0].encrypt(pad(plain), self.registration)

    def decrypt(self, peer: Hashable, kind: str, message: bytes) -> bytes:
        """The padding-free plaintext of a "msg" or "pkmsg" from `peer`. Raises SignalError."""
        if kind == "pkmsg":
            return unpad(self._decrypt_first(peer, message))
        if kind != "msg":
            raise SignalError(f"{kind!r} is no message between two devices")
        failure = SignalError("no session with this device")
        for session in list(self._sessions.get(peer, ())):
            try:
                plain = session.decrypt(message)
            except SignalError as error:
                failure = error
                continue
            self._keep(peer, session)
            return unpad(plain)
        raise failure

    def _decrypt_first(self, peer: Hashable, message: bytes) -> bytes:
        if not message or message[0] != VERSION:
            raise SignalError("not a Signal message of version 3")
        fields = read_fields(message[1:])
        base, remote, inner = octets(fields, 2, 33)[1:], octets(fields, 3, 33)[1:], octets(fields, 4)
        for session in self._sessions.get(peer, ()):
            if session.base_key == base and session.remote_identity == remote:
                plain = session.decrypt(inner)
                self._keep(peer, session)
                return plain
        if number(fields, 6) != self.signed_id:
            raise SignalError(f"unknown signed prekey {number(fields, 6)}")
        one_time = None
        if 1 in fields:
            one_time = self._one_time.get(number(fields, 1))
            if one_time is None:
                raise SignalError(f"one-time prekey {number(fields, 1)} is used up")
        try:
            session = SignalSession.respond(self.identity, self._signed, one_time, remote, base)
        except ValueError as error:
            raise SignalError("a public key of low order") from error
        plain = session.decrypt(inner)
        self._keep(peer, session)
        self._one_time.pop(number(fields, 1), None)
        return plain

    def _keep(self, peer: Hashable, session: SignalSession) -> None:
        others = [other for other in self._sessions.get(peer, ()) if other is not session]
        self._sessions[peer] = [session, *others][:_MOST_SESSIONS]


def pad(plain: bytes) -> bytes:
    """WhatsApp's padding inside the ciphertext: n bytes of value n, 1 to 16."""
    count = os.urandom(1)[0] % 16 + 1
    return plain + bytes([count]) * count


def unpad(padded: bytes) -> bytes:
    """Raises SignalError when the padding is none."""
    if not padded or not 1 <= padded[-1] <= 16 or not padded.endswith(bytes([padded[-1]]) * padded[-1]):
        raise SignalError("the padding is wrong")
    return padded[: -padded[-1]]
