"""Media: what clients upload and download, and the keys that open it.

A blob is `AES-CBC | HMAC[:10]` under keys expanded from a media key that only the message carries, so this store,
like WhatsApp's, keeps bytes it cannot read. Phones open them with the key from a decrypted message.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import unquote

from aiohttp import web

from .signal import cbc_decrypt, cbc_encrypt, hkdf

if TYPE_CHECKING:
    from .world import World

INFO = {
    "audio": b"WhatsApp Audio Keys",
    "image": b"WhatsApp Image Keys",
    "video": b"WhatsApp Video Keys",
    "document": b"WhatsApp Document Keys",
    "sticker": b"WhatsApp Image Keys",
}
"""HKDF info by the kind of media; voice notes are audio."""

_HOST = "https://mmg.whatsapp.net"


class MediaError(Exception):
    """A blob that is not there, or does not open with the key of its message."""


@dataclass(frozen=True, slots=True)
class Sealed:
    """An encrypted blob and what its message says about it."""

    blob: bytes
    key: bytes
    sha256: bytes
    encrypted_sha256: bytes


def seal(plain: bytes, kind: str) -> Sealed:
    """Encrypt as a phone does before it uploads."""
    key = os.urandom(32)
    iv, cipher, mac = _keys(key, kind)
    sealed = cbc_encrypt(cipher, iv, plain)
    blob = sealed + hmac.digest(mac, iv + sealed, hashlib.sha256)[:10]
    return Sealed(blob, key, hashlib.sha256(plain).digest(), hashlib.sha256(blob).digest())


def unseal(blob: bytes, key: bytes, kind: str, sha256: bytes) -> bytes:
    """The file in `blob`. Raises MediaError when the MAC or the hash of the file does not match."""
    iv, cipher, mac = _keys(key, kind)
    sealed, code = blob[:-10], blob[-10:]
    if not hmac.compare_digest(code, hmac.digest(mac, iv + sealed, hashlib.sha256)[:10]):
        raise MediaError("the MAC of the blob does not match its message's key")
    try:
        plain = cbc_decrypt(cipher, iv, sealed)
    except ValueError as error:
        raise MediaError("the blob does not decrypt") from error
    if hashlib.sha256(plain).digest() != sha256:
        raise MediaError("the file's SHA-256 is not the one in the message")
    return plain


def _keys(media_key: bytes, kind: str) -> tuple[bytes, bytes, bytes]:
    keys = hkdf(media_key, INFO[kind], 112)
    return keys[:16], keys[16:48], keys[48:80]


class MediaStore:
    """Blobs by the SHA-256 of their bytes, and the two routes that clients use."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._blobs: dict[bytes, bytes] = {}
        self.uploads = 0
        self.downloads = 0

    def put(self, blob: bytes) -> str:
        """Keep `blob`; its direct path."""
        digest = hashlib.sha256(blob).digest()
        self._blobs[digest] = blob
        # Clients append "&hash=..." when they download, so a query has to be there already.
        return f"/v/t62.7117-24/{digest.hex()}.enc?ccb=11-4&oe=7FFFFFFF"

    def get(self, encrypted_sha256: bytes) -> bytes:
        """Raises MediaError when nobody uploaded it."""
        blob = self._blobs.get(encrypted_sha256)
        if blob is None:
            raise MediaError("this blob was never uploaded")
        return blob

    def url(self, direct_path: str) -> str:
        return _HOST + direct_path

    async def handle_upload(self, request: web.Request) -> web.Response:
        """`POST /mms/{kind}/{token}?auth=..`: the token is the URL-safe base64 of the body's SHA-256.

        `/newsletter/..` takes files that are not encrypted.
        """
        owner = self._world.people.device(request.query.get("auth", ""))
        if owner is None or owner.removed:
            return web.json_response({"error": "unauthorized"}, status=401)
        body = await request.read()
        fault = self._world.faults.take("upload", device=owner.names)
        if fault is not None and fault.seconds:
            await asyncio.sleep(fault.seconds)
        if fault is not None and "status" in fault.options:
            return web.json_response({"error": "sandbox"}, status=int(fault.options["status"]))
        digest = hashlib.sha256(body).digest()
        if unquote(request.match_info["token"]) != base64.urlsafe_b64encode(digest).decode():
            return web.json_response({"error": "the token is not the body's hash"}, status=400)
        self.uploads += 1
        path = self.put(body)
        return web.json_response({"url": self.url(path), "direct_path": path, "handle": digest.hex()})

    async def handle_download(self, request: web.Request) -> web.Response:
        """`GET /v/t62.7117-24/{name}`."""
        fault = self._world.faults.take("download")
        if fault is not None and fault.seconds:
            await asyncio.sleep(fault.seconds)
        if fault is not None and "status" in fault.options:
            return web.Response(status=int(fault.options["status"]))
        try:
            blob = self.get(bytes.fromhex(request.match_info["name"].removesuffix(".enc")))
        except (ValueError, MediaError):
            return web.Response(status=404)
        self.downloads += 1
        return web.Response(body=blob, content_type="application/octet-stream")
