"""`wagateway voice`: the voice-note doctor and converter, without a daemon."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli.client import JsonOption, show_json
from gateway.cli.exits import FAILED, ConfigOption, leave, read_settings

if TYPE_CHECKING:                       # its import takes a while, which --help need not wait for
    from gateway.audio.voice_note import VoiceNote

app = typer.Typer(help="Look at a sound as a voice note, or convert it.", no_args_is_help=True)
FileArgument = Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="Any audio file, or a video.")]
ProfileOption = Annotated[str | None, typer.Option(help="native, plain16 or music; default: the settings'.")]


@app.command("inspect")
def inspect(file: FileArgument, profile: ProfileOption = None, as_json: JsonOption = False, config: ConfigOption = None) -> None:
    """What the file is, what would be sent, and what to know about it."""
    from gateway.audio.drawing import draw

    note = _note(file, profile, config)
    report = note.report
    if as_json:
        show_json({**asdict(report), "seconds": note.seconds, "duration": round(note.duration, 3), "waveform": list(note.waveform)})
        return
    print(draw(note.waveform))
    print(f"in    {report.container}/{report.codec}, {report.sample_rate} Hz, {report.channels} channel{'s'[:report.channels - 1]}, "
          f"{note.duration:.1f} s")
    kept = ", packets kept as they are" if report.passthrough else ""
    print(f"out   Ogg/Opus, profile {report.profile}, {report.output_bytes} bytes, "
          f"shown as {note.seconds // 60}:{note.seconds % 60:02}{kept}")
    if report.rms_dbfs is not None:
        print(f"loud  {report.rms_dbfs:.1f} dBFS on average, peak {report.peak_dbfs:.1f}")
    for warning in report.warnings:
        print(f"note  {warning.text} ({warning.code})")


@app.command("convert")
def convert(file: FileArgument, out: Annotated[Path, typer.Argument(metavar="OUT.ogg")], profile: ProfileOption = None,
            config: ConfigOption = None) -> None:
    """Write the voice note as a file."""
    note = _note(file, profile, config)
    try:
        out.write_bytes(note.ogg)
    except OSError as error:
        leave(FAILED, f"cannot write {out}: {error.strerror}")
    print(f"{out}: {note.seconds} s, {len(note.ogg)} bytes")


def _note(file: Path, profile: str | None, config: Path | None) -> VoiceNote:
    from gateway.audio.errors import AudioError
    from gateway.audio.limits import AudioLimits
    from gateway.audio.profiles import PROFILES
    from gateway.audio.voice_note import make_voice_note

    settings = read_settings(config).audio
    name = profile or settings.profile
    if name not in PROFILES:
        leave(FAILED, f"there is no profile {name!r}; there are {', '.join(PROFILES)}")
    try:
        return make_voice_note(file.read_bytes(), profile=PROFILES[name],
                               limits=AudioLimits(max_bytes=settings.max_bytes, max_seconds=settings.max_seconds))
    except AudioError as error:
        leave(FAILED, f"{error.text} ({error.code})")
    except OSError as error:
        leave(FAILED, f"cannot read {file}: {error.strerror}")
