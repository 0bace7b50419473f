"""QR codes as pictures."""

from __future__ import annotations

import io
from base64 import b64encode
from functools import lru_cache

import segno


@lru_cache(maxsize=64)
def png(code: str) -> bytes:
    """About 500 pixels wide, with the quiet zone that scanners need."""
    out = io.BytesIO()
    segno.make_qr(code, error="l").save(out, kind="png", scale=6, border=4)
    return out.getvalue()


@lru_cache(maxsize=64)
def png_data_uri(code: str) -> str:
    return "data:image/png;base64," + b64encode(png(code)).decode()


def svg(code: str) -> bytes:
    out = io.BytesIO()
    segno.make_qr(code, error="l").save(out, kind="svg", scale=6, border=4, xmldecl=False, light="#fff")
    return out.getvalue()
