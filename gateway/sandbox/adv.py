"""The signed device list: how a phone vouches for a companion, and the companion for itself."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass

from google.protobuf.message import DecodeError

from .curve import KeyPair, verify
from .protobufs import ADVDeviceIdentity, ADVSignedDeviceIdentity, ADVSignedDeviceIdentityHMAC

_ACCOUNT = b"\x06\x00"
_DEVICE = b"\x06\x01"


@dataclass(frozen=True, slots=True)
class Vouching:
    """One companion's identity, signed by its phone."""

    details: bytes
    signature: bytes
    phone: bytes
    companion: bytes

    @classmethod
    def by(cls, phone: KeyPair, companion: bytes, key_index: int, timestamp: int) -> Vouching:
        details = ADVDeviceIdentity(
            rawID=int.from_bytes(phone.public[:3], "big"), timestamp=timestamp, keyIndex=key_index
        ).SerializeToString()
        return cls(details, phone.sign(_ACCOUNT + details + companion), phone.public, companion)

    def container(self, secret: bytes) -> bytes:
        """What pair-success carries: authenticated with the secret that was in the QR code."""
        signed = ADVSignedDeviceIdentity(
            details=self.details, accountSignatureKey=self.phone, accountSignature=self.signature
        ).SerializeToString()
        code = hmac.digest(secret, signed, hashlib.sha256)
        return bytes(ADVSignedDeviceIdentityHMAC(details=signed, HMAC=code).SerializeToString())

    def countersigned(self, answer: bytes) -> bytes | None:
        """The complete identity others receive with the companion's keys; None when its signature is not right."""
        try:
            identity = ADVSignedDeviceIdentity.FromString(answer)
        except DecodeError:
            return None
        signed = _DEVICE + self.details + self.companion + self.phone
        if identity.details != self.details or not verify(self.companion, signed, identity.deviceSignature):
            return None
        identity.accountSignatureKey = self.phone
        return bytes(identity.SerializeToString())
