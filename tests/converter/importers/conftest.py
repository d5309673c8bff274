"""Real models of every format, made once a session by the frameworks themselves, with what they answered."""

import fcntl
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from maas_agent.runtime.selection import accelerator
from maas_converter.importers.process import ImportedModel, Importing, import_model
from tests.converter.shared import FOLDER
from tests.once import once

SHARED = FOLDER

_KERAS = """
import sys
from pathlib import Path
import keras
import numpy as np
import tensorflow as tf
import tf_keras

folder = Path(sys.argv[1])
keras.utils.set_random_seed(1)
x = np.random.default_rng(1).random((4, 8, 8), np.float32)

def recurrent(library):
    layers = library.layers
    return library.Sequential([
        library.Input((8, 8), name="steps"), layers.LSTM(6, return_sequences=True),
        layers.Bidirectional(layers.GRU(4)), layers.Dense(3, activation="softmax"),
    ])

new, old = recurrent(keras), recurrent(tf_keras)
np.savez(folder / "answers.npz", x=x, new=new(x), old=old(x))
new.save(folder / "recurrent.keras")
new.save(folder / "recurrent.h5")
new.save_weights(folder / "new.weights.h5")
new.export(folder / "recurrent", verbose=False)
old.save(folder / "legacy.h5")
old.save_weights(folder / "old_weights.h5")
old.save(folder / "old.keras")

dense = tf_keras.Sequential([tf_keras.Input((8,), name="x"), tf_keras.layers.Dense(6, activation="hard_sigmoid")])
dense.save(folder / "hard-sigmoid.h5")
np.savez(folder / "answers-hard-sigmoid.npz", x=4 * x[0], y=dense(4 * x[0]))

mark = str(folder / "code-of-the-model-ran")
for name, library in (("new", keras), ("old", tf_keras)):
    layers = library.layers
    run = layers.Lambda(eval(f"lambda batch: open({mark!r}, 'w') and batch"), name="innocent")
    inner = library.Sequential([library.Input((4,)), run], name="inner")
    wrapped = layers.TimeDistributed(inner)
    outer = library.Sequential([library.Input((2, 4)), wrapped, layers.Flatten(), layers.Dense(2)])
    outer.save(folder / f"{name}-lambda.h5")
    if library is keras:
        outer.save(folder / "new-lambda.keras")
Path(mark).unlink(missing_ok=True)

batch = keras.Input((4, 4), name="matrix")
keras.Model(batch, keras.ops.inv(batch)).save(folder / "inverse.keras")
batch = keras.Input((8, 8), name="steps")
keras.Model(batch, keras.layers.Dense(3)(batch)).save(folder / "dense.keras")
batch = keras.Input((None, 8), name="steps")
keras.Model(batch, keras.layers.LSTM(4)(batch)).save(folder / "any-steps.keras")

batch = keras.Input((8, 8), batch_size=1, name="steps")
keras.Model(batch, keras.layers.LSTM(4, stateful=True)(batch)).save(folder / "stateful.keras")

fused = tf_keras.Sequential([tf_keras.Input((8, 8), batch_size=1), tf_keras.layers.LSTM(4)])
served = tf.function(fused, input_signature=[tf.TensorSpec((1, 8, 8), tf.float32, name="steps")])
converter = tf.lite.TFLiteConverter.from_concrete_functions([served.get_concrete_function()], fused)
(folder / "fused.tflite").write_bytes(converter.convert())
np.savez(folder / "fused.npz", x=x, y=np.concatenate([fused(sample[None]) for sample in x]))

def to_tflite(model, name, shape):
    served = tf.function(lambda x: model(x), input_signature=[tf.TensorSpec(shape, tf.float32, name="x")])
    converter = tf.lite.TFLiteConverter.from_concrete_functions([served.get_concrete_function()], model)
    (folder / f"{name}.tflite").write_bytes(converter.convert())

layers = tf_keras.layers
wider = layers.Conv2DTranspose(4, 3, activation="relu")
flat = tf_keras.Sequential([wider, layers.Flatten(), layers.Dense(5, "softmax")])
pooled = tf_keras.Sequential([layers.Conv2D(4, 3, activation="relu"), layers.GlobalAveragePooling2D(), layers.Dense(5)])
to_tflite(flat, "batch-of-8", (8, 8, 8, 3))
to_tflite(fused_8 := tf_keras.Sequential([tf_keras.Input((8, 8), batch_size=8), layers.LSTM(4)]), "fused-8", (8, 8, 8))
to_tflite(pooled, "any-picture", (1, None, None, 3))
to_tflite(pooled, "any-pictures", (8, None, None, 3))
pixels, waves = np.random.default_rng(2).random((8, 8, 8, 3), np.float32), x.reshape(4, 64)
pictures = np.random.default_rng(3).random((8, 12, 10, 3), np.float32)

class Sound(tf.Module):
    def __init__(self):
        self.weights = tf.Variable(tf.random.stateless_normal((16, 4), (1, 2)))
    @tf.function(input_signature=[tf.TensorSpec((None,), tf.float32, name="waveform")])
    def heard(self, waveform):
        return {"scores": tf.reduce_mean(tf.signal.frame(waveform, 16, 8) @ self.weights, 0)}

sound = Sound()
tf.saved_model.save(sound, str(folder / "waveform"), signatures={"serving_default": sound.heard})
converter = tf.lite.TFLiteConverter.from_saved_model(str(folder / "waveform"))
(folder / "waveform.tflite").write_bytes(converter.convert())
batch = keras.Input(batch_shape=(None,), name="waveform")
steps = keras.ops.reshape(batch, (1, -1, 1))
heard = keras.Model(batch, keras.layers.GlobalAveragePooling1D()(keras.layers.Conv1D(4, 16, 8)(steps)))
heard.save(folder / "waveform.keras")
np.savez(
    folder / "sizes.npz", pixels=pixels, flat=flat(pixels), pictures=pictures, pooled=pooled(pictures), waves=waves,
    sound=[sound.heard(wave)["scores"] for wave in waves], heard=np.concatenate([heard(wave) for wave in waves]),
    steps=pixels[..., 0], fused=fused_8(pixels[..., 0]),
)

class Two(tf.Module):
    def __init__(self):
        self.weights = tf.Variable(tf.random.stateless_normal((4, 3), (1, 2)))
    @tf.function(input_signature=[tf.TensorSpec((None, 4), tf.float32, name="x")])
    def plain(self, x):
        return {"y": x @ self.weights}
    @tf.function(input_signature=[tf.TensorSpec((None, 4), tf.float32, name="x")])
    def clipped(self, x):
        return {"z": tf.nn.relu(x @ self.weights)}

two = Two()
tf.saved_model.save(two, str(folder / "two"), signatures={"plain": two.plain, "clipped": two.clipped})

class Writer(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec((1, 4), tf.float32, name="x")])
    def write(self, x):
        tf.io.write_file(mark, "ran")
        return {"y": x * 2.0}

writer = Writer()
tf.saved_model.save(writer, str(folder / "writer"), signatures={"serving_default": writer.write})
"""

_TENSORFLOW_1 = """
import sys
from pathlib import Path
import numpy as np
import tensorflow as tf

tf.compat.v1.disable_v2_behavior()
v1, folder = tf.compat.v1, Path(sys.argv[1])
with v1.Session(graph=tf.Graph()) as session:
    v1.set_random_seed(1)
    images = v1.placeholder(tf.float32, (None, 8, 8, 1), name="images")
    hidden = tf.nn.relu(tf.nn.conv2d(images, v1.get_variable("kernel", (3, 3, 1, 4)), 1, "SAME"))
    probs = tf.nn.softmax(tf.reshape(hidden, (-1, 256)) @ v1.get_variable("weights", (256, 10)), name="probs")
    session.run(v1.global_variables_initializer())
    v1.saved_model.simple_save(session, str(folder / "tf1"), {"images": images}, {"probs": probs})
    x = np.random.default_rng(1).random((4, 8, 8, 1), np.float32)
    np.savez(folder / "answers-tf1.npz", x=x, probs=session.run(probs, {images: x}))
"""


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of models; ``answers.npz`` holds four samples and what the recurrent ones answer."""
    return once(tmp_path_factory, "importers-models", partial(_make, _KERAS))


@pytest.fixture
def mark(models: Path) -> Iterator[Path]:
    """The file that code inside some of the models writes when it runs; a test has it for itself."""
    path = models / "code-of-the-model-ran"
    with path.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the models are those of all processes that run tests
        yield path
        path.unlink(missing_ok=True)


@pytest.fixture(scope="session")
def tensorflow_1(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a SavedModel of TensorFlow 1, ``tf1``, and ``answers-tf1.npz``."""
    return once(tmp_path_factory, "importers-tf1", partial(_make, _TENSORFLOW_1))


def _make(program: str, folder: Path) -> None:
    quiet = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1", "KERAS_BACKEND": "tensorflow"}
    command = [sys.executable, "-c", program, str(folder)]
    done = subprocess.run(command, env=quiet, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-3000:]


Bring = Callable[..., ImportedModel]


@pytest.fixture
def bring(tmp_path: Path) -> Bring:
    """Import a model, with options."""

    def run(source: Path, **options: object) -> ImportedModel:
        return import_model(source, tmp_path, Importing(**options))

    return run


Answer = Callable[[bytes, NDArray[np.generic]], NDArray[np.generic]]


@pytest.fixture
def answer(tmp_path: Path) -> Answer:
    """What a ``.tflite`` file answers to samples, one at a time."""

    def run(tflite: bytes, samples: NDArray[np.generic]) -> NDArray[np.generic]:
        (tmp_path / "answering.tflite").write_bytes(tflite)
        model = accelerator("cpu").load(tmp_path / "answering.tflite", 1)
        return np.concatenate([model.run([sample[None]])[0] for sample in samples])

    return run
