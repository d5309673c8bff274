"""What integers would spoil stays float: indexes, small columns beside large ones, answers that never change."""

from pathlib import Path

import numpy as np
import pytest

from maas_agent.processing.postprocess import dequantizer
from maas_agent.processing.preprocess import quantize as stored_as
from maas_converter.base.console import SilentProgress
from maas_converter.quantize.calibration import quantize_fed
from maas_converter.quantize.fallback import check, precision_of
from maas_converter.quantize.kept_float import kept_for, kept_in
from maas_converter.quantize.plain import plain
from maas_converter.quantize.recipes import recipe
from maas_converter.tflite.contents import contents_of
from maas_converter.tflite.signature import with_signature
from tests.converter.quantize.running import feed, loaded
from tests.converter.tflite.graphs import Body, Op, tflite

RANDOM = np.random.Generator(np.random.PCG64(5))
RECIPES = ["int8", "int16x8", "int4", "dynamic", "dynamic4"]


@pytest.fixture(autouse=True)
def _same_numbers_in_any_order():
    RANDOM.bit_generator.state = np.random.PCG64(5).state


def _model(*ops, given, made, constants, shapes, types=None):
    body = Body(tuple(ops), ("x",), made, constants, {"x": given, **shapes}, types or {})
    return with_signature(tflite(body))


def _floats(*shape, size=1.0):
    return RANDOM.normal(0, size, shape).astype(np.float32)


def _dense(name, reads, inputs, outputs, weights=None, bias=None):
    constants = {
        f"{name}/w": _floats(outputs, inputs, size=inputs**-0.5) if weights is None else weights.astype(np.float32),
        f"{name}/b": np.zeros(outputs, np.float32) if bias is None else np.asarray(bias, np.float32),
    }
    op = Op("FULLY_CONNECTED", (reads, f"{name}/w", f"{name}/b"), (name,), options={"keepNumDims": True})
    return op, constants


def _answers(data, samples, folder):
    """The real values (N, …) of every output."""
    model = loaded(data, folder)
    given = [stored_as(sample[None], model.inputs[0].quantization, model.inputs[0].dtype) for sample in samples]
    rows = [model.run([one]) for one in given]
    return [
        np.stack([dequantizer(tensor)(row[number]) for row in rows]).reshape(len(samples), -1)
        for number, tensor in enumerate(model.outputs)
    ]


def _quantized(float32, name, samples, io=None):
    return quantize_fed(float32, recipe(name), feed(samples), io, SilentProgress())


def _lookup(table, through=()):
    """Token ids given as floats, looked up in ``table``, then a dense layer; ``through`` reshapes them first."""
    dense, weights = _dense("scores", "flat", 20 * table.shape[1], 3)
    shapes = {"ids": (1, 20), "found": (1, 20, table.shape[1]), "flat": (1, 20 * table.shape[1]), "scores": (1, 3)}
    moved, before = [], "x"
    for number, shape in enumerate(through):
        moved.append(Op("RESHAPE", (before, f"shape{number}"), (f"moved{number}",)))
        weights[f"shape{number}"] = np.array(shape, np.int32)
        before = f"moved{number}"
        shapes[before] = shape
    cast = Op("CAST", (before,), ("ids",), options={"inDataType": 0, "outDataType": 2})
    look = Op("GATHER", ("table", "ids"), ("found",), options={"axis": 0})
    flat = Op("RESHAPE", ("found", "to"), ("flat",))
    weights |= {"table": table, "to": np.array([1, 20 * table.shape[1]], np.int32)}
    return _model(
        *moved, cast, look, flat, dense, given=(1, 20), made=("scores",), constants=weights, shapes=shapes,
        types={"ids": "int32"},
    )  # fmt: skip


@pytest.mark.parametrize("through", [(), ((4, 5), (1, 20))])
@pytest.mark.parametrize("name", RECIPES)
def test_ids_that_are_looked_up_are_not_rounded(name, through, tmp_path):
    """500 ids in 256 steps would be others; the answers are those of the float model within what 8 bits cost."""
    float32 = _lookup(_floats(500, 16), through)
    samples = RANDOM.integers(0, 500, (60, 20)).astype(np.float32)
    (before,), (after,) = (_answers(data, samples, tmp_path) for data in (float32, _quantized(float32, name, samples)))
    assert np.sqrt(np.mean((after - before) ** 2)) < (0.2 if "4" in name else 0.03) * before.std()
    if name in ("int8", "int16x8"):
        kept = kept_in(float32, recipe(name), feed(samples))
        assert kept.reasons == ("input 'x' stays float: CAST makes whole numbers of it, as of indexes",)


def test_an_input_of_ids_stays_float_whatever_io_says(tmp_path):
    float32 = _lookup(_floats(500, 16))
    samples = RANDOM.integers(0, 500, (60, 20)).astype(np.float32)
    for io in ("int8", "uint8"):
        quantized = _quantized(float32, "int8", samples, io)
        assert precision_of(quantized).inputs == ("float32",)
        assert precision_of(quantized).outputs == (io,)
        (before,), (after,) = (_answers(data, samples, tmp_path) for data in (float32, quantized))
        assert np.sqrt(np.mean((after - before) ** 2)) < 0.03 * before.std()


def test_ids_beside_numbers_in_one_input(tmp_path):
    """One column is an id, three are numbers: the slice of the id is exact, what is made of the rest is int8."""
    dense, weights = _dense("scores", "joined", 11, 2)
    ops = (
        Op("SLICE", ("x", "from0", "size1"), ("id",)),
        Op("SLICE", ("x", "from1", "size3"), ("numbers",)),
        Op("CAST", ("id",), ("index",), options={"inDataType": 0, "outDataType": 2}),
        Op("GATHER", ("table", "index"), ("found",), options={"axis": 0}),
        Op("RESHAPE", ("found", "to"), ("row",)),
        Op("CONCATENATION", ("row", "numbers"), ("joined",), options={"axis": 1}),
        dense,
    )
    weights |= {
        "table": _floats(300, 8), "to": np.array([1, 8], np.int32),
        "from0": np.array([0, 0], np.int32), "size1": np.array([1, 1], np.int32),
        "from1": np.array([0, 1], np.int32), "size3": np.array([1, 3], np.int32),
    }  # fmt: skip
    shapes = {"id": (1, 1), "numbers": (1, 3), "index": (1, 1), "found": (1, 1, 8), "row": (1, 8), "joined": (1, 11)}
    shapes["scores"] = (1, 2)
    float32 = _model(*ops, given=(1, 4), made=("scores",), constants=weights, shapes=shapes, types={"index": "int32"})
    samples = np.concatenate([RANDOM.integers(0, 300, (80, 1)), RANDOM.normal(0, 1, (80, 3))], 1).astype(np.float32)
    quantized = _quantized(float32, "int8", samples)
    (before,), (after,) = (_answers(data, samples, tmp_path) for data in (float32, quantized))
    assert np.sqrt(np.mean((after - before) ** 2)) < 0.03 * before.std()
    assert {op.name for op in precision_of(quantized).ops if op.kind == "integer"} >= {"FULLY_CONNECTED"}


def _detector(layout):
    """Boxes of 0 to 640 beside scores of 0 to 1: one dense layer of both, or a concatenation of two answers."""
    hidden, constants = _dense("hidden", "x", 6, 16)
    if layout == "dense":
        sizes = np.array([60.0] * 4 + [0.1] * 3)[:, None]
        last, more = _dense("y", "hidden", 16, 7, _floats(7, 16) * sizes, [320] * 4 + [0.5] * 3)
        ops = (hidden, last)
    else:
        boxes, more = _dense("boxes", "hidden", 16, 4, _floats(4, 16) * 60, [320] * 4)
        logits, rest = _dense("logits", "hidden", 16, 3)
        ops = (
            hidden, boxes, logits, Op("LOGISTIC", ("logits",), ("scores",)),
            Op("CONCATENATION", ("boxes", "scores"), ("y",), options={"axis": 1}),
        )  # fmt: skip
        more |= rest
    shapes = {"hidden": (1, 16), "boxes": (1, 4), "logits": (1, 3), "scores": (1, 3), "y": (1, 7)}
    return _model(*ops, given=(1, 6), made=("y",), constants=constants | more, shapes=shapes)


@pytest.mark.parametrize("layout", ["dense", "concatenation"])
@pytest.mark.parametrize("name", ["int8", "int4"])
def test_scores_beside_boxes_keep_their_values(name, layout, tmp_path):
    float32, samples = _detector(layout), _floats(100, 6)
    quantized = _quantized(float32, name, samples)
    (before,), (after,) = (_answers(data, samples, tmp_path) for data in (float32, quantized))
    error = np.sqrt(np.mean((after - before) ** 2, axis=0)) / before.std(axis=0)
    assert error.max() < 0.06, error
    (reason,) = kept_in(float32, recipe(name), feed(samples)).reasons[:1]
    assert reason.startswith("output 'y' stays float: columns 4, 5, 6 would be lost in 8 bits (the first lies in ")
    ops = {op.label: op.kind for op in precision_of(quantized).ops}
    assert ops["hidden"] == "integer" and (layout == "dense" or ops["boxes"] == ops["scores"] == "integer")


def test_what_is_float_on_purpose_is_no_fallback():
    float32, samples = _detector("dense"), _floats(100, 6)
    kept = kept_in(float32, recipe("int8"), feed(samples))
    labels = kept.labels(contents_of(float32))
    precision = precision_of(_quantized(float32, "int8", samples))
    assert check(precision, recipe("int8"), allow_float=False, kept=labels) == ()


@pytest.mark.parametrize("io", ["int8", "float"])
def test_an_op_that_makes_the_answer_and_is_float_on_purpose_is_no_fallback(io):
    """The library gives its output another name where it adds a conversion behind it."""
    ops = Op("MUL", ("x", "three"), ("scaled",)), Op("FLOOR", ("scaled",), ("y",))
    float32 = _model(*ops, given=(1, 4), made=("y",), constants={"three": np.array(3, np.float32)}, shapes={})
    samples = _floats(40, 4)
    labels = kept_in(float32, recipe("int8"), feed(samples)).labels(contents_of(float32))
    precision = precision_of(_quantized(float32, "int8", samples, io))
    assert {op.label for op in precision.ops} == labels == {"scaled", "y"}
    assert check(precision, recipe("int8"), allow_float=False, kept=labels) == ()


def test_a_concatenation_inside_keeps_its_small_part(tmp_path):
    """The small part alone decides the answer: one scale for both would leave nothing of it."""
    large, constants = _dense("large", "x", 6, 4, _floats(4, 6) * 300)
    small, more = _dense("small", "x", 6, 4)
    weights = np.concatenate([np.zeros((2, 4)), _floats(2, 4)], 1)
    last, rest = _dense("y", "joined", 8, 2, weights)
    join = Op("CONCATENATION", ("large", "small"), ("joined",), options={"axis": 1})
    shapes = {"large": (1, 4), "small": (1, 4), "joined": (1, 8), "y": (1, 2)}
    float32 = _model(
        large, small, join, last, given=(1, 6), made=("y",), constants=constants | more | rest, shapes=shapes
    )
    samples = _floats(100, 6)
    (before,), (after,) = (
        _answers(data, samples, tmp_path) for data in (float32, _quantized(float32, "int8", samples))
    )
    assert np.sqrt(np.mean((after - before) ** 2)) < 0.05 * before.std()


SIZES = np.array([1, 10, 100, 1000], np.float32)


def _scaled(normalized):
    """Features of sizes 1 to 1000: normalised in the model, or weighed by the first layer."""
    shapes = {"less": (1, 4), "normal": (1, 4), "hidden": (1, 8), "y": (1, 1)}
    ops, constants, reads = [], {}, "x"
    if normalized:
        ops = [Op("SUB", ("x", "mean"), ("less",)), Op("DIV", ("less", "size"), ("normal",))]
        constants, reads = {"mean": 3 * SIZES[None], "size": SIZES[None]}, "normal"
    hidden, more = _dense("hidden", reads, 4, 8, _floats(8, 4) / (1 if normalized else SIZES))
    last, rest = _dense("y", "hidden", 8, 1)
    return _model(*ops, hidden, last, given=(1, 4), made=("y",), constants=constants | more | rest, shapes=shapes)


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("normalized", [True, False])
@pytest.mark.parametrize("name", ["int8", "int4", "int16x8", "dynamic"])
def test_small_features_beside_large_ones_count_as_in_the_float_model(name, normalized, seed, tmp_path):
    RANDOM.bit_generator.state = np.random.PCG64(seed).state
    float32 = _scaled(normalized)
    samples = ((_floats(120, 4) + 3) * SIZES).astype(np.float32)
    (before,), (after,) = (_answers(data, samples, tmp_path) for data in (float32, _quantized(float32, name, samples)))
    assert np.sqrt(np.mean((after - before) ** 2)) < 0.1 * before.std()


def test_a_normalisation_stays_float_and_what_follows_is_integer():
    float32, samples = _scaled(True), ((_floats(120, 4) + 3) * SIZES).astype(np.float32)
    ops = {op.label: op.kind for op in precision_of(_quantized(float32, "int8", samples)).ops}
    assert ops == {"less": "float", "normal": "float", "hidden": "integer", "y": "integer"}


def test_columns_of_one_size_stay_integer():
    """An ordinary model, and one whose last column hardly matters: nothing is left float."""
    hidden, constants = _dense("hidden", "x", 6, 16)
    last, more = _dense("y", "hidden", 16, 5)
    shapes = {"hidden": (1, 16), "y": (1, 5)}
    float32 = _model(hidden, last, given=(1, 6), made=("y",), constants=constants | more, shapes=shapes)
    assert not kept_for(float32, feed(_floats(100, 6)), bits=8, static=True).ops
    unread = _floats(16, 6)
    unread[:, 5] = 0
    hidden, constants = _dense("hidden", "x", 6, 16, unread)
    float32 = _model(hidden, last, given=(1, 6), made=("y",), constants=constants | more, shapes=shapes)
    tiny = _floats(100, 6) * np.array([1, 1, 1, 1, 1, 0.001], np.float32)
    assert not kept_for(float32, feed(tiny), bits=8, static=True).ops


@pytest.mark.parametrize("name", ["int8", "int16x8", "int4", "dynamic"])
@pytest.mark.parametrize("value", [1.0, -3.7, 1e-4, 250.0])
def test_an_answer_that_never_changes_is_exact(name, value, tmp_path):
    dense, constants = _dense("y", "x", 6, 1, np.zeros((1, 6)), [value])
    float32 = _model(dense, given=(1, 6), made=("y",), constants=constants, shapes={"y": (1, 1)})
    samples = _floats(30, 6)
    (after,) = _answers(_quantized(float32, name, samples), samples, tmp_path)
    np.testing.assert_allclose(after, value, rtol=1e-6)


def test_a_unit_without_weights_keeps_its_bias_beside_others(tmp_path):
    weights = _floats(3, 6)
    weights[1] = 0
    dense, constants = _dense("y", "x", 6, 3, weights, [0.1, 1.0, -1.0])
    float32 = _model(dense, given=(1, 6), made=("y",), constants=constants, shapes={"y": (1, 3)})
    samples = _floats(60, 6)
    (before,), (after,) = (
        _answers(data, samples, tmp_path) for data in (float32, _quantized(float32, "int8", samples))
    )
    assert np.abs(after - before).max() < 0.03 * np.ptp(before)


def test_the_search_keeps_the_same_float(tmp_path: Path):
    from maas_agent.bundle.manifest import Decode, Input
    from maas_converter.quantize.search.candidates.layers import layers_of
    from maas_converter.quantize.search.candidates.precision_plan import INT8
    from maas_converter.quantize.search.measuring.runner import CandidateRunner

    float32 = _lookup(_floats(500, 16))
    samples = RANDOM.integers(0, 500, (60, 20)).astype(np.float32)
    spec = Input(loaded(float32, tmp_path).inputs[0], Decode((20,), "float32"))
    bench = CandidateRunner(plain(float32), layers_of(contents_of(float32)), spec, samples, tmp_path)
    (before,), (after,) = (_answers(data, samples, tmp_path) for data in (float32, bench.build(INT8)))
    assert np.sqrt(np.mean((after - before) ** 2)) < 0.03 * before.std()
    assert bench.kept == ("input 'x' stays float: CAST makes whole numbers of it, as of indexes",)
