from __future__ import annotations

import io
import struct
import subprocess
import sys
import zlib
from pathlib import Path

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


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize(("orientation", "size"), [(1, (400, 200)), (3, (400, 200)), (6, (200, 400)), (8, (200, 400))])
def test_the_camera_s_orientation_is_applied(orientation: int, size: tuple[int, int], large: bool) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    info = inspect_image(saved(halves(4000, 2000), "PNG", exif=exif) if large else saved(halves(), "JPEG", exif=exif))
    assert (info.width, info.height) == ((size[0] * 10, size[1] * 10) if large else size)
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


LARGE = """
import sys
from pathlib import Path
from gateway.media.images import inspect_image

def peak():
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmHWM"))) // 1024

data, before = Path(sys.argv[1]).read_bytes(), peak()
assert inspect_image(data).width == 8000
print(peak() - before)
"""


@pytest.mark.parametrize(("mode", "at_most"), [("RGBA", 300), ("RGB", 300), ("L", 120), ("P", 120), ("I;16", 240)])
def test_a_large_picture_needs_no_more_memory_than_its_pixels(tmp_path: Path, mode: str, at_most: int) -> None:
    """64 megapixels in some hundred kilobytes: in a process of its own, what it needs at most."""
    file = tmp_path / "large"
    file.write_bytes(saved(Image.new(mode, (8000, 8000)), "PNG"))
    run = subprocess.run([sys.executable, "-c", LARGE, str(file)], capture_output=True, text=True, timeout=60, check=True)
    assert int(run.stdout) < at_most


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P", "I;16", "LA"])
def test_a_large_picture_looks_as_a_small_one_does(mode: str) -> None:
    picture = halves(2400, 1200).convert("L" if mode == "I;16" else mode)
    if mode == "I;16":
        picture = picture.convert("I").point(lambda value: value * 256).convert("I;16")
    small = inspect_image(saved(halves().convert("L" if mode == "I;16" else mode), "PNG")).thumbnail
    large = inspect_image(saved(picture, "PNG")).thumbnail
    one, other = (Image.open(io.BytesIO(thumb)).convert("RGB") for thumb in (small, large))
    assert one.size == other.size == (72, 36)
    for at in ((10, 18), (60, 18)):
        assert max(abs(a - b) for a, b in zip(one.getpixel(at), other.getpixel(at), strict=True)) < 12, mode


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
