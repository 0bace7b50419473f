"""What a phone's camera reads on a screen."""

from __future__ import annotations

import io

import zxingcpp
from PIL import Image


def qr_code_in(picture: bytes) -> str:
    """The text of the one QR code in a PNG; empty when there is none."""
    image = Image.open(io.BytesIO(picture)).convert("L")
    read = zxingcpp.read_barcodes(image, formats=zxingcpp.BarcodeFormat.QRCode)
    assert len(read) <= 1
    return read[0].text if read else ""
