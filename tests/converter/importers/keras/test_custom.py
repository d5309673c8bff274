"""A model with a class of its author's own."""

import os
import subprocess
import sys

import numpy as np
import pytest

from maas_agent.errors import DataError
from maas_converter.importers.refusal import QUIET
from tests.once import once

_CLASS = """
from beside import FACTOR
import keras

@keras.saving.register_keras_serializable("mine")
class Scaled(keras.layers.Layer):
    def call(self, batch):
        return batch * FACTOR
"""
_MAKE = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import keras
import numpy as np
from own import Scaled
model = keras.Sequential([keras.Input((3,), name="x"), keras.layers.Dense(2), Scaled()])
model.save(Path(sys.argv[1]) / "own.keras")
x = np.random.default_rng(1).random((4, 3), np.float32)
np.savez(Path(sys.argv[1]) / "answers.npz", x=x, y=model.predict(x, verbose=0))
"""


def _make(folder):
    (folder / "own.py").write_text(_CLASS)
    (folder / "beside.py").write_text("FACTOR = 3.0")
    command = [sys.executable, "-c", _MAKE, str(folder)]
    done = subprocess.run(command, env=os.environ | QUIET, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return once(tmp_path_factory, "importers-custom", _make)


def test_with_the_file_that_defines_it_the_model_answers_as_keras_does(folder, bring, answer):
    imported = bring(folder / "own.keras", trust=True, custom=str(folder / "own.py"))
    answers = np.load(folder / "answers.npz")
    np.testing.assert_allclose(answer(imported.tflite, answers["x"]), answers["y"], atol=1e-6)


def test_without_it_what_to_do_is_said(folder, bring):
    with pytest.raises(DataError, match=r"own\.keras: it names Scaled.*--custom FILE\.py --trust.*model\.export\(\)"):
        bring(folder / "own.keras")
    with pytest.raises(DataError, match=r"it needs the class 'Scaled'.*--custom FILE\.py --trust.*model\.export\(\)"):
        bring(folder / "own.keras", trust=True)


def test_a_file_that_cannot_be_run_is_told(folder, bring, tmp_path):
    (tmp_path / "broken.py").write_text("import not_there")
    with pytest.raises(DataError, match=r"broken\.py cannot be run: ModuleNotFoundError: No module named 'not_there'"):
        bring(folder / "own.keras", trust=True, custom=str(tmp_path / "broken.py"))


@pytest.mark.parametrize(("given", "code", "words"), [([], 64, "add --trust"), (["--trust"], 66, "no such file")])
def test_it_needs_trust_and_a_file(given, code, words, maas_converter, folder, tmp_path):
    named = ["--name", "own", "--version", "1.0.0", "-o", tmp_path / "own.maas", "--quantize", "float32"]
    done = maas_converter("convert", folder / "own.keras", *named, "--custom", tmp_path / "none.py", *given)
    assert done.returncode == code
    assert words in done.stderr
    assert "--custom" in done.stderr
