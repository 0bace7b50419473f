"""How long a voice note takes, against the ffmpeg command line doing only the transcode.

    python -m benchmarks.voice [--rounds 9] [--baileys FOLDER]

Makes its own inputs. Every round runs every contender once, in turn, so that a busy moment hits all of them; medians count.
Ratios are to the recipe that most bots use for voice notes: ffmpeg to 48 kHz, 64 kbit/s, `-application voip`. Without that
option libopus chooses a cheaper mode, CELT. FOLDER is one where `npm install audio-decode@2.2.3` was run, the decoder Baileys
uses: its row is the common recipe plus Baileys' waveform.
"""

from __future__ import annotations

import argparse
import io
import math
import random
import resource
import shutil
import statistics
import subprocess
import tempfile
import time
from array import array
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from benchmarks import plot
from benchmarks.measuring import PLOTS, main
from gateway.audio.decode import SoundSource
from gateway.audio.encode import OpusEncoder
from gateway.audio.limits import AudioLimits
from gateway.audio.profiles import NATIVE
from gateway.audio.voice_note import make_voice_note
from gateway.services import memory

OURS, NATIVE_INPUT = "voice note (ours): waveform, report", "voice note (ours), already native"
ENCODING = "encode alone, our settings, in process"
COMMON = "ffmpeg, 48 kHz 64 kbit/s voip (the common way)"
BAILEYS = "the common way + Baileys' waveform (node)"
PLAIN, AS_OURS = "ffmpeg, 48 kHz 64 kbit/s", "ffmpeg, our settings"
SHORT = {OURS: "ours", NATIVE_INPUT: "ours, native in", ENCODING: "encode alone", COMMON: "ffmpeg voip", PLAIN: "ffmpeg audio",
         AS_OURS: "ffmpeg as ours", BAILEYS: "Baileys' way"}
RATE = 44_100

# What Baileys does for the picture: decode the finished file again, in JavaScript and WebAssembly.
WAVEFORM = """
import decode from 'audio-decode'
import { readFileSync } from 'fs'
const samples = (await decode(readFileSync(process.argv[2]))).getChannelData(0)
const size = Math.floor(samples.length / 64)
const bars = Array.from({ length: 64 }, (_, k) =>
  samples.subarray(k * size, (k + 1) * size).reduce((sum, x) => sum + Math.abs(x), 0) / size)
if (!(Math.max(...bars) > 0)) throw new Error('no waveform')
"""


def speech(seconds: int) -> Iterator[av.AudioFrame]:
    """Pitch, harmonics, syllables, breaths, a room and some noise: stereo at 44.1 kHz."""
    noise = random.Random(1)
    phase = 0.0
    echo = [0.0] * (RATE // 25)
    for second in range(seconds):
        samples = array("h")
        for i in range(RATE):
            t = second + i / RATE
            syllable = max(0.0, math.sin(2 * math.pi * 3.3 * t)) * (0.4 + 0.6 * math.sin(2 * math.pi * 0.21 * t) ** 2)
            if t % 3.1 > 2.5:
                syllable = 0.0
            phase += 2 * math.pi * (118 + 22 * math.sin(2 * math.pi * 0.6 * t)) / RATE
            voiced = sum(math.sin(phase * k) / k for k in (1, 2, 3, 4, 6, 9, 14))
            dry = 5500 * syllable * (voiced + noise.gauss(0, 0.25)) + noise.gauss(0, 60)
            wet = dry + 0.3 * echo[i % len(echo)]
            echo[i % len(echo)] = wet
            value = max(-32768, min(32767, int(wet)))
            samples.extend((value, value))
        frame = av.AudioFrame("s16", "stereo", RATE)
        frame.planes[0].update(samples.tobytes())
        frame.sample_rate, frame.pts, frame.time_base = RATE, second * RATE, Fraction(1, RATE)
        yield frame


def mp3(seconds: int) -> bytes:
    out = io.BytesIO()
    with av.open(out, "w", format="mp3") as file:
        stream = file.add_stream("libmp3lame", rate=RATE)
        stream.codec_context.layout, stream.codec_context.bit_rate = "stereo", 128_000
        resampler = av.AudioResampler(stream.codec_context.format.name, "stereo", RATE)
        for frame in (*speech(seconds), None):
            for converted in resampler.resample(frame):
                file.mux(stream.encode(converted))
        file.mux(stream.encode(None))
    return out.getvalue()


def contenders(source: Path, baileys: Path | None) -> dict[str, Callable[[], object]]:
    data = source.read_bytes()
    native = make_voice_note(data).ogg
    with SoundSource(data, AudioLimits()) as sound:
        pcm = list(sound.frames(NATIVE.rate))

    def encode_alone() -> None:
        encoder = OpusEncoder(NATIVE)
        for frame in pcm:
            encoder.encode(frame)
        encoder.finish()

    rows: dict[str, Callable[[], object]] = {
        OURS: lambda: make_voice_note(data),
        NATIVE_INPUT: lambda: make_voice_note(native),
        ENCODING: encode_alone,
    }
    if ffmpeg := shutil.which("ffmpeg"):
        target = str(source.with_suffix(".ogg"))
        begin = [ffmpeg, "-v", "error", "-nostdin", "-y", "-i", str(source), "-ac", "1", "-c:a", "libopus"]

        def run(*arguments: str) -> None:
            subprocess.run([*begin, *arguments, target], check=True)

        def common() -> None:
            run("-ar", "48000", "-b:a", "64k", "-application", "voip")

        rows[COMMON] = common
        rows[PLAIN] = lambda: run("-ar", "48000", "-b:a", "64k")
        rows[AS_OURS] = lambda: run(
            "-ar", "16000", "-b:a", "24k", "-application", "voip", "-compression_level", "6"
        )
        node = shutil.which("node")
        if baileys is not None and node is not None:
            script = baileys / "voice-benchmark.mjs"
            script.write_text(WAVEFORM)

            def as_baileys_does() -> None:
                common()
                subprocess.run([node, str(script), target], cwd=baileys, check=True)

            rows[BAILEYS] = as_baileys_does
    return rows


def measure(rows: dict[str, Callable[[], object]], rounds: int) -> dict[str, dict[str, float]]:
    """Medians of the wall clock's and of the processors' milliseconds, children included."""
    wall: dict[str, list[float]] = {name: [] for name in rows}
    cpu: dict[str, list[float]] = {name: [] for name in rows}
    for number in range(rounds + 1):
        for name, run in rows.items():
            start, busy = time.perf_counter(), _cpu()
            run()
            if number:  # the first round warms up
                wall[name].append((time.perf_counter() - start) * 1000)
                cpu[name].append((_cpu() - busy) * 1000)
    return {name: {"wall_ms": statistics.median(wall[name]), "cpu_ms": statistics.median(cpu[name])} for name in rows}


def _cpu() -> float:
    """Seconds, of this process and of the children that have ended."""
    return sum(usage.ru_utime + usage.ru_stime for usage in (resource.getrusage(resource.RUSAGE_SELF),
                                                             resource.getrusage(resource.RUSAGE_CHILDREN)))


async def run(given: argparse.Namespace) -> dict[str, Any]:
    memory.keep_small()                     # as the daemon does
    result: dict[str, Any] = {"rounds": given.rounds, "ffmpeg": version("ffmpeg", "-version"), "node": version("node", "--version")}
    with tempfile.TemporaryDirectory() as folder:
        for seconds in (15, 60):
            source = Path(folder) / f"{seconds}.mp3"
            source.write_bytes(mp3(seconds))
            column = measure(contenders(source, given.baileys), given.rounds)
            result[f"{seconds} s MP3"] = {name: {part: round(value, 1) for part, value in row.items()} for name, row in column.items()}
    draw(result["15 s MP3"])
    return result


def draw(column: dict[str, dict[str, float]]) -> None:
    plot.bars(PLOTS / "voice.svg", "A voice note of a 15 s MP3, wall time", "ms", {
        SHORT[name]: row["wall_ms"] for name, row in column.items()})


def version(program: str, option: str) -> str:
    """The first line that a program says of itself; empty where it is not there."""
    if shutil.which(program) is None:
        return ""
    return subprocess.run([program, option], capture_output=True, text=True, check=True).stdout.partition("\n")[0]


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--baileys", type=Path, help="a folder with node_modules/audio-decode")


if __name__ == "__main__":
    main("voice", __doc__ or "", run, options)
