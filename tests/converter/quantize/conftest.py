"""Small float models with ops that quantizers stumble over, made once a session by TensorFlow in its own process."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.converter.shared import FOLDER
from tests.once import once

SHARED = FOLDER

_BUILD = '''
import sys
import tempfile
import numpy as np
from pathlib import Path
import keras
import tensorflow as tf

folder = Path(sys.argv[1])
keras.utils.set_random_seed(1)
layers = keras.layers

def save(name, shape, *stack):
    inputs = made = keras.Input(shape)
    for layer in stack:
        made = layer(made)
    signature = keras.InputSpec(shape=(1, *shape), dtype="float32", name="input")
    with tempfile.TemporaryDirectory() as place:
        archive = keras.export.ExportArchive()
        model = keras.Model(inputs, made)
        archive.track(model)
        archive.add_endpoint("serve", lambda batch: model(batch, training=False), input_signature=[signature])
        archive.write_out(place, verbose=False)
        converted = tf.lite.TFLiteConverter.from_saved_model(place).convert()
    (folder / f"{name}.tflite").write_bytes(converted)

sine, cosine = layers.Lambda(lambda values: tf.sin(-values)), layers.Lambda(tf.cos)
save("waves", (16, 16, 4), sine, cosine, layers.Conv2D(4, 1), layers.Flatten(), layers.Dense(5))
save("wave", (16, 16, 3), layers.Conv2D(16, 3), layers.Lambda(tf.sin), layers.Flatten(), layers.Dense(5))
save("lstm", (8, 8), layers.LSTM(16), layers.Dense(10))
save("unrolled", (8, 8), layers.LSTM(16, unroll=True), layers.Dense(10))
first = layers.Rescaling(1 / 127.5, -1)
save("rescaling", (8, 8, 3), first, layers.Conv2D(8, 3, padding="same"), layers.Flatten(), layers.Dense(5))

class Trained(tf.Module):
    """As tensorflow-model-optimization leaves a model: what it computes with is rounded, in floats."""

    def __init__(self):
        random = np.random.default_rng(1)
        self.kernel = tf.Variable(random.normal(0, 0.3, (3, 3, 3, 8)).astype("float32"))
        self.dense = tf.Variable(random.normal(0, 0.1, (128, 5)).astype("float32"))
        self.bias = tf.Variable(random.normal(0, 0.1, 8).astype("float32"))

    @tf.function(input_signature=[tf.TensorSpec([1, 8, 8, 3], tf.float32, name="image")])
    def __call__(self, image):
        rounded = tf.quantization.fake_quant_with_min_max_vars
        largest = tf.reduce_max(tf.abs(self.kernel), axis=[0, 1, 2])
        by_channel = tf.quantization.fake_quant_with_min_max_vars_per_channel
        kernel = by_channel(self.kernel, -largest, largest, narrow_range=True)
        made = tf.nn.conv2d(rounded(image, -1.0, 1.0), kernel, 1, "SAME") + self.bias
        made = tf.reshape(tf.nn.max_pool2d(rounded(tf.nn.relu(made), 0.0, 3.0), 2, 2, "VALID"), [1, -1])
        made = tf.matmul(made, rounded(self.dense, -0.5, 0.5, narrow_range=True))
        return {"scores": rounded(made, -4.0, 4.0)}

trained = Trained()
with tempfile.TemporaryDirectory() as place:
    tf.saved_model.save(trained, place, signatures={"serving_default": trained.__call__})
    for name, optimizations in (("trained", []), ("trained-int8", [tf.lite.Optimize.DEFAULT])):
        converter = tf.lite.TFLiteConverter.from_saved_model(place)
        converter.optimizations = optimizations
        (folder / f"{name}.tflite").write_bytes(converter.convert())
save("dense", (64,), layers.Dense(128, "relu"), layers.Dense(128, "relu"), layers.Dense(10))
'''


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The models, untrained, by name."""
    folder = once(tmp_path_factory, "quantize-models", _build)
    return {path.stem: path.read_bytes() for path in folder.glob("*.tflite")}


def _build(folder: Path) -> None:
    quiet = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
    done = subprocess.run(
        [sys.executable, "-c", _BUILD, str(folder)], env=quiet, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr[-3000:]


class Cifar:
    """ResNet-8 as the benchmark ships it, float, and real images."""

    def __init__(self, folder: Path) -> None:
        from maas_converter.tflite.signature import with_signature

        self.float32 = with_signature((folder / "pretrainedResnet.tflite").read_bytes())
        with np.load(folder / "cifar10-calibration-500.npz") as file:
            self.calibration: NDArray[np.uint8] = file["x"]
            self.calibration_y: NDArray[np.int64] = file["y"].astype(np.int64)
        with np.load(folder / "cifar10-evaluation-1500.npz") as file:
            self.evaluation: NDArray[np.uint8] = file["x"]
            self.evaluation_y: NDArray[np.int64] = file["y"].astype(np.int64)


@pytest.fixture(scope="session")
def cifar() -> Cifar:
    """Skips where the shared data is not there."""
    if not (SHARED / "resnet8").is_dir():
        pytest.skip(f"no {SHARED}: real models are not tested")
    return Cifar(SHARED / "resnet8")
