"""Any sound in, a WhatsApp voice note (PTT) out, in one pass and in this process.

    demux -> decode -> resample, blocks of a second -+-> waveform, loudness
                                                     +-> libopus -> 3 frames a packet -> Ogg pages

Everything here blocks; `gateway.audio.pool` runs it off the event loop. FFmpeg does the work with the GIL
released. Where a core is idle, libopus works on one second while the next is decoded.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import Final

import av
from av import AudioCodecContext, AudioFrame
from av.error import FFmpegError

from gateway.audio.decode import SoundSource
from gateway.audio.doctor import Source, diagnose
from gateway.audio.encode import OpusEncoder
from gateway.audio.errors import AudioError
from gateway.audio.lanes import Lanes, cores
from gateway.audio.limits import AudioLimits
from gateway.audio.listening import Listener, glimpse
from gateway.audio.ogg import OggOpus, OggOpusWriter, read_ogg_opus
from gateway.audio.opus import SILK_WIDEBAND, Joiner, configuration, packet_samples
from gateway.audio.profiles import NATIVE, Profile
from gateway.audio.report import Report

MIMETYPE: Final = "audio/ogg; codecs=opus"  # `audio/ogg` alone is accepted, and never delivered
_OPUS_RATE: Final = 48_000  # what Opus decodes to, whatever was encoded
_INAUDIBLE: Final = -55.0  # dBFS RMS of a mix that may be two channels cancelling out


@dataclass(frozen=True, slots=True)
class VoiceNote:
    """`ogg` is the file to send, `waveform` 64 bytes of 0..100, `duration` the decoded length in seconds."""

    ogg: bytes
    duration: float
    waveform: bytes
    report: Report

    @property
    def seconds(self) -> int:
        """Whole seconds, as WhatsApp shows them: at least 1, or phones show a broken note."""
        return max(1, int(self.duration))

    @property
    def mimetype(self) -> str:
        return MIMETYPE


def make_voice_note(
    data: bytes, *, profile: Profile = NATIVE, limits: AudioLimits = AudioLimits(), lanes: int | None = None
) -> VoiceNote:
    """Turns any audio file, or the sound of a video, into a voice note. Blocking and pure.

    A file that already is what a phone records keeps its Opus packets, in fresh pages without metadata.
    `lanes` is how many cores may check such a file, all by default; of two, one decodes while the other encodes.
    Raises AudioError, whatever went wrong inside FFmpeg.
    """
    limits.check_bytes(data)
    try:
        lanes = lanes or cores()
        return _reuse(data, profile, limits, lanes) or _transcode(data, profile, limits, lanes)
    except AudioError:
        raise
    except Exception as error:
        raise AudioError("unsupported", "The audio is damaged or of an unsupported kind.") from error


def _transcode(data: bytes, profile: Profile, limits: AudioLimits, lanes: int) -> VoiceNote:
    note = _convert(data, profile, limits, lanes, left_only=False)
    if note.report.channels == 2 and (note.report.rms_dbfs or 0.0) < _INAUDIBLE:
        left = _convert(data, profile, limits, lanes, left_only=True)
        if (left.report.rms_dbfs or -96.0) > (note.report.rms_dbfs or 0.0) + 20:
            return left
    return note


def _convert(data: bytes, profile: Profile, limits: AudioLimits, lanes: int, *, left_only: bool) -> VoiceNote:
    listener = Listener()
    encoder = OpusEncoder(profile)
    with SoundSource(data, limits) as sound, Lanes[list[bytes]](1, aside=lanes > 1) as encoding:
        writer = OggOpusWriter(pre_skip=encoder.pre_skip, input_rate=profile.rate, vendor=profile.vendor)
        joiner = Joiner(profile.frames_per_packet)

        def write(packets: Iterable[bytes]) -> None:
            for packet in packets:
                for joined in joiner.add(packet):
                    writer.add(joined)
            if len(writer) > limits.max_output_bytes:
                raise AudioError("too_large", "The voice note would be larger than WhatsApp accepts.")

        for frame in sound.frames(profile.rate, left_only=left_only):
            listener.hear(frame)
            for packets in encoding.put(partial(encoder.encode, frame)):
                write(packets)
        for packets in encoding.rest():
            write(packets)
        write(encoder.finish())
        source = Source(
            sound.container, sound.codec, sound.sample_rate, sound.channels, sound.declared_seconds,
            sound.audio_tracks, sound.tags, sound.skipped, sound.truncated, cancels=left_only,
        )  # fmt: skip
    for packet in joiner.flush():
        writer.add(packet)
    ogg = writer.finish(encoder.samples * _OPUS_RATE // profile.rate)
    return _finished(ogg, encoder.samples / profile.rate, listener, source, profile, passthrough=False)


def _reuse(data: bytes, profile: Profile, limits: AudioLimits, lanes: int) -> VoiceNote | None:
    """The voice note with the packets of `data`, if they are what the profile would make."""
    opus = read_ogg_opus(data)
    if opus is None or (profile.is_voice and not {configuration(p) for p in opus.packets} <= SILK_WIDEBAND):
        return None
    seconds = opus.samples / _OPUS_RATE
    if seconds > limits.max_seconds:
        raise limits.too_long()
    if len(data) > limits.max_output_bytes:
        return None
    listener = _listen(opus, lanes)
    if listener is None:
        return None
    writer = OggOpusWriter(pre_skip=opus.pre_skip, input_rate=profile.rate, vendor=profile.vendor)
    joiner = Joiner(profile.frames_per_packet)
    try:
        for packet in opus.packets:
            for joined in joiner.add(packet):
                writer.add(joined)
        for joined in joiner.flush():
            writer.add(joined)
    except ValueError:  # a packet whose frames do not add up
        return None
    source = Source("ogg", "opus", opus.input_rate or _OPUS_RATE, 1, seconds, 1, opus.comments, 0, False, cancels=False)
    return _finished(writer.finish(opus.samples), seconds, listener, source, profile, passthrough=True)


def _listen(opus: OggOpus, lanes: int) -> Listener | None:
    """Decodes every packet; None when one of them does not decode."""
    listener = Listener()
    part = max(1, 4 * _OPUS_RATE // packet_samples(opus.packets[0]))  # about four seconds
    with Lanes[list[int]](lanes if len(opus.packets) > part else 1) as side_by_side:
        try:
            for start in range(0, len(opus.packets), part):
                for samples in side_by_side.put(partial(_decode, opus.packets[start : start + part])):
                    listener.hear_glimpses(samples)
            for samples in side_by_side.rest():
                listener.hear_glimpses(samples)
        except FFmpegError:
            return None
    return listener


def _decode(packets: tuple[bytes, ...]) -> list[int]:
    """Glimpses of the sound, by libopus: what it accepts, phones play."""
    decoder = av.CodecContext.create("libopus", "r")
    assert isinstance(decoder, AudioCodecContext)
    decoder.sample_rate, decoder.layout, decoder.thread_count = _OPUS_RATE, "mono", 1
    samples: list[int] = []
    for packet in packets:
        for frame in decoder.decode(av.Packet(packet)):
            assert isinstance(frame, AudioFrame)
            samples += glimpse(frame)
    return samples


def _finished(
    ogg: bytes, duration: float, listener: Listener, source: Source, profile: Profile, *, passthrough: bool
) -> VoiceNote:
    listener.finish()
    waveform = listener.waveform
    return VoiceNote(ogg, duration, waveform, diagnose(source, profile, listener, len(ogg), duration, passthrough))
