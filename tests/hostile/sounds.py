"""The whole hostile corpus of sounds in one process: `python -m tests.hostile.sounds COUNT [WITHOUT…]` prints each file's outcome,
its seconds and the megabytes it needed at most, then COUNT damaged files' slowest and growth. Names of files may be left out.

The process's memory is limited by the kernel besides: what asks for more dies, and is seen."""

from __future__ import annotations

import contextlib
import json
import random
import resource
import sys
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "audio"))

import hostile
from sounds import KINDS, encoded, speech, tone
from test_hostile_sound import mutated, playlists

from gateway.audio.errors import AudioError
from gateway.audio.limits import AudioLimits
from gateway.audio.voice_note import make_voice_note
from gateway.media.images import inspect_image
from gateway.media.sniff import MediaError
from gateway.media.videos import inspect_video
from gateway.services.memory import trimmer

MEMORY = 2 << 30


def corpus() -> dict[str, Callable[[], bytes]]:
    """Each is made when its turn comes: some are large before they are small."""
    ready: dict[str, bytes] = {
        **hostile.not_audio(), **{name: data for name, (data, _) in hostile.strange_wavs().items()},
        **{f"playlist, {name}": data for name, data in playlists("/etc/hostname").items()},
        "session description": hostile.sdp(), "protected": hostile.drm(b"drms"), "encrypted": hostile.drm(b"enca"),
        "common encryption": hostile.cenc(), "no sound": hostile.mp4_without_sound(), "no packets": hostile.no_data_amr(),
    }
    return {name: partial(bytes, data) for name, data in ready.items()} | {
        "ten hours, told": partial(hostile.ten_hours_of_flac, honest=True),
        "ten hours, not told": partial(hostile.ten_hours_of_flac, honest=False),
        "ten hours of opus": partial(hostile.ten_hours_of_opus, stereo=False),
        "ten hours of stereo": partial(hostile.ten_hours_of_opus, stereo=True),
        "a cover of 144 MB": lambda: hostile.with_cover(encoded(tone(1), "mp3", "libmp3lame", rate=44_100), hostile.png(12_000)),
        "half an hour of silence": partial(hostile.silence_mp3, 1_790), "an hour of silence": partial(hostile.silence_mp3, 3_600),
    }


def status_kb(name: str) -> int:
    return int(next(line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name)))


def give_back() -> None:
    if (trim := trimmer()) is not None:
        trim()


def outcome(data: bytes, limits: AudioLimits = AudioLimits()) -> str:
    try:
        make_voice_note(data, limits=limits)
    except AudioError as error:
        return error.code
    return "ok"


def main(count: int, without: list[str]) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    for name, make in corpus().items():
        if name in without:
            continue
        data = make()
        give_back()                                             # what making it needed
        Path("/proc/self/clear_refs").write_text("5")           # the peak begins anew (proc(5))
        before, began = status_kb("VmHWM"), time.monotonic()
        code = outcome(data)
        print(json.dumps({"name": name, "bytes": len(data), "outcome": code, "seconds": round(time.monotonic() - began, 2),
                          "needed_mb": (status_kb("VmHWM") - before) // 1024}), flush=True)
    whole = [encoded(speech(0.6), **how) for how in KINDS.values()]
    seen, slowest, grown_from = Counter[str](), 0.0, 0
    for seed in range(count):
        if seed == count // 3:
            grown_from = status_kb("VmRSS")
        dice = random.Random(seed)
        damaged = mutated(dice.choice(whole), dice)
        began = time.monotonic()
        seen[outcome(damaged, AudioLimits(max_seconds=60, max_wall_seconds=10))] += 1
        for inspect in (inspect_image, inspect_video) if seed % 10 == 0 else ():
            with contextlib.suppress(MediaError):
                inspect(damaged)
        slowest = max(slowest, time.monotonic() - began)
    print(json.dumps({"damaged": count, "outcomes": seen, "slowest_seconds": round(slowest, 2),
                      "grown_mb": (status_kb("VmRSS") - grown_from) // 1024}))


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
