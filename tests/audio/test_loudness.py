from __future__ import annotations

import json
import math
import random

import pytest
from sounds import speech, tone

from gateway.audio.loudness import QUIETEST, Loudness, dbfs, low_energy_ratio
from gateway.audio.waveform import Waveform, rectify


def heard(samples) -> Loudness:
    loudness = Loudness()
    loudness.add(rectify(samples))
    return loudness


def test_a_full_scale_sine_is_3_db_below_its_peak() -> None:
    loudness = heard(tone(1, amplitude=1.0))
    assert loudness.rms_dbfs == pytest.approx(-3.01, abs=0.05)
    assert loudness.peak_dbfs == pytest.approx(0, abs=0.01)


def test_silence_has_a_number_that_json_can_carry() -> None:
    assert heard([0] * 100).rms_dbfs == Loudness().rms_dbfs == dbfs(0) == QUIETEST
    assert math.isfinite(json.loads(json.dumps(heard([0]).peak_dbfs)))


def test_samples_at_full_scale_are_counted() -> None:
    assert heard([32767, -32768] * 10 + [5, -5] * 90).clipped == pytest.approx(0.1)
    assert heard(tone(1, amplitude=0.9)).clipped == 0


def test_speech_pauses_and_music_does_not() -> None:
    def ratio(samples) -> float:
        waveform = Waveform(160)
        waveform.add(rectify(samples))
        return low_energy_ratio(waveform.bins, 100)

    noise = random.Random(5)
    music = [a + b // 2 + int(noise.gauss(0, 500)) for a, b in zip(tone(6, 220), tone(6, 331), strict=True)]
    assert ratio(speech(6)) > 0.2
    assert ratio(music) < 0.05
    assert ratio([]) == 1.0
