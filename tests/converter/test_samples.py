"""The preprocess file is read into the manifest's own structs; what is wrong in it is named."""

import numpy as np
import pytest

from maas_agent.bundle.manifest import Decode, Normalize, Scale, Tensor
from maas_agent.errors import DataError, NoInputError
from maas_converter.samples import Processing, input_of, read_processing

BAD = {
    "no toml": ("decode = ", "no TOML"),
    "unknown table": ("[encode]\n", "'encode': choose from decode, preprocess"),
    "unknown key": ('[decode]\nshape=[1]\ndtype="uint8"\ncolour="gray"\n', "'colour': choose from shape, dtype, color"),
    "unknown word": ('[decode]\nshape=[1]\ndtype="uint8"\ncolor="grey"\n', "'grey': choose one of gray, rgb"),
    "unknown dtype": ('[decode]\nshape=[1]\ndtype="byte"\n', "'byte': choose one of float32"),
    "unknown step": ('[[preprocess]]\nop="blur"\n', "'blur': choose one of scale, normalize"),
    "step without op": ("[[preprocess]]\nscale=1.0\n", "choose one of scale, normalize"),
    "unknown key of a step": (
        '[[preprocess]]\nop="scale"\nscale=1.0\nfactor=2\n',
        "'factor': choose from scale, offset",
    ),
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
    from maas_converter.data import load

    for dtype, expected in ((np.uint8, "uint8"), (np.float64, "float32"), (np.int64, "float32")):
        np.savez(tmp_path / "d.npz", x=np.zeros((3, 4), dtype))
        spec = input_of(Tensor("x", (1, 4), "float32"), Processing(), [load(tmp_path / "d.npz")])
        assert spec.decode.dtype == expected
