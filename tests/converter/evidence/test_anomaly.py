import numpy as np
import pytest

from maas_agent.bundle.manifest import Decode, Input, Quantization, Scale, Tensor
from maas_converter.evidence import anomaly

Y = np.array([0, 0, 0, 1, 1])


def test_one_value_is_its_own_score():
    score = anomaly.score(np.array([[0.1], [0.2], [0.9], [0.8], [0.95]], np.float32), np.zeros((5, 4), np.float32), Y)
    assert score.auc.value == pytest.approx(5 / 6)
    assert score.auc.interval[0] < 5 / 6 < score.auc.interval[1]
    assert (score.samples, score.anomalies, score.mse, score.mse_anomalies) == (5, 2, None, None)


def test_an_output_like_the_input_is_scored_by_its_reconstruction_error():
    inputs = np.zeros((5, 2, 2), np.float32)
    values = np.stack([np.full(4, error) for error in (0.1, 0.1, 0.1, 0.5, 0.5)]).astype(np.float32)
    score = anomaly.score(values, inputs, Y, "broken")
    assert score.auc.value == 1.0
    assert score.mse.value == pytest.approx(0.01)
    assert score.mse_anomalies.value == pytest.approx(0.25)
    assert score.found == "broken"


def test_models_are_shown_real_values_whatever_their_input_is_stored_as():
    spec = Input(
        Tensor("image", (1, 2, 2, 1), "int8", Quantization(1 / 255, -128)),
        Decode((2, 2, 1), "uint8", color="gray"),
        (Scale(1 / 255),),
    )
    samples = np.array([[0, 51, 102, 255], [1, 2, 3, 4]], np.uint8).reshape(2, 2, 2, 1)
    inputs = anomaly.real_inputs(spec, samples)
    assert inputs.shape == (2, 1, 2, 2, 1)
    assert inputs[0].reshape(-1) == pytest.approx([0, 0.2, 0.4, 1.0])


def test_a_lost_ranking_is_significant():
    y = (np.arange(200) < 80).astype(np.int64)
    random = np.random.default_rng(0)
    inputs = np.zeros((200, 9), np.float32)
    good = random.normal(y * 2.0, 1).astype(np.float32)[:, None]
    found = anomaly.compare(good, random.normal(size=(200, 1)).astype(np.float32), inputs, y)
    assert found.significant
    assert found.auc_drop.value > 0.2
    same = anomaly.compare(good, good, inputs, y)
    assert (same.auc_drop.value, same.auc_drop.interval, same.significant) == (0.0, None, False)
