"""What SQLite reads and writes in its three files, and what of it reaches the disk.

    database   page 1:  salt 16 | ciphertext 4048 | tag | nonce | epoch    the salt stands for "SQLite format 3\\0"
               page n:  ciphertext 4064 | tag | nonce | epoch
    WAL        header 32 as it is; frame: header 24, of which bytes 8..24 are enciphered as one block; the page sealed
    journal    header as it is; record: page number 4, the page sealed, checksum 4 masked

Pages keep their size and offsets, so sizes, truncation, locks and syncs are SQLite's own. The running checksum of the WAL is a
linear function of the plaintext and must not reach the disk; page numbers and commit marks do. Sources: SQLite's file format and
WAL format documentation, btree.c, wal.c and pager.c.

A file object is used by one thread at a time: SQLite holds the connection's mutex.
"""

from __future__ import annotations

import ctypes as C
import os
from abc import ABC, abstractmethod
from collections.abc import Callable

from gateway.link.sealing.capi import IOERR_READ, IOERR_SHORT_READ, IOERR_WRITE, OK
from gateway.link.sealing.pages import (
    BODY,
    DATABASE,
    JOURNAL,
    NONCE_AT,
    NONCE_END,
    PAGE,
    RESERVED,
    SALT,
    WAL,
    BlockCipher,
    DatabaseKeys,
    NotAuthentic,
)

MAGIC = b"SQLite format 3\x00"
# The header of an empty database, of which SQLite takes the page size and the reserved bytes of the new one.
NEW_HEADER = MAGIC + PAGE.to_bytes(2, "big") + bytes((1, 1, RESERVED))
HEADER_PEEK = 100                   # sqlite3BtreeOpen reads the database header in this length, and nothing else does
WAL_HEADER, FRAME_HEADER = 32, 24
FRAME = FRAME_HEADER + PAGE
JOURNAL_HEADER = 28

_FREE = bytes(RESERVED)
_string_at, _memmove, _memset = C.string_at, C.memmove, C.memset

Note = Callable[[str, bytes, str], None]                    # (what to count, database path, a sentence or "": only count)
Transfer = Callable[[int, int | bytes, int, int], int]      # (file, buffer, length, offset) -> result code


class RawFile:
    """The real file below: SQLite's own functions on one sqlite3_file. `path` is that of the database it belongs to."""

    __slots__ = ("_read", "_size", "_write", "address", "path")

    def __init__(self, path: bytes, address: int, read: Transfer, write: Transfer, size: Callable[[int, int], int]) -> None:
        self.path, self.address, self._read, self._write, self._size = path, address, read, write, size

    def read(self, buffer: int, length: int, offset: int) -> int:
        return self._read(self.address, buffer, length, offset)

    def write(self, data: int | bytes, length: int, offset: int) -> int:
        return self._write(self.address, data, length, offset)

    def bytes_at(self, length: int, offset: int) -> tuple[int, bytes]:
        buffer = C.create_string_buffer(length)
        return self._read(self.address, C.addressof(buffer), length, offset), buffer.raw

    def size(self) -> int:
        size = C.c_longlong(0)
        if rc := self._size(self.address, C.addressof(size)):
            raise OSError(f"xFileSize: {rc}")
        return size.value


class SealedFile(ABC):
    """One open file. `read` and `write` are called by SQLite and answer with a result code; they may raise NotAuthentic."""

    __slots__ = ("keys", "note", "raw")
    kind: bytes

    def __init__(self, raw: RawFile, keys: DatabaseKeys, note: Note) -> None:
        self.raw, self.keys, self.note = raw, keys, note

    @abstractmethod
    def read(self, buffer: int, length: int, offset: int) -> int: ...

    @abstractmethod
    def write(self, buffer: int, length: int, offset: int) -> int: ...

    def refuse(self, what: str, length: int, offset: int) -> None:
        """SQLite did what this version of it was not known to do. Better no write than a plain one."""
        self.note("refused", self.raw.path, f"{what} of {length} bytes at {offset}")


def _body(buffer: int) -> bytes | None:
    """The page image without its reserved bytes, or None if those hold something (we would lose it)."""
    page = _string_at(buffer, PAGE)
    return page[:BODY] if page.endswith(_FREE) else None


class DatabaseFile(SealedFile):
    __slots__ = ()
    kind = DATABASE

    def _open_page(self, sealed: bytes, number: int) -> bytes:
        if number > 1:
            return self.keys.open(DATABASE, number, (number - 1) * PAGE, sealed) + _FREE
        if sealed[:SALT] != self.keys.salt:
            raise NotAuthentic
        return MAGIC + self.keys.open(DATABASE, 1, 0, sealed[SALT:]) + _FREE

    def read(self, buffer: int, length: int, offset: int) -> int:
        if length != PAGE or offset % PAGE:
            return self._read_part(buffer, length, offset)
        rc = self.raw.read(buffer, PAGE, offset)
        if rc == OK:
            try:
                _memmove(buffer, self._open_page(_string_at(buffer, PAGE), offset // PAGE + 1), PAGE)
            except BaseException:
                _memset(buffer, 0, PAGE)
                raise
        elif rc == IOERR_SHORT_READ:
            _memset(buffer, 0, PAGE)        # SQLite's contract; the part that was read is ciphertext
        return rc

    def _read_part(self, buffer: int, length: int, offset: int) -> int:
        """The header peek, the change counter (16 bytes at 24), and parts of overflow pages."""
        index, start = divmod(offset, PAGE)
        if start + length > PAGE:
            self.refuse("read across pages", length, offset)
            return IOERR_READ
        rc, sealed = self.raw.bytes_at(PAGE, index * PAGE)
        peek = offset == 0 and length == HEADER_PEEK
        if rc == OK:
            try:
                page = self._open_page(sealed, index + 1)
            except NotAuthentic:
                if not peek:
                    raise
                # The peek comes before a hot journal is played back, when page 1 may be torn. It takes only these
                # constants; the page is authenticated when it is read in full.
                page = NEW_HEADER.ljust(PAGE, b"\0")
            _memmove(buffer, page[start : start + length], length)
        elif rc == IOERR_SHORT_READ:
            _memset(buffer, 0, length)
            if peek and self.raw.size() == 0:
                _memmove(buffer, NEW_HEADER, len(NEW_HEADER))
                return OK
        return rc

    def write(self, buffer: int, length: int, offset: int) -> int:
        body = _body(buffer) if length == PAGE and not offset % PAGE else None
        if body is None:
            self.refuse("database write", length, offset)
            return IOERR_WRITE
        # SQLite leaves holes where pages were freed before they were ever written. They are filled with sealed zeros,
        # so that every page of a file must authenticate, without exception.
        end = self.raw.size() if offset else 0
        for gap in range(end - end % PAGE, offset, PAGE):
            if rc := self.raw.write(self._sealed(gap, bytes(BODY)), PAGE, gap):
                return rc
            self.note("gap_page", self.raw.path, "")
        return self.raw.write(self._sealed(offset, body), PAGE, offset)

    def _sealed(self, offset: int, body: bytes) -> bytes:
        if offset == 0:
            return self.keys.salt + self.keys.seal(DATABASE, 1, 0, body[SALT:])
        return self.keys.seal(DATABASE, offset // PAGE + 1, offset, body)


class WalFile(SealedFile):
    __slots__ = ("_block", "_frame", "_page_number")
    kind = WAL

    def __init__(self, raw: RawFile, keys: DatabaseKeys, note: Note) -> None:
        super().__init__(raw, keys, note)
        self._block = BlockCipher(keys)
        self._frame, self._page_number = -1, 0      # offset and page of the frame header written last

    def read(self, buffer: int, length: int, offset: int) -> int:
        if offset < WAL_HEADER:
            if offset + length > WAL_HEADER:
                self.refuse("read across the WAL header", length, offset)
                return IOERR_READ
            return self.raw.read(buffer, length, offset)
        start = (offset - WAL_HEADER) % FRAME
        frame = offset - start
        if start + length > FRAME:
            self.refuse("read across WAL frames", length, offset)
            return IOERR_READ
        with_page = start + length > FRAME_HEADER
        rc, data = self.raw.bytes_at(FRAME if with_page else FRAME_HEADER, frame)
        if rc:
            if rc == IOERR_SHORT_READ:
                _memset(buffer, 0, length)
            return rc
        plain = b""
        if with_page:
            try:
                plain = self.keys.open(WAL, int.from_bytes(data[:4], "big"), frame, data[FRAME_HEADER:]) + _FREE
            except NotAuthentic:
                if length != FRAME:
                    raise
                # Whole frames are read by recovery only. One that is not authentic must look torn: then the checksum fails
                # and SQLite ends the log here, as it would in a plain WAL.
                self.note("wal_tail_rejected", self.raw.path, "")
                plain = bytes(PAGE)
        if start < FRAME_HEADER:
            plain = data[:8] + self._block.decrypt(data[8:FRAME_HEADER]) + plain
        else:
            start -= FRAME_HEADER
        _memmove(buffer, plain[start : start + length], length)
        return OK

    def write(self, buffer: int, length: int, offset: int) -> int:
        if offset < WAL_HEADER:
            if offset + length > WAL_HEADER:
                self.refuse("write across the WAL header", length, offset)
                return IOERR_WRITE
            return self.raw.write(buffer, length, offset)
        start = (offset - WAL_HEADER) % FRAME
        if start == 0 and length == FRAME_HEADER:
            header = _string_at(buffer, FRAME_HEADER)
            self._frame, self._page_number = offset, int.from_bytes(header[:4], "big")
            return self.raw.write(header[:8] + self._block.encrypt(header[8:]), FRAME_HEADER, offset)
        body = _body(buffer) if start == FRAME_HEADER and length == PAGE else None
        if body is None:
            self.refuse("WAL write", length, offset)
            return IOERR_WRITE
        frame, number = offset - FRAME_HEADER, self._page_number
        if frame != self._frame:            # a spilled frame is rewritten in place, without its header
            rc, data = self.raw.bytes_at(4, frame)
            if rc:
                return rc
            number = int.from_bytes(data, "big")
        return self.raw.write(self.keys.seal(WAL, number, frame, body), PAGE, offset)


class JournalFile(SealedFile):
    """The rollback journal: used once in a file's life, for the change to WAL mode, and correct on its own."""

    __slots__ = ("_block", "_page_at", "_page_number", "_read_checksum_at", "_read_mask", "_write_checksum_at", "_write_mask")
    kind = JOURNAL

    def __init__(self, raw: RawFile, keys: DatabaseKeys, note: Note) -> None:
        super().__init__(raw, keys, note)
        self._block = BlockCipher(keys)
        self._page_at = self._read_checksum_at = self._write_checksum_at = -1
        self._page_number, self._read_mask, self._write_mask = 0, b"", b""

    def _mask(self, nonce: bytes) -> bytes:
        return self._block.encrypt(nonce + b"JCK1")[:4]

    def read(self, buffer: int, length: int, offset: int) -> int:
        if length == PAGE:
            rc, data = self.raw.bytes_at(4 + PAGE, offset - 4)
            if rc:
                if rc == IOERR_SHORT_READ:
                    _memset(buffer, 0, length)
                return rc
            try:
                page = self.keys.open(JOURNAL, int.from_bytes(data[:4], "big"), offset, data[4:]) + _FREE
                self._read_mask = self._mask(data[4 + NONCE_AT : 4 + NONCE_END])
            except NotAuthentic:            # a torn record: let SQLite's own checksum fail and end the playback
                self.note("journal_tail_rejected", self.raw.path, "")
                page, self._read_mask = bytes(PAGE), os.urandom(4)
            self._read_checksum_at = offset + PAGE
            _memmove(buffer, page, PAGE)
            return OK
        rc = self.raw.read(buffer, length, offset)
        if rc == OK and length == 4 and offset == self._read_checksum_at:
            _memmove(buffer, _xor(_string_at(buffer, 4), self._read_mask), 4)
        return rc

    def write(self, buffer: int, length: int, offset: int) -> int:
        if length == PAGE and offset == self._page_at:
            if (body := _body(buffer)) is None:
                self.refuse("journal write", length, offset)
                return IOERR_WRITE
            sealed = self.keys.seal(JOURNAL, self._page_number, offset, body)
            self._write_checksum_at, self._write_mask = offset + PAGE, self._mask(sealed[NONCE_AT:NONCE_END])
            return self.raw.write(sealed, PAGE, offset)
        if length == 4:
            value = _string_at(buffer, 4)
            if offset == self._write_checksum_at:
                self._write_checksum_at = -1
                return self.raw.write(_xor(value, self._write_mask), 4, offset)
            self._page_at, self._page_number = offset + 4, int.from_bytes(value, "big")
            return self.raw.write(value, 4, offset)
        # What is left is bookkeeping: at most a header, padded with zeros to a sector. Anything else could be content.
        if length <= JOURNAL_HEADER or not _string_at(buffer + JOURNAL_HEADER, length - JOURNAL_HEADER).strip(b"\0"):
            return self.raw.write(buffer, length, offset)
        self.refuse("journal write", length, offset)
        return IOERR_WRITE


def _xor(a: bytes, b: bytes) -> bytes:
    return (int.from_bytes(a, "big") ^ int.from_bytes(b, "big")).to_bytes(4, "big")
