"""/api/v1/voice/inspect, the voice-note doctor: what a file is, what would be sent, and what to know about it."""

from __future__ import annotations

from typing import Literal

import msgspec
from starlette.responses import Response

from gateway.api.http import Call, Endpoint, Strict, accepts
from gateway.api.messages import body_limit, check_file_url, file_of
from gateway.api.shapes import VoiceReport, VoiceWarning
from gateway.errors import InvalidField

OGG = "audio/ogg"


class Inspect(Strict):
    """`url`: http, https or `data:`, or a part named `file` in a form."""

    url: str = ""
    profile: Literal["native", "plain16", "music"] | None = None


class InspectQuery(Strict):
    """`audio`: answer with the voice note itself, as `Accept: audio/ogg` does."""

    audio: bool = False


async def inspect(call: Call) -> Response:
    body, query, preparing = call.parse(Inspect), call.query(InspectQuery), call.gateway.preparing
    file = file_of(call)
    if bool(file) == bool(body.url):
        raise InvalidField("url", "url: give either url or a part named 'file'")
    data = file.data if file else (await preparing.fetch(check_file_url(body.url, "url"), preparing.max_bytes("ptt"))).data
    seen = await preparing.inspect(data, body.profile or call.gateway.settings.audio.profile)
    accept = call.request.headers.get("accept", "")
    if query.audio or (accept and not accepts(accept, ("application/json",))):
        return Response(seen.ogg, 200, {"Cache-Control": "no-store"}, OGG)
    report = seen.report
    return call.answer(VoiceReport(
        container=report.container, codec=report.codec, sample_rate=report.sample_rate, channels=report.channels,
        declared_seconds=report.declared_seconds, duration=round(seen.duration, 3), seconds=seen.seconds,
        rms_dbfs=report.rms_dbfs, peak_dbfs=report.peak_dbfs, passthrough=report.passthrough, input_bytes=len(data),
        output_bytes=report.output_bytes, output_mimetype="audio/ogg; codecs=opus", profile=report.profile,
        warnings=[msgspec.convert(warning, VoiceWarning, from_attributes=True) for warning in report.warnings],
        waveform=list(seen.waveform)))


ENDPOINTS = [
    Endpoint("POST", "/api/v1/voice/inspect", inspect, "The voice-note doctor: look at a sound without sending it", "send",
             Inspect, files=True, query=InspectQuery, answer=VoiceReport, tag="voice", max_body=body_limit("ptt"),
             produces=("application/json", OGG), example={"url": "https://example.com/hello.mp3"},
             errors=("not_audio", "no_audio", "protected", "damaged", "empty", "too_large", "too_long", "too_complex", "timeout",
                     "unsupported", "bad_rate", "bad_channels", "fetch_failed", "fetch_forbidden", "fetch_bad_url",
                     "fetch_too_large", "fetch_timeout"),
             description="The answer's warnings say what a listener may notice. With `?audio=1` or `Accept: audio/ogg` the "
                         "converted voice note itself is answered."),
]
