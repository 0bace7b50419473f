"""Conversions off the event loop, as many at once as there are cores."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

from gateway.audio.audio_file import AudioFile, prepare_audio_file
from gateway.audio.lanes import cores
from gateway.audio.limits import AudioLimits
from gateway.audio.profiles import PROFILES
from gateway.audio.voice_note import VoiceNote, make_voice_note

T = TypeVar("T")


class Transcoder:
    """Threads, not processes: FFmpeg and libopus work with the GIL released.

    A voice note uses idle cores too: all of them where it only has to be checked, two where it is encoded.

    More conversions than cores wait in order. Cancelling a caller does not stop a conversion that has begun;
    it ends by its own limits.
    """

    def __init__(self, limits: AudioLimits = AudioLimits(), workers: int | None = None) -> None:
        self._limits = limits
        self._workers = workers or cores()
        self._running = 0
        self._threads = ThreadPoolExecutor(self._workers, thread_name_prefix="audio")

    async def voice_note(self, data: bytes, profile_name: str = "native", *, limits: AudioLimits | None = None) -> VoiceNote:
        """Raises AudioError; KeyError for a profile that is not in `PROFILES`."""
        profile = PROFILES[profile_name]
        make = partial(make_voice_note, data, profile=profile, limits=limits or self._limits)
        return await self._run(lambda: make(lanes=max(1, self._workers // max(1, self._running))))

    async def audio_file(self, data: bytes, *, limits: AudioLimits | None = None) -> AudioFile:
        """Raises AudioError."""
        return await self._run(lambda: prepare_audio_file(data, limits or self._limits))

    async def _run(self, work: Callable[[], T]) -> T:
        self._running += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        finally:
            self._running -= 1

    def close(self) -> None:
        """Waits for conversions under way, drops those that have not begun. Idempotent."""
        self._threads.shutdown(wait=True, cancel_futures=True)
