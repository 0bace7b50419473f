from __future__ import annotations

import hostile
import pytest
from sounds import KINDS, encoded

from gateway.audio.audio_file import prepare_audio_file
from gateway.audio.errors import AudioError
from gateway.audio.limits import AudioLimits

KEPT = {
    "mp3": "audio/mpeg",
    "mp3 without a length": "audio/mpeg",
    "aac": "audio/aac",
    "m4a": "audio/mp4",
    "m4a, index last": "audio/mp4",
    "m4a, fragmented": "audio/mp4",
    "ogg opus 48 kHz": "audio/ogg; codecs=opus",
    "ogg opus voice": "audio/ogg; codecs=opus",
    "amr": "audio/amr",
}


@pytest.mark.parametrize("kind", KINDS)
def test_what_whatsapp_plays_is_kept_and_the_rest_becomes_opus(corpus, kind: str) -> None:
    made = prepare_audio_file(corpus[kind])
    if kind in KEPT:
        assert (made.data, made.mimetype) == (corpus[kind], KEPT[kind])
    else:
        assert made.mimetype == "audio/ogg; codecs=opus"
        assert made.data.startswith(b"OggS")
        assert b"OpusHead" in made.data[:64]
    assert made.seconds in (3, 4)


def test_cover_art_does_not_make_it_a_video(corpus) -> None:
    album = hostile.with_cover(corpus["mp3"], hostile.png(50))
    assert prepare_audio_file(album).data == album


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "empty"),
        (b"hello", "not_audio"),
        (hostile.mp4_without_sound(), "no_audio"),
        (hostile.drm(b"drms"), "protected"),
        (hostile.ten_hours_of_flac(honest=True), "too_long"),
    ],
    ids=["empty", "text", "silent video", "drm", "ten hours"],
)
def test_errors_are_those_of_a_voice_note(data: bytes, code: str) -> None:
    with pytest.raises(AudioError) as caught:
        prepare_audio_file(data)
    assert caught.value.code == code


def test_half_a_file_is_not_sent_as_a_whole(corpus) -> None:
    with pytest.raises(AudioError) as caught:
        prepare_audio_file(corpus["mp3"][:9_000])
    assert caught.value.code == "damaged"


def test_limits_hold(corpus) -> None:
    with pytest.raises(AudioError) as caught:
        prepare_audio_file(corpus["mp3"], AudioLimits(max_seconds=1))
    assert caught.value.code == "too_long"


def test_a_file_above_the_cap_is_made_smaller(spoken) -> None:
    big = encoded(spoken, "mp3", "libmp3lame", rate=48_000, bit_rate=320_000)
    made = prepare_audio_file(big, AudioLimits(max_output_bytes=100_000))
    assert (made.mimetype, len(made.data) < 100_000) == ("audio/ogg; codecs=opus", True)
