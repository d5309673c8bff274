"""Ranges are those of the float model's own tensors; a model is what the entries say."""

import numpy as np
import pytest

from maas_agent.errors import DataError, RuntimeFailure
from maas_converter.quantize import entries, quantizer
from maas_converter.tflite.contents import contents_of
from maas_converter.tflite.signature import with_signature
from tests.converter.quantize.running import noise
from tests.converter.tflite.graphs import chain


def test_the_range_of_the_input_is_that_of_all_samples_together(models):
    samples = noise((64,), 20)
    found = quantizer.ranges_of(models["dense"], (sample[None] for sample in samples))
    name = contents_of(models["dense"]).inputs[0].name
    assert (found[name].low, found[name].high) == (samples.min(), samples.max())


def test_every_tensor_that_is_computed_and_read_has_a_range(models):
    contents = contents_of(models["dense"])
    found = quantizer.ranges_of(models["dense"], [noise((64,), 1)])
    assert set(found) == {contents.output_of(op).name for op in contents.ops} | {contents.inputs[0].name}


def test_ranges_are_those_the_library_finds_itself(models):
    from litert_quantizer import calibrator, recipe_manager
    from litert_quantizer.utils import qsv_utils

    samples = noise((16, 16, 3), 5)
    manager = recipe_manager.RecipeManager()
    manager.load_quantization_recipe([entries.static(8, 8)])
    observer = calibrator.Calibrator(models["wave"], num_threads=1, qsv_update_func=qsv_utils.min_max_update)
    signature, names = next(iter(observer.get_signature_list().items()))
    observer.calibrate({signature: [{names["inputs"][0]: sample[None]} for sample in samples]}, manager)
    own = quantizer.ranges_of(models["wave"], (sample[None] for sample in samples))
    theirs = {
        name: (float(span["min"].item()), float(span["max"].item())) for name, span in observer.get_model_qsvs().items()
    }
    assert theirs == {name: (own[name].low, own[name].high) for name in theirs}


def test_no_samples_are_refused(models):
    with pytest.raises(DataError, match="no samples"):
        quantizer.ranges_of(models["dense"], [])


def test_a_sample_that_makes_a_tensor_nan_is_named(models):
    bad = noise((64,), 3)
    bad[2, 5] = np.nan
    with pytest.raises(DataError, match="sample 2 makes"):
        quantizer.ranges_of(models["dense"], (sample[None] for sample in bad))


def test_an_overflow_inside_the_model_is_named(models):
    with pytest.raises(DataError, match="NaN or infinite"):
        quantizer.ranges_of(with_signature(chain("EXP")), [np.full((1, 4), 1e5, np.float32)])


def test_a_sample_of_another_shape_is_refused_in_a_sentence(models):
    with pytest.raises(RuntimeFailure, match="calibration failed"):
        quantizer.ranges_of(models["dense"], [np.zeros((1, 63), np.float32)])


def test_what_the_library_cannot_do_names_the_op_and_what_to_try(models):
    blocks = [entries.dynamic(4, "FULLY_CONNECTED", block=128)]
    with pytest.raises(RuntimeFailure, match=r"cannot be quantized: .*; try --quantize dynamic"):
        quantizer.apply(models["dense"], blocks, None)


def test_blocks_of_32_weights_share_a_scale_where_litert_has_them(models):
    made = contents_of(quantizer.apply(models["dense"], [entries.dynamic(4, "FULLY_CONNECTED", block=32)], None))
    assert made.constant_bytes["int4"] == (64 * 128 + 128 * 128 + 128 * 10) // 2


def test_an_entry_for_one_op_touches_no_other(models):
    contents = contents_of(models["dense"])
    second = entries.only(contents, contents.ops[1])
    made = contents_of(quantizer.apply(models["dense"], [entries.dynamic(8, "FULLY_CONNECTED", second)], None))
    stored = [made.graphs[0].tensors[op.inputs[1]].dtype for op in made.ops]
    assert stored == ["float32", "int8", "float32"]
