"""A backup as one sealed file, and the swap of a state folder's contents for a restored one.

    "wagateway backup 1\\n" | data key, wrapped by the master key | a tar as sealed frames: manifest.json first, then the databases

The data key is this backup's alone. Session files inside are sealed with their own keys besides. The master key is not in it.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import re
import shutil
import sqlite3
import tarfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO

from gateway.store.durable import sync_folder
from gateway.store.store import CHECK, DATABASE, SESSIONS
from gateway.store.vault import OpeningReader, SealingWriter, Vault, VaultError, new_data_key

MAGIC = b"wagateway backup 1\n"
MANIFEST = "manifest.json"
STAGING, READY = "restore.new", "restore.ready"     # in the state folder; the rename from one to the other decides
ASIDE = "before-restore"                            # there too: what was in place before
_PLACE, _WRAPPED = "backup", 65
_MEMBER = re.compile(rf"{re.escape(DATABASE)}|{re.escape(CHECK)}|{SESSIONS}/[0-9A-Za-z-]+\.db")
_CHUNK = 1 << 20


class BackupUnusable(Exception):
    """The file cannot be restored; the text says why."""


@dataclass(frozen=True, slots=True)
class SavedSession:
    """A linked session in a backup; `digest` as of `link.session_files.Contents`."""

    id: str
    session_key: str
    jid: str
    generation: int
    digest: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """`made_at`: unix seconds. `schema`: the database's version. `fingerprint`: the master key's. `files`: name -> hex SHA-256."""

    version: str
    made_at: float
    schema: int
    fingerprint: str
    sessions: tuple[SavedSession, ...]
    left_out: tuple[str, ...]               # sentences: sessions without keys to save, or whose file cannot be read
    files: dict[str, str]

    def to_json(self) -> bytes:
        return json.dumps(asdict(self), indent=1).encode()

    @classmethod
    def of_json(cls, raw: bytes) -> Manifest:
        tree = json.loads(raw)
        return cls(**{**tree, "sessions": tuple(SavedSession(**s) for s in tree["sessions"]),
                      "left_out": tuple(tree["left_out"])})


@dataclass(frozen=True, slots=True)
class SessionRow:
    """What a state folder's database says of a session."""

    id: str
    session_key: str
    jid: str | None
    wrapped_key: bytes | None
    generation: int


def session_rows(database: Path) -> list[SessionRow]:
    """Of a database that nobody has open, or a copy. Raises BackupUnusable."""
    try:
        with closing(sqlite3.connect(database)) as connection:
            rows = connection.execute("SELECT id, session_key, jid, wrapped_key, generation FROM sessions").fetchall()
    except sqlite3.Error as error:
        raise BackupUnusable(f"{database} cannot be read: {error}") from error
    return [SessionRow(*row) for row in rows]


def check_database(database: Path) -> int:
    """Its version. Raises BackupUnusable when SQLite finds an error in it."""
    try:
        with closing(sqlite3.connect(database)) as connection:
            found = [row[0] for row in connection.execute("PRAGMA integrity_check(10)")]
            version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    except sqlite3.Error as error:
        raise BackupUnusable(f"{database.name} cannot be read: {error}") from error
    if found != ["ok"]:
        raise BackupUnusable(f"{database.name} is damaged: {found[0]}")
    return version


# ------------------------------------------------------------------ the file


def digest_of(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def members(folder: Path) -> list[str]:
    """What of a folder goes into a backup."""
    return sorted(str(f.relative_to(folder)) for f in folder.rglob("*") if f.is_file()
                  and _MEMBER.fullmatch(str(f.relative_to(folder))))


def pack(folder: Path, manifest: Manifest, target: Path, vault: Vault) -> None:
    """Writes `target` (mode 0600), which appears whole and durable, or not at all. Raises FileExistsError, OSError."""
    if target.exists():
        raise FileExistsError(17, "the file exists already", str(target))
    draft = target.with_name(f".{target.name}.{os.urandom(4).hex()}")
    key = new_data_key()
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(MAGIC + vault.wrap(key, _PLACE))
            writer = SealingWriter(file, key, _PLACE)
            with tarfile.open(fileobj=writer, mode="w|", format=tarfile.PAX_FORMAT) as tar:     # type: ignore[call-overload]
                raw = manifest.to_json()
                tar.addfile(_member(MANIFEST, len(raw)), _Bytes(raw))
                for name in manifest.files:
                    with (folder / name).open("rb") as content:
                        tar.addfile(_member(name, (folder / name).stat().st_size), content)
            writer.close()
            file.flush()
            os.fsync(file.fileno())
        draft.replace(target)
        sync_folder(target.parent)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


def _member(name: str, size: int) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, 0o600
    return info


class _Bytes:
    def __init__(self, raw: bytes) -> None:
        self._raw = raw

    def read(self, size: int) -> bytes:
        out, self._raw = self._raw[:size], self._raw[size:]
        return out


def unpack(source: Path, folder: Path, vault: Vault) -> Manifest:
    """Into `folder`, which must not exist; every hash is compared. Raises BackupUnusable, VaultError('wrong_key'), OSError."""
    with _opened(source, vault) as tar:
        manifest = None
        for info in tar:
            content = tar.extractfile(info)
            if not info.isreg() or content is None:
                raise BackupUnusable(f"{source} holds {info.name!r}, which does not belong there")
            if manifest is None:
                if info.name != MANIFEST or info.size > 1 << 26:
                    raise BackupUnusable(f"{source} does not begin with its manifest")
                manifest = _manifest(content.read(), source)
                (folder / SESSIONS).mkdir(mode=0o700, parents=True)
                left = dict(manifest.files)
                continue
            expected = left.pop(info.name, None)
            if expected is None or not _MEMBER.fullmatch(info.name):
                raise BackupUnusable(f"{source} holds {info.name!r}, which its manifest does not name")
            _write(folder / info.name, content)                       # type: ignore[arg-type]
            if digest_of(folder / info.name) != expected:
                raise BackupUnusable(f"{source}: {info.name} is not what was packed")
        if manifest is None or left:
            raise BackupUnusable(f"{source} is not complete")
    return manifest


@contextmanager
def _opened(source: Path, vault: Vault) -> Iterator[tarfile.TarFile]:
    with source.open("rb") as file:
        if file.read(len(MAGIC)) != MAGIC:
            raise BackupUnusable(f"{source} is not a backup, or of a version this gateway does not know")
        try:
            key = vault.unwrap(file.read(_WRAPPED), _PLACE)
        except VaultError as error:
            if error.code != "wrong_key":
                raise BackupUnusable(f"{source} is damaged: {error.text}") from error
            raise VaultError("wrong_key", f"{source} was made with another master key than the present one ("
                             f"{vault.fingerprint}). If the key was rotated since, give the one of that time with "
                             "--backup-key-file; without it the backup cannot be opened, by anyone.") from None
        try:
            with tarfile.open(fileobj=OpeningReader(file, key, _PLACE), mode="r|") as tar:    # type: ignore[call-overload]
                yield tar
        except (VaultError, tarfile.TarError) as error:
            raise BackupUnusable(f"{source} is damaged: {error}") from error


def _manifest(raw: bytes, source: Path) -> Manifest:
    try:
        return Manifest.of_json(raw)
    except (ValueError, KeyError, TypeError) as error:
        raise BackupUnusable(f"{source} has a manifest this gateway does not know; it was made by a newer one") from error


def _write(path: Path, content: BinaryIO) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "wb") as file:
        shutil.copyfileobj(content, file, _CHUNK)
        file.flush()
        os.fsync(file.fileno())


# ------------------------------------------------------------------ the swap


def commit_restore(state: Path) -> None:
    """What lies in STAGING is to become the state: from here on `finish_restore` goes on after any crash."""
    for folder in (state / STAGING / SESSIONS, state / STAGING):
        sync_folder(folder)
    if (state / ASIDE).exists():            # an earlier restore's
        number = next(n for n in itertools.count(1) if not (state / f"{ASIDE}-{n}").exists())
        (state / ASIDE).replace(state / f"{ASIDE}-{number}")
    (state / STAGING).replace(state / READY)
    sync_folder(state)


def finish_restore(state: Path) -> Path | None:
    """Moves a committed restore into place, and what was there into the folder ASIDE, which is returned; None when there is nothing
    to do. May be repeated. Before the commit nothing has happened: the staging folder is removed."""
    shutil.rmtree(state / STAGING, ignore_errors=True)
    ready, aside = state / READY, state / ASIDE
    if not ready.exists():
        return None
    aside.mkdir(mode=0o700, exist_ok=True)
    for name in (DATABASE, CHECK, SESSIONS):
        if not (ready / name).exists():
            continue                    # it is in place already
        for old in (f"{name}-wal", f"{name}-shm", name):
            if (state / old).exists():
                (state / old).replace(aside / old)
        (ready / name).replace(state / name)
    sync_folder(state)
    shutil.rmtree(ready)
    sync_folder(state)
    return aside
