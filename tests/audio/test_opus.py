from __future__ import annotations

import av
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sounds import frames

from gateway.audio.encode import OpusEncoder
from gateway.audio.opus import Joiner, join, packet_samples, split
from gateway.audio.profiles import MUSIC, NATIVE, Profile

frame = st.binary(max_size=1275)


def pcm(packets: list[bytes]) -> bytes:
    context = av.CodecContext.create("libopus", "r")
    context.sample_rate, context.layout = 48_000, "mono"
    out = bytearray()
    for packet in packets:
        for decoded in context.decode(av.Packet(packet)):
            out += bytes(decoded.planes[0])[: decoded.samples * decoded.format.bytes]
    return bytes(out)


@pytest.mark.parametrize("profile", [NATIVE, MUSIC], ids=lambda profile: profile.name)
@pytest.mark.parametrize("group", [2, 3, 6])
def test_joined_packets_decode_to_the_same_bits(spoken, profile: Profile, group: int) -> None:
    encoder = OpusEncoder(profile)
    single = [p for f in frames(spoken, profile.rate, "mono", profile.rate) for p in encoder.encode(f)] + encoder.finish()
    joiner = Joiner(group)
    joined = [p for packet in single for p in joiner.add(packet)] + list(joiner.flush())
    assert len(joined) < len(single) / (group - 1)
    assert any(packet[0] & 3 == 3 for packet in joined)
    assert pcm(joined) == pcm(single)
    assert [frame for packet in joined for frame in split(packet)] == single


@given(st.lists(frame, min_size=1, max_size=6))
def test_split_undoes_join(bodies: list[bytes]) -> None:
    single = [b"\x48" + body for body in bodies]
    assert split(join(single)) == single
    assert packet_samples(join(single)) == 960 * len(single)


@given(st.binary(max_size=60))
def test_split_gives_frames_or_a_value_error(packet: bytes) -> None:
    try:
        parts = split(packet)
    except ValueError:
        return
    assert sum(map(packet_samples, parts)) == packet_samples(packet)
    assert all(part[0] == packet[0] & 0xFC for part in parts)


@pytest.mark.parametrize(
    ("packet", "frames"),
    [
        (b"\x48abc", [b"abc"]),
        (b"\x49abcd", [b"ab", b"cd"]),
        (b"\x4a\x01abcd", [b"a", b"bcd"]),
        (b"\x4b\x03abcdef", [b"ab", b"cd", b"ef"]),
        (b"\x4b\x83\x01\x02abbccc", [b"a", b"bb", b"ccc"]),
        (b"\x4b\x42\x03abcd\0\0\0", [b"ab", b"cd"]),
        (b"\x4b\x41\xff\x01ab" + bytes(255), [b"ab"]),
    ],
    ids=["one", "two equal", "two", "three equal", "three", "padding", "long padding"],
)
def test_every_framing_of_the_rfc_is_understood(packet: bytes, frames: list[bytes]) -> None:
    assert split(packet) == [b"\x48" + body for body in frames]


@pytest.mark.parametrize(
    "packet",
    [b"", b"\x4b", b"\x4b\x00", b"\x4b\x0f" + bytes(15), b"\x49abc", b"\x4a", b"\x4a\xfc", b"\x4a\x09ab", b"\x4b\x02abc",
     b"\x4b\x41\xff", b"\x4b\x82\x09ab", b"\x48" + bytes(1276)],
)  # fmt: skip
def test_a_malformed_packet_is_a_value_error(packet: bytes) -> None:
    with pytest.raises(ValueError):
        split(packet)


def test_frames_of_different_configurations_are_not_joined() -> None:
    joiner = Joiner(3)
    contents = [b"\x48a", b"\x48b", b"\x40c", b"\x48d"]
    assert [p for c in contents for p in joiner.add(c)] + list(joiner.flush()) == [join(contents[:2]), b"\x40c", b"\x48d"]
    with pytest.raises(ValueError):
        join([b"\x48a", b"\x40a"])


def test_frames_of_other_lengths_are_not_joined_beyond_120_ms() -> None:
    joiner = Joiner(3)
    sixty_ms = [b"\x58a", b"\x58b", b"\x58c"]
    assert [p for c in sixty_ms for p in joiner.add(c)] + list(joiner.flush()) == sixty_ms
