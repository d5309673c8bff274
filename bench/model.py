"""The model under test: a small CNN of the size of MNIST's, int8 from input to output, the same on every run.

    python -m bench.model FOLDER

writes ``cnn.keras`` (for Keras) and ``cnn.tflite`` (for everybody else). It is not trained: how fast it answers
does not depend on what it has learnt, and its weights are seeded instead.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from typing import Any, NamedTuple

from bench.processes import output_of

_SEED = 1
_CALIBRATION_IMAGES = 64
_BUILD_S = 300.0  # TensorFlow alone takes seconds to import


class Model(NamedTuple):
    """Where the built model lies."""

    keras: Path
    tflite: Path


def built(folder: Path) -> Model:
    """Return the model, building it in ``folder`` unless this very module has built it there before.

    TensorFlow runs in a process of its own: its memory and threads stay out of what measures.
    """
    digest = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:12]
    target = folder / f"cnn-{digest}"
    model = Model(target / "cnn.keras", target / "cnn.tflite")
    if not model.tflite.exists():
        target.mkdir(parents=True, exist_ok=True)
        output_of([sys.executable, "-m", "bench.model", str(target)], _BUILD_S)
    return model


def pack_bundle(tflite: Path, out: Path) -> None:
    """Pack the model as the bundle ``out`` (``.maas``), which the agent serves."""
    # TODO: once maas_converter.pack exists. 784 raw uint8 scaled by 1/255, labels 0-9, the softmax is in the
    # model, one golden sample; no signature (the configuration allows unsigned).
    raise NotImplementedError(f"nothing packs {tflite} as {out} yet")


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


def _float_tflite(model: Any) -> bytes:
    """Return the model converted to a float32 TFLite flatbuffer."""
    import tensorflow as tf

    converted: bytes = tf.lite.TFLiteConverter.from_keras_model(model).convert()
    return converted


def _int8_tflite(float_tflite: bytes) -> bytes:
    """Return the flatbuffer quantized to int8, activations, input and output included.

    Calibrated on noise over the whole range 0 to 1, so that the input scale is 1/255: one step a grey level.
    """
    import numpy as np
    from ai_edge_litert.interpreter import Interpreter
    from litert_quantizer import quantizer, recipe

    signature, tensors = next(iter(Interpreter(model_content=float_tflite).get_signature_list().items()))
    images = np.random.default_rng(_SEED).integers(0, 256, (_CALIBRATION_IMAGES, 1, 28, 28, 1))
    samples = [{tensors["inputs"][0]: image.astype(np.float32) / 255} for image in images]
    quantization = quantizer.Quantizer(bytearray(float_tflite))
    quantization.load_quantization_recipe(recipe.static_wi8_ai8())
    calibrated = quantization.calibrate({signature: samples}, num_threads=1)
    return bytes(quantization.quantize(calibrated, enable_progress_report=False).quantized_model)


def main() -> None:
    """Build the model in the folder given as the only argument."""
    folder = Path(sys.argv[1])
    model = _float_model()
    model.save(folder / "cnn.keras")
    int8 = _int8_tflite(_float_tflite(model))
    # Last, and by renaming: a folder that holds this file holds a whole model.
    (folder / "cnn.tflite.part").write_bytes(int8)
    (folder / "cnn.tflite.part").rename(folder / "cnn.tflite")
    print(f"{len(int8)} bytes")


if __name__ == "__main__":
    main()
