"""What each op is fed on real data, read from the float model itself, and models with rounded weights.

The model is cut open at the flatbuffer: the tensors that ops read become its outputs, and it runs like any other.
"""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maas_agent.runtime.interface import Model
from maas_converter.quantize.search.candidates.layers import Layer
from maas_converter.quantize.search.candidates.rounding import WIDEST, Moments, Rounded
from maas_converter.tflite import model as files

Array = NDArray[Any]

SAMPLES = 128
"""As many samples settle what an op is fed."""

_PATCHES = 256
"""Patches taken from one sample, at most: neighbours say nearly the same."""

_SAME = 0  # schema.fbs, enum Padding


def can_round(float32: bytes, layer: Layer) -> bool:
    """Whether the op is a dense layer or an ordinary convolution with weights, and a bias if any, of its own."""
    model = files.parse(float32)
    op = model.subgraphs[0].operators[layer.op]
    if layer.name not in ("CONV_2D", "FULLY_CONNECTED") or not layer.weights:
        return False
    weights, read = (model.subgraphs[0].tensors[op.inputs[index]] for index in (1, 0))
    shape, sharing = [int(size) for size in weights.shape], _sharing(model)
    grouped = layer.name == "CONV_2D" and int(read.shape[-1]) != shape[-1]
    owned = all(sharing[model.subgraphs[0].tensors[index].buffer] == 1 for index in op.inputs[1:] if index >= 0)
    return not grouped and owned and int(np.prod(shape[1:])) <= WIDEST


def moments(float32: bytes, layer: Layer, inputs: Iterable[Array], load: Callable[[bytes], Model]) -> Moments:
    """The moments of what ``layer`` reads; ``inputs`` are whole input tensors of the model.

    Raises `RuntimeFailure` if the model does not run.
    """
    model = files.parse(float32)
    graph = model.subgraphs[0]
    op = graph.operators[layer.op]
    read, kernel = int(op.inputs[0]), tuple(int(size) for size in graph.tensors[op.inputs[1]].shape)
    fed: Iterable[Array] = inputs
    if read not in [int(index) for index in graph.inputs]:
        graph.outputs, model.signatureDefs = np.array([read], np.int32), None
        probe = load(files.serialize(model))
        fed = (probe.run([values])[0] for values in inputs)
    return _summed(_patches(op.builtinOptions, kernel, values) for values in fed)


def with_weights(float32: bytes, replaced: dict[int, Rounded]) -> bytes:
    """The float model with the weights and biases of some ops replaced; an op without a bias keeps none."""
    model = files.parse(float32)
    graph = model.subgraphs[0]
    for number, new in replaced.items():
        op = graph.operators[number]
        _store(model, graph.tensors[op.inputs[1]], new.weights)
        if len(op.inputs) > 2 and op.inputs[2] >= 0:
            bias = graph.tensors[op.inputs[2]]
            _store(model, bias, np.frombuffer(files.data_of(model, bias), np.float32) + new.bias)
    return files.serialize(model)


def weights_of(float32: bytes, layer: Layer) -> NDArray[np.float64]:
    """The weights (O, K) of an op, one row an output."""
    model = files.parse(float32)
    tensor = model.subgraphs[0].tensors[model.subgraphs[0].operators[layer.op].inputs[1]]
    values = np.frombuffer(files.data_of(model, tensor), np.float32).astype(np.float64)
    return values.reshape(int(tensor.shape[0]), -1)


def _summed(samples: Iterable[Array]) -> Moments:
    """Means over all patches; memory holds those of one sample."""
    total: Any = 0.0
    products: Any = 0.0
    rows = 0
    for sample in samples:
        patches = sample.astype(np.float64)
        total, products, rows = total + patches.sum(axis=0), products + patches.T @ patches, rows + len(patches)
    return Moments(total / rows, products / rows)


def _patches(options: Any, kernel: tuple[int, ...], values: Array) -> Array:
    """What one output value is computed from, (patches, K), an even choice of them."""
    if len(kernel) == 2:
        rows = values.reshape(-1, kernel[1])
        return rows[:: -(-len(rows) // _PATCHES)]
    steps, holes = (options.strideH, options.strideW), (options.dilationHFactor, options.dilationWFactor)
    spans = [(size - 1) * hole + 1 for size, hole in zip(kernel[1:3], holes, strict=True)]
    if options.padding == _SAME:
        pads = [_pad(size, span, step) for size, span, step in zip(values.shape[1:3], spans, steps, strict=True)]
        values = np.pad(values, ((0, 0), *pads, (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(values[0], spans, axis=(0, 1))
    windows = windows[:: steps[0], :: steps[1], :, :: holes[0], :: holes[1]].transpose(0, 1, 3, 4, 2)
    down, across = windows.shape[:2]
    places = np.arange(0, down * across, -(-(down * across) // _PATCHES))
    chosen: Array = windows[places // across, places % across].reshape(len(places), -1)
    return chosen


def _pad(size: int, span: int, step: int) -> tuple[int, int]:
    # TensorFlow's SAME: as many outputs as steps fit, the odd row of zeros at the end.
    total = max((-(-size // step) - 1) * step + span - size, 0)
    return total // 2, total - total // 2


def _sharing(model: Any) -> list[int]:
    counts = [0] * len(model.buffers)
    for graph in model.subgraphs:
        for tensor in graph.tensors:
            counts[tensor.buffer] += 1
    return counts


def _store(model: Any, tensor: Any, values: NDArray[np.float64]) -> None:
    model.buffers[tensor.buffer].data = np.frombuffer(values.astype(np.float32).tobytes(), np.uint8)
