"""Recordings to samples: every kind that is read, every lie a header may tell, and no way out but `DecodeError`."""

import io
import tracemalloc
import wave as python_wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from maas_agent.base import codes
from maas_agent.bundle.manifest import Decode
from maas_agent.errors import DecodeError
from maas_agent.processing import wav
from maas_agent.processing.decode import decode
from maas_agent.processing.resample import resampled
from tests.agent.memory import memory_limit
from tests.agent.processing.waves import (
    EXTENSIBLE,
    FLOAT,
    PCM,
    chunk,
    extensible,
    high_bytes_first,
    layout,
    of_64_bits,
    riff,
    stored,
    tone,
    wave,
)

SOUND = Decode((8000,), "float32", sample_rate=8000)
SHORT = Decode((100,), "float32", sample_rate=8000)
INTEGERS = Decode((100,), "int16", sample_rate=8000)
HUNDRED = np.random.default_rng(1).uniform(-1, 0.99, 100).astype(np.float32)
DATA = chunk(b"data", stored(HUNDRED, PCM, 16))
FORMAT = chunk(b"fmt ", layout())
KINDS = [(PCM, 8), (PCM, 16), (PCM, 24), (PCM, 32), (FLOAT, 32), (FLOAT, 64)]
RECORDINGS = Path(__file__).resolve().parents[3] / ".." / "shared" / "data" / "fsdd"


def sample(payload: bytes, spec: Decode = SHORT) -> NDArray[Any]:
    decoded = decode(payload, spec, "audio/wav")
    assert not decoded.batched and decoded.samples.shape == (1, *spec.shape) and decoded.samples.dtype == spec.dtype
    return decoded.samples[0]


def refused(payload: bytes, spec: Decode = SHORT, content_type: str | None = "audio/wav") -> DecodeError:
    with pytest.raises(DecodeError) as error:
        decode(payload, spec, content_type)
    assert str(error.value)
    return error.value


# ----------------------------------------------------------------- what is read


@pytest.mark.parametrize(("kind", "bits"), KINDS)
@pytest.mark.parametrize("header", ["plain", "extensible"])
def test_every_kind_of_value_becomes_minus_one_to_one(kind: int, bits: int, header: str) -> None:
    body = layout(kind, bits=bits) if header == "plain" else extensible(kind, 1, 8000, bits)
    payload = riff(chunk(b"fmt ", body), chunk(b"data", stored(HUNDRED, kind, bits)))
    np.testing.assert_allclose(sample(payload), HUNDRED, atol=0.51 / 2 ** (min(bits, 24) - 1))


@pytest.mark.parametrize(("kind", "bits"), KINDS)
def test_the_ends_of_the_range_are_its_ends(kind: int, bits: int) -> None:
    heard = sample(wave(np.array([-1.0, 0.0, 1.0]), kind=kind, bits=bits))
    assert heard[0] == -1 and heard[1] == 0
    assert 1 - 2.0 ** (1 - min(bits, 24)) <= heard[2] <= 1


def test_int16_samples_are_the_stored_values() -> None:
    values = np.array([-32768, -1, 0, 1, 32767], "<i2")
    payload = riff(FORMAT, chunk(b"data", values.tobytes()))
    assert sample(payload, INTEGERS)[:5].tolist() == values.tolist()


def test_pythons_own_writer_is_understood() -> None:
    buffer = io.BytesIO()
    with python_wave.open(buffer, "wb") as file:
        file.setparams((2, 2, 8000, 0, "NONE", ""))
        file.writeframes(stored(np.repeat(HUNDRED, 2), PCM, 16))
    np.testing.assert_allclose(sample(buffer.getvalue()), HUNDRED, atol=2e-5)


def test_channels_are_mixed_to_their_mean() -> None:
    both = np.stack([HUNDRED, -HUNDRED / 2, np.zeros(100)], axis=1)
    np.testing.assert_allclose(sample(wave(both, kind=FLOAT, bits=32)), HUNDRED / 6, atol=1e-6)


def test_what_is_longer_is_cut_at_its_end_and_what_is_shorter_is_filled_with_silence() -> None:
    long = np.concatenate([HUNDRED, np.ones(50)])
    np.testing.assert_array_equal(sample(wave(long, kind=FLOAT, bits=32)), HUNDRED)
    short = sample(wave(HUNDRED[:30], kind=FLOAT, bits=32))
    np.testing.assert_array_equal(short, np.concatenate([HUNDRED[:30], np.zeros(70)]).astype(np.float32))


def test_chunks_nobody_knows_are_passed_over_and_odd_ones_are_padded() -> None:
    payload = riff(chunk(b"LIST", b"odd"), FORMAT, chunk(b"cue ", b""), DATA, chunk(b"id3 ", b"x"))
    np.testing.assert_allclose(sample(payload), HUNDRED, atol=2e-5)


@pytest.mark.parametrize("size", [0x7FFFFFFF, 0xFFFFFFFF, 0x7FFFF024])
def test_a_recorder_that_wrote_to_a_pipe_does_not_know_the_size(size: int) -> None:
    payload = riff(FORMAT, chunk(b"data", stored(HUNDRED, PCM, 16) + b"\1", size), size=size)
    np.testing.assert_allclose(sample(payload), HUNDRED, atol=2e-5)


@pytest.mark.parametrize(("kind", "bits"), KINDS)
def test_high_bytes_first_are_the_same_sound(kind: int, bits: int) -> None:
    np.testing.assert_array_equal(
        sample(high_bytes_first(HUNDRED, kind=kind, bits=bits)), sample(wave(HUNDRED, kind=kind, bits=bits))
    )


@pytest.mark.parametrize("name", [b"RF64", b"BW64"])
def test_a_file_of_64_bits_is_as_long_as_its_own_chunk_says(name: bytes) -> None:
    payload = of_64_bits(HUNDRED[:50], name=name, after=chunk(b"LIST", b"\x7f" * 60))
    np.testing.assert_array_equal(sample(payload), sample(wave(HUNDRED[:50])))
    assert refused(payload[:100]).code == codes.BAD_AUDIO


@pytest.mark.parametrize("first", [b"\0\0\0\0", b"data", b"\x01\x02"])
def test_sound_behind_a_size_of_zero_is_sound(first: bytes) -> None:
    """A recorder that was cut off never came back to write the size."""
    values = np.frombuffer(first.ljust(200, b"\x11"), "<i2")
    payload = riff(FORMAT, chunk(b"data", values.tobytes(), 0), size=0)
    assert sample(payload, INTEGERS).tolist() == values.tolist()


def test_no_sound_behind_a_size_of_zero_is_none() -> None:
    assert refused(riff(FORMAT, chunk(b"data", b""), chunk(b"LIST", b"abcd"))).code == codes.BAD_AUDIO
    np.testing.assert_allclose(sample(riff(FORMAT, chunk(b"data", b""), DATA)), HUNDRED, atol=2e-5)


@pytest.mark.parametrize("size", [1, 3, 27])
def test_an_odd_chunk_may_lack_the_byte_behind_it(size: int) -> None:
    """Whatever the first byte of the next size is: 200 bytes of data, or 0x64 = "d"."""
    odd = chunk(b"LIST", b"a" * size)[:-1]
    for count in (100, 50):
        payload = riff(odd, FORMAT, odd, chunk(b"data", stored(HUNDRED[:count], PCM, 16)), odd)
        np.testing.assert_array_equal(sample(payload), sample(wave(HUNDRED[:count])))


def test_pythons_own_reader_hears_the_same_where_it_can() -> None:
    """An independent reading, of the forms that it knows."""
    for payload in (wave(HUNDRED), riff(chunk(b"LIST", b"odd"), FORMAT, DATA)):
        with python_wave.open(io.BytesIO(payload)) as file:
            expected = np.frombuffer(file.readframes(100), "<i2")
        np.testing.assert_array_equal(sample(payload, INTEGERS), expected)


@pytest.mark.parametrize("bits", [16, 32])
def test_scipy_hears_the_same_of_what_python_does_not_read(bits: int) -> None:
    wavfile = pytest.importorskip("scipy.io.wavfile")
    payload = high_bytes_first(HUNDRED, bits=bits)
    _, expected = wavfile.read(io.BytesIO(payload))
    np.testing.assert_array_equal(sample(payload), (expected / 2 ** (bits - 1)).astype(np.float32))
    _, expected = wavfile.read(io.BytesIO(of_64_bits(HUNDRED)))
    np.testing.assert_array_equal(sample(of_64_bits(HUNDRED), INTEGERS), expected)


SOUND_NOT_READ = {"FLAC": b"fLaC\0\0\0\x22", "Ogg": b"OggS\0\2", "MP3": b"ID3\4\0", "AIFF": b"FORM\0\0\0\x10AIFFCOMM"}


@pytest.mark.parametrize("name", SOUND_NOT_READ)
@pytest.mark.parametrize("content_type", [None, "audio/wav"])
def test_sound_that_is_not_read_is_called_by_its_name(name: str, content_type: str | None) -> None:
    error = refused(SOUND_NOT_READ[name] + bytes(range(35)), content_type=content_type)
    assert error.code == codes.BAD_AUDIO and f"this is {name}, which is not read: send WAV" in str(error)


def test_a_whole_file_says_what_it_is_by_its_first_bytes() -> None:
    assert decode(wave(HUNDRED), SHORT).samples.shape == (1, 100)
    assert decode(wave(HUNDRED), SHORT, configured="audio").samples.shape == (1, 100)


def test_beyond_full_scale_is_clipped() -> None:
    loud = wave(np.array([-7.0, 7.0, 1e300]), kind=FLOAT, bits=64)
    assert sample(loud)[:3].tolist() == [-1, 1, 1]
    assert sample(loud, INTEGERS)[:3].tolist() == [-32768, 32767, 32767]


# ----------------------------------------------------------------- the sample's rate


@pytest.mark.parametrize("rate", [8000, 11025, 16000, 22050, 44100, 44101, 48000, 192000, 4000])
@pytest.mark.parametrize("hertz", [100, 440, 1600])
def test_a_tone_keeps_its_frequency_level_and_time(rate: int, hertz: int) -> None:
    heard = sample(wave(tone(hertz, rate), rate), SOUND)
    inside = slice(200, 7800)  # a tone that begins at once is no band-limited sound: its edges ring
    np.testing.assert_allclose(heard[inside], tone(hertz, 8000)[inside], atol=2e-4)


@pytest.mark.parametrize("rate", [11025, 16000, 44100, 44101, 48000, 192000])
@pytest.mark.parametrize("hertz", [4001, 4300, 5200])
def test_what_the_lower_rate_cannot_hold_is_silent_and_no_other_tone(rate: int, hertz: int) -> None:
    heard = sample(wave(tone(hertz, rate, level=1.0), rate, FLOAT, 32), SOUND)[200:7800]
    assert 20 * np.log10(np.sqrt(2 * np.mean(heard**2)) + 1e-12) < -60


@pytest.mark.parametrize("rate", [44100, 12000, 8001])
def test_a_constant_stays_what_it_is(rate: int) -> None:
    heard = sample(wave(np.full(rate * 2, 0.25), rate, FLOAT, 32), SOUND)
    np.testing.assert_allclose(heard[200:], 0.25, atol=1e-5)


def test_the_end_of_a_cut_sample_hears_what_follows() -> None:
    """Cutting does not make an edge: the last sample is the same as in a longer one."""
    payload = wave(tone(440, 44100), 44100)
    half = Decode((4000,), "float32", sample_rate=8000)
    np.testing.assert_array_equal(sample(payload, half), sample(payload, SOUND)[:4000])


def test_a_recording_half_as_long_fills_half_of_the_sample() -> None:
    heard = sample(wave(tone(440, 44100, seconds=0.5), 44100), SOUND)
    assert np.abs(heard[3900:4000]).max() > 0.4
    assert not heard[4000:].any()


def test_decoding_twice_gives_the_same_bits() -> None:
    payload = wave(tone(440, 44101), 44101)
    np.testing.assert_array_equal(sample(payload, SOUND), sample(payload, SOUND))


# ----------------------------------------------------------------- what is refused

BAD = {
    "nothing but a name": b"RIFF\0\0\0\0WAVE",
    "no RIFF": b"RIFX" + wave(HUNDRED)[4:],
    "no WAVE": b"RIFF\x04\0\0\0AVI " + wave(HUNDRED)[12:],
    "no format": riff(DATA),
    "no data": riff(FORMAT),
    "data before format": riff(DATA, FORMAT),
    "a short format": riff(chunk(b"fmt ", layout()[:14]), DATA),
    "a short extensible format": riff(chunk(b"fmt ", extensible(PCM, 1, 8000, 16)[:30]), DATA),
    "an unknown subformat": riff(chunk(b"fmt ", extensible(PCM, 1, 8000, 16, bytes(14))), DATA),
    "extensible within extensible": riff(chunk(b"fmt ", extensible(EXTENSIBLE, 1, 8000, 16)), DATA),
    "mu-law": riff(chunk(b"fmt ", layout(7, bits=8)), DATA),
    "12 bits": riff(chunk(b"fmt ", layout(bits=12)), DATA),
    "0 bits": riff(chunk(b"fmt ", layout(bits=0)), DATA),
    "float of 16 bits": riff(chunk(b"fmt ", layout(FLOAT, bits=16)), DATA),
    "0 channels": riff(chunk(b"fmt ", layout(channels=0)), DATA),
    "65535 channels": riff(chunk(b"fmt ", layout(channels=65535, block=2)), DATA),
    "0 Hz": riff(chunk(b"fmt ", layout(rate=0)), DATA),
    "4 GHz": riff(chunk(b"fmt ", layout(rate=0xFFFFFFFF)), DATA),
    "a wrong frame size": riff(chunk(b"fmt ", layout(block=4)), DATA),
    "no frame": riff(FORMAT, chunk(b"data", b"")),
    "half a frame": riff(FORMAT, chunk(b"data", b"\0")),
    "less than it says": riff(FORMAT, chunk(b"data", bytes(200), size=202)),
    "cut": wave(HUNDRED)[:-1],
}


@pytest.mark.parametrize("case", BAD)
def test_a_damaged_file_is_refused(case: str) -> None:
    assert refused(BAD[case]).code == codes.BAD_AUDIO


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("bits", [32, 64])
def test_a_value_that_is_not_finite_is_refused(value: float, bits: int) -> None:
    values = HUNDRED.astype(np.float64)
    values[50] = value
    assert refused(wave(values, kind=FLOAT, bits=bits)).code == codes.NOT_FINITE


def test_a_model_that_takes_no_sound_says_so() -> None:
    assert refused(wave(HUNDRED), Decode((100,), "float32")).code == codes.UNSUPPORTED
    assert refused(wave(HUNDRED), Decode((8, 8), "uint8")).code == codes.UNSUPPORTED


def test_a_rate_that_is_thousands_of_times_the_samples_is_refused() -> None:
    assert refused(wave(HUNDRED, 384_000), Decode((4,), "float32", sample_rate=1)).code == codes.BAD_AUDIO


def test_sizes_that_lie_take_no_memory() -> None:
    """However large a header says that the sound is, and however long the recording: only the sample is read."""
    lies = riff(FORMAT, chunk(b"data", bytes(200), size=0xFFFFFFFE), size=0xFFFFFFFF)
    long = riff(chunk(b"fmt ", layout(bits=8)), chunk(b"data", bytes(1 << 24)))
    with memory_limit(64 << 20):
        assert len(sample(lies)) == 100
        assert len(sample(long)) == 100


def test_more_sound_than_is_read_is_refused_before_memory_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wav, "MAX_VALUES", 99)
    assert refused(wave(HUNDRED)).code == codes.TOO_LARGE
    assert len(sample(wave(HUNDRED[:99]))) == 100


@given(st.binary(max_size=200))
def test_any_bytes_are_a_sample_or_refused(tail: bytes) -> None:
    for payload in (tail or b"x", b"RIFF\0\0\0\0WAVE" + tail, riff(FORMAT) + tail, riff(chunk(b"fmt ", tail), DATA)):
        _never_crashes(payload)


@given(st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=6), st.integers(0, 10_000))
def test_a_file_with_changed_bytes_is_a_sample_or_refused(changes: list[tuple[int, int]], cut: int) -> None:
    for kind, bits, rate in ((PCM, 24, 11025), (FLOAT, 32, 8000)):
        payload = bytearray(wave(np.stack([HUNDRED, HUNDRED], axis=1), rate, kind, bits))
        for place, value in changes:
            payload[place % len(payload) if place % 2 else place % 44] = value
        _never_crashes(bytes(payload[: max(1, len(payload) - cut % 64)]))


@given(
    st.sampled_from([0, 1, 2, 3, 6, 7, 0xFFFE, 0xFFFF]),
    st.sampled_from([0, 1, 2, 64, 65, 0xFFFF]),
    st.sampled_from([0, 1, 7, 8000, 44101, 384_000, 384_001, 0xFFFFFFFF]),
    st.sampled_from([0, 1, 8, 16, 24, 32, 64, 0xFFFF]),
    st.sampled_from([0, 1, 2, 0x7FFFFFFF, 0xFFFFFFFF]),
    st.binary(max_size=300),
)
def test_a_header_of_extremes_is_a_sample_or_refused(
    kind: int, channels: int, rate: int, bits: int, size: int, data: bytes
) -> None:
    block = (channels * bits // 8) & 0xFFFF
    _never_crashes(riff(chunk(b"fmt ", layout(kind, channels, rate, bits, block)), chunk(b"data", data, size)))


def _never_crashes(payload: bytes) -> None:
    for spec in (SHORT, INTEGERS):
        try:
            samples = decode(payload, spec, "audio/wav").samples
        except DecodeError as error:
            assert error.code in codes.MEANING
        else:
            assert samples.shape == (1, 100) and np.isfinite(samples).all()
            assert spec.dtype == "int16" or np.abs(samples).max() <= 1


def test_real_recordings_are_read_as_python_reads_them() -> None:
    if not RECORDINGS.is_dir():
        pytest.skip("no ../shared/data: no real recordings")
    spec = Decode((8000,), "int16", sample_rate=8000)
    for path in sorted(RECORDINGS.glob("*.wav"))[::60]:
        with python_wave.open(str(path)) as file:
            expected = np.frombuffer(file.readframes(8000), "<i2")
        heard = sample(path.read_bytes(), spec)
        np.testing.assert_array_equal(heard[: len(expected)], expected)
        assert not heard[len(expected) :].any()


def test_a_few_samples_at_one_hertz_are_not_made_millions() -> None:
    """A file of a hundred bytes took a second, and 250 MB: no more is computed than a sample holds."""
    sound = np.ones(30, np.float32)
    whole, few = resampled(sound, 1, 8000), resampled(sound, 1, 8000, 50)
    assert (len(whole), len(few)) == (240_000, 50)
    np.testing.assert_array_equal(whole[:50], few)
    tracemalloc.start()
    resampled(sound, 1, 384_000, 100)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 50 << 20
