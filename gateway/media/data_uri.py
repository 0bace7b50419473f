"""`data:` URIs (RFC 2397), read strictly: what browsers and well-behaved clients write, and nothing to guess at."""

from __future__ import annotations

import binascii
import re
from urllib.parse import unquote_to_bytes

from gateway.media.fetch import Fetched, FetchError, clean_filename

_TOKEN = r"[A-Za-z0-9!#$&^_.+-]+"
# Spaces after ';' are not in the RFC; FileReader copies them from a Blob's type ("audio/ogg; codecs=opus").
_HEAD = re.compile(
    rf'data:(?P<type>{_TOKEN}/{_TOKEN})?(?P<parameters>(?:; *{_TOKEN}=(?:"[^"]*"|[^;,"\s]*))*)(?P<base64>; *base64)?,',
    re.IGNORECASE,
)
_HEAD_CHARS = 2_048  # of the type and its parameters; megabytes of them would be read for seconds
_PARAMETER = re.compile(rf'; *({_TOKEN})=(?:"([^"]*)"|([^;,"\s]*))')
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_NOT_IN_URI = re.compile(r"[^A-Za-z0-9%._~:/?@!$&'()*+,;=\[\]-]")


def parse_data_uri(uri: str, *, max_bytes: int) -> Fetched:
    """The bytes of a `data:` URI; `content_type` defaults to `text/plain`, `filename` is its `name` or `filename` parameter.

    The size is bounded before anything is decoded. Raises FetchError: `fetch_bad_url` or `fetch_too_large`.
    """
    head = _HEAD.match(uri[:_HEAD_CHARS])
    if head is None:
        raise FetchError("fetch_bad_url", "That is not a data: URI of the form data:type/subtype;base64,….")
    body = uri[head.end() :]
    decoded_bytes = len(body) - 2 * body.count("%")  # %41 is one byte
    if head["base64"]:
        decoded_bytes = decoded_bytes // 4 * 3 - 2  # at most two of them are padding
    if decoded_bytes > max_bytes:
        raise FetchError("fetch_too_large", f"The data: URI holds more than {max_bytes} bytes.")
    data = _base64(body) if head["base64"] else _percent(body)
    if len(data) > max_bytes:
        raise FetchError("fetch_too_large", f"The data: URI holds more than {max_bytes} bytes.")
    parameters = {key.lower(): quoted or plain for key, quoted, plain in _PARAMETER.findall(head["parameters"])}
    named = (parameters.get("name") or parameters.get("filename") or "").encode("utf-8", "replace")
    name = unquote_to_bytes(named).decode("utf-8", "replace")
    return Fetched(data, (head["type"] or "text/plain").lower(), "data:", clean_filename(name))


def _percent(body: str) -> bytes:
    if re.match(r"[^;,]*;\s*base64,", body, re.IGNORECASE):
        # MediaRecorder writes "video/webm;codecs=vp8,opus;base64,…": the first comma would end the head there.
        raise FetchError("fetch_bad_url", "A comma in the data: URI's media type must be in quotes.")
    if _NOT_IN_URI.search(body) or _BAD_ESCAPE.search(body):
        raise FetchError("fetch_bad_url", "The data: URI contains characters that must be percent-encoded.")
    return unquote_to_bytes(body)


def _base64(body: str) -> bytes:
    try:
        encoded = unquote_to_bytes(body) if "%" in body else body.encode("ascii")
        return binascii.a2b_base64(encoded, strict_mode=True)
    except ValueError:  # binascii.Error and UnicodeError are ValueErrors
        raise FetchError("fetch_bad_url", "The data: URI's base64 is not valid (standard alphabet, with padding).") from None
