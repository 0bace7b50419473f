"""The voice-note doctor over HTTP."""

from __future__ import annotations

import base64

import aiohttp

from tests.running import Running

INSPECT = "/api/v1/voice/inspect"


def form(data: bytes, **fields: str) -> aiohttp.FormData:
    body = aiohttp.FormData()
    body.add_field("file", data, filename="x.wav")
    for name, value in fields.items():
        body.add_field(name, value)
    return body


async def test_it_says_what_the_file_is_and_what_would_be_sent(running: Running, tone_wav: bytes) -> None:
    answer = await running.client("POST", INSPECT, data=form(tone_wav))
    assert answer.status == 200
    report = answer.body
    assert {name: report[name] for name in ("container", "sample_rate", "channels", "seconds", "profile", "passthrough")} == {
        "container": "wav", "sample_rate": 16000, "channels": 1, "seconds": 2, "profile": "native", "passthrough": False}
    assert report["input_bytes"] == len(tone_wav)
    assert 0 < report["output_bytes"] < len(tone_wav)
    assert len(report["waveform"]) == 64
    assert max(report["waveform"]) == 100
    assert -30 < report["rms_dbfs"] < report["peak_dbfs"] <= 0
    assert running.links.sent == []


async def test_the_converted_note_is_answered_when_asked_for(running: Running, tone_wav: bytes) -> None:
    uri = "data:audio/wav;base64," + base64.b64encode(tone_wav).decode()
    for path, headers in ((f"{INSPECT}?audio=1", {}), (f"{INSPECT}?audio=true", {"Accept": "*/*"}),
                          (INSPECT, {"Accept": "audio/ogg"})):
        answer = await running.client.post(path, {"url": uri}, headers=headers)
        assert (answer.status, answer.headers["Content-Type"], answer.body[:4]) == (200, "audio/ogg", b"OggS")
    note = answer.body
    again = await running.client("POST", INSPECT, data=form(note))
    assert again.body["passthrough"] is True


async def test_warnings_tell_what_a_listener_may_notice(running: Running, tone_wav: bytes) -> None:
    quiet = tone_wav[:44] + bytes(len(tone_wav) - 44)
    codes = {w["code"] for w in (await running.client("POST", INSPECT, data=form(quiet, profile="music"))).body["warnings"]}
    assert "nearly_silent" in codes
    assert "wideband" in codes


async def test_a_read_key_may_not_have_things_converted(running: Running, tone_wav: bytes) -> None:
    reader = await running.another_client(scope="read")
    assert (await reader("POST", INSPECT, data=form(tone_wav))).status == 403


async def test_one_source_is_needed_and_only_one(running: Running, tone_wav: bytes) -> None:
    both = await running.client("POST", INSPECT, data=form(tone_wav, url="http://example.com/"))
    neither = await running.client.post(INSPECT, {"profile": "native"})
    for answer in (both, neither):
        assert (answer.status, answer.body["error"]["details"]["field"]) == (422, "url")
