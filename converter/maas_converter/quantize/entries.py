"""The words of litert-quantizer's recipes: plain dictionaries, so that a recipe can be printed, stored and compared.

An entry says how the ops are quantized whose type is ``operation`` and whose first output's name ``regex`` finds. Of
several that match an op, and that the library supports for it, the last one counts.
"""

import re
from typing import Any, Literal

from maas_converter.tflite.contents import Contents, OpFacts

Entry = dict[str, Any]
Algorithm = Literal["min_max_uniform_quantize", "MSE", "OCTAV"]

MIN_MAX: Algorithm = "min_max_uniform_quantize"
"""A weight's scale covers its largest value."""
MSE: Algorithm = "MSE"
"""A weight's scale makes the mean squared rounding error small: it clips what is rare. Better where steps are few."""

ALL = "*"
INPUT, OUTPUT = "INPUT", "OUTPUT"
"""The library treats the model's own inputs and outputs as ops of these types."""

_LONGEST = 10_000
_CASTING = "float_casting"
_NONE = "no_quantize"


def static(
    activation_bits: int, weight_bits: int, operation: str = ALL, regex: str = ".*", algorithm: Algorithm = MIN_MAX
) -> Entry:
    """Integer weights and activations, whose ranges are measured beforehand."""
    activations = _tensor(activation_bits, symmetric=activation_bits == 16)  # what LiteRT's kernels take
    return _entry(regex, operation, algorithm, _computed(_tensor(weight_bits, "CHANNELWISE"), activations))


def dynamic(
    bits: int, operation: str = ALL, regex: str = ".*", algorithm: Algorithm = MIN_MAX, block: int = 0
) -> Entry:
    """Integer weights; the op quantizes its float input anew at each inference.

    ``block`` weights share a scale, 0: all of an output. LiteRT has blocks for FULLY_CONNECTED and EMBEDDING_LOOKUP.
    """
    granularity = f"BLOCKWISE_{block}" if block else "CHANNELWISE"
    return _entry(regex, operation, algorithm, _computed(_tensor(bits, granularity), None))


def halved(operation: str = ALL, regex: str = ".*") -> Entry:
    """Weights stored as float16, which become float32 again when the model is loaded."""
    weights = _tensor(16, "CHANNELWISE") | {"dtype": "FLOAT"}
    stored = {"weight_tensor_config": weights, "compute_precision": "FLOAT", "explicit_dequantize": True}
    return _entry(regex, operation, _CASTING, stored)


def untouched(operation: str = ALL, regex: str = ".*") -> Entry:
    """The entry that leaves an op float."""
    return _entry(regex, operation, _NONE, {})


def unsigned(operation: str) -> Entry:
    """The model's inputs (`INPUT`) or outputs (`OUTPUT`) as uint8."""
    activations = _tensor(8, symmetric=False) | {"dtype": "UINT"}
    return _entry(".*", operation, MIN_MAX, _computed(_tensor(8, "CHANNELWISE"), activations))


def only(contents: Contents, op: OpFacts) -> str:
    """The ``regex`` of one op and no other."""
    tensors = contents.graphs[op.subgraph].tensors
    names = [tensors[index].name for index in op.outputs if index >= 0]
    # The library searches in the names of all outputs, each with a ';' behind it, and cuts what is longer.
    return f"^{re.escape(''.join(f'{name};' for name in names if name)[:_LONGEST])}$"


def _entry(regex: str, operation: str, algorithm: str, config: dict[str, Any]) -> Entry:
    return {"regex": regex, "operation": operation, "algorithm_key": algorithm, "op_config": config}


def _computed(weights: dict[str, Any], activations: dict[str, Any] | None) -> dict[str, Any]:
    config = {"weight_tensor_config": weights, "compute_precision": "INTEGER", "explicit_dequantize": False}
    return config | ({"activation_tensor_config": activations} if activations is not None else {})


def _tensor(bits: int, granularity: str = "TENSORWISE", symmetric: bool = True) -> dict[str, Any]:
    return {"num_bits": bits, "symmetric": symmetric, "granularity": granularity, "dtype": "INT"}
