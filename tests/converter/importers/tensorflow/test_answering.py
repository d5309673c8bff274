"""A model becomes what it answers: what else it does, and in which type it computes, stays where it was made."""

import numpy as np
import pytest

from tests.converter.importers.workshop import outcomes


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return outcomes(tmp_path_factory, "tensorflow.making_answering")


@pytest.mark.parametrize("name", ["lstm", "cells", "convlstm", "augmented", "gru-folder", "old-gru"])
def test_dropout_and_noise_that_are_for_training_are_no_state(models, name):
    np.testing.assert_allclose(models[name].answers(), models[name].expected, atol=1e-5)
    assert not any(op.name.endswith("VARIABLE") for op in models[name].contents.ops)


def test_an_embedding_in_a_function_of_a_saved_model_is_looked_up(models):
    model = models["old-embedding-folder"]
    np.testing.assert_allclose(model.answers(), model.expected, atol=1e-6)
    assert any(op.name == "GATHER" for op in model.contents.ops)


@pytest.mark.parametrize("name", ["plain.h5", "plain.keras", "from-1.15"])
def test_plain_operations_of_tensorflow_in_a_keras_2_file_are_read(models, name):
    np.testing.assert_allclose(models[name].answers(), models[name].expected, atol=1e-5)


def test_a_count_that_the_answer_does_not_read_is_left_out(models):
    np.testing.assert_array_equal(models["silent"].answers(), models["silent"].expected)


def test_a_state_that_the_answer_reads_is_refused_by_its_name(models):
    assert models["telling"].path is None
    assert "it remembers earlier samples: it writes answers_given when it answers" in models["telling"].said


def test_random_numbers_are_refused_as_such(models):
    assert models["drawing"].path is None
    assert "it draws random numbers when it answers" in models["drawing"].said


def test_normalization_by_the_batch_at_hand_is_told(models):
    model = models["by-the-batch"]
    np.testing.assert_allclose(model.answers(), model.expected, atol=1e-5)
    assert "normalizes by the batch at hand (training=True), which is one sample here" in model.said


@pytest.mark.parametrize(("name", "dtype"), [("argmax", "int32"), ("argmax-folder", "int32"), ("look-up", "float32")])
def test_what_tflite_has_no_form_of_is_spelt_out_with_the_same_answers(models, name, dtype):
    np.testing.assert_array_equal(models[name].answers(), models[name].expected)
    assert models[name].contents.outputs[0].dtype == dtype


def test_layers_that_keras_has_quantized_are_float_with_their_rounded_weights(models):
    model = models["quantized-int8"]
    largest = np.abs(model.expected).max()
    np.testing.assert_allclose(model.answers(), model.expected, atol=0.02 * largest)  # inputs were rounded to 1/127
    assert "came quantized by Keras (int8)" in model.said


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (
            "quantized-float8",
            "compute in float8 (model.quantize('float8')), which TFLite has not: convert the model as it",
        ),
        (
            "look-up-folder",
            "it looks values up in a table (IntegerLookup, StringLookup, tf.lookup), which is not in the",
        ),
        ("text", "its input 'x' is text, and a device takes numbers"),
    ],
)
def test_what_cannot_be_is_refused_with_what_to_do(models, name, words):
    assert models[name].path is None
    assert words in models[name].said


STEP = {"float16": 2**-11, "bfloat16": 2**-8, "float64": 2**-24}
"""Of each type, or of float32 where that is coarser: the largest rounding of a number near 1."""


@pytest.mark.parametrize(
    "name",
    [
        *("float16", "mixed_bfloat16", "float64", "mixed_bfloat16-folder"),
        *("old-mixed_float16", "old-mixed_float16-folder"),
    ],
)
def test_other_types_become_float32_and_answer_within_their_own_precision(models, name):
    model = models[name]
    kind = name.removesuffix("-folder").rpartition("_")[2]
    np.testing.assert_allclose(model.answers(), model.expected, atol=4 * STEP[kind])
    assert {tensor.dtype for tensor in (*model.contents.inputs, *model.contents.outputs)} <= {"float32", "int32"}
    assert f"it computes in {kind} where it was made, and in float32 here" in model.said
