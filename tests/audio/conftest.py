from __future__ import annotations

from array import array

import pytest
from sounds import KINDS, encoded, speech

from gateway.audio.voice_note import VoiceNote, make_voice_note


@pytest.fixture(scope="session")
def spoken() -> array[int]:
    """Four seconds of s16 at 16 kHz."""
    return speech(4)


@pytest.fixture(scope="session")
def corpus(spoken: array[int]) -> dict[str, bytes]:
    """The same four seconds in every kind of file."""
    return {kind: encoded(spoken, **how) for kind, how in KINDS.items()}


@pytest.fixture(scope="session")
def note(corpus: dict[str, bytes]) -> VoiceNote:
    return make_voice_note(corpus["wav"])
