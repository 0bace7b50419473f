"""Curve25519 key pairs that agree (X25519) and sign (XEdDSA), as Signal and WhatsApp use them.

Every key of the sandbox is made here, and made from an Ed25519 seed: `a = clamp(SHA512(seed)[:32])` is then both
the X25519 private key and the Ed25519 scalar, so the sign bit of its Edwards point is known without any curve
arithmetic in Python. Signing draws its nonce point the same way. Only one modular multiplication is left to us.

Source: "The XEdDSA and VXEdDSA Signature Schemes" (signal.org), RFC 7748, RFC 8032.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

_FIELD = 2**255 - 19
_ORDER = 2**252 + 27742317777372353535851937790883648493
DJB_TYPE = b"\x05"
"""The type byte before a Curve25519 public key in Signal messages; on WhatsApp's wire it is left out."""


def _point_and_scalar(seed: bytes) -> tuple[bytes, bytes]:
    """The Ed25519 point of `seed` (32 bytes) and its clamped scalar (32 bytes, little endian)."""
    scalar = bytearray(hashlib.sha512(seed).digest()[:32])
    scalar[0] &= 248
    scalar[31] = (scalar[31] & 127) | 64
    return Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw(), bytes(scalar)


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A Curve25519 key pair. `public` is the 32-byte Montgomery u coordinate."""

    public: bytes
    _scalar: bytes = field(repr=False)
    _negative: bool = field(repr=False)
    _private: X25519PrivateKey = field(repr=False)

    @classmethod
    def generate(cls, seed: bytes | None = None) -> KeyPair:
        """A new pair; the same 32-byte `seed` gives the same pair."""
        point, scalar = _point_and_scalar(os.urandom(32) if seed is None else seed)
        private = X25519PrivateKey.from_private_bytes(scalar)
        return cls(private.public_key().public_bytes_raw(), scalar, bool(point[31] >> 7), private)

    def agree(self, public: bytes) -> bytes:
        """X25519 with the 32-byte `public`. Raises ValueError for a low-order point."""
        return self._private.exchange(X25519PublicKey.from_public_bytes(public))

    def sign(self, message: bytes) -> bytes:
        """The 64-byte XEdDSA signature of `message`; the sign bit of the key travels in its last byte's top bit."""
        nonce_point, nonce = _point_and_scalar(os.urandom(32))
        # libsignal's variant of XEdDSA: the key's true sign is kept (and sent along) instead of forcing it to zero.
        edwards = bytearray(_edwards(self.public))
        edwards[31] |= self._negative << 7
        challenge = int.from_bytes(hashlib.sha512(nonce_point + edwards + message).digest(), "little") % _ORDER
        answer = (int.from_bytes(nonce, "little") + challenge * int.from_bytes(self._scalar, "little")) % _ORDER
        signature = bytearray(nonce_point + answer.to_bytes(32, "little"))
        signature[63] |= self._negative << 7
        return bytes(signature)


def verify(public: bytes, message: bytes, signature: bytes) -> bool:
    """Whether `signature` (64 bytes, XEdDSA) over `message` was made by the 32-byte Montgomery key `public`."""
    if len(public) != 32 or len(signature) != 64:
        return False
    edwards = bytearray(_edwards(public))
    edwards[31] |= signature[63] & 0x80
    plain = signature[:63] + bytes([signature[63] & 0x7F])
    try:
        Ed25519PublicKey.from_public_bytes(bytes(edwards)).verify(plain, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def _edwards(montgomery: bytes) -> bytes:
    """The Edwards y of a Montgomery u, y = (u - 1) / (u + 1), sign bit zero."""
    u = int.from_bytes(montgomery, "little") & ((1 << 255) - 1)
    return ((u - 1) * pow(u + 1, -1, _FIELD) % _FIELD if (u + 1) % _FIELD else 0).to_bytes(32, "little")
