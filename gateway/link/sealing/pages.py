"""The page cipher: AES-256-GCM for page images, one AES block for checksums. Keys of one database file.

    sealed page    ciphertext 4064 | tag 16 | nonce 12 | epoch 4          (4096 bytes, as large as the page)
    salt           random 10 | key check 6                                (first 16 bytes of the file)

The page key is HKDF-SHA256(data key, salt, "page" || epoch). The epoch is drawn once for each process that opens the file, so
GCM's budget of 2^32 random nonces a key begins anew with every start. The associated data holds what the page is for (database,
WAL or journal), the salt, page number and offset: a page that is moved, swapped, or taken from another file does not open.
"""

from __future__ import annotations

import hmac
import os
from struct import Struct

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

PAGE = 4096
RESERVED = 32                       # at the end of every page, kept free by SQLite for us
BODY = PAGE - RESERVED              # 4064
NONCE_AT, NONCE_END = BODY + 16, BODY + 28
SALT = 16
KEY = 32

DATABASE, WAL, JOURNAL = b"D", b"W", b"J"
NotAuthentic = InvalidTag           # what opening a changed page raises

_RANDOM, _CHECK = 10, 6
_EPOCHS_KEPT = 1024                 # page keys kept ready; every start of the program adds one to a file
_PLACE = Struct(">QQ").pack


def _derive(key: bytes, salt: bytes, info: bytes) -> bytes:
    return HKDF(SHA256(), KEY, salt, b"wagateway/session/1/" + info).derive(key)


def _key_check(data_key: bytes, random: bytes) -> bytes:
    return _derive(data_key, random, b"check")[:_CHECK]


def new_salt(data_key: bytes) -> bytes:
    random = os.urandom(_RANDOM)
    return random + _key_check(data_key, random)


def made_with(data_key: bytes, salt: bytes) -> bool:
    """Whether a file that begins with `salt` was sealed with this key (a wrong one passes once in 2^48)."""
    return hmac.compare_digest(salt[_RANDOM:], _key_check(data_key, salt[:_RANDOM]))


class DatabaseKeys:
    """Of one file; shared by all its connections, its journal and its WAL. Any thread may use it."""

    def __init__(self, data_key: bytes, salt: bytes) -> None:
        self.data_key, self.salt = data_key, salt
        self.block_key = _derive(data_key, salt, b"block")
        self._keys: dict[bytes, AESGCM] = {}
        self._place = {kind: b"wagateway/1" + kind + salt for kind in (DATABASE, WAL, JOURNAL)}
        self._epoch = os.urandom(4)
        self._encrypt = self._key(self._epoch).encrypt

    def _key(self, epoch: bytes) -> AESGCM:
        key = self._keys.get(epoch)
        if key is None:
            if len(self._keys) >= _EPOCHS_KEPT:     # a forged file could name a new epoch in every page
                self._keys.clear()
            key = self._keys[epoch] = AESGCM(_derive(self.data_key, self.salt, b"page" + epoch))
        return key

    def seal(self, kind: bytes, page_number: int, offset: int, body: bytes) -> bytes:
        nonce = os.urandom(12)
        sealed = self._encrypt(nonce, body, self._place[kind] + _PLACE(page_number, offset))
        return b"".join((sealed, nonce, self._epoch))

    def open(self, kind: bytes, page_number: int, offset: int, sealed: bytes) -> bytes:
        """Raises NotAuthentic."""
        place = self._place[kind] + _PLACE(page_number, offset)
        return self._key(sealed[-4:]).decrypt(sealed[-16:-4], sealed[:-16], place)


class BlockCipher:
    """AES on single blocks, for what SQLite stores beside the pages. One for each open file: not for two threads at once."""

    def __init__(self, keys: DatabaseKeys) -> None:
        cipher = Cipher(algorithms.AES(keys.block_key), modes.ECB())    # single, distinct blocks: no chaining wanted
        self.encrypt, self.decrypt = cipher.encryptor().update, cipher.decryptor().update
