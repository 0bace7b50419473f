"""The server's half of `Noise_XX_25519_AESGCM_SHA256`, in WhatsApp's dialect, and the two ciphers it leaves.

The dialect: the 32-byte protocol name is hash, salt and first key at once (no hashing), the prologue is the four
bytes the client sends first, and the counter starts again with every new key.
"""

from __future__ import annotations

import hashlib

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from google.protobuf.message import DecodeError

from .curve import KeyPair
from .protobufs import HandshakeMessage

NAME = b"Noise_XX_25519_AESGCM_SHA256\x00\x00\x00\x00"


class NoiseError(Exception):
    """The other side does not speak this handshake, or its bytes do not open."""


def _expand(salt: bytes, material: bytes) -> tuple[bytes, bytes]:
    out = HKDF(hashes.SHA256(), 64, salt, b"").derive(material)
    return out[:32], out[32:]


class NoiseCipher:
    """One direction after the handshake: AES-256-GCM, no associated data, its own counter from 0."""

    def __init__(self, key: bytes) -> None:
        self._aead = AESGCM(key)
        self._counter = 0

    def _nonce(self) -> bytes:
        nonce = b"\x00" * 8 + self._counter.to_bytes(4, "big")
        self._counter += 1
        return nonce

    def seal(self, plain: bytes) -> bytes:
        return self._aead.encrypt(self._nonce(), plain, None)

    def open(self, sealed: bytes) -> bytes:
        """Raises NoiseError when the tag does not match."""
        try:
            return self._aead.decrypt(self._nonce(), sealed, None)
        except (InvalidTag, ValueError) as error:
            raise NoiseError("a transport frame does not open") from error


class NoiseState:
    """The symmetric state both sides keep in step."""

    def __init__(self, prologue: bytes) -> None:
        self._hash = self._salt = NAME
        self._aead = AESGCM(NAME)
        self._counter = 0
        self.mix_hash(prologue)

    def mix_hash(self, data: bytes) -> None:
        self._hash = hashlib.sha256(self._hash + data).digest()

    def mix_key(self, shared: bytes) -> None:
        self._salt, key = _expand(self._salt, shared)
        self._aead = AESGCM(key)
        self._counter = 0

    def _nonce(self) -> bytes:
        nonce = b"\x00" * 8 + self._counter.to_bytes(4, "big")
        self._counter += 1
        return nonce

    def seal(self, plain: bytes) -> bytes:
        sealed = self._aead.encrypt(self._nonce(), plain, self._hash)
        self.mix_hash(sealed)
        return sealed

    def open(self, sealed: bytes) -> bytes:
        try:
            plain = self._aead.decrypt(self._nonce(), sealed, self._hash)
        except (InvalidTag, ValueError) as error:
            raise NoiseError("a handshake field does not open") from error
        self.mix_hash(sealed)
        return plain

    def split(self) -> tuple[NoiseCipher, NoiseCipher]:
        """(client to server, server to client)."""
        up, down = _expand(self._salt, b"")
        return NoiseCipher(up), NoiseCipher(down)


class NoiseResponder:
    """`hello(frame)` gives the answer to the client's first frame; `finish(frame)` reads its second.

    Both raise NoiseError for anything that is not this handshake. After `finish`: `client_static` is the
    client's 32-byte Noise key, `payload` its serialized ClientPayload, `up` and `down` the two ciphers.
    """

    def __init__(self, static: KeyPair, certificate_chain: bytes, prologue: bytes) -> None:
        self._static = static
        self._chain = certificate_chain
        self._ephemeral = KeyPair.generate()
        self._state = NoiseState(prologue)
        self.client_static = b""
        self.payload = b""

    def hello(self, frame: bytes) -> bytes:
        client = _parse(frame).clientHello.ephemeral
        if len(client) != 32:
            raise NoiseError(f"the client's ephemeral key has {len(client)} bytes, not 32")
        state = self._state
        state.mix_hash(client)
        state.mix_hash(self._ephemeral.public)
        state.mix_key(_agree(self._ephemeral, client))
        static = state.seal(self._static.public)
        state.mix_key(_agree(self._static, client))
        answer = HandshakeMessage()
        answer.serverHello.ephemeral = self._ephemeral.public
        answer.serverHello.static = static
        answer.serverHello.payload = state.seal(self._chain)
        return bytes(answer.SerializeToString())

    def finish(self, frame: bytes) -> None:
        message = _parse(frame).clientFinish
        self.client_static = self._state.open(message.static)
        if len(self.client_static) != 32:
            raise NoiseError("the client's static key is not 32 bytes")
        self._state.mix_key(_agree(self._ephemeral, self.client_static))
        self.payload = self._state.open(message.payload)
        self.up, self.down = self._state.split()


def _parse(frame: bytes) -> HandshakeMessage:
    try:
        return HandshakeMessage.FromString(frame)
    except DecodeError as error:
        raise NoiseError("a handshake frame is not a HandshakeMessage") from error


def _agree(pair: KeyPair, public: bytes) -> bytes:
    try:
        return pair.agree(public)
    except ValueError as error:
        raise NoiseError("a public key of low order") from error
