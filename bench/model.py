"""The model under test: a small CNN of the size of MNIST's, int8 from input to output, the same on every run.

    python -m bench.model FOLDER

writes ``cnn.keras`` and the images to calibrate it with; `built` makes the int8 bundle and ``.tflite`` of them. It is
not trained: how fast it answers does not depend on what it has learnt, and its weights are seeded instead.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from typing import Any, NamedTuple

from bench.processes import output_of
from maas_agent.bundle.archive import open_bundle

_SEED = 1
_CALIBRATION_IMAGES = 64
_PREPROCESS = """
[decode]
shape = [28, 28, 1]
dtype = "uint8"
color = "gray"
[[preprocess]]
op = "scale"
scale = 0.00392156862745098
"""
_BUILD_S = 300.0  # TensorFlow alone takes seconds to import


class Model(NamedTuple):
    """Where the built model lies: for Keras, for an interpreter, and for the agent (which holds that very .tflite)."""

    keras: Path
    tflite: Path
    bundle: Path


def built(folder: Path) -> Model:
    """Return the model, building it in ``folder`` unless this very module has built it there before.

    TensorFlow runs in processes of its own: its memory and threads stay out of what measures.
    """
    digest = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:12]
    target = folder.absolute() / f"cnn-{digest}"
    model = Model(target / "cnn.keras", target / "cnn.tflite", target / "cnn.maas")
    if not model.tflite.exists():
        target.mkdir(parents=True, exist_ok=True)
        output_of([sys.executable, "-m", "bench.model", str(target)], _BUILD_S)
        _convert(model, target)
    return model


def _convert(model: Model, target: Path) -> None:
    """Make the bundle with the project's own converter, and take the model out of it for the peers."""
    (target / "preprocess.toml").write_text(_PREPROCESS)
    command = [
        sys.executable,
        "-m",
        "maas_converter",
        "convert",
        str(model.keras),
        "--name",
        "cnn",
        "--version",
        "1.0.0",
    ]
    options = ["--calibration", str(target / "noise.npz"), "--preprocess", str(target / "preprocess.toml")]
    output_of([*command, *options, "-o", str(model.bundle), "--json"], _BUILD_S)
    with open_bundle(model.bundle) as bundle:
        tflite = bundle.blob(bundle.manifest.stages[0].blob)
    # Last, and by renaming: a folder that holds this file holds a whole model.
    part = model.tflite.with_suffix(".part")
    part.write_bytes(tflite)
    part.rename(model.tflite)


def _float_model() -> Any:
    """Return the Keras model: three convolutions and a dense layer, seeded weights, batch size 1."""
    import keras

    keras.utils.set_random_seed(_SEED)
    return keras.Sequential(
        [
            keras.Input((28, 28, 1), batch_size=1),
            keras.layers.Conv2D(8, 3, strides=2, padding="same", activation="relu"),
            keras.layers.Conv2D(16, 3, strides=2, padding="same", activation="relu"),
            keras.layers.Conv2D(32, 3, padding="same", activation="relu"),
            keras.layers.Flatten(),
            keras.layers.Dense(10, activation="softmax"),
        ]
    )


def _noise() -> Any:
    """Calibration images (n, 28, 28, 1) uint8 over the whole range, so that the input scale is one grey level."""
    import numpy as np

    return np.random.default_rng(_SEED).integers(0, 256, (_CALIBRATION_IMAGES, 28, 28, 1), dtype=np.uint8)


def main() -> None:
    """Make ``cnn.keras`` and its calibration images in the folder given as the only argument."""
    import numpy as np

    folder = Path(sys.argv[1])
    _float_model().save(folder / "cnn.keras")
    np.savez(folder / "noise.npz", x=_noise())
    print(folder)


if __name__ == "__main__":
    main()
