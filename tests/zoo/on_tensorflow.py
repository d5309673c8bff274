"""Specimens made with TensorFlow alone: SavedModels, and ``.tflite`` files of its converter."""

from collections.abc import Callable
from typing import Any

from tests.zoo.specimens import Feed, Specimen, Zoo, house

TENSORFLOW: Zoo = {}

VECTOR = Feed((10,))
PICTURE = Feed((8, 8, 3), "unit")


def _saved(name: str, feed: Feed, serve: Callable[[Any, Any, dict[str, Any]], Any], **more: Any) -> None:
    """``serve`` takes TensorFlow, the batch and a table that keeps its variables, and returns a dict of outputs."""

    def make() -> Any:
        import tensorflow as tf

        spec = tf.TensorSpec((None, *feed.shape), feed.model_dtype, name="x")

        class Served(tf.Module):
            def __init__(self) -> None:
                super().__init__()
                self.kept: dict[str, Any] = {}
                serve(tf, tf.zeros((1, *feed.shape), feed.model_dtype), self.kept)  # makes the variables

            @tf.function(input_signature=[spec])
            def serve(self, x: Any) -> Any:
                return serve(tf, x, self.kept)

        return Served()

    house(TENSORFLOW, Specimen(name, "tensorflow", make, feed, form="saved_model", ordered=False, **more))


def weights(tf: Any, kept: dict[str, Any], name: str, shape: tuple[int, ...], seed: int = 1) -> Any:
    """A variable of seeded normal values, made at the first call."""
    if name not in kept:
        kept[name] = tf.Variable(tf.random.stateless_normal(shape, (seed, len(name))) * 0.3, name=name)
    return kept[name]


def _loop(tf: Any, x: Any, kept: dict[str, Any]) -> dict[str, Any]:
    _, total = tf.while_loop(
        lambda i, _: i < 3, lambda i, t: (i + 1, tf.tanh(t @ weights(tf, kept, "w", (10, 10)))), (0, x)
    )
    return {"total": total}


_saved("sm-matmul", VECTOR, lambda tf, x, kept: {"y": x @ weights(tf, kept, "w", (10, 4))})
_saved("sm-boxes-scores", VECTOR, lambda tf, x, kept: {
    "scores": tf.nn.softmax(x @ weights(tf, kept, "s", (10, 3))),
    "boxes": x @ weights(tf, kept, "b", (10, 4), 2),
})  # fmt: skip
_saved("sm-many-outputs", VECTOR, lambda tf, x, kept: {
    f"out{number}": tf.fill([tf.shape(x)[0], 1], float(number)) + 0.0 * x[:, :1] for number in range(12)
})  # fmt: skip
_saved("sm-embedding", Feed((6,), "ids", 40), lambda tf, x, kept: {
    "y": tf.reduce_mean(tf.nn.embedding_lookup(weights(tf, kept, "table", (40, 8)), x), axis=1)
})  # fmt: skip
_saved("sm-loop", VECTOR, _loop, recipes=("float32",), refused={"*": "open sizes"})
_saved("sm-cond", VECTOR, lambda tf, x, kept: {
    "y": tf.cond(tf.reduce_sum(x) > 0, lambda: x * 2.0, lambda: x - 1.0)
}, recipes=("float32",))  # fmt: skip
_saved("sm-conv", PICTURE, lambda tf, x, kept: {
    "y": tf.reduce_mean(tf.nn.relu(tf.nn.conv2d(x, weights(tf, kept, "k", (3, 3, 3, 6)), 1, "SAME")), axis=(1, 2))
})  # fmt: skip
_saved("sm-pixels-cast", Feed((8, 8, 3), "pixels"), lambda tf, x, kept: {
    "y": tf.reduce_mean(tf.cast(x, tf.float32) / 255.0, axis=(1, 2)) @ weights(tf, kept, "w", (3, 4))
})  # fmt: skip
_saved("sm-argmax", VECTOR, lambda tf, x, kept: {"index": tf.argmax(x @ weights(tf, kept, "w", (10, 5)), axis=-1)})
_saved("sm-one-hot", Feed((3,), "ids", 7), lambda tf, x, kept: {
    "y": tf.reshape(tf.one_hot(x, 7), (-1, 21)) @ weights(tf, kept, "w", (21, 4))
})  # fmt: skip
_saved("sm-gather-ids-as-floats", Feed((5,), "ids_float", 300), lambda tf, x, kept: {
    "y": tf.reduce_sum(tf.gather(weights(tf, kept, "table", (300, 4)), tf.cast(x, tf.int32)), axis=1)
})  # fmt: skip
_saved("sm-normalised", Feed((6,), "wide"), lambda tf, x, kept: {
    "y": tf.tanh((x - tf.constant([1.0, 4, 16, 63, 251, 1000])) / tf.constant([1.0, 4, 16, 63, 251, 1000]))
    @ weights(tf, kept, "w", (6, 3))
})  # fmt: skip
_saved("sm-fake-quantized", VECTOR, lambda tf, x, kept: {
    "y": tf.quantization.fake_quant_with_min_max_args(
        tf.quantization.fake_quant_with_min_max_args(x, -4.0, 4.0)
        @ tf.quantization.fake_quant_with_min_max_args(weights(tf, kept, "w", (10, 4)), -1.0, 1.0),
        -6.0, 6.0,
    )
})  # fmt: skip
_saved("sm-string", VECTOR, lambda tf, x, kept: {"y": tf.strings.as_string(x)}, refused={"*": "AsString|strings"})
_saved("sm-fft", Feed((16,)), lambda tf, x, kept: {"y": tf.abs(tf.signal.rfft(x))}, recipes=("float32",))
_saved(
    "sm-top-k",
    VECTOR,
    lambda tf, x, kept: dict(zip(("values", "indexes"), tf.math.top_k(x, 3), strict=True)),
    differs={"int8": "values that are less than a step apart may change places, and with them their indexes"},
)
_saved("sm-sorted", VECTOR, lambda tf, x, kept: {"y": tf.sort(x, axis=-1)}, recipes=("float32",))
_saved("sm-wave", Feed((400,)), lambda tf, x, kept: {
    "y": tf.math.log(tf.abs(tf.signal.stft(x, 64, 32)) + 1e-3)[:, :, :8]
}, recipes=("float32",))  # fmt: skip
_saved("sm-float64", VECTOR, lambda tf, x, kept: {
    "y": tf.cast(tf.cast(x, tf.float64) * tf.constant(0.5, tf.float64), tf.float32)
}, recipes=("float32",))  # fmt: skip
_saved("sm-complex-output", VECTOR, lambda tf, x, kept: {"y": tf.complex(x, x)}, refused={"*": "complex"})


def _tflite(
    name: str, feed: Feed, settings: Callable[[Any, Any, Any], None], batch: int | None = 1, **more: Any
) -> None:
    """TensorFlow's own converter with ``settings`` (TensorFlow, the converter, the samples), packed as it is."""

    def make() -> Any:
        import tensorflow as tf

        layers = tf.keras.layers
        model = tf.keras.Sequential(
            [
                tf.keras.Input(batch_shape=(batch, *feed.shape), name="x"),
                layers.Conv2D(6, 3, activation="relu"),
                layers.Flatten(),
                layers.Dense(4, activation="softmax"),
            ]
        )
        converter = tf.lite.TFLiteConverter.from_keras_model(model)
        settings(tf, converter, feed.samples(1, 64))
        return converter.convert()

    house(TENSORFLOW, Specimen(name, "tflite", make, feed, form=".tflite", **{"recipes": ("as-is",), **more}))


def _plain(tf: Any, converter: Any, samples: Any) -> None:
    pass


def _optimized(tf: Any, converter: Any, samples: Any) -> None:
    converter.optimizations = [tf.lite.Optimize.DEFAULT]


def _half(tf: Any, converter: Any, samples: Any) -> None:
    _optimized(tf, converter, samples)
    converter.target_spec.supported_types = [tf.float16]


def _whole(kind: str) -> Callable[[Any, Any, Any], None]:
    def settings(tf: Any, converter: Any, samples: Any) -> None:
        _optimized(tf, converter, samples)
        converter.representative_dataset = lambda: ([sample[None]] for sample in samples)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = getattr(tf, kind)

    return settings


def _sixteen(tf: Any, converter: Any, samples: Any) -> None:
    _optimized(tf, converter, samples)
    converter.representative_dataset = lambda: ([sample[None]] for sample in samples)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8]


_tflite("lite-float", PICTURE, _plain, recipes=("float32", "float16", "dynamic", "int8"))
_tflite("lite-open-batch", PICTURE, _plain, batch=None, recipes=("float32", "int8"))
_tflite("lite-batch-of-eight", PICTURE, _plain, batch=8, recipes=("float32",))
_tflite("lite-float16", PICTURE, _half, recipes=("float32", "int8"))
_tflite("lite-dynamic", PICTURE, _optimized, recipes=("float32", "dynamic", "int8"))
_tflite("lite-int8", PICTURE, _whole("int8"))
_tflite("lite-uint8", PICTURE, _whole("uint8"))
_tflite("lite-int8-float-edges", PICTURE, _whole("float32"))
_tflite("lite-int16", PICTURE, _sixteen)
