"""Model files that are made to reach the publisher's machine, each converted by the real command line.

``make attacks`` plays all of them; without ``MAAS_ATTACKS=all`` one is, for the same files are imported faster by
`tests/converter/importers`.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import h5py
import pytest

from tests.converter.importers.workshop import outcomes

GRAPHS = {
    "writes a file": ("write", "branch", "loop", "save", "merge", "records", "summary", "print"),
    "reads a file": ("read", "glob", "restore", "mapped"),
    "runs code": ("python", "of_a_library", "calls_an_op", "named_like_an_op"),
    "talks to others": ("elsewhere", "together", "debugged"),
    "ends the process": ("ended",),
    "writes while it is loaded": ("restorer", "other-weights"),
    "has no end": ("doubling", "endless", "deep", "absurd"),
}
"""Those of `tests.converter.importers.tensorflow.making_hostile`."""
FILES = {
    "is registered as another": (
        {"module": "tf_keras.src.layers.core.tf_op_layer", "class_name": "Innocent", "registered_name": "TFOpLambda"},
        {"function": "io.write_file"},
        "registered as 'TFOpLambda'",
    ),
    "calls a function": (
        {"module": "tf_keras.layers", "class_name": "TFOpLambda"},
        {"function": "io.write_file"},
        "calls TensorFlow's io.write_file",
    ),
    "reads a vocabulary": (
        {"module": "tf_keras.layers", "class_name": "StringLookup"},
        {"vocabulary": "/etc/passwd"},
        "reads the file '/etc/passwd'",
    ),
}

ALL = [
    *((name, way) for name, ways in GRAPHS.items() for way in ways),
    *((name, "h5") for name in (*FILES, "takes weights elsewhere")),
]
SELECTED = ALL if os.environ.get("MAAS_ATTACKS") == "all" else ALL[:1]


@pytest.fixture(scope="module")
def graphs(tmp_path_factory):
    """The folder of SavedModels."""
    return Path(outcomes(tmp_path_factory, "tensorflow.making_hostile")["write"].samples).parent


@pytest.mark.parametrize(("name", "way"), SELECTED)
def test_a_model_file_is_refused_in_a_sentence_and_has_done_nothing(name, way, tmp_path, request):
    mark, out = tmp_path / "mark", tmp_path / "out.maas"
    if way == "h5":
        source, words = tmp_path / "model.h5", _keras(tmp_path / "model.h5", name, mark)
    else:
        folder = request.getfixturevalue("graphs")
        source, words, mark = folder / way, "", folder / "marks" / way
    command = [sys.executable, "-m", "maas_converter", "convert", str(source), "--name", "evil", "--version", "1.0.0"]
    command += ["-o", str(out), "--quantize", "float32"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == 65, done.stderr
    said = [line for line in done.stderr.splitlines() if line.startswith("maas-converter: error: ")]
    assert len(said) == 1 and words in said[0], done.stderr
    assert "Traceback" not in done.stderr
    assert not mark.exists() and not out.exists()


def _keras(path: Path, name: str, mark: Path) -> str:
    """Write a Keras file that would write ``mark``, and say what is said of it."""
    layer: dict[str, object] = {"class_name": "Dense", "module": "tf_keras.layers"}
    config: dict[str, object] = {"units": 1}
    words = "takes its numbers from another file"
    if name in FILES:
        layer, config, words = FILES[name]
    inbound = [["_CONSTANT_VALUE", -1, str(mark), {"contents": "x", "name": None}]]
    entry = {**layer, "name": "w", "config": {"name": "w", **config}, "inbound_nodes": inbound}
    model = {"class_name": "Functional", "config": {"name": "m", "layers": [entry]}}
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = json.dumps(model)
        file.attrs["keras_version"] = "2.15.0"
        if name not in FILES:
            file.create_dataset("model_weights/w/kernel", (16,), "f4", external=[("/etc/passwd", 0, 64)])
    return words
