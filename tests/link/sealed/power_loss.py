"""Power-loss simulator. `python -m tests.link.sealed.power_loss FOLDER JOURNAL SYNC IMAGES`, twice: sealed, and plain as control.

What a workload does to the disk (writes as they arrive there, syncs, truncations, removals) is recorded. Then images are built
of what could be found after the power failed at some moment: all that was synced is there; what was not is there, missing, or
torn in units of 512 bytes; a file's growth may show up as zeros; a removal without a sync of the folder may be undone. Every
image must open, be sound, and hold every commit that had returned before that moment."""

from __future__ import annotations

import ctypes as C
import json
import os
import random
import sys
import tempfile
from collections.abc import Callable
from ctypes import c_void_p
from pathlib import Path
from typing import Any

from gateway.link.sealing import capi, files
from gateway.link.sealing.client import Connection, SqliteError
from gateway.link.sealing.pages import DatabaseKeys
from gateway.link.sealing.vfs import MethodTable, SealingVfs

KEY = bytes(range(32))
SECTOR = 512
Operation = tuple[Any, ...]         # W file offset bytes | S file | T file size | D file synced | A (acknowledged) "" number


class Passing(files.SealedFile):
    """The control: the same shim, and nothing sealed."""

    __slots__ = ()
    kind = files.DATABASE

    def read(self, buffer: int, length: int, offset: int) -> int:
        return self.raw.read(buffer, length, offset)

    def write(self, buffer: int, length: int, offset: int) -> int:
        return self.raw.write(buffer, length, offset)


class Recorder(SealingVfs):
    def __init__(self, library: C.CDLL, name: str, sealed: bool) -> None:
        self.log: list[Operation] = []
        self.recording, self.sealed, self.names = False, sealed, {}
        self.failures: list[str] = []
        super().__init__(library, lambda path: KEY, lambda what, path, sentence: self.failures.append(sentence), name=name)
        delete = C.CFUNCTYPE(C.c_int, c_void_p, c_void_p, C.c_int)
        below = delete(capi.Vfs.from_address(self._base).xDelete)

        def on_delete(vfs: int, path: int, synced: int) -> int:
            self.record("D", os.path.basename(C.string_at(path).decode()), synced)
            return below(self._base, path, synced)

        self.on_delete = delete(on_delete)
        self.struct.xDelete = C.cast(self.on_delete, c_void_p).value

    def record(self, *operation: Any) -> None:
        if self.recording:
            self.log.append(operation)

    def make_table(self, address: int) -> MethodTable:
        table = super().make_table(address)
        write = table.write
        sync_type, truncate_type = C.CFUNCTYPE(C.c_int, c_void_p, C.c_int), C.CFUNCTYPE(C.c_int, c_void_p, C.c_longlong)
        sync, truncate = sync_type(table.original.xSync), truncate_type(table.original.xTruncate)

        def on_write(file: int, data: int | bytes, length: int, offset: int) -> int:
            self.record("W", self.names[file], offset, data if isinstance(data, bytes) else C.string_at(data, length))
            return write(file, data, length, offset)

        def on_sync(file: int, flags: int) -> int:
            rc = sync(file, flags)
            self.record("S", self.names[file])
            return rc

        def on_truncate(file: int, size: int) -> int:
            self.record("T", self.names[file], size)
            return truncate(file, size)

        table.write, table.kept = on_write, (sync_type(on_sync), truncate_type(on_truncate))     # type: ignore
        table.patched.xSync, table.patched.xTruncate = (C.cast(f, c_void_p).value for f in table.kept)
        return table

    def _open_file(self, name: int, file: int, flags: int, out: int | None) -> int:
        self.names[file] = os.path.basename(C.string_at(name).decode())
        return super()._open_file(name, file, flags, out)

    def make_file(self, flags: int, raw: files.RawFile, keys: DatabaseKeys) -> files.SealedFile:
        return super().make_file(flags, raw, keys) if self.sealed else Passing(raw, keys, self.note)

    def _attach(self, path: bytes, name: int, key: bytes, raw: files.RawFile) -> int:
        return super()._attach(path, name, key, raw if self.sealed else Blank(raw))     # type: ignore


class Blank:
    """A file that looks new, so that the control is not refused as plain text."""

    def __init__(self, raw: files.RawFile) -> None:
        self.raw = raw

    def bytes_at(self, length: int, offset: int) -> tuple[int, bytes]:
        return capi.OK, bytes(length)

    def size(self) -> int:
        return 0


def image(log: list[Operation], until: int, chance: random.Random) -> dict[str, bytes]:
    """The files as they could be found when the power fails right after log[until - 1]."""
    durable: dict[str, bytearray] = {}
    pending: dict[str, list[Operation]] = {}        # since the last sync, in order
    folder_synced: set[str] = set()

    def apply(content: bytearray, operation: Operation, torn: bool, share: float) -> None:
        if operation[0] == "T":
            del content[operation[2] :]
            content.extend(bytes(operation[2] - len(content)))
            return
        start, data = operation[2], operation[3]
        at = start
        while at < start + len(data):
            end = min(start + len(data), (at // SECTOR + 1) * SECTOR)
            if not torn or chance.random() < share:
                content.extend(bytes(max(0, end - len(content))))
                content[at:end] = data[at - start : end - start]
            elif chance.random() < 0.5:             # the size grew, the sector did not arrive
                content.extend(bytes(max(0, end - len(content))))
            at = end

    for operation in log[:until]:
        kind, name = operation[0], operation[1]
        if kind in "WT":
            pending.setdefault(name, []).append(operation)
        elif kind == "S":
            if name.endswith(("-journal", "-wal")) and name not in folder_synced:
                # the unix VFS syncs the folder with a new journal's first sync: earlier removals become durable
                folder_synced.add(name)
                for other, operations in pending.items():
                    while any(o[0] == "D" for o in operations):
                        durable.pop(other, None)
                        del operations[: next(i for i, o in enumerate(operations) if o[0] == "D") + 1]
            content = durable.setdefault(name, bytearray())
            for o in pending.pop(name, []):
                apply(content, o, False, 1)
        elif kind == "D":
            folder_synced.discard(name)
            if operation[2]:
                durable.pop(name, None)
                pending.pop(name, None)
            else:
                pending.setdefault(name, []).append(operation)
    share = chance.choice((0.0, 0.1, 0.5, 0.5, 0.9, 1.0))
    for name, operations in pending.items():
        for o in operations:
            if o[0] == "D":
                if chance.random() < 0.5:
                    break                           # the removal is undone: later writes went to a lost inode
                durable.pop(name, None)
            elif o[0] == "T":
                if chance.random() < share and name in durable:
                    apply(durable[name], o, False, 1)
            elif share and (name in durable or chance.random() < 0.7):
                apply(durable.setdefault(name, bytearray()), o, share < 1, share)
    return {name: bytes(content) for name, content in durable.items()}


def workload(recorder: Recorder, connect: Callable[[Path], Connection], folder: Path, journal: str, sync: str,
             chance: random.Random) -> list[Operation]:
    recorder.log, recorder.recording = [], True
    with connect(folder / "p.db") as c:
        c.query(f"PRAGMA journal_mode={journal}")
        c.query(f"PRAGMA synchronous={sync}")
        c.query("PRAGMA cache_size=10")
        c.query("PRAGMA wal_autocheckpoint=30")
        c.query("CREATE TABLE t (n INTEGER PRIMARY KEY, b BLOB)")
        c.query("CREATE TABLE u (k TEXT PRIMARY KEY, b BLOB)")
        recorder.record("A", "", 0)
        for n in range(1, 90):
            c.query("BEGIN IMMEDIATE")
            c.query("INSERT INTO t VALUES (?, ?)", n, os.urandom(chance.randrange(3000)))
            for _ in range(chance.choice((1, 1, 2, 40))):
                c.query("INSERT INTO u VALUES (?, ?) ON CONFLICT DO UPDATE SET b = excluded.b", f"k{chance.randrange(60)}",
                        os.urandom(chance.randrange(5000)))
            if n % 9 == 0:
                c.query("DELETE FROM u WHERE k < ?", f"k{chance.randrange(60)}")
            c.query("COMMIT")
            recorder.record("A", "", n)
        log, recorder.recording = recorder.log, False
    return log


def simulate(recorder: Recorder, name: str, root: Path, journal: str, sync: str, images: int) -> dict[str, Any]:
    chance = random.Random(1234)

    def connect(path: Path) -> Connection:
        return Connection(recorder._library, f"file:{path}?vfs={name}", create=True)

    with tempfile.TemporaryDirectory(dir=root) as folder:
        log = workload(recorder, connect, Path(folder), journal, sync, chance)
    first = next(i for i, o in enumerate(log) if o[0] == "A") + 1
    lost = broken = 0
    recorder.counts.clear()
    recorder.failures.clear()
    said = []
    for _ in range(images):
        until = chance.randrange(first, len(log))
        wanted = max(o[2] for o in log[:until] if o[0] == "A")
        with tempfile.TemporaryDirectory(dir=root) as folder:
            for file, content in image(log, until, chance).items():
                (Path(folder) / file).write_bytes(content)
            try:
                with connect(Path(folder) / "p.db") as c:
                    sound = c.query("PRAGMA integrity_check") == [("ok",)]
                    if not c.one("SELECT count(*) FROM sqlite_schema WHERE name = 't'"):
                        lost += 1                   # even the commit that made the table
                        broken += not sound
                        continue
                    last, count = c.query("SELECT coalesce(max(n), 0), count(*) FROM t")[0]
                    broken += not sound or last != count
                    lost += int(last or 0) < wanted
            except SqliteError as error:
                broken += 1
                said.append(f"{error} {recorder.failures[-1:]}")
    return {"operations": len(log), "syncs": sum(o[0] == "S" for o in log), "images": images, "lost": lost, "broken": broken,
            "wal_tails": recorder.counts["wal_tail_rejected"], "journal_tails": recorder.counts["journal_tail_rejected"],
            "said": said[:3]}


def main(root: str, journal: str, sync: str, images: str) -> None:
    library = capi.load(capi.library_path())
    told = {}
    for name, sealed in (("sealed", True), ("plain", False)):
        recorder = Recorder(library, name, sealed)
        told[name] = simulate(recorder, name, Path(root), journal, sync, int(images))
    print(json.dumps(told), flush=True)
    os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:5])
