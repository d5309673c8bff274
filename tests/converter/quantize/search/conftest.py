"""The digits classifier as the search takes it: float model, input, samples."""

from typing import NamedTuple

import numpy as np
import pytest

from maas_agent.bundle.manifest import Decode, Input, Scale, Tensor
from maas_converter.quantize.search.measuring.cache import ReferenceAnswers
from maas_converter.quantize.search.measuring.loss import LossCriterion
from maas_converter.quantize.search.measuring.parts import split


class Given(NamedTuple):
    """Arguments of a search."""

    float32: bytes
    spec: Input
    calibration: np.ndarray
    evaluation: np.ndarray
    y: np.ndarray


@pytest.fixture(scope="session")
def given(digits, digits_tflite) -> Given:
    """The digits: 200 samples to calibrate on, 597 to evaluate on."""
    spec = Input(Tensor("image", (1, 8, 8, 1), "float32"), Decode((8, 8, 1), "uint8"), (Scale(0.0625),))
    with np.load(digits.calibration) as calibration, np.load(digits.evaluation) as evaluation:
        y = evaluation["y"].astype(np.int64)
        return Given(digits_tflite.read_bytes(), spec, calibration["x"], evaluation["x"], y)


@pytest.fixture
def evaluation_of_nothing() -> ReferenceAnswers:
    """Data of which only the parts' sizes are asked."""
    y = np.zeros(100, np.int64)
    return ReferenceAnswers(np.zeros((100, 1)), {}, LossCriterion("accuracy", y), split(100, y, 1))
