"""Ops that LiteRT computes in integers and that litert-quantizer does not know: others stand in for them meanwhile.

What the library has to know of an op is which of its tensors share a scale. Where it knows another op of the same
inputs and the same rule, its table of ops says so of this one while it works.

Comparisons (GREATER, LESS …) are left alone. LiteRT has them in int8, but compares in steps of 1/256 of real units,
whatever the scales are, and not at all where a scale is 1 or more. In floats they cost next to nothing.
"""

import contextlib
from collections.abc import Iterator
from typing import NamedTuple

from maas_converter.tflite import model as files


class _StandIn(NamedTuple):
    """``name``, which the library knows, and the bits of activations with which LiteRT has the op itself."""

    name: str
    bits: tuple[int, ...]


STAND_INS: dict[str, _StandIn] = {
    # A scale for what comes in and one for what goes out.
    "LEAKY_RELU": _StandIn("RELU", (8, 16)),
    "ELU": _StandIn("RELU", (8,)),
    "EXP": _StandIn("RELU", (8, 16)),
    "LOG": _StandIn("RELU", (8,)),
    "ABS": _StandIn("RELU", (8, 16)),
    "RELU6": _StandIn("RELU", (8, 16)),
    "RELU_N1_TO_1": _StandIn("RELU", (8,)),
    "RELU_0_TO_1": _StandIn("RELU", (8,)),
    "PRELU": _StandIn("MUL", (8,)),
    "REDUCE_PROD": _StandIn("SUM", (8, 16)),
    # The same scale on both sides.
    "MINIMUM": _StandIn("MAXIMUM", (8, 16)),
    "REDUCE_MAX": _StandIn("REDUCE_MIN", (8, 16)),
    "EXPAND_DIMS": _StandIn("RESHAPE", (8, 16)),
    "SQUEEZE": _StandIn("RESHAPE", (8, 16)),
    "REVERSE_V2": _StandIn("RESHAPE", (8, 16)),
    "TILE": _StandIn("BROADCAST_TO", (8, 16)),
    "SPLIT_V": _StandIn("SLICE", (8, 16)),
    "SPACE_TO_BATCH_ND": _StandIn("SLICE", (8, 16)),
    "BATCH_TO_SPACE_ND": _StandIn("SLICE", (8, 16)),
    "DEPTH_TO_SPACE": _StandIn("SPACE_TO_DEPTH", (8,)),
    "TOPK_V2": _StandIn("GATHER", (8, 16)),
    # A scale that the kernel prescribes.
    "L2_NORMALIZATION": _StandIn("TANH", (8,)),
    "LOG_SOFTMAX": _StandIn("RELU", (8,)),
}

PRESCRIBED: dict[str, tuple[float, float]] = {"LOG_SOFTMAX": (-255 / 16, 0.0)}
"""Ranges of outputs whose steps a kernel prescribes, where no op of the library has them: those of LOG_SOFTMAX are
sixteenths."""


@contextlib.contextmanager
def known(bits: set[int]) -> Iterator[None]:
    """Let the library know these ops while the block runs, as far as LiteRT has them for all of ``bits``."""
    from litert_quantizer import qtyping
    from litert_quantizer.utils import tfl_flatbuffer_utils

    table = tfl_flatbuffer_utils.TFL_OP_CODE_TO_NAME
    more = {
        files.op_code(name): qtyping.TFLOperationName(found.name)
        for name, found in STAND_INS.items()
        if bits and bits <= set(found.bits)
    }
    tfl_flatbuffer_utils.TFL_OP_CODE_TO_NAME = table | more
    try:
        yield
    finally:
        tfl_flatbuffer_utils.TFL_OP_CODE_TO_NAME = table
