"""Sender keys: how a group message is encrypted once for everybody, and read by those who got the key.

Source: libsignal's group cipher; the key of message n is `HKDF(seed_n, "WhisperGroup", 48) = iv | key`.
"""

from __future__ import annotations

import os
from collections.abc import Hashable
from dataclasses import dataclass, field

from .curve import DJB_TYPE, KeyPair, verify
from .signal import VERSION, cbc_decrypt, cbc_encrypt, hkdf, next_chain, pad, unpad
from .signal_wire import SignalError, number, octets, read_fields, write_fields

_MOST_SKIPPED = 2000


@dataclass(slots=True)
class _Reader:
    """One sender's key as a reader holds it."""

    chain: bytes
    index: int
    signing: bytes
    skipped: dict[int, bytes] = field(default_factory=dict)


class SenderKeys:
    """One device's own key for each group, and the keys other devices have shared with it."""

    def __init__(self) -> None:
        self._own: dict[str, tuple[int, KeyPair, bytes, int]] = {}
        self._readers: dict[tuple[str, Hashable, int], _Reader] = {}

    def distribution(self, group: str) -> bytes:
        """The own key of `group` from now on, to be sent to each member's device in a message of its own."""
        key_id, signing, chain, index = self._own_key(group)
        return bytes([VERSION]) + write_fields({1: key_id, 2: index, 3: chain, 4: DJB_TYPE + signing.public})

    def encrypt(self, group: str, plain: bytes) -> bytes:
        """An "skmsg" of `plain`, signed."""
        key_id, signing, chain, index = self._own_key(group)
        seed, following = next_chain(chain)
        self._own[group] = (key_id, signing, following, index + 1)
        keys = hkdf(seed, b"WhisperGroup", 48)
        sealed = cbc_encrypt(keys[16:], keys[:16], pad(plain))
        body = bytes([VERSION]) + write_fields({1: key_id, 2: index, 3: sealed})
        return body + signing.sign(body)

    def receive_distribution(self, group: str, sender: Hashable, message: bytes) -> None:
        """Remember `sender`'s key for `group`. Raises SignalError."""
        if not message or message[0] != VERSION:
            raise SignalError("not a sender key of version 3")
        fields = read_fields(message[1:])
        reader = _Reader(octets(fields, 3, 32), number(fields, 2), octets(fields, 4, 33)[1:])
        place = group, sender, number(fields, 1)
        known = self._readers.get(place)
        if known is None or known.signing != reader.signing or known.index < reader.index:
            self._readers[place] = reader

    def decrypt(self, group: str, sender: Hashable, message: bytes) -> bytes:
        """The plaintext of an "skmsg". Raises SignalError when the key, the signature or the number is wrong."""
        if len(message) < 65 or message[0] != VERSION:
            raise SignalError("not a group message of version 3")
        body, signature = message[:-64], message[-64:]
        fields = read_fields(body[1:])
        reader = self._readers.get((group, sender, number(fields, 1)))
        if reader is None:
            raise SignalError("no sender key for this message")
        if not verify(reader.signing, body, signature):
            raise SignalError("the signature does not match")
        index = number(fields, 2)
        seed = reader.skipped.pop(index, None)
        if seed is None:
            if index < reader.index or index - reader.index > _MOST_SKIPPED:
                raise SignalError(f"message {index} was read already, or is too far ahead")
            while reader.index <= index:
                seed, reader.chain = next_chain(reader.chain)
                if reader.index < index:
                    reader.skipped[reader.index] = seed
                reader.index += 1
        assert seed is not None
        keys = hkdf(seed, b"WhisperGroup", 48)
        try:
            return unpad(cbc_decrypt(keys[16:], keys[:16], octets(fields, 3)))
        except ValueError as error:
            raise SignalError("the ciphertext does not open") from error

    def _own_key(self, group: str) -> tuple[int, KeyPair, bytes, int]:
        if group not in self._own:
            key_id = int.from_bytes(os.urandom(4), "big") & 0x7FFFFFFF
            self._own[group] = (key_id, KeyPair.generate(), os.urandom(32), 0)
        return self._own[group]
