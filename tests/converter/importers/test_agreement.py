"""No import is taken that answers otherwise than the source's own framework."""

import sys
from pathlib import Path

import numpy as np
import pytest

from maas_agent.bundle.manifest import Tensor
from maas_agent.errors import DataError
from maas_converter.importers import table
from maas_converter.importers.agreement import Drawn, agreement, seeded
from maas_converter.importers.process import import_model
from maas_converter.importers.table import Rung
from maas_converter.tflite.contents import contents_of
from tests.converter.tflite.graphs import Body, Op, tflite

SAMPLES = Drawn((np.zeros((4, 1, 3), np.float32),), "data.npz")
DOUBLED = tflite(Body((Op("TANH", ("x",), ("t",)), Op("ADD", ("x", "x"), ("d",))), ("x",), ("t", "d")))


@pytest.fixture
def importing(tmp_path, monkeypatch):
    """Import by a framework that is off by so much."""
    plain = table.Importer(
        "Plain",
        (".any",),
        (Rung("Liar", "tests.converter.importers.liar", ()),),
        lambda source, head: head.startswith(b"PLAIN "),
        lambda source: None,
    )
    monkeypatch.setitem(table.IMPORTERS, "plain", plain)
    root = Path(__file__).parents[3]
    monkeypatch.setenv("PYTHONPATH", ":".join([str(root), *filter(None, sys.path)]))

    def run(lie: float, draw=None):
        (tmp_path / "model.any").write_bytes(f"PLAIN {lie}\n".encode() + DOUBLED)
        return import_model(tmp_path / "model.any", tmp_path, draw=draw)

    return run


def test_an_import_tells_how_far_it_is_from_its_framework(importing):
    agreed = importing(1e-5).agreement
    assert (agreed.framework, agreed.samples) == ("Liar", 32)
    assert agreed.differences["d"] == pytest.approx(1e-5, abs=3e-6)
    assert agreed.differences["t"] < 1e-6


def test_one_that_answers_otherwise_is_refused_by_the_output(importing):
    drawn = Drawn((np.random.default_rng(1).random((8, 1, 4), np.float32),), "data.npz")
    with pytest.raises(DataError, match=r"'d' is not what Liar itself answers: on 8 samples \(data\.npz\)") as refused:
        importing(0.01, lambda tensors: drawn)
    assert refused.value.exit_code == 65


def test_a_permutation_is_found():
    a, b = np.random.default_rng(1).random((2, 4, 1, 3)).astype(np.float32)
    agreement("Keras 3", SAMPLES, {"a": a, "b": b}, [a, b], "float32", quantized=False)
    with pytest.raises(DataError, match="its output 'a'"):
        agreement("Keras 3", SAMPLES, {"a": a, "b": b}, [b, a], "float32", quantized=False)


@pytest.mark.parametrize(
    ("precision", "quantized", "off", "right"),
    [
        ("float32", False, 5e-5, True),
        ("float32", False, 1e-3, False),
        ("float16", False, 5e-3, True),
        ("bfloat16", False, 5e-2, True),
        ("bfloat16", False, 0.3, False),
        ("float32", True, 0.1, True),
    ],
)
def test_the_tolerance_is_what_the_source_s_precision_leaves(precision, quantized, off, right):
    wanted = np.linspace(-1, 1, 12, dtype=np.float32).reshape(4, 1, 3)
    arguments = ("Keras 3", SAMPLES, {"y": wanted}, [wanted.astype(np.float64) + 2 * off], precision)
    if right:
        assert agreement(*arguments, quantized=quantized).shares["y"] == pytest.approx(off, rel=1e-2)
        return
    with pytest.raises(DataError, match="'y'"):
        agreement(*arguments, quantized=quantized)


def test_infinite_and_undefined_answers_agree_with_themselves_only():
    wanted = np.array([[np.nan, np.inf, 1.0]], np.float32)
    assert agreement("K", SAMPLES, {"y": wanted}, [wanted.astype(float)], "float32", quantized=False).shares["y"] == 0
    with pytest.raises(DataError, match="'y'"):
        agreement("K", SAMPLES, {"y": wanted}, [np.array([[0.0, np.inf, 1.0]])], "float32", quantized=False)


def test_random_indexes_exist_in_the_tables_of_the_model():
    rows = np.arange(12, dtype=np.float32).reshape(6, 2)
    model = tflite(
        Body(
            (Op("GATHER", ("table", "ids"), ("y",)),),
            ("ids",),
            ("y",),
            {"table": rows},
            {"ids": (1, 3), "y": (1, 3, 2)},
            {"ids": "int32"},
        )
    )
    (ids,) = seeded((Tensor("ids", (1, 3), "int32"),), contents_of(model)).inputs
    assert set(np.unique(ids)) == set(range(6))
    (ids,) = seeded((Tensor("ids", (1, 3), "float32"),), contents_of(model)).inputs
    assert 0 <= ids.min() <= ids.max() <= 5
