from __future__ import annotations

import io
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from gateway.media.sniff import Sniffed, sniff


def archive() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        file.writestr("a.txt", "words")
    return out.getvalue()


def picture(kind: str) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (30, 20), "teal").save(out, kind)
    return out.getvalue()


@pytest.mark.parametrize(
    ("data", "mimetype", "kind"),
    [
        (picture("JPEG"), "image/jpeg", "image"),
        (picture("PNG"), "image/png", "image"),
        (picture("WEBP"), "image/webp", "image"),
        (picture("GIF"), "image/gif", "image"),
        (picture("TIFF"), "image/tiff", "document"),
        (b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom" + bytes(40), "video/mp4", "video"),
        (b"\0\0\0\x14ftypqt  \0\0\0\0qt  " + bytes(40), "video/quicktime", "video"),
        (b"\0\0\0\x18ftyp3gp4\0\0\0\x003gp43gp6" + bytes(40), "video/3gpp", "video"),
        (b"\0\0\0\x1cftypM4A \0\0\0\0M4A mp42isom" + bytes(40), "audio/mp4", "audio"),
        (b"\x1a\x45\xdf\xa3\x93\x42\x82\x88matroska" + bytes(40), "video/x-matroska", "video"),
        (b"\x1a\x45\xdf\xa3\x93\x42\x82\x84webm" + bytes(40), "video/webm", "video"),
        (b"OggS\0\2" + bytes(20) + b"\1\x13OpusHead\1\1" + bytes(40), "audio/ogg; codecs=opus", "audio"),
        (b"OggS\0\2" + bytes(20) + b"\1\x1e\1vorbis" + bytes(40), "audio/ogg", "audio"),
        (b"ID3\4\0\0\0\0\0\0\xff\xfb\x90\x64" + bytes(400), "audio/mpeg", "audio"),
        (b"fLaC\0\0\0\x22" + bytes(60), "audio/flac", "audio"),
        (b"RIFF\x24\0\0\0WAVEfmt \x10\0\0\0\1\0\1\0" + bytes(40), "audio/wav", "audio"),
        (b"#!AMR\n" + bytes(40), "audio/amr", "audio"),
        (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n", "application/pdf", "document"),
        (archive(), "application/zip", "document"),
        (b"plain words\n", "text/plain", "document"),
        (b"", "application/octet-stream", "document"),
    ],
)  # fmt: skip
def test_content_is_named_by_its_first_bytes(data: bytes, mimetype: str, kind: str) -> None:
    assert sniff(data) == Sniffed(mimetype, kind)  # type: ignore[arg-type]


@given(st.binary(max_size=500))
def test_every_content_has_a_name(data: bytes) -> None:
    named = sniff(data)
    assert "/" in named.mimetype
    assert named.kind in ("image", "video", "audio", "document")
