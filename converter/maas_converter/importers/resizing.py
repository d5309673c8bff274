"""Other input sizes for a ``.tflite`` file: open ones fixed, a fixed batch of several samples made a batch of 1.

LiteRT itself says what sizes the tensors between have then. Whether the file still answers what it answered is tried:
the file as it was, resized by the interpreter, and the new one get the same samples.
"""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maas_agent.errors import DataError, RuntimeFailure
from maas_agent.runtime import library
from maas_agent.runtime.interface import Model
from maas_agent.runtime.native import one_line, quiet
from maas_agent.runtime.selection import accelerator
from maas_converter.importers.agreement import seeded
from maas_converter.tflite import model as files
from maas_converter.tflite.contents import contents_of

Shape = tuple[int, ...]

_SHARE = 1e-4
"""Floats may differ by so much of an output's largest value: sums of a batch are made in another order."""

_SIZES = {"RESHAPE": 1, "BROADCAST_TO": 1, "FILL": 0, "SLICE": 2, "TRANSPOSE_CONV": 0, "CONV_3D_TRANSPOSE": 0}
"""Ops that are told the sizes of what they make, and the input that tells them."""


def resized(data: bytes, shapes: Sequence[Shape]) -> bytes:
    """``data`` with inputs of ``shapes``, and every size between that follows from them fixed.

    Where an input has a batch of several samples and is asked for a batch of 1, sizes that are written into the graph
    are made those of one sample, if it does not do without. Raises `DataError` if it cannot be run on these shapes, or
    does not answer then as ``data`` does.
    """
    batch = _batch(data, shapes)
    reasons = []
    for divided in (batch, 1) if batch > 1 else (1,):
        try:
            made = _with_shapes(data, shapes, divided)
            _check_answers(data, made, batch)
            return made
        except DataError as error:
            reasons.append(str(error))
    raise DataError(reasons[0])


def _batch(data: bytes, shapes: Sequence[Shape]) -> int:
    """How many samples a run of ``data`` takes of which ``shapes`` have one; raises `DataError` if inputs differ."""
    batches = {
        tensor.shape[0] if tensor.shape[0] > 1 and shape[0] == 1 else 1
        for tensor, shape in zip(contents_of(data).inputs, shapes, strict=True)
        if shape
    }
    if len(batches) > 1:
        raise DataError("its inputs have batches of different sizes")
    return batches.pop() if batches else 1


def _with_shapes(data: bytes, shapes: Sequence[Shape], batch: int) -> bytes:
    model = files.parse(data)
    graph = model.subgraphs[0]
    for index, shape in zip(graph.inputs, shapes, strict=True):
        graph.tensors[index].shape, graph.tensors[index].shapeSignature = list(shape), None
    if batch > 1:
        _divide(model, batch)
    _write_shapes(model, _shapes_between(files.serialize(model), len(model.subgraphs)))
    return files.serialize(model)


def _divide(model: Any, batch: int) -> None:
    """Make sizes and states that the graph holds for ``batch`` samples those of one."""
    graph = model.subgraphs[0]
    telling = set()  # two ops may be told by one constant
    for op in graph.operators:
        place = _SIZES.get(files.op_name(model, op))
        if place is not None and place < len(op.inputs):
            telling.add(int(op.inputs[place]))
        options = getattr(op.builtinOptions, "newShape", None)
        if options is not None and len(options):
            op.builtinOptions.newShape = _of_one(options, batch)
    for index in telling:
        sizes = np.frombuffer(files.data_of(model, graph.tensors[index]), files.type_name(graph.tensors[index]))
        if sizes.size:
            files.store(model, graph.tensors[index], np.array(_of_one(sizes.tolist(), batch), sizes.dtype).tobytes())
    for tensor in graph.tensors:
        if tensor.isVariable and len(tensor.shape):  # what TFLite's own LSTM keeps of each sample
            tensor.shape = _of_one(tensor.shape, batch)


def _of_one(sizes: Sequence[int], batch: int) -> list[int]:
    first, *rest = map(int, sizes)
    return [first // batch if first % batch == 0 else first, *rest]


def _shapes_between(data: bytes, graphs: int) -> list[dict[int, Shape]]:
    """By graph and tensor, the sizes in a run; of the first graph only those that are the same in every run."""
    interpreter = _interpreter(data)
    seen = []
    try:
        for value in (1, 0):
            for taken in interpreter.get_input_details():
                interpreter.set_tensor(taken["index"], np.full(taken["shape"], value, taken["dtype"]))
            interpreter.invoke()
            seen.append([_shapes(interpreter, number) for number in range(graphs)])
    except (ValueError, RuntimeError) as error:
        raise _cannot(error) from None
    first, second = seen
    return [{index: shape for index, shape in first[0].items() if second[0].get(index) == shape}, *first[1:]]


def _shapes(interpreter: Any, graph: int) -> dict[int, Shape]:
    details = interpreter.get_tensor_details(graph) if graph else interpreter.get_tensor_details()
    return {detail["index"]: tuple(map(int, detail["shape"])) for detail in details}


def _write_shapes(model: Any, shapes: list[dict[int, Shape]]) -> None:
    """Constants keep theirs; open sizes of a loop's body stay open, they are steps that are counted while it runs."""
    for number, (graph, known) in enumerate(zip(model.subgraphs, shapes, strict=True)):
        for index, tensor in enumerate(graph.tensors or ()):
            if index in known and not files.data_of(model, tensor):
                tensor.shape = list(known[index])
                tensor.shapeSignature = tensor.shapeSignature if number else None


def _check_answers(data: bytes, made: bytes, batch: int) -> None:
    """Raise `DataError` unless ``made`` answers to each of ``2 * batch`` samples what ``data`` answers to them."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "model.tflite"
        path.write_bytes(made)
        try:
            model = accelerator("cpu").load(path, 1)
            samples = [_so_many(values, 2 * batch) for values in seeded(model.inputs, contents_of(made)).inputs]
            for first in (0, batch):
                _compare(data, model, [values[first : first + batch] for values in samples])
        except RuntimeFailure as error:
            raise _cannot(error) from None


def _so_many(values: NDArray[Any], count: int) -> NDArray[Any]:
    return values[np.arange(count) % len(values)]


def _compare(data: bytes, model: Model, samples: list[NDArray[Any]]) -> None:
    """``samples`` are (N, …tensor) for each input of ``model``; ``data`` takes them at once."""
    count = len(samples[0])
    wanted = _answers(data, [values.reshape(-1, *values.shape[2:]) for values in samples])
    rows = [model.run([np.ascontiguousarray(values[number]) for values in samples]) for number in range(count)]
    for tensor, whole, parts in zip(model.outputs, wanted, zip(*rows, strict=True), strict=True):
        if count > 1 and any(whole.shape != (count * len(part), *part.shape[1:]) for part in map(np.atleast_1d, parts)):
            raise DataError(f"its output {tensor.name!r}, {list(whole.shape)}, has not one part for each sample")
        found = np.concatenate(parts) if count > 1 else parts[0]
        if found.shape != whole.shape or not _same(whole, found):
            cause = (
                "an answer depends on the other samples of its batch" if count > 1 else "LiteRT resizes it otherwise"
            )
            raise DataError(f"its output {tensor.name!r} is another one then: {cause}")


def _answers(data: bytes, inputs: list[NDArray[Any]]) -> list[NDArray[Any]]:
    interpreter = _interpreter(data, [values.shape for values in inputs])
    try:
        for taken, values in zip(interpreter.get_input_details(), inputs, strict=True):
            interpreter.set_tensor(taken["index"], values)
        interpreter.invoke()
    except (ValueError, RuntimeError) as error:
        raise _cannot(error) from None
    return [np.array(interpreter.get_tensor(detail["index"])) for detail in interpreter.get_output_details()]


def _same(wanted: NDArray[Any], found: NDArray[Any]) -> bool:
    if wanted.dtype.kind == "f":
        size = float(np.max(np.abs(wanted), initial=0.0, where=np.isfinite(wanted)))
        return bool(np.allclose(found, wanted, rtol=0, atol=_SHARE * max(size, 1e-6), equal_nan=True))
    if wanted.dtype.kind == "b":
        return bool(np.array_equal(wanted, found))
    # A quantized step that is rounded may go either way.
    return bool(np.all(np.abs(wanted.astype(np.int64) - found.astype(np.int64)) <= 1))


def _interpreter(data: bytes, shapes: Sequence[Shape] = ()) -> Any:
    """One that runs every op by itself: a delegate hides the sizes of what it makes on the way."""
    module = library.interpreter_module("auto")
    plain = module.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    try:
        with quiet():
            interpreter = module.Interpreter(model_content=data, experimental_op_resolver_type=plain)
            for taken, shape in zip(interpreter.get_input_details(), shapes, strict=False):
                interpreter.resize_tensor_input(taken["index"], shape)
            interpreter.allocate_tensors()
        return interpreter
    except (ValueError, RuntimeError, TypeError) as error:
        raise _cannot(error) from None


def _cannot(error: Exception) -> DataError:
    return DataError(f"LiteRT cannot run it so: {one_line(str(error))}")
