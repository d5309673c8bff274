"""The interpreter: real models, and files that are none."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from maas_agent.bundle.manifest import Quantization
from maas_agent.errors import RuntimeFailure
from maas_agent.runtime.cpu import CpuAccelerator
from maas_agent.runtime.interface import Model
from tests.models import SHAPE, tiny_classifier_tflite
from tests.runtimes import RUNTIME


def load(folder: Path, data: bytes, name: str = "model.tflite") -> Model:
    path = folder / name
    path.write_bytes(data)
    return CpuAccelerator(RUNTIME).load(path, 1)


def test_a_model_tells_its_tensors_and_answers(tmp_path: Path) -> None:
    model = load(tmp_path, tiny_classifier_tflite())
    assert [(t.name, t.shape, t.dtype, t.quantization) for t in model.inputs] == [("image", SHAPE, "float32", None)]
    assert [(t.name, t.shape) for t in model.outputs] == [("scores", (1, 10))]
    (scores,) = model.run([np.ones(SHAPE, np.float32)])
    assert scores.shape == (1, 10)
    assert scores.sum() == pytest.approx(1)


def test_a_quantized_model_tells_scale_and_zero_point(tmp_path: Path) -> None:
    model = load(tmp_path, tiny_classifier_tflite(dtype="int8"))
    assert model.inputs[0].dtype == model.outputs[0].dtype == "int8"
    assert model.inputs[0].quantization == Quantization(float(np.float32(1 / 255)), -128)
    assert model.outputs[0].quantization == Quantization(1 / 256, -128)


def test_outputs_are_copies(tmp_path: Path) -> None:
    """The next inference does not change what the last one answered."""
    model = load(tmp_path, tiny_classifier_tflite())
    (first,) = model.run([np.zeros(SHAPE, np.float32)])
    kept = first.copy()
    model.run([np.ones(SHAPE, np.float32)])
    np.testing.assert_array_equal(first, kept)


@pytest.mark.parametrize("data", [b"", b"no model", bytes(1000), b"\x20\0\0\0TFL3" + bytes(100)])
def test_a_file_that_is_no_model_cannot_be_loaded(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(RuntimeFailure, match=r"model\.tflite cannot be loaded"):
        load(tmp_path, data)


def test_a_missing_file_cannot_be_loaded(tmp_path: Path) -> None:
    with pytest.raises(RuntimeFailure, match=r"none\.tflite cannot be loaded"):
        CpuAccelerator(RUNTIME).load(tmp_path / "none.tflite", 1)


@pytest.mark.parametrize("part", [0.1, 0.5, 0.9, 0.99])
def test_a_truncated_model_cannot_be_loaded(tmp_path: Path, part: float) -> None:
    data = tiny_classifier_tflite()
    with pytest.raises(RuntimeFailure, match="cannot be loaded"):
        load(tmp_path, data[: int(len(data) * part)])


@pytest.mark.parametrize(
    "values",
    [
        np.zeros((1, 8, 8), np.float32),
        np.zeros((1, 9, 8, 1), np.float32),
        np.zeros(SHAPE, np.float64),
        np.zeros(SHAPE, np.uint8),
    ],
    ids=lambda values: f"{values.shape} {values.dtype}",
)
def test_a_tensor_that_does_not_fit_is_a_failure_and_the_next_one_is_answered(
    tmp_path: Path, values: np.ndarray
) -> None:
    model = load(tmp_path, tiny_classifier_tflite())
    with pytest.raises(RuntimeFailure, match="inference failed"):
        model.run([values])
    assert model.run([np.ones(SHAPE, np.float32)])[0].shape == (1, 10)


def test_too_few_or_too_many_tensors_are_a_failure(tmp_path: Path) -> None:
    model = load(tmp_path, tiny_classifier_tflite())
    for inputs in ([], [np.zeros(SHAPE, np.float32)] * 2):
        with pytest.raises(RuntimeFailure, match="inference failed"):
            model.run(inputs)


def test_the_runtime_names_library_and_version() -> None:
    wanted = "tflite-runtime 2." if RUNTIME == "tflite-runtime" else "ai-edge-litert 2."
    assert CpuAccelerator(RUNTIME).runtime().startswith(wanted)


LOADS = """
import sys
from pathlib import Path
from maas_agent.runtime.cpu import CpuAccelerator
CpuAccelerator(sys.argv[2]).load(Path(sys.argv[1]), 1)
"""


def test_loading_a_good_model_writes_nothing_to_the_log(tmp_path: Path) -> None:
    """A log has one line an event, and this is none of the library's."""
    path = tmp_path / "model.tflite"
    path.write_bytes(tiny_classifier_tflite())
    done = subprocess.run(
        [sys.executable, "-c", LOADS, path, RUNTIME], capture_output=True, text=True, timeout=60, check=True
    )
    assert (done.stdout, done.stderr) == ("", "")
