from __future__ import annotations

import asyncio
import threading
import time

import pytest

from gateway.audio.errors import AudioError
from gateway.audio.limits import AudioLimits
from gateway.audio.pool import Transcoder


async def test_the_loop_keeps_beating_while_four_sounds_are_encoded(corpus) -> None:
    transcoder = Transcoder()
    gaps: list[float] = []

    async def beat() -> None:
        last = time.perf_counter()
        while True:
            await asyncio.sleep(0.002)
            now = time.perf_counter()
            gaps.append(now - last)
            last = now

    heart = asyncio.create_task(beat())
    try:
        notes = await asyncio.gather(*(transcoder.voice_note(corpus["wav"]) for _ in range(4)))
    finally:
        heart.cancel()
        transcoder.close()
    assert [note.seconds for note in notes] == [4] * 4
    assert max(gaps) < 0.25


async def test_profiles_go_by_name(corpus) -> None:
    transcoder = Transcoder()
    try:
        assert (await transcoder.voice_note(corpus["wav"], "music")).report.profile == "music"
        with pytest.raises(KeyError):
            await transcoder.voice_note(corpus["wav"], "loud")
    finally:
        transcoder.close()


async def test_errors_and_limits_pass_through(corpus) -> None:
    transcoder = Transcoder(AudioLimits(max_seconds=1))
    try:
        with pytest.raises(AudioError, match="too_long"):
            await transcoder.voice_note(corpus["wav"])
        assert (await transcoder.voice_note(corpus["wav"], limits=AudioLimits())).seconds == 4
        with pytest.raises(AudioError, match="not_audio"):
            await transcoder.audio_file(b"no")
        assert (await transcoder.audio_file(corpus["mp3"], limits=AudioLimits())).mimetype == "audio/mpeg"
    finally:
        transcoder.close()


async def test_closing_leaves_no_thread_behind(corpus) -> None:
    transcoder = Transcoder(workers=3)
    await asyncio.gather(*(transcoder.voice_note(corpus["wav"]) for _ in range(3)))
    transcoder.close()
    transcoder.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("audio")]
