"""Opus packets: what is in one, and several frames joined into one (RFC 6716, section 3).

A packet starts with a TOC byte: configuration (5 bits: mode, bandwidth, frame length), stereo bit, and a
code for the number of frames (0: one, 1 and 2: two, 3: as the next byte says).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

SILK_WIDEBAND: Final = frozenset(range(8, 12))  # configurations: what WhatsApp's own recorders emit

# Frame length in 48 kHz samples for each configuration, RFC 6716 table 2.
_FRAME_SAMPLES: Final = (480, 960, 1920, 2880) * 3 + (480, 960) * 2 + (120, 240, 480, 960) * 4
_MAX_PACKET_SAMPLES: Final = 5760  # 120 ms
_MAX_FRAME_BYTES: Final = 1275


def configuration(packet: bytes) -> int:
    return packet[0] >> 3


def packet_samples(packet: bytes) -> int:
    """How many 48 kHz samples the packet decodes to. Raises ValueError when it cannot be a packet."""
    if not packet:
        raise ValueError("an Opus packet has at least one byte")
    code = packet[0] & 3
    if code == 3 and len(packet) < 2:
        raise ValueError("the frame count is missing")
    count = packet[1] & 63 if code == 3 else 2 if code else 1
    samples = _FRAME_SAMPLES[packet[0] >> 3] * count
    if not 0 < samples <= _MAX_PACKET_SAMPLES:
        raise ValueError("an Opus packet holds at most 120 ms")
    return samples


def split(packet: bytes) -> list[bytes]:
    """The frames of a packet as single-frame packets, which decode to the same samples.

    Raises ValueError for anything RFC 6716 section 3.4 calls malformed.
    """
    packet_samples(packet)
    toc = bytes((packet[0] & 0xFC,))
    match packet[0] & 3:
        case 0:
            frames = [packet[1:]]
        case 1:
            half, odd = divmod(len(packet) - 1, 2)
            if odd:
                raise ValueError("two frames of equal size need an even number of bytes")
            frames = [packet[1 : 1 + half], packet[1 + half :]]
        case 2:
            size, start = _read_size(packet, 1)
            frames = _cut(packet, start, [size], len(packet))
        case _:
            frames = _split_code3(packet)
    if any(len(frame) > _MAX_FRAME_BYTES for frame in frames):
        raise ValueError("an Opus frame has at most 1275 bytes")
    return [toc + frame for frame in frames]


def _split_code3(packet: bytes) -> list[bytes]:
    header, position, end = packet[1], 2, len(packet)
    count = header & 63
    if header & 0x40:  # padding: 255 means 254 and one more length byte
        more = True
        while more:
            if position >= end:
                raise ValueError("the padding length is cut")
            more = packet[position] == 255
            end -= packet[position] - more
            position += 1
    if header & 0x80:  # each frame its own size, the last one the rest
        sizes = []
        for _ in range(count - 1):
            size, position = _read_size(packet, position)
            sizes.append(size)
    else:
        each, rest = divmod(end - position, count)
        if rest or each < 0:
            raise ValueError("frames of equal size do not fill the packet")
        sizes = [each] * (count - 1)
    return _cut(packet, position, sizes, end)


def _read_size(packet: bytes, position: int) -> tuple[int, int]:
    if position >= len(packet):
        raise ValueError("a frame size is cut")
    first = packet[position]
    if first < 252:
        return first, position + 1
    if position + 1 >= len(packet):
        raise ValueError("a frame size is cut")
    return first + 4 * packet[position + 1], position + 2


def _cut(packet: bytes, start: int, sizes: list[int], end: int) -> list[bytes]:
    frames = []
    for size in sizes:
        frames.append(packet[start : start + size])
        start += size
    if start > end:
        raise ValueError("the frames are longer than the packet")
    return [*frames, packet[start:end]]


def _write_size(size: int) -> bytes:
    if size < 252:
        return bytes((size,))
    low = 252 + (size & 3)
    return bytes((low, (size - low) >> 2))


def join(frames: list[bytes]) -> bytes:
    """Single-frame packets with the same TOC as one packet of code 3 with individual sizes. Lossless."""
    toc = frames[0][0]
    if len(frames) == 1:
        return frames[0]
    if toc & 3 or any(frame[0] != toc for frame in frames):
        raise ValueError("only single frames of one configuration can be joined")
    sizes = b"".join(_write_size(len(frame) - 1) for frame in frames[:-1])
    packet = b"".join((bytes((toc | 3, 0x80 | len(frames))), sizes, *(frame[1:] for frame in frames)))
    packet_samples(packet)
    return packet


class Joiner:
    """Regroups packets into ones of `frames_per_packet` 20 ms frames; other frame lengths pass one by one."""

    def __init__(self, frames_per_packet: int) -> None:
        self._group = frames_per_packet
        self._frames: list[bytes] = []

    def add(self, packet: bytes) -> Iterator[bytes]:
        for frame in split(packet) if packet[0] & 3 else (packet,):
            group = self._group if packet_samples(frame) == 960 else 1
            if self._frames and (frame[0] != self._frames[0][0] or len(self._frames) >= group):
                yield from self.flush()
            self._frames.append(frame)

    def flush(self) -> Iterator[bytes]:
        if self._frames:
            yield join(self._frames)
            self._frames = []
