"""Ogg pages around one mono Opus stream: a writer and a strict reader (RFC 3533, RFC 7845)."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from typing import Final

from gateway.audio.opus import packet_samples

_REVERSED_BITS: Final = bytes(int(f"{i:08b}"[::-1], 2) for i in range(256))

_CONTINUED, _FIRST, _LAST = 1, 2, 4  # header_type flags, RFC 3533 section 6
_MAX_SEGMENTS = 255
_PAGE_SAMPLES = 48_000  # about a second of sound in a page, as WhatsApp's recorders do
_SERIAL = 0x57415054


def ogg_crc(page: bytes) -> int:
    """The checksum of a page whose CRC field is zero: polynomial 0x04c11db7, not reflected, no inversions.

    zlib has the same polynomial reflected and inverted, at C speed: reverse the bits of every byte, undo
    both inversions, reverse the result.
    """
    reflected = zlib.crc32(page.translate(_REVERSED_BITS), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int.from_bytes(reflected.to_bytes(4, "little").translate(_REVERSED_BITS), "big")


class OggOpusWriter:
    """Writes one mono stream without comments: no title, place or cover art of the source leaks.

    `pre_skip` is in 48 kHz samples, as are all granule positions whatever the encoder's rate.
    """

    def __init__(self, *, pre_skip: int, input_rate: int, vendor: bytes) -> None:
        self._out = bytearray()
        self._sequence = 0
        self._pre_skip = pre_skip
        self._granule = 0
        self._packets: list[bytes] = []
        self._segments = 0
        self._page_samples = 0
        self._page(_FIRST, 0, [b"OpusHead\x01\x01" + struct.pack("<HIhB", pre_skip, input_rate, 0, 0)])
        self._page(0, 0, [b"OpusTags" + struct.pack("<I", len(vendor)) + vendor + struct.pack("<I", 0)])

    def __len__(self) -> int:
        return len(self._out)

    def add(self, packet: bytes) -> None:
        """Appends one Opus packet. Raises ValueError when it is not one."""
        segments = len(packet) // 255 + 1
        samples = packet_samples(packet)
        if self._segments + segments > _MAX_SEGMENTS or self._page_samples >= _PAGE_SAMPLES:
            self._page(0, self._granule, self._packets)
            self._packets, self._segments, self._page_samples = [], 0, 0
        self._packets.append(packet)
        self._segments += segments
        self._page_samples += samples
        self._granule += samples

    def finish(self, samples: int) -> bytes:
        """The whole file. `samples` is the true length at 48 kHz; the last granule trims the encoder's padding."""
        self._page(_LAST, min(self._granule, self._pre_skip + samples), self._packets)
        return bytes(self._out)

    def _page(self, flags: int, granule: int, packets: list[bytes]) -> None:
        lacing = b"".join(b"\xff" * (len(packet) // 255) + bytes((len(packet) % 255,)) for packet in packets)
        header = struct.pack("<5sBqIIIB", b"OggS", flags, granule, _SERIAL, self._sequence, 0, len(lacing))
        page = b"".join((header, lacing, *packets))
        self._sequence += 1
        self._out += page[:22] + struct.pack("<I", ogg_crc(page)) + page[26:]


@dataclass(frozen=True, slots=True)
class OggOpus:
    """A complete mono Ogg/Opus file, taken apart. `samples` is at 48 kHz, both ends trimmed."""

    pre_skip: int
    input_rate: int
    vendor: bytes
    comments: tuple[str, ...]  # names only
    packets: tuple[bytes, ...]
    samples: int


def read_ogg_opus(data: bytes) -> OggOpus | None:
    """Takes a file apart if it is beyond doubt one complete mono Opus stream, else None.

    Strict on purpose, because the packets are re-used unheard: one logical stream, first and last page
    marked, page numbers without a gap, every CRC right, mapping family 0, no output gain. Whatever fails
    goes to the decoder, which is forgiving.
    """
    try:
        read = _read_packets(data)
        return _read_stream(*read) if read else None
    except (IndexError, struct.error, ValueError):
        return None


def _read_packets(data: bytes) -> tuple[list[bytes], int] | None:
    """The packets of all pages, and the last granule position."""
    if data[:4] != b"OggS" or data[28:37] != b"OpusHead\x01":
        return None
    packets: list[bytes] = []
    partial: list[bytes] = []
    position = expected = granule = 0
    ended = False
    while position < len(data):
        magic, flags, page_granule, _serial, sequence, crc, count = struct.unpack_from("<5sBqIIIB", data, position)
        body = position + 27 + count
        lacing = data[position + 27 : body]
        end = body + sum(lacing)
        if (
            magic != b"OggS\0"
            or ended
            or end > len(data)
            or data[position + 14 : position + 18] != data[14:18]
            or sequence != expected
            or bool(flags & _FIRST) != (expected == 0)
            or bool(flags & _CONTINUED) != bool(partial)
            or ogg_crc(data[position : position + 22] + bytes(4) + data[position + 26 : end]) != crc
        ):
            return None
        for size in lacing:
            partial.append(data[body : body + size])
            body += size
            if size < 255:
                packets.append(b"".join(partial))
                partial = []
        if page_granule >= 0:
            granule = page_granule
        ended = bool(flags & _LAST)
        expected += 1
        position = end
    return (packets, granule) if ended and not partial else None


def _read_stream(packets: list[bytes], granule: int) -> OggOpus | None:
    head, tags, *audio = packets
    channels, pre_skip, input_rate, gain, family = struct.unpack_from("<BHIhB", head, 9)
    if channels != 1 or gain or family or tags[:8] != b"OpusTags":
        return None
    if not audio or any(packet[0] & 4 for packet in audio):  # the stereo bit of the TOC
        return None
    vendor, comments = _read_tags(tags)
    samples = min(granule, sum(map(packet_samples, audio))) - pre_skip
    if samples <= 0:
        return None
    return OggOpus(pre_skip, input_rate, vendor, comments, tuple(audio), samples)


def _read_tags(tags: bytes) -> tuple[bytes, tuple[str, ...]]:
    (size,) = struct.unpack_from("<I", tags, 8)
    vendor = tags[12 : 12 + size]
    position = 12 + size
    (count,) = struct.unpack_from("<I", tags, position)
    position += 4
    names: list[str] = []
    for _ in range(count):
        (size,) = struct.unpack_from("<I", tags, position)
        names.append(tags[position + 4 : position + 4 + size].partition(b"=")[0].decode("ascii", "replace").lower())
        position += 4 + size
    return vendor, tuple(names)
