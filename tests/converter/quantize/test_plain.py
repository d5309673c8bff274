"""Weights that are stored smaller, and models trained to be quantized, become quantized models like any other."""

from pathlib import Path

import numpy as np
import pytest

from maas_agent.errors import DataError
from maas_converter.base.console import SilentProgress
from maas_converter.convert.conversion import convert
from maas_converter.convert.request import ConversionRequest
from maas_converter.quantize import quantizer
from maas_converter.quantize.calibration import quantize_fed
from maas_converter.quantize.entries import dynamic, halved
from maas_converter.quantize.fallback import check, precision_of
from maas_converter.quantize.plain import plain
from maas_converter.quantize.recipes import recipe
from maas_converter.tflite import model as files
from maas_converter.tflite.contents import contents_of
from maas_converter.tflite.signature import with_signature
from tests.converter.quantize.running import answers, feed, noise
from tests.converter.tflite.graphs import Body, Op, tflite

RECIPES = ["int8", "int16x8", "int4", "dynamic", "dynamic4", "float16"]


def _quantized(source, name, samples):
    return quantize_fed(source, recipe(name), feed(samples), None, SilentProgress())


def _error(source, quantized, samples, folder):
    before, after = (answers(data, samples, folder) for data in (source, quantized))
    return float(np.sqrt(np.mean((after - before) ** 2)) / before.std())


STORED = {"float16": halved(), "dynamic": dynamic(8), "int4": dynamic(4)}


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("stored", list(STORED))
def test_weights_that_are_stored_smaller_take_every_recipe(models, stored, name, tmp_path):
    samples = noise((64,))
    source = with_signature(quantizer.apply(models["dense"], [STORED[stored]], None))
    quantized = _quantized(source, name, samples)
    check(precision_of(quantized), recipe(name), allow_float=False)
    assert _error(source, quantized, samples, tmp_path) < (0.2 if "4" in name else 0.05)


def test_float16_gives_the_int8_that_float32_gives(models, tmp_path):
    """But for what 16 bits took from the weights."""
    samples = noise((64,))
    half = with_signature(_quantized(models["dense"], "float16", samples))
    one, other = (_quantized(source, "int8", samples) for source in (models["dense"], half))
    assert abs(len(one) - len(other)) < 1000
    assert np.abs(answers(one, samples, tmp_path) - answers(other, samples, tmp_path)).max() < 0.05


def test_shared_and_sparse_weights_are_expanded(tmp_path):
    """Two layers share float16 weights; a third one's are sparse: as LiteRT itself reads them."""
    random = np.random.default_rng(2)
    square = random.normal(0, 0.5, (4, 4)).astype(np.float16)
    thin = np.where(random.random((4, 4)) < 0.5, random.normal(0, 0.5, (4, 4)), 0).astype(np.float32)
    thin[:, 0] = 0.25  # no row is empty
    ops = (
        Op("DEQUANTIZE", ("half",), ("w1",)), Op("DEQUANTIZE", ("half",), ("w2",)), Op("DENSIFY", ("thin",), ("w3",)),
        Op("FULLY_CONNECTED", ("x", "w1"), ("a",), options={"keepNumDims": True}),
        Op("FULLY_CONNECTED", ("a", "w2"), ("b",), options={"keepNumDims": True}),
        Op("FULLY_CONNECTED", ("b", "w3"), ("y",), options={"keepNumDims": True}),
    )  # fmt: skip
    shapes = dict.fromkeys(("w1", "w2", "w3"), (4, 4))
    model = files.parse(tflite(Body(ops, ("x",), ("y",), {"half": square, "thin": thin[thin != 0]}, shapes)))
    _make_sparse(model, thin)
    source = with_signature(files.serialize(model))
    expected = noise((4,)) @ square.astype(np.float32).T @ square.astype(np.float32).T @ thin.T
    np.testing.assert_allclose(answers(plain(source).tflite, noise((4,)), tmp_path), expected, rtol=1e-4, atol=1e-6)
    assert [op.name for op in contents_of(plain(source).tflite).ops] == ["FULLY_CONNECTED"] * 3
    quantized = answers(_quantized(source, "int8", noise((4,))), noise((4,)), tmp_path)
    assert np.abs(quantized - expected).max() < 0.05 * np.ptp(expected)


def _make_sparse(model, dense):
    """Rows dense, columns compressed (CSR), see schema.fbs, SparsityParameters."""
    from ai_edge_litert import schema_py_generated as schema

    rows, columns = schema.DimensionMetadataT(), schema.DimensionMetadataT()
    rows.format, rows.denseSize = schema.DimensionType.DENSE, 4
    columns.format = schema.DimensionType.SPARSE_CSR
    for name, values in (
        ("arraySegments", np.concatenate([[0], np.cumsum((dense != 0).sum(1))])),
        ("arrayIndices", np.nonzero(dense)[1]),
    ):
        vector = schema.Int32VectorT()
        vector.values = values.astype(np.int32)
        setattr(columns, f"{name}Type", schema.SparseIndexVector.Int32Vector)
        setattr(columns, name, vector)
    tensor = next(tensor for tensor in model.subgraphs[0].tensors if files.text(tensor.name) == "thin")
    tensor.shape, tensor.sparsity = [4, 4], schema.SparsityParametersT()
    tensor.sparsity.traversalOrder, tensor.sparsity.dimMetadata = [0, 1], [rows, columns]


def test_training_for_quantization_gives_what_tensorflow_makes_of_it(models, tmp_path):
    """To the bit, although calibrated with five samples that fill a fraction of the trained ranges."""
    samples = noise((8, 8, 3), 100) - 0.5
    quantized = _quantized(with_signature(models["trained"]), "int8", samples[:5] / 10)
    found, expected = (answers(data, samples, tmp_path) for data in (quantized, models["trained-int8"]))
    np.testing.assert_array_equal(found, expected)
    assert precision_of(quantized).kinds == {"int8": 3}
    assert np.abs(found - answers(models["trained"], samples, tmp_path)).max() < 0.04  # a step or so of 8 / 255


@pytest.mark.parametrize("name", RECIPES)
def test_a_model_trained_for_quantization_takes_every_recipe(models, name, tmp_path):
    samples = noise((8, 8, 3)) - 0.5
    quantized = _quantized(with_signature(models["trained"]), name, samples)
    assert _error(models["trained"], quantized, samples, tmp_path) < (0.25 if "4" in name else 0.06)
    assert {"QUANTIZE"}.isdisjoint({op.name for op in contents_of(quantized).ops[1:-1]})


def test_quantized_means_that_ops_compute_in_integers(models):
    kinds = {name: contents_of(models[name]) for name in ("trained", "trained-int8", "dense")}
    assert {name: (kind.quantized, kind.hybrid) for name, kind in kinds.items()} == {
        "trained": (False, False), "trained-int8": (True, False), "dense": (False, False),
    }  # fmt: skip
    hybrid = contents_of(_quantized(models["dense"], "dynamic", noise((64,))))
    assert (hybrid.quantized, hybrid.hybrid) == (True, True)


def _order(folder: Path, source: bytes, shape: tuple[int, ...], recipe_: str | None) -> ConversionRequest:
    (folder / "m.tflite").write_bytes(source)
    np.savez(folder / "c.npz", x=noise(shape) - 0.5)
    return ConversionRequest(
        folder / "m.tflite", "m", "1.0.0", folder / "m.maas", quantize=recipe_, calibration=folder / "c.npz", force=True
    )


def test_a_trained_file_is_converted_and_not_packed_as_it_is(models, tmp_path):
    made = convert(_order(tmp_path, models["trained"], (8, 8, 3), None), SilentProgress())
    assert made.recipe == "int8"
    assert "m.tflite was trained to be quantized: the ranges it was trained with are used" in made.notes
    assert made.metrics.bundle_bytes < made.metrics.float32_bytes


def test_a_file_of_integer_weights_is_packed_as_it_is_unless_a_recipe_is_asked_for(models, tmp_path):
    source = _quantized(models["dense"], "dynamic", noise((64,)))
    assert convert(_order(tmp_path, source, (64,), None), SilentProgress()).recipe == "as-is"
    assert convert(_order(tmp_path, source, (64,), "int8"), SilentProgress()).recipe == "int8"


def test_weights_in_blocks_are_refused_with_what_to_do(models):
    source = with_signature(_quantized(models["dense"], "dynamic4", noise((64,))))
    with pytest.raises(
        DataError, match=r"is stored in a form that cannot be undone \(int4\): start from the float model"
    ):
        _quantized(source, "int8", noise((64,)))
