"""Pictures: what they are, how large, and the thumbnail WhatsApp shows before the download."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Final

from PIL import Image, ImageOps

from gateway.media.sniff import MediaError

THUMBNAIL_SIDE: Final = 72  # pixels on the long side, as WhatsApp's clients make them
THUMBNAIL_BYTES: Final = 32 * 1024
MAX_BYTES: Final = 16 << 20  # WhatsApp's own cap for images
MAX_PIXELS: Final = 64_000_000  # decoded, that is 256 MB at worst; a PNG of 100 KB can hold it
_STRIP_PIXELS: Final = 1_000_000  # a large image is shrunk a strip at a time: Pillow copies what it scales, some modes twice

_ORIENTATION: Final = 0x0112  # EXIF's tag
_FORMATS: Final = {"JPEG": "image/jpeg", "PNG": "image/png", "WEBP": "image/webp", "GIF": "image/gif"}


@dataclass(frozen=True, slots=True)
class ImageInfo:
    """`width` and `height` in pixels as it is seen (EXIF orientation applied); `thumbnail` a JPEG of at most 32 KB.

    `animated` GIFs are sent as videos (`videos.gif_to_video`); sent as an image, only the first frame shows.
    """

    mimetype: str
    width: int
    height: int
    thumbnail: bytes
    animated: bool


def inspect_image(data: bytes) -> ImageInfo:
    """Decodes a JPEG, PNG, WebP or GIF to its end. Blocking and pure.

    Raises MediaError: `empty`, `too_large` (bytes or pixels), `not_image`, `damaged`.
    """
    if not data:
        raise MediaError("empty", "The file is empty.")
    if len(data) > MAX_BYTES:
        raise MediaError("too_large", f"The image is larger than {MAX_BYTES >> 20} MiB.")
    try:
        image = Image.open(io.BytesIO(data), formats=tuple(_FORMATS))
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _too_many_pixels() from error
    except Exception as error:  # Pillow's plugins raise what they please
        raise MediaError("not_image", "The file is not a JPEG, PNG, WebP or GIF image.") from error
    with image:
        mimetype = _FORMATS[image.format or ""]
        width, height = image.size
        if width * height > MAX_PIXELS:
            raise _too_many_pixels()
        animated = bool(getattr(image, "is_animated", False))
        try:
            image.draft("RGB", (4 * THUMBNAIL_SIDE, 4 * THUMBNAIL_SIDE))  # JPEG only: decoded at a fraction of its size
            turned = image.getexif().get(_ORIENTATION, 1) >= 5  # rotated by a quarter, either way
            thumbnail = make_thumbnail(image)
        except Exception as error:
            raise MediaError("damaged", "The image is damaged.") from error
    if turned:
        width, height = height, width
    return ImageInfo(mimetype, width, height, thumbnail, animated)


def make_thumbnail(image: Image.Image) -> bytes:
    """A JPEG of at most `THUMBNAIL_SIDE` on its long side, turned as EXIF says, transparency on white, without metadata.

    Shrinks `image` itself.
    """
    exif = image.getexif()
    small = _shrunk(image) if image.width * image.height > 2 * _STRIP_PIXELS else _plain(image)
    small.getexif()[_ORIENTATION] = exif.get(_ORIENTATION, 1)
    small = ImageOps.exif_transpose(small)
    small.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE))
    if small.has_transparency_data:
        small = small.convert("RGBA")
        white = Image.new("RGBA", small.size, "white")
        white.alpha_composite(small)
        small = white
    small = small.convert("RGB")
    for quality in (75, 50, 25):
        out = io.BytesIO()
        small.save(out, "JPEG", quality=quality)
        if out.tell() <= THUMBNAIL_BYTES:
            break
    return out.getvalue()


def _plain(image: Image.Image) -> Image.Image:
    """In a mode that can be scaled: one of 16 bits a pixel would be clipped."""
    return image.convert("I").point(lambda value: value / 256).convert("L") if image.mode.startswith("I") else image


def _shrunk(image: Image.Image) -> Image.Image:
    """By a whole factor, to some times a thumbnail's size, without a second copy of all of it."""
    width, height = image.size
    factor = max(1, max(width, height) // (8 * THUMBNAIL_SIDE))
    rows = max(1, _STRIP_PIXELS // (width * factor)) * factor
    small = Image.new("RGBA", (-(-width // factor), -(-height // factor)))
    for top in range(0, height, rows):
        strip = _plain(image.crop((0, top, width, min(height, top + rows)))).convert("RGBA").reduce(factor)
        small.paste(strip, (0, top // factor))
    return small


def _too_many_pixels() -> MediaError:
    return MediaError("too_large", f"The image has more than {MAX_PIXELS // 1_000_000} megapixels.")
