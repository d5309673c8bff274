"""The tensors of a ``.tflite`` file as the interpreter tells them."""

from typing import Any

import numpy as np

from maas_agent.bundle.manifest import Quantization, Tensor


def tensor_of(detail: dict[str, Any]) -> Tensor:
    """One entry of the interpreter's input or output details."""
    parameters = detail["quantization_parameters"]
    quantization = None
    if len(parameters["scales"]) == 1:
        quantization = Quantization(float(parameters["scales"][0]), int(parameters["zero_points"][0]))
    return Tensor(
        name=detail["name"],
        shape=tuple(int(size) for size in detail["shape"]),
        dtype=np.dtype(detail["dtype"]).name,
        quantization=quantization,
    )
