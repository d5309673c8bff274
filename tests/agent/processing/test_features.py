"""Sound to spectrograms, against the definition written out and against what TensorFlow computes."""

from math import cos, exp, log, pi, sqrt

import numpy as np
import pytest

from maas_agent.bundle.manifest import LogMel
from maas_agent.processing import features
from maas_agent.processing.features import cosine_transform, log_mel, mel_weights
from tests.agent.processing.waves import tone

SMALL = LogMel(sample_rate=8000, frame=16, hop=4, bands=3, low_hz=20.0, high_hz=3800.0, floor=1e-3)
STEPS = (np.arange(24) % 5 / 4 - 0.5).astype(np.float32)

# TensorFlow 2.21: linear_to_mel_weight_matrix(3, 9, 8000, 20, 3800), then stft(STEPS, 16, 4), log, dct(norm="ortho").
WEIGHTS = [
    [0, 0, 0],
    [0.885014, 0.114986, 0],
    [0.12476, 0.87524, 0],
    [0, 0.561993, 0.438007],
    [0, 0.114986, 0.885014],
    [0, 0, 0.744145],
    [0, 0, 0.427254],
    [0, 0, 0.150592],
    [0, 0, 0],
]
LOGARITHMS = [[-3.02984, 0.69509, 1.03912], [-3.04316, 0.69216, 1.04686], [-3.02984, 0.69509, 1.03912]]
COEFFICIENTS = [[-0.74803, -2.87719], [-0.75295, -2.89208], [-0.74803, -2.87719]]


def test_weights_and_features_are_those_of_tensorflow() -> None:
    np.testing.assert_allclose(mel_weights(SMALL), WEIGHTS, atol=1e-6)
    np.testing.assert_allclose(log_mel(SMALL)(STEPS), LOGARITHMS, atol=1e-5)
    mfcc = LogMel(8000, 16, 4, 3, 20.0, 3800.0, 1e-3, coefficients=2)
    np.testing.assert_allclose(log_mel(mfcc)(STEPS), COEFFICIENTS, atol=1e-5)


@pytest.mark.parametrize("frame", [16, 15])
def test_features_are_what_the_definition_says_term_by_term(frame: int) -> None:
    """Also for an odd frame, which has no frequency at half of the rate."""
    step = LogMel(8000, frame, hop=5, bands=3, low_hz=100.0, floor=1e-4, coefficients=3)
    sound = np.random.default_rng(1).normal(0, 0.3, 40).astype(np.float32)
    found = log_mel(step)(sound)
    assert found.shape == step.shape_of(40) == (1 + (40 - frame) // 5, 3)
    assert found.dtype == np.float32
    for row, features_of_one in enumerate(found):
        expected = _by_definition(step, sound[row * 5 : row * 5 + frame].tolist())
        np.testing.assert_allclose(features_of_one, expected, atol=1e-5)


def _by_definition(step: LogMel, frame: list[float]) -> list[float]:
    size = step.frame
    windowed = [value * (0.5 - 0.5 * cos(2 * pi * at / size)) for at, value in enumerate(frame)]
    power = []
    for k in range(size // 2 + 1):
        turns = [2 * pi * k * at / size for at in range(size)]
        real = sum(value * cos(turn) for value, turn in zip(windowed, turns, strict=True))
        imaginary = sum(value * cos(turn - pi / 2) for value, turn in zip(windowed, turns, strict=True))
        power.append(real**2 + imaginary**2)
    low, high = (1127 * log(1 + hertz / 700) for hertz in (step.low_hz, step.sample_rate / 2))
    width = (high - low) / (step.bands + 1)
    logs = []
    for band in range(step.bands):
        centre = low + width * (band + 1)
        mels = [1127 * log(1 + k * step.sample_rate / size / 700) for k in range(len(power))]
        shares = [max(0.0, 1 - abs(mel - centre) / width) for mel in mels]
        logs.append(log(sum(share * one for share, one in zip(shares, power, strict=True)) + step.floor))
    return [
        sqrt((1 if k == 0 else 2) / step.bands)
        * sum(value * cos(pi / step.bands * (n + 0.5) * k) for n, value in enumerate(logs))
        for k in range(step.coefficients)
    ]


@pytest.mark.parametrize("band", [5, 12, 20, 31])
def test_a_tone_stands_out_in_its_band(band: int) -> None:
    step = LogMel(16000, frame=1024, hop=512, bands=40)
    low, high = (1127 * log(1 + hertz / 700) for hertz in (20, 8000))
    centre = 700 * (exp((low + (high - low) * (band + 1) / 41) / 1127) - 1)
    found = log_mel(step)(tone(centre, 16000, seconds=0.25))
    assert set(found.argmax(axis=1).tolist()) == {band}


def test_silence_is_the_floor() -> None:
    step = LogMel(8000, frame=256, hop=128, floor=1e-3)
    np.testing.assert_allclose(log_mel(step)(np.zeros(1000, np.float32)), log(1e-3), rtol=1e-6)


def test_the_cosine_transform_keeps_lengths_and_angles() -> None:
    whole = cosine_transform(12, 12)
    np.testing.assert_allclose(whole @ whole.T, np.eye(12), atol=1e-12)
    np.testing.assert_array_equal(cosine_transform(12, 4), whole[:, :4])


def test_what_is_computed_in_blocks_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Long sound is transformed in parts, so that memory stays bounded."""
    step = LogMel(8000, frame=256, hop=3)
    sound = np.random.default_rng(1).normal(0, 0.1, 4000).astype(np.float32)
    whole = log_mel(step)(sound)
    monkeypatch.setattr(features, "_BLOCK", 256 * 7)
    np.testing.assert_allclose(log_mel(step)(sound), whole, rtol=1e-6)


def test_the_same_sound_gives_the_same_bits() -> None:
    step = LogMel(8000, frame=256, hop=128, coefficients=13)
    sound = tone(440, 8000)
    np.testing.assert_array_equal(log_mel(step)(sound), log_mel(step)(sound.copy()))
