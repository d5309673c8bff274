"""Models that do more than answer, look things up in functions, or compute in other types. See `workshop`."""

import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
import tf_keras

from tests.converter.importers.workshop import Workshop

shop = Workshop(Path(sys.argv[1]))
keras.utils.set_random_seed(1)
new, old = keras.layers, tf_keras.layers
rng = np.random.default_rng(1)
STEPS = rng.normal(size=(3, 5, 4)).astype(np.float32)
IDS = rng.integers(0, 10, (3, 5)).astype(np.int32)
PICTURES = rng.normal(size=(3, 6, 6, 1)).astype(np.float32)


def chain(library: Any, x: Any, *layers: Any) -> Any:
    """A model of ``layers`` that takes samples like ``x``."""
    return library.Sequential([library.Input(x.shape[1:], dtype=x.dtype, name="x"), *layers])


def saved(name: str, model: Any, x: Any, suffix: str = ".keras", module: str | None = None) -> None:
    """Save it as its library does, import that, and keep what `predict` answers."""
    path = shop.folder / f"{name}{suffix}"
    module = module or ("keras.legacy" if isinstance(model, tf_keras.Model) else "keras.keras3")
    if suffix:
        model.save(path)
    elif isinstance(model, tf_keras.Model):
        model.save(path, save_format="tf")
    else:
        model.export(path, verbose=False)
    shop.add(
        name,
        module if suffix else "tensorflow.saved_model",
        path,
        x,
        np.concatenate([model.predict(s[None], verbose=0) for s in x]),
    )


# Dropout moves a seed on, also where nothing is dropped.
saved("lstm", chain(keras, STEPS, new.Bidirectional(new.LSTM(3, dropout=0.3, recurrent_dropout=0.2))), STEPS)
saved(
    "cells", chain(keras, STEPS, new.RNN([new.LSTMCell(3, dropout=0.3), new.GRUCell(2, recurrent_dropout=0.3)])), STEPS
)
convolutional = new.ConvLSTM2D(2, 3, dropout=0.3)
saved("convlstm", chain(keras, PICTURES[:, None], convolutional, new.Flatten()), PICTURES[:, None])
saved("gru-folder", chain(keras, STEPS, new.GRU(3, dropout=0.3), new.GaussianNoise(0.1)), STEPS, "")
saved("old-gru", chain(tf_keras, STEPS, old.GRU(3, dropout=0.3), old.GaussianNoise(0.1)), STEPS, ".h5")
varied = [new.RandomFlip(), new.RandomRotation(0.1), new.RandomContrast(0.1), new.SpatialDropout2D(0.3), new.Flatten()]
saved("augmented", chain(keras, PICTURES, *varied), PICTURES)

# Look-ups in functions.
embedding = chain(tf_keras, IDS, old.Embedding(10, 4), old.LSTM(3, dropout=0.2), old.Dense(2))
saved("old-embedding-folder", embedding, IDS, "")

# Plain operations of TensorFlow, which Keras 2 keeps as layers that name them.
inputs = tf_keras.Input((5, 4), name="x")
hidden = tf.nn.relu(tf.reshape(old.Dense(3)(inputs * 2 + 1 - inputs / 3), (-1, 15)))[:, 2:12]
hidden = tf.concat([hidden, tf.reduce_max(hidden, axis=1, keepdims=True)], 1) ** 2
hidden = 1.0 / (tf.where(hidden > 0.1, tf.transpose(tf.transpose(hidden)), -hidden) + 1.5)
plain = tf_keras.Model(inputs, tf.nn.softmax(hidden @ tf.ones((11, 2)) * tf.constant([1.0, 0.5])))
for suffix in (".h5", ".keras"):
    saved(f"plain{suffix}", plain, STEPS, suffix)
node = {"name": "Mul", "op": "Mul", "input": ["x", "Mul/y"], "attr": {"T": {"type": "DT_FLOAT"}}}
from_1_15 = tf_keras.src.engine.base_layer.TensorFlowOpLayer(node, "Mul", {1: 2.5})
saved("from-1.15", tf_keras.Model(inputs, old.Dense(2)(from_1_15(inputs))), STEPS, ".h5")

# What is written, and what of it is read.
inputs = tf_keras.Input((5, 4), name="x")
saved("by-the-batch", tf_keras.Model(inputs, old.BatchNormalization()(inputs, training=True)), STEPS)


class Counting(tf.Module):
    """Counts its answers; one signature says so, the other does not."""

    def __init__(self) -> None:
        self.count = tf.Variable(0.0, name="answers_given")
        self.seed = tf.random.Generator.from_seed(1)

    @tf.function(input_signature=[tf.TensorSpec((None, 5, 4), tf.float32, name="x")])
    def silent(self, x: Any) -> Any:
        """Count, and say nothing of it."""
        self.count.assign_add(1.0)
        return {"y": x * 2.0}

    @tf.function(input_signature=[tf.TensorSpec((None, 5, 4), tf.float32, name="x")])
    def telling(self, x: Any) -> Any:
        """Answer by the count."""
        self.count.assign_add(1.0)
        return {"y": x * self.count}

    @tf.function(input_signature=[tf.TensorSpec((None, 5, 4), tf.float32, name="x")])
    def drawing(self, x: Any) -> Any:
        """Answer by chance."""
        return {"y": x + self.seed.normal((1, 5, 4))}


counting = Counting()
signatures = {"silent": counting.silent, "telling": counting.telling, "drawing": counting.drawing}
tf.saved_model.save(counting, str(shop.folder / "counting"), signatures=signatures)
for name in signatures:
    shop.add(name, "tensorflow.saved_model", shop.folder / "counting", STEPS, STEPS * 2, signature=name)

# What TFLite has no form of, and what has no form at all.
inputs = keras.Input((5, 4), name="x")
saved("argmax", keras.Model(inputs, keras.ops.argmax(new.Dense(3)(inputs), axis=-1)), STEPS)
saved("argmax-folder", keras.Model(inputs, keras.ops.argmin(new.Dense(3)(inputs), axis=-1)), STEPS, "")
looked_up = chain(keras, IDS, new.IntegerLookup(vocabulary=[3, 5, 7, 9], num_oov_indices=2), new.Embedding(12, 3))
saved("look-up", looked_up, IDS)
saved("look-up-folder", looked_up, IDS, "")
text = keras.Sequential([keras.Input((4,), dtype="string", name="x"), new.StringLookup(vocabulary=["on", "off"])])
text.save(shop.folder / "text.keras")
shop.add("text", "keras.keras3", shop.folder / "text.keras", [], [])
for mode in ("int8", "float8"):
    quantized = chain(keras, STEPS, new.Dense(8, activation="relu"), new.EinsumDense("abc,cd->abd", (5, 3)))
    quantized.quantize(mode)
    saved(f"quantized-{mode}", quantized, STEPS)

# Other types.
for policy in ("float16", "mixed_bfloat16", "float64"):
    keras.config.set_dtype_policy(policy)
    layers = [
        new.Conv2D(4, 3, activation="relu"),
        new.BatchNormalization(),
        new.Flatten(),
        new.Dense(3, activation="softmax"),
    ]
    model = chain(keras, PICTURES, *layers)
    saved(policy, model, PICTURES)
    if policy == "mixed_bfloat16":
        saved(f"{policy}-folder", model, PICTURES, "")
    keras.config.set_dtype_policy("float32")
tf_keras.mixed_precision.set_global_policy("mixed_float16")
saved("old-mixed_float16", chain(tf_keras, IDS, old.Embedding(10, 4), old.LSTM(3), old.Dense(2)), IDS, ".h5")
saved("old-mixed_float16-folder", chain(tf_keras, IDS, old.Embedding(10, 4), old.GRU(3)), IDS, "")
tf_keras.mixed_precision.set_global_policy("float32")
shop.close()
