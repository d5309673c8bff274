"""Layers and ops that TFLite has no form of, spelt out in those it has, with the same answers.

*Look-ups* of integers keep their table outside the graph: it becomes a comparison with each key. *Layers that Keras
has quantized* to int8 round what comes in as well: they become float layers with the weights as they were rounded. *The
sign of a float* (in ``ops.argmax``) is read from its bits with an "and" that a comparison does as well.
"""

from typing import Any

from maas_agent.errors import DataError
from maas_converter.importers.refusal import note
from maas_converter.importers.tensorflow.effects import bodies

_MOST_KEYS = 4096
_SIGN_BIT = -(1 << 31)
_FLOAT8 = "float8"


class Rows:
    """Stands for a ``StaticHashTable`` of TensorFlow whose keys are integers."""

    def __init__(self, tensorflow: Any, keys: Any, values: Any, default: int) -> None:
        self._tensorflow = tensorflow
        self._keys, self._values, self._default = keys, values, default

    def lookup(self, asked: Any) -> Any:
        """The value of each key, of any shape; the default for those that are none."""
        tf = self._tensorflow
        hits = tf.equal(tf.expand_dims(tf.cast(asked, self._keys.dtype), -1), tf.constant(self._keys))
        above = tf.constant((self._values - self._default).astype("int32"))
        found = tf.reduce_sum(tf.where(hits, above, tf.zeros_like(above)), axis=-1) + self._default
        return tf.cast(found, self._values.dtype)

    def size(self) -> Any:
        """How many keys it has."""
        return self._tensorflow.constant(len(self._keys), self._tensorflow.int64)


def spell_out(library: Any, model: Any) -> None:
    """Change the layers of ``model``, which is called next; raises `DataError` for what cannot be spelt out."""
    for layer in model._flatten_layers():
        if hasattr(layer, "lookup_table") and isinstance(layer, library.layers.IntegerLookup):
            layer.lookup_table = _rows(layer)
    _float_layers(model)


def compare_signs(graph: Any) -> bool:
    """Replace ``x & sign bit < 0`` by ``x < 0`` in ``graph``; whether there was one."""
    changed = False
    for nodes in bodies(graph):
        known = {node.name: node for node in nodes}
        for node in nodes:
            if node.op == "Less":
                changed |= _compare_sign(node, known)
    return changed


def _compare_sign(less: Any, known: dict[str, Any]) -> bool:
    masked = known.get(_source(less.input[0]))
    if masked is None or masked.op != "BitwiseAnd" or not _is(known, less.input[1], 0):
        return False
    for number in (0, 1):
        if _is(known, masked.input[1 - number], _SIGN_BIT):
            less.input[0] = masked.input[number]
            return True
    return False


def _is(known: dict[str, Any], tensor: str, value: int) -> bool:
    """Whether ``tensor`` is the constant ``value``, one int32."""
    node = known.get(_source(tensor))
    if node is None or node.op != "Const":
        return False
    stored = node.attr["value"].tensor
    content = [int.from_bytes(stored.tensor_content, "little", signed=True)] if stored.tensor_content else [0]
    return list(stored.int_val or content) == [value] and not stored.tensor_shape.dim


def _source(tensor: str) -> str:
    return tensor.removeprefix("^").partition(":")[0]


def _rows(layer: Any) -> Rows:
    import tensorflow

    table = layer.lookup_table
    if isinstance(table, Rows):
        return table
    keys, values = (tensor.numpy() for tensor in table.export())
    if len(keys) > _MOST_KEYS:
        raise DataError(
            f"its layer {layer.name!r} looks up one of {len(keys)} integers, more than {_MOST_KEYS}: take the layer "
            "out, and give the model the numbers that it makes"
        )
    default = table._default_value
    return Rows(tensorflow, keys, values, int(default.numpy() if hasattr(default, "numpy") else default))


def _float_layers(model: Any) -> None:
    quantized = [layer for layer in model._flatten_layers() if _mode(layer) is not None]
    refused = [layer.name for layer in quantized if _mode(layer) == _FLOAT8]
    if refused:
        raise DataError(
            f"its layers {_listed(refused)} compute in float8 (model.quantize('float8')), which TFLite has not: "
            "convert the model as it was before, --quantize does what that did"
        )
    if quantized:
        for layer in quantized:
            layer.inputs_quantizer = None
        kinds = ", ".join(sorted({str(_mode(layer)) for layer in quantized}))
        note(
            f"{_listed([layer.name for layer in quantized])} came quantized by Keras ({kinds}): their weights are as "
            "that rounded them, what comes into them is not rounded"
        )


def _mode(layer: Any) -> str | None:
    mode = getattr(layer, "quantization_mode", None)
    return mode if isinstance(mode, str) else None


def _listed(names: list[str]) -> str:
    return ", ".join(names[:5]) + (" …" if len(names) > 5 else "")
