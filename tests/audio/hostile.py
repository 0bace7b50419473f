"""Files that mean harm, or are merely broken: what strangers upload."""

from __future__ import annotations

import io
import lzma
import random
import struct
import zlib
from array import array
from pathlib import Path

import av
from sounds import encoded, silence, tone, wav

from gateway.audio.ogg import OggOpusWriter
from gateway.audio.opus import join


def ten_hours_of_flac(*, honest: bool) -> bytes:
    """72 KB of silence. Not honest: STREAMINFO says that the length is unknown."""
    data = bytearray(lzma.decompress((Path(__file__).parent / "corpus" / "ten_hours.flac.xz").read_bytes()))
    if not honest:
        data[21] &= 0xF0  # 36 bits of total samples, after 8 + 13 bytes less 4 bits
        data[22:26] = bytes(4)
    return bytes(data)


def ten_hours_of_opus(*, stereo: bool) -> bytes:
    """Packets of 120 ms that hold nothing; the stereo bit keeps them from being passed through."""
    packet = join([b"\x4c" if stereo else b"\x48"] * 6)
    writer = OggOpusWriter(pre_skip=312, input_rate=16_000, vendor=b"x")
    for _ in range(300_000):
        writer.add(packet)
    return writer.finish(36_000 * 48_000)


def png(side: int) -> bytes:
    """A valid grey picture of side x side, a few hundred KB whatever it decodes to."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    squeezed = zlib.compressobj(1)
    rows = b"".join(squeezed.compress(bytes(side + 1)) for _ in range(side)) + squeezed.flush()
    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def with_cover(mp3: bytes, picture: bytes) -> bytes:
    body = b"\0image/png\0\x03\0" + picture
    frame = b"APIC" + struct.pack(">I", len(body)) + bytes(2) + body
    size = len(frame)
    seven_bits = bytes((size >> 21 & 127, size >> 14 & 127, size >> 7 & 127, size & 127))
    return b"ID3\x03\0\0" + seven_bits + frame + mp3


def mp4_without_sound() -> bytes:
    out = io.BytesIO()
    with av.open(out, "w", format="mp4") as file:
        stream = file.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for index in range(10):
            image = av.VideoFrame(64, 48, "yuv420p")
            for plane in image.planes:
                plane.update(bytes(plane.buffer_size))
            image.pts = index
            file.mux(stream.encode(image))
        file.mux(stream.encode(None))
    return out.getvalue()


def reference_movie(name: bytes) -> bytes:
    """A QuickTime movie whose only content is another file's name."""

    def box(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", 8 + len(body)) + kind + body

    reference = box(b"rdrf", struct.pack(">I4sI", 0, b"url ", len(name)) + name)
    return box(b"ftyp", b"qt  \0\0\0\0qt  ") + box(b"moov", box(b"rmra", box(b"rmda", reference)))


def sdp() -> bytes:
    return (
        b"v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=x\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
        b"m=audio 5004 RTP/AVP 97\r\na=rtpmap:97 opus/48000/2\r\n"
    )


def not_audio() -> dict[str, bytes]:
    noise = random.Random(11)
    return {
        "one byte": b"x",
        "random": noise.randbytes(20_000),
        "zeros": bytes(20_000),
        "text": b"Dear sir or madam, " * 200,
        "html": b"<!doctype html><html><body><audio src='/etc/passwd'></body></html>",
        "zip": b"PK\x03\x04" + noise.randbytes(3_000),
        "png": png(16),
        "pdf": b"%PDF-1.7\n" + noise.randbytes(500),
        "jpeg": b"\xff\xd8\xff\xe0\x00\x10JFIF\x00" + noise.randbytes(500),
        "random behind an mp3 sync": b"\xff\xfb\x90\x64" + noise.randbytes(5_000),
        "an mp4 without its index": encoded(tone(2), "mp4", "aac", rate=44_100)[:8_000],
        "ogg magic only": b"OggS" + bytes(2_000),
        "riff magic only": b"RIFF\xff\xff\xff\xffWAVE",
    }


def strange_wavs() -> dict[str, tuple[bytes, set[str]]]:
    """Header and what may come of it: an error code, or `ok`."""
    pcm = tone(1).tobytes()
    quiet_nan = struct.pack("<I", 0x7FC00000) * 8_000
    return {
        "1 Hz": (wav(pcm, rate=1), {"bad_rate"}),
        "0 Hz": (wav(pcm, rate=0), {"not_audio", "bad_rate", "no_audio"}),
        "3,999 Hz": (wav(pcm, rate=3_999), {"bad_rate"}),
        "2^31-1 Hz": (wav(pcm, rate=2**31 - 1), {"bad_rate", "not_audio"}),
        "255 channels": (wav(pcm, channels=255), {"bad_channels", "not_audio", "no_audio"}),
        "65535 channels": (wav(pcm, channels=65535), {"bad_channels", "not_audio", "no_audio"}),
        "no channels": (wav(pcm, channels=0), {"not_audio", "no_audio", "unsupported", "bad_channels", "protected"}),
        "claims 4 GiB": (wav(pcm, claim=0xFFFFFFFF), {"ok"}),
        "no samples": (wav(b""), {"no_audio", "not_audio"}),
        "half a sample": (wav(b"\x01"), {"no_audio", "not_audio"}),
        "one sample": (wav(b"\x01\x02"), {"ok"}),
        "not a number": (wav(quiet_nan, bits=32, kind=3), {"ok"}),
        "floats of 1e30": (wav(struct.pack("<f", 1e30) * 8_000, bits=32, kind=3), {"ok"}),
        "unknown codec": (wav(pcm, kind=0x4242), {"protected", "unsupported", "not_audio"}),
    }


def drm(kind: bytes) -> bytes:
    return encoded(tone(1), "ipod", "aac", rate=44_100).replace(b"mp4a", kind)


def cenc() -> bytes:
    key = "00112233445566778899aabbccddeeff"
    mux = {"encryption_scheme": "cenc-aes-ctr", "encryption_key": key, "encryption_kid": key}
    return encoded(tone(2), "mp4", "aac", rate=44_100, mux=mux)


def no_data_amr() -> bytes:
    return b"#!AMR\n" + b"\x7c" * 50_000  # a thousand seconds of "no data"


def silence_mp3(seconds: float) -> bytes:
    return encoded(array("h", silence(seconds)), "mp3", "libmp3lame", rate=16_000, bit_rate=8_000, mux={"write_xing": "0"})
