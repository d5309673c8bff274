"""What a model does to its input before anything else: a Rescaling layer tells which values it was trained on."""

from typing import Any

import numpy as np

from maas_converter.quantize.guard.finding import Scaling
from maas_converter.tflite import model as files


def scaling_of(float32: bytes) -> Scaling | None:
    """The scalar steps that a model begins with, as one; ``None`` if it begins with none.

    Raises `DataError` if ``float32`` is no TFLite model.
    """
    model = files.parse(float32)
    graph = model.subgraphs[0]
    at, scale, offset, found = int(graph.inputs[0]), 1.0, 0.0, False
    while (step := _step(model, graph, at)) is not None:
        at, name, value = step
        found = True
        match name:
            case "MUL":
                scale, offset = scale * value, offset * value
            case "DIV":
                scale, offset = scale / value, offset / value
            case "ADD":
                offset += value
            case "SUB":
                offset -= value
    return Scaling(scale, offset) if found and scale else None


def _step(model: Any, graph: Any, at: int) -> tuple[int, str, float] | None:
    """The only reader of tensor ``at``, if it combines that with one number: its output, its name, the number."""
    readers = [op for op in graph.operators if at in op.inputs]
    if len(readers) != 1 or len(readers[0].inputs) != 2 or int(readers[0].inputs[0]) != at:
        return None
    other = graph.tensors[readers[0].inputs[1]]
    held = (
        np.frombuffer(files.data_of(model, other), np.float32) if files.type_name(other) == "float32" else np.empty(0)
    )
    name = files.op_name(model, readers[0])
    if (
        name not in ("MUL", "DIV", "ADD", "SUB")
        or held.size != 1
        or not np.isfinite(held[0])
        or (name == "DIV" and not held[0])
    ):
        return None
    return int(readers[0].outputs[0]), name, float(held[0])
