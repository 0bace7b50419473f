"""Audio sent as a file, not as a voice note: the original bytes if WhatsApp plays them, else Ogg/Opus."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from gateway.audio.decode import SoundSource
from gateway.audio.errors import AudioError
from gateway.audio.limits import AudioLimits
from gateway.audio.profiles import MUSIC
from gateway.audio.voice_note import MIMETYPE, make_voice_note

# What WhatsApp's clients play, by container and codec as FFmpeg names them. Ogg/Vorbis is not among them.
_PLAYABLE: Final = {
    ("mp3", "mp3"): "audio/mpeg",
    ("mov", "aac"): "audio/mp4",
    ("aac", "aac"): "audio/aac",
    ("ogg", "opus"): MIMETYPE,
    ("amr", "amrnb"): "audio/amr",
}


@dataclass(frozen=True, slots=True)
class AudioFile:
    """`data` as it is sent, `seconds` at least 1."""

    data: bytes
    mimetype: str
    seconds: int


def prepare_audio_file(data: bytes, limits: AudioLimits = AudioLimits()) -> AudioFile:
    """Keeps what plays, converts the rest (WAV, FLAC, Vorbis, WebM, a video's sound). Blocking and pure.

    Every file is decoded to its end, so that one that is cut, silent by damage or protected is refused like a
    voice note would be. Raises AudioError.
    """
    limits.check_bytes(data)
    try:
        with SoundSource(data, limits) as sound:
            mimetype = None if sound.has_video else _PLAYABLE.get((sound.container, _family(sound.codec)))
            if mimetype is not None and len(data) <= limits.max_output_bytes:
                seconds = sum(frame.samples for frame in sound.frames(8_000)) / 8_000
                return AudioFile(data, mimetype, max(1, int(seconds)))
    except AudioError:
        raise
    except Exception as error:
        raise AudioError("unsupported", "The audio is damaged or of an unsupported kind.") from error
    note = make_voice_note(data, profile=MUSIC, limits=limits)
    return AudioFile(note.ogg, note.mimetype, note.seconds)


def _family(codec: str) -> str:
    """`mp3float`, `libopus`, `amr_nb`: decoders of one format under several names."""
    for family in ("mp3", "aac", "opus"):
        if family in codec:
            return family
    return "amrnb" if codec in ("amrnb", "amr_nb", "libopencore_amrnb") else codec
