"""Output tensors to answers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maas_agent.bundle.manifest import Classification, DType, Multilabel, Output, Postprocess, Quantization, Raw, Tensor
from maas_agent.processing.postprocess import activate, dequantize, dequantizer, postprocessor

VALUES = np.array([0.1, 0.4, 0.2, 0.3], np.float32)
LABELS = ("a", "b", "c", "d")


def answer(spec: Postprocess, values: np.ndarray, labels: tuple[str, ...] = LABELS) -> dict[str, object]:
    return postprocessor(Output(Tensor("scores", (1, len(LABELS)), "float32"), spec, labels))(values)


def test_a_classification_is_the_best_labels_with_their_scores() -> None:
    assert answer(Classification(top=2), VALUES) == {"label": "b", "score": 0.4, "top": [["b", 0.4], ["d", 0.3]]}


def test_more_is_not_told_than_there_are_classes() -> None:
    assert answer(Classification(top=1000), VALUES)["top"] == [["b", 0.4], ["d", 0.3], ["c", 0.2], ["a", 0.1]]


def test_without_labels_the_number_of_the_class_stands_for_it() -> None:
    assert answer(Classification(top=1), VALUES, ())["label"] == "1"


def test_among_equal_scores_the_lower_class_comes_first() -> None:
    """On every machine: an unstable sort would not promise that."""
    equal = np.full(4, 0.25, np.float32)
    assert [label for label, _ in answer(Classification(top=4), equal)["top"]] == [*LABELS]  # type: ignore[attr-defined]


def test_the_shape_of_the_scores_does_not_matter() -> None:
    assert answer(Classification(), VALUES.reshape(1, 2, 2)) == answer(Classification(), VALUES)


def test_raw_values_keep_the_shape_of_the_tensor() -> None:
    assert answer(Raw(), VALUES) == {"values": [VALUES.tolist()]}


def test_softmax_sums_to_one_and_keeps_the_order() -> None:
    scores = activate(np.array([1.0, 3.0, 2.0], np.float32), "softmax")
    np.testing.assert_allclose(scores, np.exp([1, 3, 2]) / np.exp([1, 3, 2]).sum(), rtol=1e-6)


@pytest.mark.filterwarnings("error")
def test_extreme_logits_neither_overflow_nor_warn() -> None:
    extreme = np.array([-3e38, 0.0, 3e38], np.float32)
    assert activate(extreme, "softmax").tolist() == [0, 0, 1]
    assert activate(extreme, "sigmoid").tolist() == [0, 0.5, 1]
    assert activate(np.array([1000.0, 1000.0], np.float32), "softmax").tolist() == [0.5, 0.5]


def test_the_activation_is_applied_before_scores_are_told() -> None:
    logits = np.array([0.0, 2.0, 1.0, -1.0], np.float32)
    by_sigmoid = answer(Classification(activation="sigmoid"), logits)
    assert by_sigmoid["score"] == pytest.approx(1 / (1 + np.exp(-2)), abs=1e-6)
    assert answer(Classification(activation="softmax"), logits)["score"] == pytest.approx(0.643914, abs=1e-6)
    assert answer(Classification(activation="none"), logits)["score"] == 2.0


def test_dequantizing_is_stored_minus_zero_point_times_scale() -> None:
    stored = np.array([-128, 0, 127], np.int8)
    np.testing.assert_allclose(dequantize(stored, Quantization(0.5, -128)), [0, 64, 127.5])
    assert dequantize(stored, None).tolist() == [-128, 0, 127]


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
@given(scale=st.floats(2**-20, 2**20, width=32), zero_point=st.integers(-128, 255))
def test_the_table_of_8_bit_outputs_gives_the_same_bits(dtype: DType, scale: float, zero_point: int) -> None:
    quantization = Quantization(scale, zero_point)
    stored = np.arange(256, dtype=np.uint8).view(dtype).reshape(2, 128)
    by_table = dequantizer(Tensor("x", (2, 128), dtype, quantization))(stored)
    expected = dequantize(stored, quantization)
    assert by_table.dtype == np.float32 and by_table.shape == (2, 128)
    assert by_table.tobytes() == expected.tobytes()


@pytest.mark.parametrize("dtype", ["int16", "int32", "float32"])
def test_wider_outputs_are_dequantized_too(dtype: DType) -> None:
    quantization = None if dtype == "float32" else Quantization(0.5, 1)
    values = dequantizer(Tensor("x", (2,), dtype, quantization))(np.array([3, 5], dtype))
    assert values.tolist() == ([3, 5] if quantization is None else [1, 2])
    assert values.dtype == np.float32


def test_of_a_multilabel_output_all_labels_at_the_threshold_are_named_best_first() -> None:
    named = answer(Multilabel(threshold=0.25), np.array([0.25, 0.4, 0.2, 0.9], np.float32))
    assert named["labels"] == [["d", 0.9], ["b", 0.4], ["a", 0.25]]
    assert named["scores"] == {"a": 0.25, "b": 0.4, "c": 0.2, "d": 0.9}
    logits = answer(Multilabel(activation="sigmoid"), np.array([0.0, -1.0, 2.0, -9.0], np.float32), ())
    assert logits["labels"] == [["2", 0.880797], ["0", 0.5]]


def test_of_a_binary_output_the_value_is_the_score_of_the_second_class() -> None:
    output = Output(Tensor("score", (1, 1), "float32"), Classification(top=2, binary=True), ("no", "yes"))
    result = postprocessor(output)(np.array([[0.25]], np.float32))
    assert result == {"label": "no", "score": 0.75, "top": [["no", 0.75], ["yes", 0.25]]}
