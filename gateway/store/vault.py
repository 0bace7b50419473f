"""The one door to sealing: a master key that wraps data keys, and data keys that seal rows.

Envelope: the master key never touches a row. It wraps *data keys* (one for the gateway's own database, one for each
session's file); a `Sealer` built from an unwrapped data key seals the rows. Changing the master key therefore re-wraps a
few dozen bytes for each data key and rewrites nothing else.

Everything sealed is bound to its *place* (a path-like name such as `payload/01J…`) as associated data of AES-256-GCM
(NIST SP 800-38D): moved to another row it does not open. Sub-keys come from HKDF-SHA256 (RFC 5869), so the master key itself
is used for nothing else. Nonces are 12 random bytes: one key stays safe for 2^32 seals, far above what a gateway writes.

    wrapped by the vault             version 1 | key id 4 | nonce 12 | ciphertext | tag 16
    sealed by a Sealer               version 1 | nonce 12 | ciphertext | tag 16
    sealed as a stream               frames of: length 4, its top bit set in the last | ciphertext | tag 16
"""

from __future__ import annotations

import base64
import binascii
import hmac
import os
import re
import stat
from pathlib import Path
from typing import BinaryIO

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from gateway.store.durable import sync_folder

KEY_BYTES = 32
CREDENTIAL = "master-key"           # systemd: LoadCredentialEncrypted=master-key:…
KEY_FILE = "master.key"             # in the state folder, made on the first start
PREVIOUS = ".previous"              # beside the key while a rotation is under way

_DRAFT = re.compile(r"\..+\.[0-9a-f]{12}")
_VERSION = b"\x01"
_ID, _NONCE, _TAG, _SALT, _CHECK = 4, 12, 16, 16, 16


class VaultError(Exception):
    """`code` is one of key_missing, key_permissions, key_malformed, key_unreadable, key_unwritable, wrong_key, damaged,
    rotation_unfinished; `text` is for whoever runs this and holds no secret."""

    def __init__(self, code: str, text: str) -> None:
        self.code, self.text = code, text
        super().__init__(text)


def new_data_key() -> bytes:
    return os.urandom(KEY_BYTES)


class Sealer:
    """Seals and opens values under one data key. `place` names where the value lives; it opens nowhere else."""

    def __init__(self, data_key: bytes) -> None:
        self._aead = AESGCM(_derive(_checked(data_key), b"wagateway/row"))

    def seal(self, plain: bytes, place: str) -> bytes:
        nonce = os.urandom(_NONCE)
        return _VERSION + nonce + self._aead.encrypt(nonce, plain, _VERSION + place.encode())

    def open(self, sealed: bytes, place: str) -> bytes:
        """Raises VaultError('damaged') when the value was changed, or belongs to another place or key."""
        if len(sealed) < 1 + _NONCE + _TAG or sealed[:1] != _VERSION:
            raise VaultError("damaged", f"{place}: not a sealed value this version knows")
        try:
            return self._aead.decrypt(sealed[1 : 1 + _NONCE], sealed[1 + _NONCE :], _VERSION + place.encode())
        except InvalidTag:
            raise VaultError("damaged", f"{place}: the sealed value does not open; it was changed, moved, or sealed with "
                                        "another key") from None


class _Master:
    """One master key's sub-keys."""

    def __init__(self, key: bytes) -> None:
        self.key = _checked(key)
        self.id = _derive(key, b"wagateway/key-id")[:_ID]
        self.fingerprint = _derive(key, b"wagateway/fingerprint")[:8].hex()
        self.aead = AESGCM(_derive(key, b"wagateway/wrap"))

    def check(self, salt: bytes) -> bytes:
        return _derive(self.key, b"wagateway/check", salt)[:_CHECK]

    def equals(self, other: _Master) -> bool:
        return hmac.compare_digest(self.key, other.key)


class Vault:
    """Holds the master key, and while a rotation is under way the previous one too.

    New values are sealed with the current key; old ones open with whichever key their key id names.
    `created` is True when this start made the key (warn once: it needs a backup). `source` is the file it came from.
    `fingerprint` (16 hex digits) identifies the key in logs and cannot be turned back into it."""

    def __init__(self, current: bytes, previous: bytes | None = None, *, source: Path | None = None,
                 created: bool = False) -> None:
        self._current = _Master(current)
        older = _Master(previous) if previous is not None else None
        self._previous = None if older is None or older.equals(self._current) else older
        self.source, self.created = source, created

    @classmethod
    def load(cls, state_dir: Path, master_key_file: Path | None = None, credentials_dir: Path | None = None, *,
             create: bool = True) -> Vault:
        """The systemd credential `master-key`, else `master_key_file`, else `state_dir/master.key`, which is made on the
        first start only. `credentials_dir` defaults to $CREDENTIALS_DIRECTORY. A file NAME.previous beside the key is the
        previous key of an unfinished rotation. Without `create` no key is ever made. Raises VaultError."""
        if credentials_dir is None and (name := os.environ.get("CREDENTIALS_DIRECTORY")):
            credentials_dir = Path(name)
        created = False
        if credentials_dir is not None and (credentials_dir / CREDENTIAL).exists():
            # The service manager guards these, with modes and ACLs of its own: the mode is not ours to judge.
            path, guarded = credentials_dir / CREDENTIAL, True
        elif master_key_file is not None:
            path, guarded = master_key_file, False
            if not path.exists():
                raise VaultError("key_missing", f"The master key file {path} does not exist. Restore it from a backup; for "
                                                "a new installation make one with: (umask 077; openssl rand -hex 32 > FILE)")
        else:
            path, guarded = state_dir / KEY_FILE, False
            if not path.exists():
                _refuse_beside_data(state_dir)
                if not create:
                    raise VaultError("key_missing", f"There is no master key: {path} does not exist, and no other is configured. "
                                                    "Put the key that belongs to the data there (mode 0600).")
                created = _create(path, os.urandom(KEY_BYTES))
        older = path.with_name(path.name + PREVIOUS)
        return cls(_read(path, guarded), _read(older, guarded) if older.exists() else None, source=path, created=created)

    # -- which key

    @property
    def is_credential(self) -> bool:
        """The service manager gave the key: we cannot change it."""
        return self.source is not None and self.source.name == CREDENTIAL

    @property
    def fingerprint(self) -> str:
        return self._current.fingerprint

    def check_value(self) -> bytes:
        """33 bytes to keep beside the data (they reveal nothing), by which `matches` recognises the key."""
        salt = os.urandom(_SALT)
        return _VERSION + salt + self._current.check(salt)

    def matches(self, check: bytes) -> bool:
        """Whether `check` came from the current key or, during a rotation, from the previous one."""
        return any(self._made(check, master) for master in self._masters())

    @staticmethod
    def _made(check: bytes, master: _Master) -> bool:
        if len(check) != 1 + _SALT + _CHECK or check[:1] != _VERSION:
            return False
        return hmac.compare_digest(check[1 + _SALT :], master.check(check[1 : 1 + _SALT]))

    def _masters(self) -> list[_Master]:
        return [self._current] if self._previous is None else [self._current, self._previous]

    # -- data keys

    @staticmethod
    def new_data_key() -> bytes:
        return new_data_key()

    def wrap(self, data_key: bytes, place: str) -> bytes:
        """65 bytes to store; `place` says whose key it is (`session/ID`)."""
        header, nonce = _VERSION + self._current.id, os.urandom(_NONCE)
        return header + nonce + self._current.aead.encrypt(nonce, _checked(data_key), header + place.encode())

    def unwrap(self, wrapped: bytes, place: str) -> bytes:
        """Raises VaultError: wrong_key (another master key's) or damaged."""
        start = 1 + _ID
        if len(wrapped) < start + _NONCE + _TAG or wrapped[:1] != _VERSION:
            raise VaultError("damaged", f"{place}: not a wrapped key this version knows")
        header = wrapped[:start]
        master = next((m for m in self._masters() if m.id == header[1:]), None)
        if master is None:
            raise VaultError("wrong_key", f"{place}: wrapped with another master key than the one given")
        try:
            nonce, body = wrapped[start : start + _NONCE], wrapped[start + _NONCE :]
            return master.aead.decrypt(nonce, body, header + place.encode())
        except InvalidTag:
            raise VaultError("damaged", f"{place}: the wrapped key does not open; it was changed or moved") from None

    def open_envelope(self, wrapped: bytes, place: str) -> Sealer:
        return Sealer(self.unwrap(wrapped, place))

    def rewrap(self, wrapped: bytes, place: str) -> bytes:
        """The same data key under the current master key. What is current already is returned as it is."""
        data_key = self.unwrap(wrapped, place)
        return self.wrap(data_key, place) if self.needs_rewrap(wrapped) else wrapped

    def needs_rewrap(self, wrapped: bytes) -> bool:
        return wrapped[1 : 1 + _ID] != self._current.id

    # -- rotation

    @property
    def rotating(self) -> bool:
        return self._previous is not None

    def rotate(self, new_key: bytes | None = None) -> Vault:
        """Puts a new master key into the key file and returns the vault that holds both. Then re-wrap every data key,
        rewrite the check value, and call `finish_rotation`. A crash at any point is harmless: the old key stays in NAME.previous
        until the end, and `load` gives both. Raises VaultError('rotation_unfinished'), or 'key_missing' when the key is not
        in a file of ours (a credential is changed by its owner, the old one becoming `master-key.previous`)."""
        if self.rotating:
            raise VaultError("rotation_unfinished", "A rotation is under way: finish it first.")
        if self.source is None or self.is_credential:
            raise VaultError("key_missing", "The master key is not in a file of ours. Change the credential master-key, and "
                                            "give the old one as the credential master-key.previous; at its next start the "
                                            "gateway wraps everything with the new one. Then take the old one away.")
        fresh = _checked(new_key if new_key is not None else os.urandom(KEY_BYTES))
        older = self.source.with_name(self.source.name + PREVIOUS)
        try:
            _replace(older, _as_text(self._current.key))
            _replace(self.source, _as_text(fresh))
        except OSError as error:
            raise VaultError("key_unwritable", f"The master key {self.source} cannot be changed: {error.strerror}. Nothing was "
                                               "rotated.") from error
        return Vault(fresh, self._current.key, source=self.source)

    def finish_rotation(self) -> Vault:
        """Forgets the previous key, and drafts of a key file that a crash left. Call only when nothing is wrapped with it any
        more."""
        if self.source is not None and not self.is_credential:
            self.source.with_name(self.source.name + PREVIOUS).unlink(missing_ok=True)
            for draft in self.source.parent.glob(f".{self.source.name}*"):
                if _DRAFT.fullmatch(draft.name):
                    draft.unlink(missing_ok=True)
            sync_folder(self.source.parent)
        return Vault(self._current.key, source=self.source)

    @classmethod
    def both(cls, current: Vault, older: Vault) -> Vault:
        """Seals with `current`'s key, opens with `older`'s too: to wrap anew what came from another time. Its key file is nobody's."""
        return cls(current._current.key, older._current.key)

    def adopt(self, newer: Vault) -> None:
        """From now on this vault, which others hold, is as `newer`: what `rotate` or `finish_rotation` returned."""
        self._current, self._previous, self.source = newer._current, newer._previous, newer.source


# ------------------------------------------------------------------ streams

_FRAME, _LAST = 1 << 20, 1 << 31


class _Frames:
    """The frames of one stream (the STREAM construction): the nonce is the frame's number and whether it is the last, so a
    frame that is missing, doubled, moved or cut off at the end does not open. The key must be of this stream alone."""

    def __init__(self, data_key: bytes, place: str) -> None:
        self._aead, self._place, self._number = AESGCM(_derive(_checked(data_key), b"wagateway/stream")), place, 0

    def _next(self, last: bool) -> tuple[bytes, bytes]:
        nonce = self._number.to_bytes(_NONCE - 1, "big") + bytes([last])
        self._number += 1
        return nonce, _VERSION + self._place.encode()


class SealingWriter(_Frames):
    """Seals what is written into `file`; `close` writes the end (and leaves `file` open)."""

    def __init__(self, file: BinaryIO, data_key: bytes, place: str) -> None:
        super().__init__(data_key, place)
        self._file, self._plain = file, bytearray()

    def write(self, plain: bytes) -> int:
        self._plain += plain
        while len(self._plain) > _FRAME:
            self._put(bytes(self._plain[:_FRAME]), last=False)
            del self._plain[:_FRAME]
        return len(plain)

    def close(self) -> None:
        self._put(bytes(self._plain), last=True)

    def _put(self, plain: bytes, *, last: bool) -> None:
        nonce, bound = self._next(last)
        sealed = self._aead.encrypt(nonce, plain, bound)
        self._file.write((len(sealed) | (_LAST if last else 0)).to_bytes(4, "big") + sealed)


class OpeningReader(_Frames):
    """Reads what a SealingWriter wrote. Raises VaultError('damaged')."""

    def __init__(self, file: BinaryIO, data_key: bytes, place: str) -> None:
        super().__init__(data_key, place)
        self._file, self._plain, self._ended = file, bytearray(), False

    def read(self, size: int) -> bytes:
        """`size` bytes; fewer at the end only."""
        while len(self._plain) < size and not self._ended:
            self._plain += self._frame()
        out = bytes(self._plain[:size])
        del self._plain[:size]
        return out

    def _frame(self) -> bytes:
        header = self._file.read(4)
        word = int.from_bytes(header, "big")
        size, last = word & ~_LAST, bool(word & _LAST)
        sealed = self._file.read(size) if size <= _FRAME + _TAG else b""
        nonce, bound = self._next(last)
        try:
            if len(header) < 4 or len(sealed) < size or size < _TAG or (last and self._file.read(1)):
                raise InvalidTag
            plain = self._aead.decrypt(nonce, sealed, bound)
        except InvalidTag:
            raise VaultError("damaged", f"{self._place}: the file was changed or cut off") from None
        self._ended = last
        return plain


def _checked(key: bytes) -> bytes:
    if len(key) != KEY_BYTES:
        raise VaultError("key_malformed", f"A key has {KEY_BYTES} bytes, not {len(key)}.")
    return key


def _as_text(key: bytes) -> bytes:
    return key.hex().encode() + b"\n"


def _derive(key: bytes, info: bytes, salt: bytes | None = None) -> bytes:
    return HKDF(SHA256(), KEY_BYTES, salt, info).derive(key)


def _read(path: Path, guarded: bool) -> bytes:
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            if not stat.S_ISREG(mode):
                raise VaultError("key_unreadable", f"{path} is not a regular file.")
            if not guarded and mode & 0o077:
                raise VaultError("key_permissions", f"{path} can be read by others (mode {stat.S_IMODE(mode):04o}). "
                                                    f"If nobody has read it: chmod 600 {path}")
            text = file.read(4096)
    except OSError as error:
        raise VaultError("key_unreadable", f"The master key {path} cannot be read: {error.strerror}.") from error
    return _parse(text, path)


def _parse(text: bytes, path: Path) -> bytes:
    """32 raw bytes, 64 hex digits, or base64 (either alphabet); white space around text is ignored."""
    wanted = "It must hold 32 raw bytes, 64 hex digits, or 32 bytes in base64."
    bare = text.strip()
    key = b""
    if len(text) == KEY_BYTES:
        if _is_hex(text):
            raise VaultError("key_malformed", f"{path} holds 32 hex digits, which are 16 bytes only. {wanted}")
        key = text
    elif len(bare) == 2 * KEY_BYTES and _is_hex(bare):
        key = bytes.fromhex(bare.decode())
    else:
        try:
            key = base64.b64decode(bare.replace(b"-", b"+").replace(b"_", b"/") + b"=" * (-len(bare) % 4), validate=True)
        except (binascii.Error, ValueError):
            key = b""
    if len(key) != KEY_BYTES:
        raise VaultError("key_malformed", f"{path} is not a master key ({len(text)} bytes long). {wanted}")
    if len(set(key)) == 1:
        raise VaultError("key_malformed", f"{path} holds one byte repeated 32 times: that is a placeholder, not a key.")
    return key


def _is_hex(text: bytes) -> bool:
    return all(c in b"0123456789abcdefABCDEF" for c in text)


def _refuse_beside_data(state_dir: Path) -> None:
    """A new key beside old data would only hide that the old key is gone."""
    if state_dir.is_dir() and (any(state_dir.glob("*.db")) or any(state_dir.glob("*.check"))):
        raise VaultError("key_missing", f"{state_dir / KEY_FILE} is missing, but {state_dir} holds data that was sealed "
                                        "with it. Restore the key from a backup; without it the data cannot be read.")


def _create(path: Path, key: bytes) -> bool:
    """True when made here; False when another process was first. The file appears whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = _draft(path, _as_text(key))
    try:
        os.link(draft, path)            # unlike rename, never replaces a key
    except FileExistsError:
        return False
    finally:
        draft.unlink()
    sync_folder(path.parent)
    return True


def _replace(path: Path, content: bytes) -> None:
    draft = _draft(path, content)
    draft.replace(path)
    sync_folder(path.parent)


def _draft(path: Path, content: bytes) -> Path:
    draft = path.with_name(f".{path.name}.{os.urandom(6).hex()}")
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        os.write(fd, content)
        os.fsync(fd)
    finally:
        os.close(fd)
    return draft
