from __future__ import annotations

import math
import random
from array import array

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sounds import frames, speech, tone

from gateway.audio.listening import Listener
from gateway.audio.waveform import Waveform, rectify


def bars(samples: array[int], block: int = 16_000) -> bytes:
    waveform = Waveform(160)
    for start in range(0, len(samples), block):
        waveform.add(rectify(samples[start : start + block]))
    return waveform.bars()


def reference(samples: array[int]) -> list[float]:
    """The mean absolute amplitude of 64 equal slices, scaled to the loudest."""
    cut = [samples[len(samples) * k // 64 : len(samples) * (k + 1) // 64] for k in range(64)]
    means = [sum(map(abs, part)) / len(part) for part in cut]
    return [100 * mean / max(means) for mean in means]


@given(st.lists(st.integers(-32768, 32767), max_size=3000), st.integers(1, 1000))
@settings(deadline=None)
def test_there_are_64_values_of_0_to_100_whatever_comes(samples: list[int], block: int) -> None:
    values = bars(array("h", samples), block)
    assert len(values) == 64
    assert max(values) <= 100


def test_it_is_the_mean_amplitude_of_64_slices() -> None:
    samples = speech(9)
    assert max(abs(a - b) for a, b in zip(bars(samples), reference(samples), strict=True)) < 3


@pytest.mark.parametrize("gain", [0.05, 0.5, 1.9])
def test_loudness_does_not_change_the_picture(gain: float) -> None:
    samples = speech(5)
    louder = array("h", (int(max(-32768, min(32767, x * gain))) for x in samples))
    assert max(abs(a - b) for a, b in zip(bars(samples), bars(louder), strict=True)) <= 6


def test_the_loudest_bar_is_100() -> None:
    assert max(bars(speech(5))) == 100


@pytest.mark.parametrize("level", [0, 1, 20])
def test_silence_is_flat_even_with_noise_in_its_last_bits(level: int) -> None:
    noise = random.Random(3)
    samples = array("h", (noise.randint(-level, level) for _ in range(32_000)))
    assert max(bars(samples)) <= 50
    assert max(bars(array("h", bytes(64_000)))) == 0


def test_a_dc_offset_is_not_loudness() -> None:
    samples = speech(6)
    shifted = array("h", (max(-32768, min(32767, x + 6000)) for x in samples))
    assert max(abs(a - b) for a, b in zip(bars(samples), bars(shifted), strict=True)) <= 4
    assert max(bars(array("h", [12_000]) * 48_000)) == 0


def test_hours_of_sound_keep_their_shape_in_constant_memory() -> None:
    waveform = Waveform(160)
    second = [1000.0] * 16_000
    quiet = [100.0] * 16_000
    for index in range(1800):
        waveform.add(second if index < 900 else quiet)
    assert len(waveform.bins) < 4096
    values = waveform.bars()
    assert set(values[:32]) <= {99, 100}
    assert set(values[33:]) <= {9, 10}


@given(st.lists(st.integers(1, 5000), min_size=1, max_size=30))
@settings(deadline=None, max_examples=30)
def test_how_the_sound_is_cut_into_blocks_does_not_matter(sizes: list[int]) -> None:
    values = [1000 + 900 * math.sin(i / 700) for i in range(sum(sizes))]
    whole, pieces = Waveform(54), Waveform(54)
    whole.add(values)
    for size in sizes:
        pieces.add(values[:size])
        del values[:size]
    assert pieces.bars() == whole.bars()


def test_a_burst_stands_where_it_was_heard() -> None:
    samples = array("h", bytes(2 * 64_000)) + tone(1) + array("h", bytes(2 * 48_000))  # seconds 4 to 5 of 8
    values = bars(samples)
    assert min(values[32:40]) >= 99
    assert max(values[:32]) == max(values[40:]) == 0


@pytest.mark.parametrize("hertz", [50, 1000, 2000, 4000, 5300, 7000])
def test_a_steady_tone_is_a_steady_bar_at_every_pitch(hertz: float) -> None:
    listener = Listener()
    for frame in frames(tone(4, hertz), 16_000, "mono", 16_000):
        listener.hear(frame)
    listener.finish()
    assert min(listener.waveform) > 60
    assert listener.loudness is not None
    assert listener.loudness.rms_dbfs == pytest.approx(-9, abs=2.5)  # half of full scale, and 3 dB for a sine
