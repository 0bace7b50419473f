from __future__ import annotations

import io
from array import array

import av
import pytest
from sounds import KINDS, decoded, encoded, interleaved, silence, speech, tone, wav

from gateway.audio import listening
from gateway.audio.ogg import OggOpusWriter, read_ogg_opus
from gateway.audio.opus import SILK_WIDEBAND, configuration
from gateway.audio.profiles import MUSIC, NATIVE, PLAIN16, PROFILES
from gateway.audio.voice_note import VoiceNote, make_voice_note


def codes(note: VoiceNote) -> set[str]:
    return {warning.code for warning in note.report.warnings}


def coarse(waveform: bytes) -> bytes:
    return bytes(sum(waveform[i : i + 4]) // 4 for i in range(0, 64, 4))


def correlation(a: bytes, b: bytes) -> float:
    mean_a, mean_b = sum(a) / len(a), sum(b) / len(b)
    over = sum((x - mean_a) * (y - mean_b) for x, y in zip(a, b, strict=True))
    return over / (sum((x - mean_a) ** 2 for x in a) * sum((y - mean_b) ** 2 for y in b)) ** 0.5


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_file_becomes_the_same_native_voice_note(corpus, note: VoiceNote, kind: str) -> None:
    made = make_voice_note(corpus[kind])
    stream = read_ogg_opus(made.ogg)
    assert stream is not None
    assert {configuration(packet) for packet in stream.packets} == {9}  # SILK wideband, 20 ms
    assert {packet[0] & 3 for packet in stream.packets[:-1]} == {3}
    assert all(packet[1] & 63 == 3 for packet in stream.packets[:-1])
    assert (stream.vendor, stream.comments, stream.input_rate) == (b"WhatsApp", (), 16_000)
    assert made.mimetype == "audio/ogg; codecs=opus"
    assert made.duration == pytest.approx(4, abs=0.1)
    assert made.seconds in (3, 4)
    assert len(decoded(made.ogg)) / 2 / 48_000 == pytest.approx(made.duration, abs=0.001)
    assert (len(made.waveform), max(made.waveform)) == (64, 100)
    # Coder delays shift the sound by up to 50 ms, almost a bar of this short note: compare bars of four.
    assert correlation(coarse(made.waveform), coarse(note.waveform)) > 0.85
    assert made.report.output_bytes == len(made.ogg)
    assert -45 < made.report.rms_dbfs < -15
    assert codes(made) == set()


def test_what_was_found_in_the_file_is_reported(corpus) -> None:
    report = make_voice_note(corpus["mp3"]).report
    assert (report.container, report.codec, report.sample_rate, report.channels) == ("mp3", "mp3float", 44_100, 2)
    assert report.declared_seconds == pytest.approx(4, abs=0.06)
    assert (report.profile, report.passthrough) == ("native", False)
    assert make_voice_note(corpus["webm opus, live"]).report.declared_seconds is None


def test_our_own_note_passes_through_unchanged(note: VoiceNote) -> None:
    again = make_voice_note(note.ogg)
    assert again.report.passthrough
    assert again.ogg == note.ogg
    assert correlation(again.waveform, note.waveform) > 0.97


def test_passing_through_removes_metadata_and_joins_frames(spoken) -> None:
    source = encoded(spoken, **KINDS["ogg opus voice"], metadata={"title": "secret", "location": "+52.5+13.4/"})
    made = make_voice_note(source)
    assert made.report.passthrough
    assert b"secret" not in made.ogg
    assert "title, location" in next(w.text for w in made.report.warnings if w.code == "metadata_removed")
    before, after = read_ogg_opus(source), read_ogg_opus(made.ogg)
    assert before is not None
    assert after is not None
    assert len(after.packets) == pytest.approx(len(before.packets) / 3, abs=1)
    assert len(decoded(made.ogg)) == pytest.approx(len(decoded(source)), abs=2 * 312)  # FFmpeg's end trimming


def test_metadata_and_cover_art_do_not_leak(spoken) -> None:
    made = make_voice_note(encoded(spoken, **KINDS["mp3"], metadata={"title": "secret", "artist": "me"}))
    assert b"secret" not in made.ogg
    assert "artist, title" in next(w.text for w in made.report.warnings if w.code == "metadata_removed")


def test_the_wrong_opus_is_encoded_again(corpus) -> None:
    assert not make_voice_note(corpus["ogg opus 48 kHz"]).report.passthrough
    assert not make_voice_note(corpus["webm opus"]).report.passthrough
    assert not make_voice_note(corpus["ogg vorbis"]).report.passthrough


def test_a_packet_that_does_not_decode_is_not_passed_through(note: VoiceNote) -> None:
    stream = read_ogg_opus(note.ogg)
    assert stream is not None
    writer = OggOpusWriter(pre_skip=312, input_rate=16_000, vendor=b"x")
    for index, packet in enumerate(stream.packets):
        writer.add(b"\x4b\x83\xff" if index == 20 else packet)  # three frames, sizes cut
    made = make_voice_note(writer.finish(stream.samples))
    assert not made.report.passthrough
    assert made.duration == pytest.approx(note.duration, abs=0.5)


@pytest.mark.parametrize("name", PROFILES)
def test_profiles_differ_as_they_say(corpus, name: str) -> None:
    profile = PROFILES[name]
    made = make_voice_note(corpus["flac"], profile=profile)
    stream = read_ogg_opus(made.ogg)
    assert stream is not None
    assert made.report.profile == name
    assert stream.input_rate == profile.rate
    assert {len(p) and (p[1] & 63 if p[0] & 3 == 3 else 1) for p in stream.packets[:-1]} == {profile.frames_per_packet}
    assert ({configuration(p) for p in stream.packets} <= SILK_WIDEBAND) == (profile.rate == 16_000)
    assert ("wideband" in codes(made)) == (profile is MUSIC)
    assert len(decoded(made.ogg)) / 2 / 48_000 == pytest.approx(made.duration, abs=0.001)


def test_a_note_changes_profile_without_being_encoded_again(note: VoiceNote) -> None:
    plain = make_voice_note(note.ogg, profile=PLAIN16)
    assert plain.report.passthrough
    back = make_voice_note(plain.ogg, profile=NATIVE)
    assert back.ogg == note.ogg


@pytest.mark.parametrize("seconds", [0.0001, 0.01, 0.5, 0.999, 1.0, 1.999])
def test_the_length_is_exact_and_never_shown_as_zero(seconds: float) -> None:
    made = make_voice_note(wav(tone(seconds).tobytes()))
    assert made.duration == int(seconds * 16_000) / 16_000
    assert made.seconds == 1
    assert ("very_short" in codes(made)) == (seconds < 1)
    stream = read_ogg_opus(made.ogg)
    assert stream is not None
    assert stream.samples / 48_000 == made.duration


def test_silence_is_sent_and_said() -> None:
    made = make_voice_note(wav(silence(3).tobytes()))
    assert made.waveform == bytes(64)
    assert (made.report.rms_dbfs, made.report.peak_dbfs) == (-96, -96)
    assert codes(made) == {"nearly_silent"}


def test_clipping_is_said() -> None:
    square = array("h", ([32767] * 20 + [-32768] * 20) * 800)
    assert "clipped" in codes(make_voice_note(wav(square.tobytes())))


def test_two_channels_that_cancel_out_are_not_sent_as_silence(spoken) -> None:
    opposite = array("h", (-x for x in spoken))
    made = make_voice_note(wav(interleaved(spoken, opposite).tobytes(), channels=2))
    assert "antiphase" in codes(made)
    assert made.report.rms_dbfs > -35
    assert correlation(made.waveform, make_voice_note(wav(spoken.tobytes())).waveform) > 0.98


@pytest.mark.parametrize("side", [0, 1])
def test_one_silent_channel_does_not_matter(spoken, side: int) -> None:
    channels = [spoken, silence(4)]
    made = make_voice_note(wav(interleaved(channels[side], channels[1 - side]).tobytes(), channels=2))
    assert max(made.waveform) == 100
    assert codes(made) == set()


def test_a_note_too_large_to_play_at_once_says_so() -> None:
    made = make_voice_note(wav(speech(4).tobytes() * 60))
    assert made.report.output_bytes > 512 * 1024
    assert codes(made) == {"not_instant"}
    assert made.seconds == 240


def test_music_gets_advice() -> None:
    chord = array("h", (a + b // 2 for a, b in zip(tone(6, 220), tone(6, 331), strict=True)))
    made = make_voice_note(encoded(chord, "flac", "flac", rate=44_100))
    assert "music_like" in codes(made)
    assert "music_like" not in codes(make_voice_note(encoded(chord, "flac", "flac", rate=44_100), profile=MUSIC))


def test_several_tracks_are_said(spoken) -> None:
    out = io.BytesIO()
    with av.open(io.BytesIO(encoded(spoken, **KINDS["m4a"]))) as source, av.open(out, "w", format="mp4") as target:
        tracks = [target.add_stream_from_template(source.streams.audio[0]) for _ in range(2)]
        for packet in source.demux(audio=0):
            if packet.dts is not None:
                for track in tracks:
                    packet.stream = track
                    target.mux(packet)
    assert "several_tracks" in codes(make_voice_note(out.getvalue()))


def test_a_broken_waveform_does_not_stop_the_note(corpus, monkeypatch, caplog) -> None:
    def fail(samples: object) -> None:
        raise RuntimeError("no picture today")

    monkeypatch.setattr(listening, "rectify", fail)
    made = make_voice_note(corpus["wav"])
    assert made.waveform == bytes(64)
    assert (made.report.rms_dbfs, made.report.peak_dbfs) == (None, None)
    assert codes(made) == {"no_waveform"}
    assert made.duration == 4
    assert len(caplog.records) == 1


def test_the_number_of_cores_does_not_change_the_note(corpus) -> None:
    eleven_seconds = wav(speech(11.1).tobytes())
    one, many = (make_voice_note(eleven_seconds, lanes=lanes) for lanes in (1, 3))
    assert one == many
    assert one.report == many.report
    assert make_voice_note(one.ogg, lanes=1) == make_voice_note(one.ogg, lanes=3)


def test_a_stream_that_changes_its_rate_and_channels_plays_to_its_end(spoken) -> None:
    parts = [
        encoded(spoken, "mp3", "libmp3lame", rate=rate, layout=layout, mux={"write_xing": "0", "id3v2_version": "0"})
        for rate, layout in ((44_100, "stereo"), (22_050, "mono"), (16_000, "mono"))
    ]
    assert make_voice_note(b"".join(parts)).duration == pytest.approx(12, abs=0.4)


def test_the_same_sound_makes_the_same_note_every_time(corpus) -> None:
    assert make_voice_note(corpus["m4a"]) == make_voice_note(corpus["m4a"])


def test_a_wrong_guess_of_the_length_is_not_damage(spoken) -> None:
    """An MP3 without a length header is guessed from its first frames; four quiet seconds mislead FFmpeg."""
    quiet = encoded(silence(4), "mp3", "libmp3lame", rate=16_000, options={"q": "9"}, mux={"write_xing": "0"})
    loud = encoded(spoken, "mp3", "libmp3lame", rate=16_000, bit_rate=160_000, mux={"write_xing": "0", "id3v2_version": "0"})
    made = make_voice_note(quiet + loud)
    assert made.duration == pytest.approx(8, abs=0.3)
    assert made.report.declared_seconds != pytest.approx(8, abs=1)
    assert "truncated" not in codes(made)
