"""Model outputs to answers: dequantization, then what the manifest says of the output."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maas_agent.bundle.manifest import Classification, Multilabel, Output, Quantization, Raw, Tensor

Answer = dict[str, Any]


def dequantize(values: NDArray[np.generic], quantization: Quantization | None) -> NDArray[np.float32]:
    """Stored values to real ones: ``(stored - zero_point) * scale`` as float32."""
    if quantization is None:
        return values.astype(np.float32, copy=False)
    shifted = values.astype(np.float32) - np.float32(quantization.zero_point)
    return shifted * np.float32(quantization.scale)


def dequantizer(tensor: Tensor) -> Callable[[NDArray[np.generic]], NDArray[np.float32]]:
    """Build the function that does `dequantize` for one tensor; for 8-bit values from a table, to the same bits."""
    if tensor.quantization is None or tensor.dtype not in ("int8", "uint8"):
        return lambda values: dequantize(values, tensor.quantization)
    stored = np.arange(256, dtype=np.uint8).view(tensor.dtype)
    table = dequantize(stored, tensor.quantization)
    return lambda values: table.take(values.view(np.uint8))


def postprocessor(spec: Output) -> Callable[[NDArray[np.float32]], Answer]:
    """Build the function that turns one sample's real output values into its answer (JSON-ready)."""
    match spec.postprocess:
        case Classification() as classification:
            return _classifier(classification, spec.labels)
        case Multilabel() as multilabel:
            return _multilabel(multilabel, spec.labels)
        case Raw():
            return lambda values: {"values": values.reshape(spec.tensor.shape).tolist()}


def activate(values: NDArray[np.float32], activation: str) -> NDArray[np.float32]:
    """Apply ``softmax`` or ``sigmoid`` along the last axis; ``none`` returns the values."""
    with np.errstate(over="ignore"):  # infinity on the way to 0 or 1 is right, and no line in the log
        if activation == "softmax":
            exponentials = np.exp(values - values.max(axis=-1, keepdims=True))
            return np.asarray(exponentials / exponentials.sum(axis=-1, keepdims=True), dtype=np.float32)
        if activation == "sigmoid":
            return np.asarray(1 / (1 + np.exp(-values)), dtype=np.float32)
    return values


def _classifier(spec: Classification, labels: tuple[str, ...]) -> Callable[[NDArray[np.float32]], Answer]:
    def classify(values: NDArray[np.float32]) -> Answer:
        scores = activate(values.reshape(-1), spec.activation)
        if spec.binary:
            scores = np.concatenate([1 - scores, scores])
        # A stable sort: among equal scores the lower class wins, on every machine.
        best = (-scores).argsort(kind="stable")[: spec.top].tolist()
        numbers = scores.tolist()
        top = [[labels[i] if labels else str(i), round(numbers[i], 6)] for i in best]
        return {"label": top[0][0], "score": top[0][1], "top": top}

    return classify


def _multilabel(spec: Multilabel, labels: tuple[str, ...]) -> Callable[[NDArray[np.float32]], Answer]:
    def name(values: NDArray[np.float32]) -> Answer:
        scores = activate(values.reshape(-1), spec.activation)
        numbers = scores.tolist()
        best = [i for i in (-scores).argsort(kind="stable").tolist() if numbers[i] >= spec.threshold]
        names = labels or tuple(map(str, range(len(numbers))))
        rounded = [round(number, 6) for number in numbers]
        return {"labels": [[names[i], rounded[i]] for i in best], "scores": dict(zip(names, rounded, strict=True))}

    return name
