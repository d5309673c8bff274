"""A sample that is decoded fills the model's input after its steps, or the bundle is refused."""

import pytest

from maas_agent.bundle.manifest import Decode, Input, LogMel, Normalize, Preprocess, Scale, Tensor, check_input
from maas_agent.errors import BundleError

SOUND = Decode((8000,), "float32", sample_rate=8000)
MEL = LogMel(sample_rate=8000, frame=256, hop=128, bands=40)  # 8,000 samples become (61, 40)


@pytest.mark.parametrize(
    ("decode", "steps", "shape"),
    [
        (SOUND, (MEL,), (1, 61, 40)),
        (SOUND, (MEL,), (1, 61, 40, 1)),
        (SOUND, (MEL, Normalize((0.0,) * 40, (1.0,) * 40)), (1, 61, 40)),
        (SOUND, (LogMel(8000, 256, 128, 40, coefficients=13), Normalize((0.0,) * 13, (1.0,))), (1, 61, 13)),
        (Decode((256,), "int16", sample_rate=8000), (MEL,), (1, 1, 40)),
        (SOUND, (), (1, 8000)),
        (SOUND, (Scale(2.0),), (1, 8000, 1)),
        (Decode((8000,), "float32"), (), (1, 8000)),
        (Decode((), "float32"), (Normalize((1.0,), (1.0,)),), (1,)),
    ],
)
def test_what_fills_the_tensor_after_its_steps_is_accepted(
    decode: Decode, steps: tuple[Preprocess, ...], shape: tuple[int, ...]
) -> None:
    spec = Input(Tensor("x", shape, "float32"), decode, steps)
    check_input(spec)
    assert spec.decode is decode


REFUSED: list[tuple[Decode, tuple[Preprocess, ...], tuple[int, ...], str]] = [
    (SOUND, (MEL,), (1, 60, 40), r"\[8000\], \[61, 40\] after log_mel, does not fill the model's input \[1, 60, 40\]"),
    (SOUND, (MEL,), (1, 8000), "does not fill"),
    (SOUND, (Scale(2.0), MEL), (1, 61, 40), "log_mel has to be the first step"),
    (SOUND, (MEL, MEL), (1, 61, 40), "log_mel has to be the first step"),
    (SOUND, (MEL, Normalize((0.0, 1.0), (1.0,))), (1, 61, 40), "2 means and 1 deviations for 40 channels"),
    (Decode((8000,), "float32"), (MEL,), (1, 61, 40), "log_mel takes sound"),
    (Decode((8000,), "float32", sample_rate=16000), (MEL,), (1, 61, 40), "sample_rate 8000, not .* sample_rate 16000"),
    (Decode((80, 100), "float32"), (MEL,), (1, 61, 40), "log_mel takes sound"),
    (Decode((255,), "float32", sample_rate=8000), (MEL,), (1, 1, 40), "frames of 256 samples, the sound has 255"),
    (SOUND, (LogMel(8000, 256, 128, high_hz=4001.0),), (1, 61, 40), "to 4000.0"),
    (SOUND, (LogMel(8000, 256, 128, low_hz=300.0, high_hz=300.0),), (1, 61, 40), "have to rise"),
    (SOUND, (LogMel(8000, 256, 128, low_hz=4000.0),), (1, 61, 40), "have to rise"),
    (SOUND, (LogMel(8000, 256, 128, high_hz=-5.0),), (1, 61, 40), "have to rise"),
    (SOUND, (LogMel(8000, 64, 128, bands=33),), (1, 63, 33), "33 bands, a frame of 64 has 32 frequencies"),
    (SOUND, (LogMel(8000, 256, 128, bands=10, coefficients=11),), (1, 61, 11), "11 coefficients of 10 bands"),
    (SOUND, (LogMel(8000, 256, 128, floor=float("inf")),), (1, 61, 40), "floor inf: it has to be finite"),
    (SOUND, (Scale(1e300),), (1, 8000), "scale 1e\\+300: it has to be finite"),
    (SOUND, (Normalize((0.0,), (1e-320,)),), (1, 8000), "not positive"),
    (SOUND, (Scale(float("nan")),), (1, 8000), "scale nan: it has to be finite"),
    (SOUND, (Normalize((0.0,), (float("inf"),)),), (1, 8000), "it has to be finite"),
    (Decode((80, 100), "float32", sample_rate=8000), (), (1, 8000), r"its shape is \[samples\]"),
    (Decode((8000,), "uint8", sample_rate=8000), (), (1, 8000), "not uint8"),
]


@pytest.mark.parametrize(("decode", "steps", "shape", "words"), REFUSED)
def test_what_does_not_is_refused_with_why(
    decode: Decode, steps: tuple[Preprocess, ...], shape: tuple[int, ...], words: str
) -> None:
    with pytest.raises(BundleError, match=words):
        check_input(Input(Tensor("x", shape, "float32"), decode, steps))
