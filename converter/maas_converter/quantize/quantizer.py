"""litert-quantizer behind two functions: what each tensor's range is, and a model as a list of entries says.

The library has no error classes and draws progress bars of its own: both end here.
"""

import contextlib
import io
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from maas_agent.errors import DataError, MaasError, RuntimeFailure
from maas_converter.base.extras import require
from maas_converter.quantize.entries import Entry
from maas_converter.quantize.rewriting import stand_ins
from maas_converter.quantize.rewriting.biases import Steps, with_room
from maas_converter.quantize.rewriting.unread import has_unread, like_their_siblings
from maas_converter.tflite.contents import Contents, OpFacts, contents_of
from maas_converter.tflite.signature import ordered_like

Array = NDArray[np.generic]

_LARGEST = 3e38
"""Values beyond it are marks, not numbers: a padding with minus infinity before a maximum has no part in a range."""

_MOST_VALUES = 1 << 16

_NAMES = {"TRANSPOSE_CONV": "CONV_2D_TRANSPOSE"} | {name: found.name for name, found in stand_ins.STAND_INS.items()}

_INSTEAD = "try --quantize dynamic, which needs no ranges, or float32"


class Feed(msgspec.Struct, frozen=True):
    """What a model's inputs are given, one sample at a time: all of them at once need not fit into memory."""

    count: int
    at: Callable[[int], list[Array]]
    """By the sample's number: one whole tensor for each input."""


class Range(msgspec.Struct, frozen=True):
    """The smallest and the largest value that any sample gave a tensor, in real units."""

    low: float
    high: float


Ranges = dict[str, Range]
"""By tensor name, of every tensor the model computes."""


def ranges_of(float32: bytes, inputs: Iterable[Array | Sequence[Array]]) -> Ranges:
    """Run the float model over ``inputs`` and note every tensor's range; a model of several takes a sequence of them.

    They depend on no recipe: one pass serves any number of them. Raises `DataError` if there are no inputs or one
    makes a tensor NaN or infinite, `RuntimeFailure` if the model cannot be run.
    """
    require("calibration", "litert_quantizer")
    contents = contents_of(float32)
    _refuse_loops(contents)
    with _library_errors("calibration failed"):
        interpreter = _interpreter(float32)
        places = [detail["index"] for detail in interpreter.get_input_details()]
        watched = _watched(contents)
        seen: Ranges = {}
        for number, given in enumerate(inputs):
            for place, values in zip(places, [given] if isinstance(given, np.ndarray) else given, strict=True):
                interpreter.set_tensor(place, values)
            interpreter.reset_all_variables()
            interpreter.invoke()
            for name, index in watched:
                seen[name] = _widened(seen.get(name), interpreter.get_tensor(index), name, number)
    if not seen:
        raise DataError("calibration has no samples")
    return seen


def apply(float32: bytes, entries: list[Entry], ranges: Ranges | None, steps: Steps | None = None) -> bytes:
    """The model quantized as ``entries`` say; ``ranges`` are needed where activations get fixed ones.

    ``steps`` are those that weights were trained with, if they were.

    The same arguments always give the same bytes. Raises `RuntimeFailure` with the op, where it is known, and what
    to try instead.
    """
    require("quantizing", "litert_quantizer")
    contents = contents_of(float32)
    if ranges is not None:
        _refuse_loops(contents)
    with _library_errors("this model cannot be quantized", contents), _silenced():
        from litert_quantizer import quantizer

        work = quantizer.Quantizer(bytearray(float32))
        work.load_quantization_recipe(entries)
        bits = _activation_bits(entries)
        known = _statistics(contents, ranges | _prescribed(contents, bits)) if ranges is not None else None
        with stand_ins.known(bits):
            made = bytes(work.quantize(known, enable_progress_report=False).quantized_model)
    made = like_their_siblings(made) if has_unread(contents) else made
    if ranges is not None or steps:
        made = with_room(float32, made, steps or {})
    return ordered_like(float32, made)


def _prescribed(contents: Contents, bits: set[int]) -> Ranges:
    ops = [
        op for op in contents.ops if op.name in stand_ins.PRESCRIBED and bits <= set(stand_ins.STAND_INS[op.name].bits)
    ]
    return {contents.output_of(op).name: Range(*stand_ins.PRESCRIBED[op.name]) for op in ops}


def _activation_bits(entries: list[Entry]) -> set[int]:
    configs = (entry["op_config"].get("activation_tensor_config") for entry in entries)
    return {int(config["num_bits"]) for config in configs if config is not None}


def values_of(
    float32: bytes, inputs: Iterable[Sequence[Array]], tensors: Sequence[int], *, whole: bool = False
) -> dict[int, NDArray[np.generic]]:
    """Run the float model over ``inputs``: what each of ``tensors`` of its first graph holds, (N, …tensor).

    Of a tensor of more than 65,536 values some are kept, an even choice along its longest axis, unless the
    ``whole`` is asked for. Raises as `ranges_of`.
    """
    require("calibration", "litert_quantizer")
    gathered: dict[int, list[NDArray[np.generic]]] = {index: [] for index in tensors}
    with _library_errors("calibration failed"):
        interpreter = _interpreter(float32)
        places = [detail["index"] for detail in interpreter.get_input_details()]
        for given in inputs:
            for place, values in zip(places, given, strict=True):
                interpreter.set_tensor(place, values)
            interpreter.reset_all_variables()
            interpreter.invoke()
            for index, kept in gathered.items():
                values = interpreter.get_tensor(index)
                kept.append(values.copy() if whole else _thinned(values))
    return {index: np.stack(kept) for index, kept in gathered.items() if kept}


def _thinned(values: NDArray[np.generic]) -> NDArray[np.generic]:
    if values.size <= _MOST_VALUES:
        return values
    axis = int(np.argmax(values.shape))
    step = -(-values.size // _MOST_VALUES)
    return values[(slice(None),) * axis + (slice(None, None, step),)].copy()


def knows(op: OpFacts) -> bool:
    """Whether the library can quantize such an op at all."""
    from litert_quantizer import qtyping

    return name_of(op) in {name.value for name in qtyping.TFLOperationName}


def name_of(op: OpFacts) -> str:
    """What the library calls the op."""
    return _NAMES.get(op.name, op.name)


def _interpreter(float32: bytes) -> Any:
    from litert_quantizer.utils import tfl_interpreter_utils

    with _silenced():
        return tfl_interpreter_utils.create_tfl_interpreter(float32, num_threads=1, preserve_all_tensors=True)


def _watched(contents: Contents) -> list[tuple[str, int]]:
    """Name and index of the tensors that are computed and that something reads: others are never written."""
    graph = contents.graphs[0]
    made = {index for op in graph.ops for index in op.outputs} | set(graph.inputs)
    read = {index for op in graph.ops for index in op.inputs} | set(graph.outputs)
    tensors = (graph.tensors[index] for index in sorted(made & read) if index >= 0)
    return [(tensor.name, tensor.index) for tensor in tensors if 0 not in tensor.shape and tensor.dtype != "string"]


def _widened(so_far: Range | None, values: NDArray[Any], name: str, sample: int) -> Range:
    low, high = float(values.min()), float(values.max())
    if low < -_LARGEST or high > _LARGEST:
        ordinary = values[np.abs(values) < _LARGEST]
        low, high = (float(ordinary.min()), float(ordinary.max())) if ordinary.size else (np.nan, np.nan)
    if np.isnan(low) or np.isnan(high):
        raise DataError(f"calibration sample {sample} makes the float model's tensor {name!r} NaN or infinite")
    return Range(low, high) if so_far is None else Range(min(so_far.low, low), max(so_far.high, high))


def _statistics(contents: Contents, ranges: Ranges) -> dict[str, dict[str, NDArray[np.float32]]]:
    """Ranges as the library keeps them: arrays with as many dimensions as the tensor has."""
    ranks = {tensor.name: len(tensor.shape) for graph in contents.graphs for tensor in graph.tensors}
    return {
        name: {
            "min": np.full((1,) * ranks[name], span.low, np.float32),
            "max": np.full((1,) * ranks[name], span.high, np.float32),
        }
        for name, span in ranges.items()
        if name in ranks
    }


def _refuse_loops(contents: Contents) -> None:
    if not contents.has_control_flow:
        return
    named = sorted({op.name for op in contents.ops if op.name in ("WHILE", "IF", "CALL_ONCE", "CALL")})
    raise RuntimeFailure(
        f"this model has {' and '.join(named) or 'calls'} ops: the ranges of what is inside cannot be measured, so "
        "activations cannot be quantized. A recurrent layer has to be unrolled when the model is imported; "
        f"or {_INSTEAD}"
    )


@contextlib.contextmanager
def _library_errors(what: str, contents: Contents | None = None) -> Iterator[None]:
    try:
        yield
    except MaasError:
        raise
    except Exception as error:  # no error classes: it raises whatever an op or tensor it does not know causes
        reason = next(iter(str(error).splitlines()), "").strip().rstrip(".") or type(error).__name__
        raise RuntimeFailure(f"{what}: {reason}{_place(reason, contents)}; {_INSTEAD}") from error


def _place(reason: str, contents: Contents | None) -> str:
    """The op a message of the library is about, where it names one of the model's tensors."""
    for op in contents.ops if contents is not None else ():
        name = contents.output_of(op).name if contents is not None and op.outputs else ""
        if name and re.search(rf"(?<![\w/]){re.escape(name)}(?![\w/])", reason):
            return f" (op {op.name})"
    return ""


@contextlib.contextmanager
def _silenced() -> Iterator[None]:
    # It warns about a debugging mode that calibration needs, and draws bars.
    drain = io.StringIO()
    with contextlib.redirect_stderr(drain), contextlib.redirect_stdout(drain), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
