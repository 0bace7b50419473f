"""From what was seen in a file and heard in its sound to a `Report` with warnings."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from gateway.audio.listening import Listener
from gateway.audio.profiles import MUSIC, Profile
from gateway.audio.report import INSTANT_PLAY_BYTES, AudioWarning, Report

_NEARLY_SILENT: Final = -50.0  # dBFS RMS; quiet speech into a phone is around -35
_CLIPPED: Final = 0.001  # of all samples
_MUSIC_LOW_ENERGY: Final = 0.1  # of all 10 ms bins: speech has twice as many quiet ones at least

# Tags that encoders write by themselves: removing these is not worth a warning.
_TECHNICAL_TAGS: Final = frozenset(
    ("encoder", "major_brand", "minor_version", "compatible_brands", "handler_name", "vendor_id", "language", "duration")
)


@dataclass(frozen=True, slots=True)
class Source:
    """What a file was. `tags` are names of metadata, `skipped` undecodable packets."""

    container: str
    codec: str
    sample_rate: int
    channels: int
    declared_seconds: float | None
    audio_tracks: int
    tags: tuple[str, ...]
    skipped: int
    truncated: bool
    cancels: bool  # left and right cancel each other out: only the left channel was taken


def diagnose(
    source: Source, profile: Profile, listener: Listener, output_bytes: int, seconds: float, passthrough: bool
) -> Report:
    loudness = listener.loudness
    return Report(
        container=source.container,
        codec=source.codec,
        sample_rate=source.sample_rate,
        channels=source.channels,
        declared_seconds=source.declared_seconds,
        seconds=seconds,
        rms_dbfs=round(loudness.rms_dbfs, 1) if loudness else None,
        peak_dbfs=round(loudness.peak_dbfs, 1) if loudness else None,
        passthrough=passthrough,
        output_bytes=output_bytes,
        profile=profile.name,
        warnings=tuple(AudioWarning(code, text) for code, text in _warnings(source, profile, listener, output_bytes, seconds)),
    )


def _warnings(
    source: Source, profile: Profile, listener: Listener, output_bytes: int, seconds: float
) -> Iterator[tuple[str, str]]:
    if listener.failed:
        yield "no_waveform", "The waveform could not be computed; the note shows a flat line."
    elif (loudness := listener.loudness) is not None:
        if loudness.rms_dbfs < _NEARLY_SILENT:
            yield "nearly_silent", f"The sound is nearly silent ({loudness.rms_dbfs:.0f} dBFS)."
        if loudness.clipped > _CLIPPED:
            yield "clipped", f"{loudness.clipped:.1%} of the samples are at full scale: it will sound distorted."
    if source.cancels:
        yield "antiphase", "Left and right cancel each other out when mixed; only the left channel was taken."
    if source.truncated:
        declared = f" of {source.declared_seconds:.1f} s" if source.declared_seconds else ""
        yield "truncated", f"The file ends early: {seconds:.1f} s{declared} could be decoded."
    if source.skipped:
        yield "damaged_parts", f"{source.skipped} damaged packets were skipped."
    if seconds < 1:
        yield "very_short", f"The sound lasts {seconds:.2f} s; WhatsApp shows 1 s."
    if output_bytes > INSTANT_PLAY_BYTES:
        yield "not_instant", f"{output_bytes >> 10} KB: above 512 KB WhatsApp downloads before it can play."
    if source.audio_tracks > 1:
        yield "several_tracks", f"The file has {source.audio_tracks} audio tracks; one was taken."
    if tags := [tag for tag in source.tags if tag not in _TECHNICAL_TAGS]:
        named = ", ".join(tags[:8]) + (", ..." if len(tags) > 8 else "")
        yield "metadata_removed", f"Not passed on: {named}."
    if profile.rate > 16_000:
        yield "wideband", f"Some phones are reported to refuse {profile.rate // 1000} kHz voice notes."
    elif min(source.sample_rate / 32_000, seconds / 5) >= 1 and listener.low_energy_ratio < _MUSIC_LOW_ENERGY:
        yield "music_like", f"It sounds like music, which is dull at 16 kHz; profile {MUSIC.name!r} keeps 48 kHz."
