"""LiteRT's ``CompiledModel``: how models run on GPUs and NPUs."""

from collections.abc import Callable
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from maas_agent.bundle.manifest import Tensor
from maas_agent.errors import RuntimeFailure
from maas_agent.runtime.interface import Array, Share
from maas_agent.runtime.native import errors_in, quiet
from maas_agent.runtime.tensors import tensor_of

_DTYPES = ("float32", "float16", "int32", "int8", "uint8", "bool")
"""What LiteRT's tensor buffers hold."""

_KEEP_STATE = {
    "LSTM",
    "RNN",
    "SVDF",
    "UNIDIRECTIONAL_SEQUENCE_LSTM",
    "UNIDIRECTIONAL_SEQUENCE_RNN",
    "BIDIRECTIONAL_SEQUENCE_LSTM",
    "BIDIRECTIONAL_SEQUENCE_RNN",
}
"""Ops whose variables last from one run to the next; a ``CompiledModel`` has no way to reset them."""

Compile = Callable[[str], Any]
"""Makes a ``CompiledModel`` of a path."""


class CompiledTfliteModel:
    """A compiled model; see `maas_agent.runtime.interface.Model`.

    A ``CompiledModel`` knows neither quantization nor the order of the file's inputs and outputs: they are taken from
    an interpreter on the same file, which runs nothing.
    """

    def __init__(self, compiled: Any, interpreter: Any, share: Share) -> None:
        self.share: Share | None = share
        signature = compiled.get_signature_by_index(0)
        self._compiled = compiled
        self._taken = _in_order(
            interpreter.get_input_details(),
            signature["inputs"],
            compiled.get_input_tensor_details(signature["key"]),
            compiled.create_input_buffers(0),
        )
        self._made = _in_order(
            interpreter.get_output_details(),
            signature["outputs"],
            compiled.get_output_tensor_details(signature["key"]),
            compiled.create_output_buffers(0),
        )
        self.inputs = tuple(tensor for tensor, _, _ in self._taken)
        self.outputs = tuple(tensor for tensor, _, _ in self._made)
        self._input_buffers = [buffer for _, _, buffer in sorted(self._taken, key=lambda entry: entry[1])]
        self._output_buffers = [buffer for _, _, buffer in sorted(self._made, key=lambda entry: entry[1])]

    def run(self, inputs: list[Array]) -> list[Array]:
        """Run one inference; raises `RuntimeFailure` if a tensor does not fit or the accelerator fails."""
        try:
            for (tensor, _, buffer), values in zip(self._taken, inputs, strict=True):
                if values.shape != tensor.shape or values.dtype.name != tensor.dtype:
                    raise ValueError(
                        f"input {tensor.name!r} takes {list(tensor.shape)} {tensor.dtype}, "
                        f"not {list(values.shape)} {values.dtype}"
                    )
                buffer.write(values)
            self._compiled.run_by_index(0, self._input_buffers, self._output_buffers)
            return [_read(tensor, buffer) for tensor, _, buffer in self._made]
        except (ValueError, RuntimeError, TypeError) as error:
            raise RuntimeFailure(f"inference failed: {error}") from None


def compiled_model(path: Path, compile_: Compile) -> tuple[Any, str]:
    """What ``compile_`` makes of ``path``, and what the library said meanwhile; raises `RuntimeFailure`."""
    _refuse_state(path)
    try:
        with quiet() as said:
            compiled = compile_(str(path))
    except (ValueError, RuntimeError, TypeError) as error:
        reason = errors_in(said.text) or str(error).strip().rpartition("\n")[2]
        raise RuntimeFailure(f"{path.name} cannot be compiled: {reason}") from None
    return compiled, said.text


def loaded(compiled: Any, path: Path, share: Share) -> CompiledTfliteModel:
    """The compiled model with the tensors of the file at ``path``; raises `RuntimeFailure` if they cannot be passed."""
    interpreter = _interpreter(path)
    try:
        with quiet():
            model = CompiledTfliteModel(compiled, interpreter, share)
            # The first use of a buffer makes another environment of the library's own, which greets as well.
            model.run([np.zeros(tensor.shape, tensor.dtype) for tensor in model.inputs])
            return model
    except (ValueError, RuntimeError, TypeError, KeyError) as error:
        raise RuntimeFailure(f"{path.name} cannot be run compiled: {error}") from None


def _refuse_state(path: Path) -> None:
    """Before it is compiled: LiteRT 2.3 says of such a model no more than that variables are not yet supported."""
    kept = sorted({op["op_name"] for op in _interpreter(path)._get_ops_details()} & _KEEP_STATE)
    if kept:
        raise RuntimeFailure(f"{path.name} keeps a state in {', '.join(kept)}, which only the processor resets")


def count_ops(path: Path) -> int:
    """How many ops the file's main graph has."""
    return len(_interpreter(path)._get_ops_details())


def _interpreter(path: Path) -> Any:
    from ai_edge_litert.interpreter import Interpreter

    try:
        with quiet():
            return Interpreter(model_path=str(path))
    except (ValueError, RuntimeError, TypeError) as error:
        raise RuntimeFailure(f"{path.name} cannot be loaded: {error}") from None


def _in_order(
    details: list[dict[str, Any]], names: list[str], compiled: dict[str, Any], buffers: list[Any]
) -> list[tuple[Tensor, int, Any]]:
    """For each of the interpreter's tensors, in its order: the tensor, its place in the signature, its buffer."""
    place = {compiled[name]["index"]: number for number, name in enumerate(names)}
    entries = []
    for detail in details:
        tensor = tensor_of(detail)
        if tensor.dtype not in _DTYPES:
            raise ValueError(f"tensor {tensor.name!r} is {tensor.dtype}, which LiteRT passes to no accelerator")
        number = place[detail["index"]]
        entries.append((tensor, number, buffers[number]))
    return entries


def _read(tensor: Tensor, buffer: Any) -> Array:
    values: Array = np.array(buffer.read(prod(tensor.shape), np.dtype(tensor.dtype)), copy=True)
    return values.reshape(tensor.shape)
