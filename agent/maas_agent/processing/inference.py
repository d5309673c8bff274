"""The Open Inference Protocol v2, JSON over any transport: requests in, responses out.

Source: the Open Inference Protocol specification (KServe), "Inference Request JSON Object" and "Inference Response JSON
Object". Binary tensor extensions are not part of it and not read.
"""

from itertools import chain
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from maas_agent.base import codes
from maas_agent.errors import DecodeError

DATATYPES = {
    "BOOL": "bool",
    "UINT8": "uint8",
    "INT8": "int8",
    "INT16": "int16",
    "INT32": "int32",
    "INT64": "int64",
    "FP16": "float16",
    "FP32": "float32",
    "FP64": "float64",
}

BYTES = "BYTES"
"""The data type of what is no number: here, of pictures and recordings as base64."""


class RequestInput(msgspec.Struct, frozen=True):
    """One tensor of a request. Fields the protocol allows and this does not use are ignored."""

    name: str
    shape: tuple[int, ...]
    datatype: str
    data: list[Any]


class OpenInferenceRequest(msgspec.Struct, frozen=True):
    """An inference request."""

    inputs: tuple[RequestInput, ...]
    id: str | None = None


class ResponseOutput(msgspec.Struct, frozen=True):
    """One tensor of a response: the real (dequantized) values, flattened row-major."""

    name: str
    shape: tuple[int, ...]
    datatype: str
    data: list[float]


class OpenInferenceResponse(msgspec.Struct, frozen=True, omit_defaults=True):
    """An inference response; ``parameters`` carries the device's own result beside the tensors."""

    model_name: str
    model_version: str
    id: str
    outputs: tuple[ResponseOutput, ...]
    parameters: dict[str, Any] = {}


def request_tensor(request: OpenInferenceRequest) -> NDArray[np.generic]:
    """The tensor of a request with exactly one input, in the shape and type it states; raises `DecodeError`."""
    if len(request.inputs) != 1:
        raise DecodeError(codes.WRONG_SHAPE, f"the request has {len(request.inputs)} inputs, this model has 1")
    tensor = request.inputs[0]
    if tensor.datatype not in DATATYPES:
        raise DecodeError(codes.WRONG_DTYPE, f"datatype {tensor.datatype!r}: send one of {', '.join(DATATYPES)}")
    values = numbers(tensor.data)
    try:
        if min(tensor.shape, default=0) < 0:
            raise ValueError  # to NumPy it would mean "whatever is left"
        return values.reshape(tensor.shape)
    except (ValueError, OverflowError):
        raise DecodeError(
            codes.WRONG_SHAPE, f"the data of the request do not have the shape {list(tensor.shape)}"
        ) from None


def numbers(rows: list[Any]) -> NDArray[np.generic]:
    """A JSON array of numbers, nested or not, as an array of its own shape; raises `DecodeError`."""
    # Types first: of strings NumPy would make an array whose every element is as wide as the longest of them.
    leaves, kinds = rows, set(map(type, rows))
    while kinds == {list}:
        leaves = list(chain.from_iterable(leaves))
        kinds = set(map(type, leaves))
    if not kinds <= {int, float, bool, list}:
        raise DecodeError(codes.WRONG_DTYPE, "the array holds values that are not numbers")
    try:
        values = np.asarray(rows)
    except (ValueError, OverflowError):
        raise DecodeError(codes.WRONG_SHAPE, "the rows of the array differ in length") from None
    if values.dtype.kind not in "biuf":
        raise DecodeError(codes.WRONG_DTYPE, "the array holds integers of more than 64 bits")
    return values
