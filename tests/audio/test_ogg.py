from __future__ import annotations

import io
import random

import av
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.audio.ogg import OggOpusWriter, ogg_crc, read_ogg_opus
from gateway.audio.opus import packet_samples
from gateway.audio.voice_note import VoiceNote

# Valid single-frame packets of configuration 9 (SILK wideband, 20 ms), as far as the container can tell.
packets = st.lists(st.binary(max_size=700).map(lambda body: b"\x48" + body), min_size=1, max_size=400)


def naive_crc(page: bytes) -> int:
    """RFC 3533 section 6, bit by bit."""
    crc = 0
    for byte in page:
        crc ^= byte << 24
        for _ in range(8):
            crc = (crc << 1 ^ 0x04C11DB7 if crc & 0x80000000 else crc << 1) & 0xFFFFFFFF
    return crc


@given(st.binary(max_size=300))
def test_the_fast_crc_is_the_one_of_the_rfc(page: bytes) -> None:
    assert ogg_crc(page) == naive_crc(page)


def written(contents: list[bytes], samples: int | None = None, vendor: bytes = b"WhatsApp") -> bytes:
    writer = OggOpusWriter(pre_skip=312, input_rate=16_000, vendor=vendor)
    for packet in contents:
        writer.add(packet)
    return writer.finish(sum(map(packet_samples, contents)) - 312 if samples is None else samples)


@given(packets, st.binary(max_size=20))
@settings(max_examples=50, deadline=None)
def test_what_was_written_is_read_back(contents: list[bytes], vendor: bytes) -> None:
    read = read_ogg_opus(written(contents, vendor=vendor))
    assert read is not None
    assert (list(read.packets), read.pre_skip, read.input_rate, read.vendor) == (contents, 312, 16_000, vendor)
    assert read.samples == 960 * len(contents) - 312
    assert read.comments == ()


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_the_reader_never_raises_and_never_accepts_a_changed_file(note: VoiceNote, data: st.DataObject) -> None:
    damaged = bytearray(note.ogg)
    for _ in range(data.draw(st.integers(1, 4))):
        position = data.draw(st.integers(0, len(damaged) - 1))
        match data.draw(st.sampled_from(("flip", "delete", "insert", "cut"))):
            case "flip":
                damaged[position] ^= 1 << data.draw(st.integers(0, 7))
            case "delete":
                del damaged[position : position + data.draw(st.integers(1, 400))]
            case "insert":
                damaged[position:position] = data.draw(st.binary(min_size=1, max_size=40))
            case _:
                del damaged[position:]
        damaged = damaged or bytearray(b"O")
    assert bytes(damaged) == note.ogg or read_ogg_opus(bytes(damaged)) is None


@given(st.binary(max_size=200))
def test_the_reader_survives_anything_behind_the_right_magic(body: bytes) -> None:
    assert read_ogg_opus(body) is None
    assert read_ogg_opus(b"OggS" + bytes(24) + b"OpusHead\x01" + body) is None


def test_an_exact_length_is_kept_by_trimming_the_end() -> None:
    read = read_ogg_opus(written([b"\x48abc"] * 10, samples=5_000))
    assert read is not None
    assert read.samples == 5_000


@pytest.mark.parametrize("size", [0, 254, 255, 256, 509, 510, 511, 1274])
def test_packets_at_the_edges_of_the_lacing_survive(size: int) -> None:
    contents = [b"\x48" + bytes(size - 1) if size else b"\x48"] * 3
    read = read_ogg_opus(written(contents))
    assert read is not None
    assert list(read.packets) == contents


def test_pages_hold_about_a_second_and_number_themselves() -> None:
    ogg = written([b"\x48" + random.Random(1).randbytes(60)] * 500)
    starts = [i for i in range(len(ogg)) if ogg[i : i + 5] == b"OggS\0"]
    assert [int.from_bytes(ogg[at + 18 : at + 22], "little") for at in starts] == list(range(len(starts)))
    assert len(starts) == 2 + 10  # two headers, then 50 packets of 20 ms each


def test_ffmpeg_finds_nothing_wrong_with_our_file(note: VoiceNote) -> None:
    with av.open(io.BytesIO(note.ogg), options={"err_detect": "explode"}) as file:
        assert file.streams.audio[0].codec_context.name == "opus"
        assert sum(1 for _ in file.decode(audio=0)) > 60


@pytest.mark.parametrize(
    ("at", "value"),
    [(28 + 9, 2), (28 + 16, 1), (28 + 18, 1), (28 + 8, 2)],
    ids=["stereo", "gain", "mapping family", "version"],
)
def test_only_a_plain_mono_stream_is_taken_apart(note: VoiceNote, at: int, value: int) -> None:
    changed = bytearray(note.ogg)
    changed[at] = value
    end = changed.index(b"OggS", 4)
    changed[22:26] = ogg_crc(bytes(changed[:22] + bytes(4) + changed[26:end])).to_bytes(4, "little")
    assert read_ogg_opus(bytes(changed)) is None


def test_two_streams_one_after_the_other_are_left_to_the_decoder(note: VoiceNote) -> None:
    assert read_ogg_opus(note.ogg + note.ogg) is None
