"""What can be done with a message that arrived: its file, and telling its sender that it was read."""

from __future__ import annotations

import mimetypes
import re
from urllib.parse import quote

from starlette.responses import Response

from gateway.api.http import Call, Endpoint, Strict
from gateway.api.messages import find, shape
from gateway.api.shapes import MessageShape

# What a browser may show in the page; all else is a download. The sender chose the type: nothing that can hold a script.
_SHOWN = re.compile(r"audio/[a-z0-9.+-]+|video/[a-z0-9.+-]+|image/(?:jpeg|png|webp|gif)")
_RANGE = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})")


class Read(Strict):
    """`played`: also tell that a voice note was listened to; left out: it is told of voice notes."""

    played: bool | None = None


async def media(call: Call) -> Response:
    message = await find(call)
    file = await call.gateway.inbox.media(message)
    name = file.filename or message.id + (mimetypes.guess_extension(file.mimetype) or "")
    shown = _SHOWN.fullmatch(file.mimetype)
    headers = {
        "Content-Disposition": f"{'inline' if shown else 'attachment'}; filename*=UTF-8''{quote(name, safe='')}",
        "Content-Security-Policy": "default-src 'none'; sandbox",
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "private, max-age=3600",
        "Accept-Ranges": "bytes",
    }
    return _in_part(call.request.headers.get("range", ""), file.data, file.mimetype, headers)


def _in_part(wanted: str, data: bytes, mimetype: str, headers: dict[str, str]) -> Response:
    """One byte range (RFC 9110, 14): some browsers play sound only from servers that know it. Others are ignored."""
    match = _RANGE.fullmatch(wanted)
    if match is None or not (match[1] or match[2]):
        return Response(data, 200, headers, mimetype)
    size = len(data)
    first = int(match[1]) if match[1] else max(0, size - int(match[2]))
    last = min(int(match[2]), size - 1) if match[1] and match[2] else size - 1
    if first > last:
        return Response(None, 416, {**headers, "Content-Range": f"bytes */{size}"})
    return Response(data[first:last + 1], 206, {**headers, "Content-Range": f"bytes {first}-{last}/{size}"}, mimetype)


async def read(call: Call) -> Response:
    message = await find(call)
    played = call.parse(Read).played
    marked = await call.gateway.inbox.mark_read(message, played=message.kind == "ptt" if played is None else played)
    return call.answer(shape(marked))


ENDPOINTS = [
    Endpoint("GET", "/api/v1/messages/{id}/media", media, "The file of a message that arrived", answer=bytes, tag="inbox",
             errors=("message_not_found", "not_found", "media_unavailable", "session_not_connected", "session_gone", "too_large"),
             produces=("*/*",), statuses=(206,),
             description="Downloaded from WhatsApp and decrypted when somebody asks for the first time, then kept sealed for "
                         "`media.retention_hours`. One byte range is understood."),
    Endpoint("POST", "/api/v1/messages/{id}/read", read, "Mark a message as read", "send", Read, answer=MessageShape, tag="inbox",
             errors=("message_not_found", "wrong_state", "session_not_connected", "session_gone", "send_failed"), example={}),
]
