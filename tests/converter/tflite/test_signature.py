"""What every tool wants of a ``.tflite`` file is added, and nothing else changes."""

from pathlib import Path

import numpy as np
import pytest

from maas_agent.errors import DataError
from maas_agent.runtime.interface import Model
from maas_agent.runtime.selection import accelerator
from maas_converter.tflite import model as files
from maas_converter.tflite.contents import contents_of
from maas_converter.tflite.signature import SIGNATURE, fixed_batch, with_signature
from tests.models import tiny_classifier_tflite


def loaded(folder: Path, data: bytes) -> Model:
    path = folder / f"{len(data)}.tflite"
    path.write_bytes(data)
    return accelerator("cpu").load(path, 1)


def open_batch(data: bytes) -> bytes:
    """The same model as Keras would have it exported: the first dimension of what is computed is not fixed."""
    model = files.parse(data)
    for tensor in model.subgraphs[0].tensors:
        if not files.data_of(model, tensor):
            tensor.shapeSignature = [-1, *tensor.shape[1:]]
    return files.serialize(model)


def renamed(data: bytes, name: str) -> bytes:
    """All tensors by one name, which the format allows."""
    model = files.parse(data)
    for tensor in model.subgraphs[0].tensors:
        tensor.name = name.encode()
    model.subgraphs[0].outputs = [3, 4]
    return files.serialize(model)


def test_a_model_without_a_signature_gets_one_that_names_its_own_tensors(tmp_path: Path) -> None:
    bare = tiny_classifier_tflite()
    signed = with_signature(bare)
    assert contents_of(bare).signatures == ()
    assert contents_of(signed).signatures == (SIGNATURE,)
    image = np.random.default_rng(0).random((1, 8, 8, 1), np.float32)
    before, after = (loaded(tmp_path, data).run([image])[0] for data in (bare, signed))
    np.testing.assert_array_equal(before, after)
    (signature,) = files.parse(signed).signatureDefs
    assert [(entry.name, entry.tensorIndex) for entry in signature.inputs] == [(b"image", 0)]
    assert [(entry.name, entry.tensorIndex) for entry in signature.outputs] == [(b"scores", 4)]


@pytest.mark.parametrize(("name", "keys"), [("x", [b"x", b"x_2"]), ("", [b"output", b"output_2"])])
def test_keys_of_a_signature_are_unique_and_not_empty(name: str, keys: list[bytes]) -> None:
    (signature,) = files.parse(with_signature(renamed(tiny_classifier_tflite(), name))).signatureDefs
    assert [entry.name for entry in signature.outputs] == keys


def test_a_signature_that_is_there_stays(tmp_path: Path) -> None:
    signed = with_signature(tiny_classifier_tflite())
    assert with_signature(signed) is signed


def test_an_open_batch_becomes_one(tmp_path: Path) -> None:
    data = open_batch(tiny_classifier_tflite())
    closed = fixed_batch(data)
    assert contents_of(data).inputs[0].shape == (-1, 8, 8, 1)
    assert contents_of(closed).inputs[0].shape == (1, 8, 8, 1)
    assert contents_of(closed).outputs[0].shape == (1, 10)
    assert loaded(tmp_path, closed).inputs[0].shape == (1, 8, 8, 1)
    assert fixed_batch(closed) is closed


def test_another_open_size_stays_open() -> None:
    model = files.parse(tiny_classifier_tflite())
    model.subgraphs[0].tensors[0].shapeSignature = [-1, -1, 8, 1]
    assert contents_of(fixed_batch(files.serialize(model))).inputs[0].shape == (1, -1, 8, 1)


def test_a_batch_that_is_stored_larger_becomes_one() -> None:
    model = files.parse(open_batch(tiny_classifier_tflite()))
    model.subgraphs[0].tensors[0].shape = [32, 8, 8, 1]
    assert contents_of(fixed_batch(files.serialize(model))).inputs[0].shape == (1, 8, 8, 1)


@pytest.mark.parametrize("work", [with_signature, fixed_batch])
def test_what_is_no_model_is_refused(work: object) -> None:
    with pytest.raises(DataError, match="TFLite"):
        work(b"PK\x03\x04 no model")  # type: ignore[operator]
