"""A real model, real data and a real bundle, made once a session: scikit-learn's digits, 8 x 8 pixels of 0 to 16."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from maas_converter.importers.process import import_model
from maas_converter.publishing.keys.key_files import create_keys
from maas_converter.publishing.repository import init_repository
from tests.once import once

_TRAIN = """
import sys
from pathlib import Path
import keras
import numpy as np
from sklearn.datasets import load_digits

folder = Path(sys.argv[1])
keras.utils.set_random_seed(1)
digits = load_digits()
order = np.random.default_rng(1).permutation(len(digits.target))
x, y = digits.images[order].astype(np.uint8)[..., None], digits.target[order]
names = np.array([f"digit {number}" for number in range(10)])
np.savez(folder / "calibration.npz", x=x[:200], y=y[:200])
np.savez(folder / "evaluation.npz", x=x[1200:], y=y[1200:], classes=names)
(folder / "labels.txt").write_text("".join(f"{name}\\n" for name in names))
(folder / "preprocess.toml").write_text(
    '[decode]\\nshape = [8, 8, 1]\\ndtype = "uint8"\\ncolor = "gray"\\n'
    '[[preprocess]]\\nop = "scale"\\nscale = 0.0625\\n'
)
layers = keras.layers
inputs = keras.Input((8, 8, 1), name="image")
hidden = layers.Conv2D(16, 3, padding="same", activation="relu")(inputs)
hidden = layers.MaxPooling2D()(hidden)
hidden = layers.Conv2D(32, 3, padding="same", activation="relu")(hidden)
logits = layers.Dense(10)(layers.Flatten()(hidden))
model = keras.Model(inputs, layers.Softmax()(logits))
model.compile("adam", "sparse_categorical_crossentropy")
model.fit(x[:1200] / 16.0, y[:1200], epochs=6, batch_size=32, verbose=0)
model.save(folder / "digits.keras")
keras.Model(inputs, logits).save(folder / "logits.keras")
mark = str(folder / "code-of-the-model-ran")
run = layers.Lambda(lambda batch: open(mark, "w") and batch)
keras.Sequential([keras.Input((8, 8, 1)), run, layers.Flatten(), layers.Dense(10)]).save(folder / "lambda.keras")
Path(mark).unlink(missing_ok=True)
steps = keras.Sequential([keras.Input((8, 8), name="rows"), layers.LSTM(24), layers.Dense(10, activation="softmax")])
steps.compile("adam", "sparse_categorical_crossentropy")
steps.fit(x[:1200, ..., 0] / 16.0, y[:1200], epochs=8, batch_size=32, verbose=0)
steps.save(folder / "lstm.keras")
left, right = keras.Input((4,), name="left"), keras.Input((4,), name="right")
keras.Model([left, right], layers.Add()([left, right])).save(folder / "two-inputs.keras")
keras.Sequential([keras.Input((None, None, 1)), layers.GlobalAveragePooling2D()]).save(folder / "any-size.keras")
"""


_HIDDEN = Path(__file__).with_name("hidden")


@pytest.fixture(autouse=True)
def _without_scikit_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where only the converter is installed: Keras imports it if it is there, a fifth of the start of TensorFlow."""
    monkeypatch.setenv("PYTHONPATH", str(_HIDDEN), prepend=os.pathsep)


class Digits(NamedTuple):
    """Files for ``maas-converter convert``."""

    folder: Path
    model: Path
    logits: Path
    calibration: Path
    evaluation: Path
    labels: Path
    preprocess: Path

    def arguments(self, out: Path) -> list[str]:
        """A command line that makes a good bundle."""
        named = ["--name", "digits", "--version", "1.0.0", "-o", str(out)]
        data = ["--calibration", str(self.calibration), "--evaluation", str(self.evaluation)]
        return ["convert", str(self.model), *named, *data, "--preprocess", str(self.preprocess)]


def _train(folder: Path) -> None:
    quiet = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
    done = subprocess.run(
        [sys.executable, "-c", _TRAIN, str(folder)], env=quiet, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr[-3000:]


Converter = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Digits:
    """A trained digit classifier (about 95 %) with its data; also models that must be refused, in its folder."""
    folder = once(tmp_path_factory, "digits", _train)
    return Digits(
        folder=folder,
        model=folder / "digits.keras",
        logits=folder / "logits.keras",
        calibration=folder / "calibration.npz",
        evaluation=folder / "evaluation.npz",
        labels=folder / "labels.txt",
        preprocess=folder / "preprocess.toml",
    )


@pytest.fixture(scope="session")
def digits_tflite(digits: Digits, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The digits model as the importer makes it: a float ``.tflite``. For tests of what comes after the import."""

    def import_it(folder: Path) -> None:
        (folder / "digits.tflite").write_bytes(import_model(digits.model, folder).tflite)

    return once(tmp_path_factory, "digits-tflite", import_it) / "digits.tflite"


@pytest.fixture(scope="session")
def maas_converter() -> Converter:
    """Run ``maas-converter`` as a user does, in a process of its own."""

    def run(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "maas_converter", *map(str, arguments)]
        return subprocess.run(
            command, env=os.environ | environment, capture_output=True, text=True, timeout=240, stdin=subprocess.DEVNULL
        )

    return run


class DigitsBundle(NamedTuple):
    """The bundle ``convert`` made of the digits, and what it said."""

    path: Path
    stdout: str
    stderr: str


@pytest.fixture(scope="session")
def digits_conversion(
    digits: Digits, maas_converter: Converter, tmp_path_factory: pytest.TempPathFactory
) -> DigitsBundle:
    """An unsigned int8 bundle, converted once, with ``--json``."""

    def convert(folder: Path) -> None:
        done = maas_converter(*digits.arguments(folder / "digits-1.0.0.maas"), "--json")
        assert done.returncode == 0, done.stderr
        (folder / "stdout").write_text(done.stdout)
        (folder / "stderr").write_text(done.stderr)

    made = once(tmp_path_factory, "digits-bundle", convert)
    return DigitsBundle(made / "digits-1.0.0.maas", (made / "stdout").read_text(), (made / "stderr").read_text())


@pytest.fixture(scope="session")
def digits_bundle(digits_conversion: DigitsBundle) -> Path:
    """The path of the unsigned int8 digits bundle, version 1.0.0."""
    return digits_conversion.path


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    """A folder with all the keys of a publisher."""
    create_keys(tmp_path / "keys")
    return tmp_path / "keys"


@pytest.fixture
def repository(tmp_path: Path, keys: Path) -> Path:
    """A new repository, signed with ``keys``."""
    init_repository(tmp_path / "repository", keys)
    return tmp_path / "repository"
