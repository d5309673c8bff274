"""Small real ``.tflite`` models for tests, written with the schema's own object API: no TensorFlow, about 1 ms each."""

from typing import Literal

import flatbuffers  # type: ignore[import-untyped]
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

SHAPE = (1, 8, 8, 1)
INPUT = "image"
OUTPUT = "scores"


def tiny_classifier_tflite(seed: int = 0, classes: int = 10, dtype: Literal["float32", "int8"] = "float32") -> bytes:
    """FULLY_CONNECTED and SOFTMAX over an 8 x 8 gray image: ``image`` (1, 8, 8, 1) to ``scores`` (1, classes).

    Another ``seed`` gives other weights, so other answers and another digest. ``int8`` takes pixels 0..1 as
    ``real = (stored + 128) / 255`` and answers ``real = (stored + 128) / 256``, as the quantizer writes them.
    """
    weights, bias = _parameters(seed, classes)
    graph = _Graph(dtype)
    image = graph.tensor(INPUT, SHAPE, scale=1 / 255, zero_point=-128)
    kernel = graph.constant("weights", weights, scale=float(np.abs(weights).max()) / 127)
    offset = graph.constant("bias", bias, scale=float(np.abs(weights).max()) / 127 / 255, wide=True)
    logits = graph.tensor("logits", (1, classes), scale=16 / 256, zero_point=0)
    scores = graph.tensor(OUTPUT, (1, classes), scale=1 / 256, zero_point=-128)
    graph.operator(schema.BuiltinOperator.FULLY_CONNECTED, [image, kernel, offset], logits)
    graph.operator(schema.BuiltinOperator.SOFTMAX, [logits], scores)
    return graph.packed(image, scores)


def echo_tflite() -> bytes:
    """FULLY_CONNECTED by one: ``number`` (1, 1) to ``answer`` (1, 1), the same float32."""
    graph = _Graph("float32")
    taken, made = graph.tensor("number", (1, 1), 1, 0), graph.tensor("answer", (1, 1), 1, 0)
    kernel = graph.constant("one", np.ones((1, 1), np.float32), 1)
    offset = graph.constant("zero", np.zeros(1, np.float32), 1)
    graph.operator(schema.BuiltinOperator.FULLY_CONNECTED, [taken, kernel, offset], made)
    return graph.packed(taken, made)


def large_classifier_tflite(hidden: int, seed: int = 0, classes: int = 10) -> bytes:
    """The same with a layer of ``hidden`` units between, float32: it takes about 300 bytes for each of them."""
    random = np.random.default_rng(seed)
    pixels = SHAPE[1] * SHAPE[2]
    first = random.normal(0, 1 / np.sqrt(pixels), (hidden, pixels)).astype(np.float32)
    second = random.normal(0, 2 / np.sqrt(hidden), (classes, hidden)).astype(np.float32)
    graph = _Graph("float32")
    image = graph.tensor(INPUT, SHAPE, 1, 0)
    between = graph.tensor("between", (1, hidden), 1, 0)
    logits = graph.tensor("logits", (1, classes), 1, 0)
    scores = graph.tensor(OUTPUT, (1, classes), 1, 0)
    for values, taken, made in ((first, image, between), (second, between, logits)):
        kernel = graph.constant("weights", values, 1)
        offset = graph.constant("bias", np.zeros(len(values), np.float32), 1)
        graph.operator(schema.BuiltinOperator.FULLY_CONNECTED, [taken, kernel, offset], made)
    graph.operator(schema.BuiltinOperator.SOFTMAX, [logits], scores)
    return graph.packed(image, scores)


def flat_classifier_tflite(seed: int = 0, op: str | None = None) -> bytes:
    """The same with a RESHAPE first (GPUs do not flatten by themselves), and the unary ``op`` before the SOFTMAX.

    LOG_SOFTMAX is one that LiteRT's GPU does not have, CEIL one that OpenVINO's plug-in does not have.
    """
    weights, bias = _parameters(seed, 10)
    graph = _Graph("float32")
    image = graph.tensor(INPUT, SHAPE, 1, 0)
    flat = graph.tensor("flat", (1, weights.shape[1]), 1, 0)
    logits = graph.tensor("logits", (1, 10), 1, 0)
    scores = graph.tensor(OUTPUT, (1, 10), 1, 0)
    kernel, offset = graph.constant("weights", weights, 1), graph.constant("bias", bias, 1)
    graph.operator(schema.BuiltinOperator.RESHAPE, [image], flat)
    graph.operator(schema.BuiltinOperator.FULLY_CONNECTED, [flat, kernel, offset], logits)
    if op is not None:
        changed = graph.tensor("changed", (1, 10), 1, 0)
        graph.operator(getattr(schema.BuiltinOperator, op), [logits], changed)
        logits = changed
    graph.operator(schema.BuiltinOperator.SOFTMAX, [logits], scores)
    return graph.packed(image, scores)


def wide_input_tflite() -> bytes:
    """Ten int64 become float32 and then scores: int64 is what the buffers of LiteRT's accelerators do not hold."""
    graph = _Graph("float32")
    image = graph.tensor(INPUT, (1, 10), 1, 0)
    logits = graph.tensor("logits", (1, 10), 1, 0)
    scores = graph.tensor(OUTPUT, (1, 10), 1, 0)
    graph.retype(image, schema.TensorType.INT64)
    graph.operator(schema.BuiltinOperator.CAST, [image], logits)
    graph.operator(schema.BuiltinOperator.SOFTMAX, [logits], scores)
    return graph.packed(image, scores)


def remembering_tflite(seed: int = 0) -> bytes:
    """RNN and SOFTMAX over an 8 x 8 gray image: TFLite's own recurrent op, whose state lasts from run to run."""
    weights, bias = _parameters(seed, 10)
    graph = _Graph("float32")
    image = graph.tensor(INPUT, (1, weights.shape[1]), 1, 0)
    logits, scores = graph.tensor("logits", (1, 10), 1, 0), graph.tensor(OUTPUT, (1, 10), 1, 0)
    kernel, offset = graph.constant("weights", weights, 1), graph.constant("bias", bias, 1)
    recurrent = graph.constant("recurrent", np.eye(10, dtype=np.float32), 1)
    state = graph.variable("state", (1, 10))
    graph.operator(schema.BuiltinOperator.RNN, [image, kernel, recurrent, offset, state], logits)
    graph.operator(schema.BuiltinOperator.SOFTMAX, [logits], scores)
    return graph.packed(image, scores)


def endless_tflite() -> bytes:
    """A well-formed model of the same inputs and outputs whose WHILE never ends: only a deadline gets rid of it."""
    return _looping(body_loops_too=False)


def crashing_tflite() -> bytes:
    """A well-formed model whose loop is its own body: LiteRT 2.3 recurses over it until the stack ends (SIGSEGV)."""
    return _looping(body_loops_too=True)


def _looping(body_loops_too: bool) -> bytes:
    options = schema.WhileOptionsT()
    options.condSubgraphIndex, options.bodySubgraphIndex = 1, 2
    loop = schema.OperatorT()
    loop.inputs, loop.outputs = [0, 1], [2, 3]
    loop.builtinOptionsType, loop.builtinOptions = schema.BuiltinOptions.WhileOptions, options

    state = [("image", SHAPE, 0), ("start", (1, 10), 1)]
    main = _subgraph([*state, ("last", SHAPE, 0), (OUTPUT, (1, 10), 0)], [0], [3], [loop])
    condition = _subgraph([("a", SHAPE, 0), ("b", (1, 10), 0), ("true", (1,), 2)], [0, 1], [2], [])
    condition.tensors[2].type = schema.TensorType.BOOL
    inner = [("a", SHAPE, 0), ("b", (1, 10), 0), ("c", SHAPE, 0), ("d", (1, 10), 0)]
    body = _subgraph(inner, [0, 1], [2, 3] if body_loops_too else [0, 1], [loop] if body_loops_too else [])

    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.WHILE
    buffers = [schema.BufferT(), _buffer(np.zeros((1, 10), np.float32)), _buffer(np.array([True]))]
    return _packed([code], [main, condition, body], buffers)


def _subgraph(
    tensors: list[tuple[str, tuple[int, ...], int]],
    inputs: list[int],
    outputs: list[int],
    operators: list[schema.OperatorT],
) -> schema.SubGraphT:
    """Tensors are (name, shape, buffer), float32."""
    subgraph = schema.SubGraphT()
    subgraph.tensors = []
    for name, shape, buffer in tensors:
        tensor = schema.TensorT()
        tensor.name, tensor.shape, tensor.buffer = name.encode(), list(shape), buffer
        subgraph.tensors.append(tensor)
    subgraph.inputs, subgraph.outputs, subgraph.operators = inputs, outputs, operators
    return subgraph


def _buffer(values: NDArray[np.generic]) -> schema.BufferT:
    buffer = schema.BufferT()
    buffer.data = np.frombuffer(values.tobytes(), np.uint8)
    return buffer


def _packed(
    codes: list[schema.OperatorCodeT], subgraphs: list[schema.SubGraphT], buffers: list[schema.BufferT]
) -> bytes:
    model = schema.ModelT()
    model.version = 3
    model.operatorCodes, model.subgraphs, model.buffers = codes, subgraphs, buffers
    builder = flatbuffers.Builder(4096)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _parameters(seed: int, classes: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    random = np.random.default_rng(seed)
    pixels = SHAPE[1] * SHAPE[2]
    # Scores spread, yet logits stay within the -8..8 that the int8 variant can hold.
    weights = random.normal(0, 2 / np.sqrt(pixels), (classes, pixels)).astype(np.float32)
    return weights, random.normal(0, 0.2, classes).astype(np.float32)


class _Graph:
    """One subgraph under construction; tensors are float32, or int8 with the quantization given beside them."""

    def __init__(self, dtype: str) -> None:
        self._int8 = dtype == "int8"
        self._buffers = [schema.BufferT()]  # buffer 0 is empty: the schema's convention
        self._tensors: list[schema.TensorT] = []
        self._operators: list[schema.OperatorT] = []
        self._codes: list[schema.OperatorCodeT] = []

    def tensor(self, name: str, shape: tuple[int, ...], scale: float, zero_point: int, buffer: int = 0) -> int:
        tensor = schema.TensorT()
        tensor.name = name.encode()
        tensor.shape = list(shape)
        tensor.buffer = buffer
        tensor.type = schema.TensorType.FLOAT32
        if self._int8:
            tensor.type = schema.TensorType.INT8
            tensor.quantization = schema.QuantizationParametersT()
            tensor.quantization.scale = [scale]
            tensor.quantization.zeroPoint = [zero_point]
        self._tensors.append(tensor)
        return len(self._tensors) - 1

    def constant(self, name: str, values: NDArray[np.float32], scale: float, wide: bool = False) -> int:
        stored: NDArray[np.generic] = values
        if self._int8:
            stored = np.rint(values / scale).astype(np.int32 if wide else np.int8)
        self._buffers.append(_buffer(stored))
        index = self.tensor(name, values.shape, scale, 0, buffer=len(self._buffers) - 1)
        if self._int8 and wide:
            self._tensors[index].type = schema.TensorType.INT32
        return index

    def variable(self, name: str, shape: tuple[int, ...]) -> int:
        index = self.tensor(name, shape, 1, 0)
        self._tensors[index].isVariable = True
        return index

    def retype(self, tensor: int, kind: int) -> None:
        self._tensors[tensor].type = kind

    def operator(self, builtin: int, inputs: list[int], output: int) -> None:
        code = schema.OperatorCodeT()
        code.builtinCode = code.deprecatedBuiltinCode = builtin
        code.version = 4 if self._int8 and builtin == schema.BuiltinOperator.FULLY_CONNECTED else 1
        operator = schema.OperatorT()
        operator.opcodeIndex = len(self._codes)
        operator.inputs, operator.outputs = inputs, [output]
        if builtin == schema.BuiltinOperator.FULLY_CONNECTED:
            operator.builtinOptionsType = schema.BuiltinOptions.FullyConnectedOptions
            operator.builtinOptions = schema.FullyConnectedOptionsT()
        elif builtin == schema.BuiltinOperator.RESHAPE:
            operator.builtinOptionsType = schema.BuiltinOptions.ReshapeOptions
            operator.builtinOptions = schema.ReshapeOptionsT()
            operator.builtinOptions.newShape = list(self._tensors[output].shape)
        elif builtin == schema.BuiltinOperator.RNN:
            operator.builtinOptionsType = schema.BuiltinOptions.RNNOptions
            operator.builtinOptions = schema.RNNOptionsT()
            operator.builtinOptions.fusedActivationFunction = schema.ActivationFunctionType.TANH
        elif builtin == schema.BuiltinOperator.SOFTMAX:
            operator.builtinOptionsType = schema.BuiltinOptions.SoftmaxOptions
            operator.builtinOptions = schema.SoftmaxOptionsT()
            operator.builtinOptions.beta = 1.0
        self._codes.append(code)
        self._operators.append(operator)

    def packed(self, image: int, scores: int) -> bytes:
        subgraph = schema.SubGraphT()
        subgraph.tensors, subgraph.operators = self._tensors, self._operators
        subgraph.inputs, subgraph.outputs = [image], [scores]
        return _packed(self._codes, [subgraph], self._buffers)
