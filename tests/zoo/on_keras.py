"""Specimens made with Keras 3, and the same layers made with tf-keras where both have them."""

from collections.abc import Callable
from typing import Any

from tests.zoo.specimens import Feed, Framework, Specimen, Zoo, house

KERAS: Zoo = {}

PICTURE = Feed((8, 8, 3), "unit")
STEPS = Feed((8, 6))
VECTOR = Feed((10,))

Body = Callable[[Any, Any], Any]
"""From the layers' module and an input to what comes out."""


def _functional(framework: Framework, feed: Feed, body: Body, head: int) -> Callable[[], Any]:
    """A function that makes the model: ``body``, flattened, and a linear head of so many values if any."""

    def make() -> Any:
        library = _library(framework)
        taken = library.Input(feed.shape, dtype=feed.model_dtype, name="x")
        made = body(library, taken)
        if head:
            made = library.layers.Dense(head, name="head")(library.layers.Flatten()(made))
        return library.Model(taken, made)

    return make


def _library(framework: Framework) -> Any:
    if framework == "keras":
        import keras

        return keras
    import tf_keras

    return tf_keras


def _keras(name: str, feed: Feed, body: Body, head: int = 4, both: bool = False, **more: Any) -> None:
    house(KERAS, Specimen(name, "keras", _functional("keras", feed, body, head), feed, **more))
    if both:
        house(KERAS, Specimen(f"old-{name}", "tf_keras", _functional("tf_keras", feed, body, head), feed, **more))


def _through(*layers: Callable[[Any], Any]) -> Body:
    """Layers one after the other: each is made from the library's ``layers``."""

    def body(library: Any, taken: Any) -> Any:
        for layer in layers:
            taken = layer(library.layers)(taken)
        return taken

    return body


# Activations, each between two layers that would hide nothing.
_ACTIVATIONS = [
    "relu",
    "relu6",
    "elu",
    "selu",
    "gelu",
    "silu",
    "tanh",
    "sigmoid",
    "softplus",
    "softsign",
    "hard_sigmoid",
    "exponential",
    "leaky_relu",
    "mish",
    "softmax",
    "log_softmax",
    "linear",
    "hard_silu",
    "hard_tanh",
    "tanh_shrink",
    "celu",
]
for _name in _ACTIVATIONS:
    _keras(
        f"activation-{_name}",
        VECTOR,
        lambda library, x, _name=_name: library.layers.Activation(_name)(library.layers.Dense(12)(x)),
        both=_name in ("elu", "gelu", "softsign", "hard_sigmoid"),
        differs={"int8": "a difference of two that are nearly the same"} if _name == "tanh_shrink" else {},
    )
_keras("prelu", PICTURE, _through(lambda k: k.Conv2D(4, 3), lambda k: k.PReLU(shared_axes=[1, 2])), both=True)
_keras("leaky-relu-layer", PICTURE, _through(lambda k: k.Conv2D(4, 3), lambda k: k.LeakyReLU()), both=True)
_keras("relu-with-a-ceiling", VECTOR, _through(lambda k: k.Dense(8), lambda k: k.ReLU(max_value=2.0, threshold=0.1)))

# Convolutions and what goes with them.
_PICTURES: dict[str, Body] = {
    "conv-same": _through(lambda k: k.Conv2D(6, 3, padding="same", activation="relu")),
    "conv-valid-strided": _through(lambda k: k.Conv2D(6, 3, strides=2, activation="relu")),
    "conv-dilated": _through(lambda k: k.Conv2D(6, 3, dilation_rate=2)),
    "conv-grouped": _through(lambda k: k.Conv2D(6, 1), lambda k: k.Conv2D(6, 3, groups=3)),
    "conv-1x1": _through(lambda k: k.Conv2D(6, 1, activation="relu6")),
    "depthwise": _through(lambda k: k.DepthwiseConv2D(3, depth_multiplier=2)),
    "separable": _through(lambda k: k.SeparableConv2D(6, 3, activation="relu")),
    "transposed": _through(lambda k: k.Conv2DTranspose(4, 3, strides=2, padding="same")),
    "max-pool": _through(lambda k: k.Conv2D(4, 3), lambda k: k.MaxPooling2D()),
    "average-pool": _through(lambda k: k.Conv2D(4, 3), lambda k: k.AveragePooling2D(2)),
    "global-average": _through(lambda k: k.Conv2D(8, 3), lambda k: k.GlobalAveragePooling2D()),
    "global-max": _through(lambda k: k.Conv2D(8, 3), lambda k: k.GlobalMaxPooling2D()),
    "batch-norm": _through(lambda k: k.Conv2D(4, 3), lambda k: k.BatchNormalization(), lambda k: k.ReLU()),
    "batch-norm-first": _through(lambda k: k.BatchNormalization(), lambda k: k.Conv2D(4, 3)),
    "layer-norm": _through(lambda k: k.Conv2D(4, 3), lambda k: k.LayerNormalization()),
    "zero-padding": _through(lambda k: k.ZeroPadding2D(2), lambda k: k.Conv2D(4, 3)),
    "cropping": _through(lambda k: k.Cropping2D(2), lambda k: k.Conv2D(4, 3)),
    "upsampling": _through(lambda k: k.Conv2D(4, 3), lambda k: k.UpSampling2D(2)),
    "upsampling-bilinear": _through(lambda k: k.Conv2D(4, 3), lambda k: k.UpSampling2D(2, interpolation="bilinear")),
    "spatial-dropout": _through(lambda k: k.Conv2D(4, 3), lambda k: k.SpatialDropout2D(0.5)),
    "permuted": _through(lambda k: k.Permute((3, 1, 2)), lambda k: k.Conv2D(4, 3)),
    "noise": _through(lambda k: k.GaussianNoise(1.0), lambda k: k.Conv2D(4, 3)),
    "flips": _through(lambda k: k.RandomFlip(), lambda k: k.RandomRotation(0.2), lambda k: k.Conv2D(4, 3)),
    "resized": _through(lambda k: k.Resizing(6, 6), lambda k: k.Conv2D(4, 3)),
    "centre-crop": _through(lambda k: k.CenterCrop(6, 6), lambda k: k.Conv2D(4, 3)),
    "group-norm": _through(lambda k: k.Conv2D(4, 3), lambda k: k.GroupNormalization(2)),
    "unit-norm": _through(lambda k: k.Conv2D(4, 3), lambda k: k.UnitNormalization()),
}
_IN_BOTH = {
    "conv-same",
    "depthwise",
    "separable",
    "batch-norm",
    "upsampling-bilinear",
    "flips",
    "group-norm",
    "resized",
}
for _name, _body in _PICTURES.items():
    _keras(_name, PICTURE, _body, both=_name in _IN_BOTH)
_keras("channels-of-one", Feed((12, 12, 1), "unit"), _through(lambda k: k.Conv2D(4, 5, activation="relu")))
_keras(
    "conv-3d",
    Feed((4, 6, 6, 2)),
    _through(lambda k: k.Conv3D(3, 3), lambda k: k.ReLU()),
    refused={"int8": "no int8 form of CONV_3D"},
)
_keras("odd-sizes", Feed((7, 5, 3), "unit"), _through(lambda k: k.Conv2D(3, 2, strides=2, padding="same")))
_keras("pixels-rescaled", Feed((8, 8, 3), "pixels"), _through(lambda k: k.Rescaling(1 / 255), lambda k: k.Conv2D(4, 3)))
_keras(
    "pixels-as-floats",
    Feed((8, 8, 3), "pixels_float"),
    _through(lambda k: k.Rescaling(1 / 127.5, -1), lambda k: k.Conv2D(4, 3)),
    both=True,
)

# Series.
_SERIES: dict[str, Body] = {
    "conv-1d": _through(lambda k: k.Conv1D(6, 3, activation="relu")),
    "conv-causal": _through(lambda k: k.Conv1D(6, 3, padding="causal", dilation_rate=2)),
    "separable-1d": _through(lambda k: k.SeparableConv1D(6, 3)),
    "pooled-1d": _through(lambda k: k.Conv1D(6, 3), lambda k: k.MaxPooling1D()),
    "average-1d": _through(lambda k: k.Conv1D(6, 3), lambda k: k.GlobalAveragePooling1D()),
    "lstm": _through(lambda k: k.LSTM(5)),
    "lstm-with-dropout": _through(lambda k: k.LSTM(5, dropout=0.3, recurrent_dropout=0.2)),
    "gru": _through(lambda k: k.GRU(5)),
    "gru-with-dropout": _through(lambda k: k.GRU(5, dropout=0.3)),
    "gru-reset-before": _through(lambda k: k.GRU(5, reset_after=False)),
    "simple-rnn": _through(lambda k: k.SimpleRNN(5)),
    "backwards": _through(lambda k: k.LSTM(5, go_backwards=True)),
    "bidirectional": _through(lambda k: k.Bidirectional(k.LSTM(4))),
    "stacked-recurrent": _through(lambda k: k.LSTM(5, return_sequences=True), lambda k: k.GRU(4)),
    "rnn-of-cells": _through(lambda k: k.RNN([k.LSTMCell(4), k.GRUCell(3)])),
    "time-distributed": _through(lambda k: k.TimeDistributed(k.Dense(3, activation="relu"))),
    "repeat": _through(lambda k: k.Flatten(), lambda k: k.RepeatVector(3), lambda k: k.Conv1D(3, 2)),
    "masked": _through(lambda k: k.Masking(), lambda k: k.LSTM(4)),
}
_RECURRENT_IN_BOTH = {"lstm", "lstm-with-dropout", "gru", "bidirectional", "time-distributed", "simple-rnn"}
for _name, _body in _SERIES.items():
    _keras(_name, STEPS, _body, both=_name in _RECURRENT_IN_BOTH)
_keras("conv-lstm", Feed((4, 5, 5, 2)), _through(lambda k: k.ConvLSTM2D(3, 2)), recipes=("float32",))
_keras(
    "attention",
    STEPS,
    lambda library, x: library.layers.Attention()([x, library.layers.Dense(6)(x)]),
)
_keras(
    "multi-head-attention",
    STEPS,
    lambda library, x: library.layers.MultiHeadAttention(2, 4)(x, x),
    both=True,
)
_keras(
    "transformer-block",
    STEPS,
    lambda library, x: library.layers.LayerNormalization()(
        library.layers.Add()([x, library.layers.MultiHeadAttention(2, 3)(x, x)])
    ),
)
_keras("einsum-dense", STEPS, _through(lambda k: k.EinsumDense("abc,cd->abd", output_shape=(8, 4))))

# Graphs.
_GRAPHS: dict[str, Body] = {
    "residual": lambda library, x: library.layers.Add()([x, library.layers.Conv2D(3, 3, padding="same")(x)]),
    "multiplied": lambda library, x: library.layers.Multiply()(
        [x, library.layers.Conv2D(3, 1, activation="sigmoid")(x)]
    ),
    "subtracted": lambda library, x: library.layers.Subtract()([x, library.layers.Conv2D(3, 1)(x)]),
    "maximum": lambda library, x: library.layers.Maximum()([x, library.layers.Conv2D(3, 1)(x)]),
    "averaged": lambda library, x: library.layers.Average()([x, library.layers.Conv2D(3, 1)(x)]),
    "concatenated": lambda library, x: library.layers.Concatenate()(
        [library.layers.Conv2D(3, 1)(x), library.layers.MaxPooling2D(1)(x)]
    ),
    "inception": lambda library, x: library.layers.Concatenate()(
        [library.layers.Conv2D(2, size, padding="same", activation="relu")(x) for size in (1, 3, 5)]
    ),
    "squeeze-and-excite": lambda library, x: library.layers.Multiply()(
        [
            x,
            library.layers.Reshape((1, 1, 3))(
                library.layers.Dense(3, activation="sigmoid")(library.layers.GlobalAveragePooling2D()(x))
            ),
        ]
    ),
    "u-net": lambda library, x: library.layers.Conv2D(2, 1)(
        library.layers.Concatenate()(
            [x, library.layers.UpSampling2D(2)(library.layers.MaxPooling2D(2)(library.layers.Conv2D(4, 1)(x)))]
        )
    ),
}
for _name, _body in _GRAPHS.items():
    _keras(_name, PICTURE, _body, both=_name in ("residual", "inception"))
_keras("one-number", VECTOR, _through(lambda k: k.Dense(1)), head=0, both=True)
_keras("classes", VECTOR, _through(lambda k: k.Dense(5, activation="softmax")), head=0, both=True)
_keras(
    "classes-with-names",
    VECTOR,
    _through(lambda k: k.Dense(3, activation="softmax")),
    head=0,
    labels=("ant", "bee", "cow"),
)
_keras("logits-with-names", VECTOR, _through(lambda k: k.Dense(3)), head=0, labels=("ant", "bee", "cow"))
_keras(
    "several-may-hold",
    VECTOR,
    _through(lambda k: k.Dense(4, activation="sigmoid")),
    head=0,
    labels=("ant", "bee", "cow", "dog"),
)
_keras("yes-or-no", VECTOR, _through(lambda k: k.Dense(1, activation="sigmoid")), head=0, labels=("no", "yes"))
_keras(
    "autoencoder",
    Feed((12,), "unit"),
    _through(lambda k: k.Dense(4, activation="relu"), lambda k: k.Dense(12, activation="sigmoid")),
    head=0,
)

# Numbers that stand for something else than a size.
_EMBEDDED = _through(lambda k: k.Embedding(500, 8), lambda k: k.GlobalAveragePooling1D())
_keras("ids-as-floats", Feed((20,), "ids_float", 500), _EMBEDDED, both=True)
_keras("ids", Feed((20,), "ids", 500), _EMBEDDED, both=True)
_keras("few-ids", Feed((6,), "ids", 12), _through(lambda k: k.Embedding(12, 4), lambda k: k.Flatten()))
_keras(
    "ids-into-lstm",
    Feed((10,), "ids", 50),
    _through(lambda k: k.Embedding(50, 6), lambda k: k.LSTM(4)),
    differs={"int8": "all it computes is about as small as the step of 1/128 that its tanh has"},
)
_keras(
    "wide-features",
    Feed((6,), "wide"),
    _through(lambda k: k.Normalization(mean=[1.0, 4, 16, 63, 251, 1000], variance=[1.0, 16, 256, 4000, 63000, 1e6])),
    both=True,
)
_keras(
    "wide-features-scaled-inside", Feed((6,), "wide"), _through(lambda k: k.BatchNormalization(), lambda k: k.Dense(8))
)
_keras("category", Feed((1,), "ids", 5), _through(lambda k: k.CategoryEncoding(5, output_mode="one_hot")))
_keras("buckets", VECTOR, _through(lambda k: k.Discretization([-1.0, 0.0, 1.0]), lambda k: k.Rescaling(0.3)))

# Ops that are no layers.
_OPS: dict[str, Body] = {
    "op-argmax": lambda library, x: library.ops.argmax(library.layers.Dense(5)(x), axis=-1),
    "op-top-k": lambda library, x: library.ops.top_k(library.layers.Dense(8)(x), 3)[0],
    "op-where": lambda library, x: library.ops.where(x > 0, x, 0.1 * x),
    "op-clip": lambda library, x: library.ops.clip(library.layers.Dense(5)(x), -0.5, 0.5),
    "op-norm": lambda library, x: library.ops.sqrt(library.ops.sum(library.ops.square(x), axis=-1, keepdims=True)),
    "op-stack": lambda library, x: library.ops.stack([x, library.layers.Dense(10)(x)], axis=1),
    "op-split": lambda library, x: library.ops.split(library.layers.Dense(6)(x), 2, axis=-1)[1],
    "op-power": lambda library, x: library.ops.power(library.ops.abs(x) + 0.1, 1.7),
    "op-logsumexp": lambda library, x: library.ops.logsumexp(library.layers.Dense(5)(x), axis=-1, keepdims=True),
    "op-roll": lambda library, x: library.ops.roll(x, 2, axis=-1),
    "op-erf": lambda library, x: library.ops.erf(x),
    "op-floor": lambda library, x: library.ops.floor(x * 3.0),
    "op-slice": lambda library, x: x[:, 2:7] * 2.0,
    "op-constant-column": lambda library, x: library.ops.concatenate(
        [library.layers.Dense(3)(x), library.ops.ones_like(x[:, :1])], axis=-1
    ),
    "op-boxes-and-scores": lambda library, x: library.ops.concatenate(
        [320 + 320 * library.ops.tanh(library.layers.Dense(4)(x)), library.ops.sigmoid(library.layers.Dense(2)(x))],
        axis=-1,
    ),
}
_OPS_REFUSED = {
    "op-power": {"int8": "no int8 form of POW"},
    "op-erf": {"*": "TensorFlow ops that LiteRT has not: Erf"},
}
_OPS_DIFFER = {"op-constant-column": {"int8": "the constant is as far from a step of its column's scale as may be"}}
for _name, _body in _OPS.items():
    _keras(_name, VECTOR, _body, head=0, refused=_OPS_REFUSED.get(_name, {}), differs=_OPS_DIFFER.get(_name, {}))


# Several outputs: their order and their names are the author's.
def _heads(framework: Framework, shape: str) -> Callable[[], Any]:
    def make() -> Any:
        library = _library(framework)
        taken = library.Input((10,), name="x")
        heads = {
            name: library.layers.Dense(
                1, kernel_initializer="zeros", bias_initializer=library.initializers.Constant(number), name=name
            )(taken)
            for number, name in enumerate(_HEADS)
        }
        return library.Model(taken, heads if shape == "dict" else list(heads.values()))

    return make


_HEADS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven")
_FRAMEWORKS: tuple[Framework, ...] = ("keras", "tf_keras")
for _framework in _FRAMEWORKS:
    for _shape in ("list", "dict"):
        house(
            KERAS,
            Specimen(
                f"twelve-outputs-{_shape}{'-old' if _framework == 'tf_keras' else ''}",
                _framework,
                _heads(_framework, _shape),
                VECTOR,
                ordered=_shape == "list",
            ),
        )
_keras(
    "two-heads",
    PICTURE,
    lambda library, x: {
        "scores": library.layers.Dense(3, activation="softmax")(library.layers.Flatten()(x)),
        "boxes": library.layers.Dense(4)(library.layers.Flatten()(x)),
    },
    head=0,
    ordered=False,
)


# Ways to build and to save.
def _sequential(library: Any) -> Any:
    layers = library.layers
    return library.Sequential(
        [
            library.Input((8, 8, 3), name="x"),
            layers.Conv2D(4, 3, activation="relu"),
            layers.Flatten(),
            layers.Dense(3, activation="softmax"),
        ]
    )


def _nested(library: Any) -> Any:
    inner = _sequential(library)
    taken = library.Input((8, 8, 3), name="x")
    return library.Model(taken, library.layers.Dense(2)(inner(taken)))


def _with_policy(policy: str) -> Callable[[], Any]:
    def make() -> Any:
        import keras

        before = keras.config.dtype_policy()
        keras.config.set_dtype_policy(policy)
        try:
            return _sequential(keras)
        finally:
            keras.config.set_dtype_policy(before)

    return make


def _old_ops() -> Any:
    import tensorflow as tf
    import tf_keras

    taken = tf_keras.Input((10,), name="x")
    made = tf.nn.relu(tf_keras.layers.Dense(6)(taken) * 2.0 + 0.5)
    return tf_keras.Model(taken, tf.reduce_sum(tf.reshape(made, (-1, 2, 3)), axis=1))


for _form in (".keras", ".h5", "saved_model"):
    house(
        KERAS,
        Specimen(f"saved-as-{_form.strip('.')}", "keras", lambda: _sequential(_library("keras")), PICTURE, form=_form),
    )
    house(
        KERAS,
        Specimen(
            f"old-saved-as-{_form.strip('.')}",
            "tf_keras",
            lambda: _sequential(_library("tf_keras")),
            PICTURE,
            form=_form,
        ),
    )
house(KERAS, Specimen("nested", "keras", lambda: _nested(_library("keras")), PICTURE))
house(KERAS, Specimen("old-nested", "tf_keras", lambda: _nested(_library("tf_keras")), PICTURE))
house(KERAS, Specimen("old-plain-ops", "tf_keras", _old_ops, VECTOR, form=".h5"))
for _policy in ("mixed_float16", "mixed_bfloat16", "float16"):
    _rounded = 4e-3 if "bfloat16" in _policy else 1e-3
    _name = f"policy-{_policy.replace('_', '-')}"
    house(KERAS, Specimen(_name, "keras", _with_policy(_policy), PICTURE, rounded=_rounded))
for _recipe in ("float16", "dynamic", "dynamic4", "int16x8", "int4"):
    house(
        KERAS,
        Specimen(f"recipe-{_recipe}", "keras", lambda: _sequential(_library("keras")), PICTURE, recipes=(_recipe,)),
    )
for _io in ("int8", "uint8"):
    house(
        KERAS,
        Specimen(
            f"io-{_io}",
            "keras",
            lambda: _sequential(_library("keras")),
            PICTURE,
            recipes=("int8",),
            options=("--io", _io),
        ),
    )
