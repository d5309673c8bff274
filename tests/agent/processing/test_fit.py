"""Stored numbers become samples of the model's shape and type, or are refused with the sample that is wrong."""

import numpy as np
import pytest

from maas_agent.bundle.manifest import Decode
from maas_agent.errors import DataError
from maas_agent.processing import fit

GRAY = Decode((2, 2, 1), "uint8", color="gray")


def test_flat_samples_have_the_models_shape() -> None:
    samples = fit.fitted(np.arange(8.0).reshape(2, 4), GRAY, "a.csv")
    assert samples.shape == (2, 2, 2, 1) and samples.dtype == np.uint8
    assert samples.ravel().tolist() == list(range(8))


def test_a_value_that_would_change_is_refused_with_its_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fit, "MAX_BATCH", 2)
    x = np.zeros((5, 4))
    x[3, 1] = 0.5
    with pytest.raises(DataError, match=r"a\.csv: .* does not fit uint8, first in sample 3"):
        fit.fitted(x, GRAY, "a.csv")


def test_channels_that_come_first_are_told() -> None:
    with pytest.raises(DataError, match=r"channels come first in it; store x.transpose\(0, 2, 3, 1\)"):
        fit.fitted(np.zeros((2, 3, 4, 5), np.uint8), Decode((4, 5, 3), "uint8"), "d.npz")
