"""The preprocess file is read into the manifest's own structs; what is wrong in it is named."""

import numpy as np
import pytest

from maas_agent.bundle.manifest import Decode, LogMel, Normalize, Quantization, Scale, Tensor
from maas_agent.errors import DataError, NoInputError
from maas_converter.bench.samples import Processing, input_of, read_processing

BAD = {
    "no toml": ("decode = ", "no TOML"),
    "unknown table": ("[encode]\n", "'encode': choose from decode, preprocess"),
    "unknown key": ('[decode]\nshape=[1]\ndtype="uint8"\ncolour="gray"\n', "'colour': choose from shape, dtype, color"),
    "unknown word": ('[decode]\nshape=[1]\ndtype="uint8"\ncolor="grey"\n', "'grey': choose one of gray, rgb"),
    "unknown dtype": ('[decode]\nshape=[1]\ndtype="byte"\n', "'byte': choose one of float32"),
    "unknown orientation": (
        '[decode]\nshape=[1]\ndtype="uint8"\norientation="up"\n',
        "'up': choose one of upright, stored",
    ),
    "a background beyond white": ('[decode]\nshape=[1]\ndtype="uint8"\nbackground=[256]\n', "background"),
    "a background that is a word": ('[decode]\nshape=[1]\ndtype="uint8"\nbackground="white"\n', "background"),
    "unknown step": ('[[preprocess]]\nop="blur"\n', "'blur': choose one of scale, normalize, log_mel"),
    "step without op": ("[[preprocess]]\nscale=1.0\n", "choose one of scale, normalize, log_mel"),
    "unknown key of log_mel": (
        '[[preprocess]]\nop="log_mel"\nrate=8000\n',
        "log_mel has no key 'rate': choose from sample_rate, frame, hop, bands, low_hz, high_hz, floor, coefficients",
    ),
    "log_mel without a hop": ('[[preprocess]]\nop="log_mel"\nsample_rate=8000\nframe=256\n', "hop"),
    "frames of nothing": ('[[preprocess]]\nop="log_mel"\nsample_rate=8000\nframe=0\nhop=1\n', "frame"),
    "a floor of 0": (
        '[[preprocess]]\nop="log_mel"\nsample_rate=8000\nframe=256\nhop=1\nfloor=0.0\n',
        "floor",
    ),
    "a rate below 0": ('[decode]\nshape=[8]\ndtype="float32"\nsample_rate=-1\n', "sample_rate"),
    "unknown key of a step": (
        '[[preprocess]]\nop="scale"\nscale=1.0\nfactor=2\n',
        "'factor': choose from scale, offset",
    ),
    "a key with a slip": ("[decode]\nshpe=[1]\n", "[decode] has no key 'shpe'"),
    "what a slip meant": ("[decode]\nshpe=[1]\n", "(did you mean 'shape'?)"),
    "wrong type": ('[[preprocess]]\nop="scale"\nscale="big"\n', "scale"),
    "missing key": ('[decode]\ndtype="uint8"\n', "shape"),
    "no list of steps": ('[preprocess]\nop="scale"\n', "[[preprocess]]"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_wrong_is_named_with_the_choices(case, tmp_path):
    text, words = BAD[case]
    path = tmp_path / "p.toml"
    path.write_text(text)
    with pytest.raises(DataError) as caught:
        read_processing(path)
    assert words in str(caught.value)
    assert "p.toml" in str(caught.value)


def test_a_good_file_is_the_manifests_structs(tmp_path):
    path = tmp_path / "p.toml"
    path.write_text(
        '[decode]\nshape=[2,2,3]\ndtype="uint8"\n[[preprocess]]\nop="scale"\nscale=2\n'
        '[[preprocess]]\nop="normalize"\nmean=[1.0,2.0,3.0]\nstd=[1.0]\n'
    )
    processing = read_processing(path)
    assert processing.decode == Decode(shape=(2, 2, 3), dtype="uint8")
    assert processing.preprocess == (Scale(scale=2.0), Normalize(mean=(1.0, 2.0, 3.0), std=(1.0,)))


def test_a_missing_file_is_no_input(tmp_path):
    with pytest.raises(NoInputError):
        read_processing(tmp_path / "none.toml")


def test_without_a_file_samples_are_the_models_own():
    spec = input_of(Tensor("x", (1, 2, 2, 3), "float32"), Processing(), [])
    assert spec.decode == Decode(shape=(2, 2, 3), dtype="float32")
    tokens = input_of(Tensor("x", (1, 16), "int32"), Processing(), [])
    assert tokens.decode.dtype == "int32"


@pytest.mark.parametrize("step", [Normalize((1.0, 2.0), (1.0,)), Normalize((1.0,), (0.0,))])
def test_a_normalization_that_does_not_fit_the_channels_is_refused(step):
    with pytest.raises(DataError, match="normalize"):
        input_of(Tensor("x", (1, 2, 2, 3), "float32"), Processing(preprocess=(step,)), [])


def test_the_samples_type_is_that_of_the_data(tmp_path):
    from maas_converter.data.formats import load

    for dtype, expected in ((np.uint8, "uint8"), (np.float64, "float32"), (np.int64, "float32")):
        np.savez(tmp_path / "d.npz", x=np.zeros((3, 4), dtype))
        spec = input_of(Tensor("x", (1, 4), "float32"), Processing(), [load(tmp_path / "d.npz")])
        assert spec.decode.dtype == expected


def test_numbers_that_stand_for_real_ones_get_real_samples(tmp_path):
    """A model that is quantized already is fed as its float model was; tokens stand for nothing but themselves."""
    from maas_converter.data.formats import load

    np.savez(tmp_path / "pictures.npz", x=np.zeros((3, 4), np.uint8))
    pictures = [load(tmp_path / "pictures.npz")]
    quantized = Tensor("x", (1, 4), "int8", Quantization(1.0, -128))
    assert input_of(quantized, Processing(), pictures).decode.dtype == "uint8"
    assert input_of(quantized, Processing(), []).decode.dtype == "float32"
    assert input_of(Tensor("x", (1, 4), "int8"), Processing(), pictures).decode.dtype == "int8"


SOUND = """
[decode]
shape = [8000]
dtype = "float32"
sample_rate = 8000

[[preprocess]]
op = "log_mel"
sample_rate = 8000
frame = 256
hop = 128
bands = 32
low_hz = 100
high_hz = 3800.0
floor = 1e-5
coefficients = 13

[[preprocess]]
op = "normalize"
mean = [-8.0]
std = [4.0]
"""


@pytest.fixture
def sound(tmp_path):
    path = tmp_path / "sound.toml"
    path.write_text(SOUND)
    return read_processing(path)


def test_sound_becomes_features_that_fill_the_input(sound):
    assert sound.preprocess[0] == LogMel(8000, 256, 128, 32, 100.0, 3800.0, 1e-5, 13)
    spec = input_of(Tensor("x", (1, 61, 13, 1), "float32"), sound, [])
    assert spec.decode == Decode((8000,), "float32", sample_rate=8000)


def test_features_that_do_not_fill_it_are_refused(sound):
    with pytest.raises(DataError, match=r"\[61, 13\] after log_mel, does not fill the model's input \[1, 49, 40\]"):
        input_of(Tensor("x", (1, 49, 40), "float32"), sound, [])


def test_sound_needs_a_decode_table(sound, tmp_path):
    from maas_converter.data.formats import load

    with pytest.raises(DataError, match=r"log_mel is sound: .*\[decode\].*sample_rate = HZ"):
        input_of(Tensor("x", (1, 61, 13), "float32"), Processing(preprocess=sound.preprocess), [])
    (tmp_path / "takes").mkdir()
    (tmp_path / "takes" / "1.wav").write_bytes(b"not looked into yet")
    with pytest.raises(DataError, match=r"takes is sound: .*sample_rate = HZ"):
        input_of(Tensor("x", (1, 8000), "float32"), Processing(), [load(tmp_path / "takes")])


def test_pictures_are_samples_of_8_bits(tmp_path):
    from maas_converter.data.formats import load

    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "1.png").write_bytes(b"not looked into yet")
    spec = input_of(Tensor("x", (1, 4, 4, 3), "float32"), Processing(), [load(tmp_path / "set")])
    assert spec.decode == Decode((4, 4, 3), "uint8")


def test_stored_pixels_and_a_background_are_keys_of_decode(tmp_path):
    path = tmp_path / "p.toml"
    path.write_text('[decode]\nshape=[2,2,3]\ndtype="uint8"\norientation="stored"\nbackground=[255,255,255]\n')
    decode = read_processing(path).decode
    assert decode == Decode((2, 2, 3), "uint8", orientation="stored", background=(255, 255, 255))
    two = Processing(Decode((2, 2, 3), "uint8", background=(1, 2)))
    with pytest.raises(DataError, match=r"1 value \(gray\) or 3"):
        input_of(Tensor("x", (1, 2, 2, 3), "float32"), two, [])
