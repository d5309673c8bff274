"""Damaged models: bytes that were hit at random, and well-formed files whose contents were edited.

Both kinds are made of a real model and a seeded generator: the same seed makes the same mutants.
"""

from collections.abc import Callable, Iterator
from random import Random

import flatbuffers  # type: ignore[import-untyped]
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

Model = schema.ModelT
Edit = Callable[[Model, Random], None]


def mutants(models: list[bytes], count: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """``count`` mutants of ``models`` in turn, half of each kind, with a word for what was done to them.

    None is a copy: one whose bytes came out as they were (zeros that were zeroed) is made again.
    """
    random = Random(seed)
    for number in range(count):
        model = models[number // 2 % len(models)]
        kind, mutant = "", model
        while mutant == model:
            kind, mutant = damaged(model, random) if number % 2 else edited(model, random)
        yield kind, mutant


def damaged(model: bytes, random: Random) -> tuple[str, bytes]:
    """A copy whose bytes were hit: what a bad card, a cut download or a bad cable leaves."""
    data, at = bytearray(model), random.randrange(len(model))
    kind = random.choice(("bits", "bytes", "cut", "removed", "inserted", "zeroed", "moved"))
    length = random.choice((1, 4, 64, 1024))
    match kind:
        case "bits":
            for _ in range(random.choice((1, 1, 2, 8))):
                data[random.randrange(len(data))] ^= 1 << random.randrange(8)
        case "bytes":
            for _ in range(random.choice((1, 4, 16))):
                data[random.randrange(len(data))] = random.randrange(256)
        case "cut":
            del data[at:]
        case "removed":
            del data[at : at + length]
        case "inserted":
            data[at:at] = random.randbytes(length)
        case "zeroed":
            data[at : at + length] = bytes(len(data[at : at + length]))
        case "moved":
            piece = bytes(data[at : at + length])
            to = random.randrange(len(data))
            data[to : to + len(piece)] = piece
    return kind, bytes(data)


def edited(model: bytes, random: Random) -> tuple[str, bytes]:
    """A well-formed file with other contents: what a bug in a converter writes, or somebody with bad intentions."""
    while True:
        tree = schema.ModelT.InitFromObj(schema.Model.GetRootAs(model, 0))
        edits = random.sample(EDITS, random.choice((1, 1, 1, 2, 3)))
        try:
            for edit in edits:
                edit(tree, random)
            return "+".join(edit.__name__ for edit in edits), packed(tree)
        except (IndexError, TypeError, ValueError):
            continue  # an earlier edit has left nothing to edit, or a number does not fit its field


def packed(tree: Model) -> bytes:
    """The file of a model's objects."""
    builder = flatbuffers.Builder(4096)
    builder.Finish(tree.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _tensor(tree: Model, random: Random) -> schema.TensorT:
    return random.choice(_graph(tree, random).tensors)


def _graph(tree: Model, random: Random) -> schema.SubGraphT:
    return random.choice(tree.subgraphs)


def _operator(tree: Model, random: Random) -> schema.OperatorT:
    return random.choice(_graph(tree, random).operators)


def _index(tree: Model, random: Random) -> int:
    tensors = len(tree.subgraphs[0].tensors)
    return random.choice((random.randrange(tensors), random.randrange(tensors), -1, tensors, 1 << 20, -(1 << 31)))


def _size(random: Random) -> int:
    return random.choice((0, 1, 2, 3, 7, 10, 64, 1000, 1 << 16, (1 << 31) - 1, -1, -(1 << 31)))


def op_code(tree: Model, random: Random) -> None:
    code = random.choice(tree.operatorCodes)
    code.builtinCode = random.choice((random.randrange(0, 210), 127, 1000, 1 << 30))
    code.deprecatedBuiltinCode = min(code.builtinCode, 127)


def op_version(tree: Model, random: Random) -> None:
    random.choice(tree.operatorCodes).version = random.choice((0, 2, 5, 99, -1, 1 << 30))


def custom_op(tree: Model, random: Random) -> None:
    code = random.choice(tree.operatorCodes)
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.CUSTOM
    code.customCode = random.choice((b"Mystery", b"", b"TFLite_Detection_PostProcess", b"\xff" * 40))


def op_code_index(tree: Model, random: Random) -> None:
    _operator(tree, random).opcodeIndex = random.choice((0, len(tree.operatorCodes), 1 << 30, (1 << 32) - 1))


def op_input(tree: Model, random: Random) -> None:
    operator = _operator(tree, random)
    operator.inputs = _with_another(operator.inputs, _index(tree, random), random)


def op_output(tree: Model, random: Random) -> None:
    operator = _operator(tree, random)
    operator.outputs = _with_another(operator.outputs, _index(tree, random), random)


def op_cycle(tree: Model, random: Random) -> None:
    """An op takes what a later one makes, or what it makes itself."""
    operators = _graph(tree, random).operators
    first = random.randrange(len(operators))
    made = random.choice(operators[first:]).outputs
    operators[first].inputs = _with_another(operators[first].inputs, int(made[0]), random)


def _with_another(indexes: NDArray[np.int32], index: int, random: Random) -> list[int]:
    # The schema's arrays are views of the file, which cannot be written to.
    changed = [int(old) for old in indexes]
    changed[random.randrange(len(changed))] = index
    return changed


def op_inputs_shuffled(tree: Model, random: Random) -> None:
    operator = _operator(tree, random)
    operator.inputs = random.sample(list(operator.inputs), len(operator.inputs))


def op_inputs_fewer(tree: Model, random: Random) -> None:
    operator = _operator(tree, random)
    operator.inputs = list(operator.inputs)[: random.randrange(len(operator.inputs))]


def op_outputs_more(tree: Model, random: Random) -> None:
    operator = _operator(tree, random)
    operator.outputs = [*operator.outputs, *(_index(tree, random) for _ in range(3))]


def op_options(tree: Model, random: Random) -> None:
    having = [operator.builtinOptions for operator in _graph(tree, random).operators if operator.builtinOptions]
    options = random.choice([options for options in having if _numbers(options)])
    name = random.choice(_numbers(options))
    value = getattr(options, name)
    wild = (0, -1, 1, 100, (1 << 31) - 1)
    setattr(options, name, random.choice(wild) if isinstance(value, int) else random.choice((0.0, -1e30, float("nan"))))


def _numbers(options: object) -> list[str]:
    return [key for key, value in vars(options).items() if isinstance(value, int | float)]


def op_options_gone(tree: Model, random: Random) -> None:
    operator = _operator(tree, random)
    operator.builtinOptions, operator.builtinOptionsType = None, 0


def op_order(tree: Model, random: Random) -> None:
    random.shuffle(_graph(tree, random).operators)


def op_gone(tree: Model, random: Random) -> None:
    operators = _graph(tree, random).operators
    del operators[random.randrange(len(operators))]


def op_twice(tree: Model, random: Random) -> None:
    operators = _graph(tree, random).operators
    operators.append(random.choice(operators))


def tensor_shape(tree: Model, random: Random) -> None:
    tensor = _tensor(tree, random)
    shape = list(tensor.shape)
    shape[random.randrange(len(shape))] = _size(random)
    tensor.shape = shape


def tensor_rank(tree: Model, random: Random) -> None:
    _tensor(tree, random).shape = [_size(random) for _ in range(random.choice((0, 1, 2, 5, 9, 40)))]


def tensor_type(tree: Model, random: Random) -> None:
    _tensor(tree, random).type = random.choice((*range(20), 100))


def tensor_buffer(tree: Model, random: Random) -> None:
    _tensor(tree, random).buffer = random.choice((0, 1, len(tree.buffers) - 1, len(tree.buffers), (1 << 32) - 1))


def tensor_variable(tree: Model, random: Random) -> None:
    _tensor(tree, random).isVariable = True


def quantization(tree: Model, random: Random) -> None:
    parameters = schema.QuantizationParametersT()
    parameters.scale = random.choice(([], [0.0], [float("nan")], [1e30], [-1.0], [0.1] * 3))
    parameters.zeroPoint = random.choice(([], [0], [1 << 40], [-129], [0] * 7))
    parameters.quantizedDimension = random.choice((0, 1, -1, 100))
    _tensor(tree, random).quantization = parameters


def weights(tree: Model, random: Random) -> None:
    buffer = random.choice([buffer for buffer in tree.buffers if buffer.data is not None and len(buffer.data)])
    data = np.array(buffer.data, np.uint8)
    at = random.randrange(len(data))
    data[at : at + random.choice((1, 4, 64, 1 << 20))] = random.choice((0, 0x7F, 0xFF))
    buffer.data = data


def weights_fewer(tree: Model, random: Random) -> None:
    buffer = random.choice([buffer for buffer in tree.buffers if buffer.data is not None and len(buffer.data)])
    buffer.data = np.array(buffer.data, np.uint8)[: random.randrange(len(buffer.data))]


def weights_elsewhere(tree: Model, random: Random) -> None:
    buffer = random.choice(tree.buffers)
    buffer.data = None
    buffer.offset, buffer.size = random.choice((8, 1 << 40)), random.choice((16, 1 << 40))


def graph_inputs(tree: Model, random: Random) -> None:
    tree.subgraphs[0].inputs = [_index(tree, random) for _ in range(random.choice((0, 1, 2, 30)))]


def graph_outputs(tree: Model, random: Random) -> None:
    tree.subgraphs[0].outputs = [_index(tree, random) for _ in range(random.choice((0, 1, 2, 30)))]


def graph_exchanged(tree: Model, random: Random) -> None:
    graph = tree.subgraphs[0]
    graph.inputs, graph.outputs = graph.outputs, graph.inputs


def graph_twice(tree: Model, random: Random) -> None:
    tree.subgraphs.append(tree.subgraphs[0])


def graph_gone(tree: Model, random: Random) -> None:
    tree.subgraphs = []


def control_flow(tree: Model, random: Random) -> None:
    """The op becomes a WHILE or an IF over a graph that may be its own."""
    operator = _operator(tree, random)
    code = schema.OperatorCodeT()
    options: schema.WhileOptionsT | schema.IfOptionsT
    if random.random() < 0.5:
        options = schema.WhileOptionsT()
        options.condSubgraphIndex, options.bodySubgraphIndex = random.choice((0, 1, -1, 99)), random.choice((0, 1, 7))
        code.builtinCode, operator.builtinOptionsType = schema.BuiltinOperator.WHILE, schema.BuiltinOptions.WhileOptions
    else:
        options = schema.IfOptionsT()
        options.thenSubgraphIndex, options.elseSubgraphIndex = random.choice((0, 1, -1)), random.choice((0, 1, 99))
        code.builtinCode, operator.builtinOptionsType = schema.BuiltinOperator.IF, schema.BuiltinOptions.IfOptions
    code.deprecatedBuiltinCode = code.builtinCode
    tree.operatorCodes.append(code)
    operator.builtinOptions, operator.opcodeIndex = options, len(tree.operatorCodes) - 1


EDITS: list[Edit] = [
    op_code, op_version, custom_op, op_code_index, op_input, op_output, op_cycle, op_inputs_shuffled, op_inputs_fewer,
    op_outputs_more, op_options, op_options_gone, op_order, op_gone, op_twice, tensor_shape, tensor_rank, tensor_type,
    tensor_buffer, tensor_variable, quantization, weights, weights_fewer, weights_elsewhere, graph_inputs,
    graph_outputs, graph_exchanged, graph_twice, graph_gone, control_flow,
]  # fmt: skip
