from __future__ import annotations

import io
import struct
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from gateway.media import images
from gateway.media.images import THUMBNAIL_BYTES, inspect_image
from gateway.media.sniff import MediaError


def saved(image: Image.Image, kind: str, **how: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **how)
    return out.getvalue()


def halves(width: int = 400, height: int = 200) -> Image.Image:
    """Red on the left, blue on the right."""
    image = Image.new("RGB", (width, height), "red")
    image.paste("blue", (width // 2, 0, width, height))
    return image


def thumbnail(data: bytes) -> Image.Image:
    small = inspect_image(data).thumbnail
    assert len(small) <= THUMBNAIL_BYTES
    image = Image.open(io.BytesIO(small))
    image.load()
    assert image.format == "JPEG"
    return image


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF"])
def test_a_picture_is_measured_and_gets_a_thumbnail(kind: str) -> None:
    data = saved(halves(), kind)
    info = inspect_image(data)
    assert (info.mimetype, info.width, info.height, info.animated) == (f"image/{kind.lower()}", 400, 200, False)
    small = thumbnail(data)
    assert small.size == (72, 36)
    left, right = small.getpixel((10, 18)), small.getpixel((60, 18))
    assert left[0] > 200 > 60 > left[2]
    assert right[2] > 200 > 60 > right[0]


@pytest.mark.parametrize(("orientation", "size"), [(1, (400, 200)), (3, (400, 200)), (6, (200, 400)), (8, (200, 400))])
def test_the_camera_s_orientation_is_applied(orientation: int, size: tuple[int, int]) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    info = inspect_image(saved(halves(), "JPEG", exif=exif))
    assert (info.width, info.height) == size
    small = Image.open(io.BytesIO(info.thumbnail))
    assert (small.width > small.height) == (size[0] > size[1])
    first_is_red = {1: True, 3: False, 6: True, 8: False}[orientation]  # left, or top
    red, _, blue = small.getpixel((5, 5))
    assert (red > blue) == first_is_red


def test_the_thumbnail_carries_no_metadata() -> None:
    exif = Image.Exif()
    exif[0x010E] = "secret place"
    assert b"secret" not in inspect_image(saved(halves(), "JPEG", exif=exif)).thumbnail


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "I;16", "CMYK"])
def test_every_kind_of_pixel_becomes_a_thumbnail(mode: str) -> None:
    kind = "JPEG" if mode == "CMYK" else "PNG"
    image = halves().convert("L").convert("I;16") if mode == "I;16" else halves().convert(mode)
    assert thumbnail(saved(image, kind)).size == (72, 36)


def test_transparency_is_white() -> None:
    assert thumbnail(saved(Image.new("RGBA", (100, 100), (0, 0, 0, 0)), "PNG")).getpixel((30, 30)) == (255, 255, 255)


def test_a_small_or_narrow_picture_is_not_blown_up_nor_lost() -> None:
    assert thumbnail(saved(halves(20, 10), "PNG")).size == (20, 10)
    assert thumbnail(saved(halves(4000, 2), "PNG")).size == (72, 1)


def test_an_animation_is_seen() -> None:
    frames = [Image.new("RGB", (20, 20), colour) for colour in ("red", "blue")]
    for kind in ("GIF", "WEBP"):
        assert inspect_image(saved(frames[0], kind, save_all=True, append_images=frames[1:])).animated


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "empty"),
        (b"hello", "not_image"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not_image"),
        (saved(halves(), "TIFF"), "not_image"),
        (saved(halves(), "PNG")[:-60], "damaged"),
        (saved(halves(), "JPEG")[:-200], "damaged"),
        (saved(halves(), "JPEG")[:3] + bytes(500), "not_image"),
    ],
)
def test_what_cannot_be_shown_is_refused(data: bytes, code: str) -> None:
    with pytest.raises(MediaError) as caught:
        inspect_image(data)
    assert caught.value.code == code
    assert caught.value.text.endswith(".")


@pytest.mark.parametrize("side", [8_001, 9_600, 60_000])
def test_a_picture_that_would_fill_the_memory_is_not_decoded(side: int) -> None:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    with pytest.raises(MediaError) as caught:
        inspect_image(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b""))
    assert caught.value.code == "too_large"


def test_a_file_above_the_cap_is_not_opened(monkeypatch) -> None:
    monkeypatch.setattr(images, "MAX_BYTES", 100)
    with pytest.raises(MediaError, match="too_large"):
        inspect_image(saved(halves(), "PNG"))


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_a_damaged_picture_is_a_thumbnail_or_a_clean_error(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(["JPEG", "PNG", "WEBP", "GIF"]))
    changed = bytearray(saved(halves(60, 40), kind))
    for _ in range(data.draw(st.integers(1, 5))):
        changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    try:
        assert inspect_image(bytes(changed)).thumbnail.startswith(b"\xff\xd8")
    except MediaError:
        pass
