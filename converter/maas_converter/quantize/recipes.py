"""The ways to quantize, by the name that ``--quantize`` takes and the manifest states.

Measured with LiteRT 2.3 on one x86 thread: ResNet-8 (float32: 319,840 bytes, 0.26 ms), calibrated on 500 CIFAR-10
images and evaluated on 1,500 others. *Agreement* is how often it names the class that the float model names.

============ ======= ========= ========= ==========
recipe       bytes   accuracy  agreement p50
============ ======= ========= ========= ==========
float32      319,840  75.47 %  100.00 %   0.26 ms
float16      166,196  75.33 %   99.73 %   0.26 ms
dynamic       91,984  75.40 %   98.27 %   0.09 ms
int8          96,872  75.40 %   95.53 %   0.08 ms
int16x8       98,568  75.67 %   98.60 %   7.8  ms
int4          59,880  75.33 %   93.80 %   0.23 ms
============ ======= ========= ========= ==========
"""

from collections.abc import Callable
from itertools import accumulate
from typing import Literal

import msgspec

from maas_agent.errors import UsageError
from maas_converter.quantize import entries
from maas_converter.quantize.entries import Entry
from maas_converter.tflite.contents import Contents, OpFacts

Io = Literal["float", "int8", "uint8"]
"""What a bundle's inputs and outputs are stored as."""

Computes = Literal["float", "hybrid", "integer"]
"""With what a recipe promises to compute: floats, integers in ops and floats between, or integers throughout."""

_WEIGHTED = ("CONV_2D", "FULLY_CONNECTED")
"""What LiteRT runs with weights of 4 bits and activations of 8; depthwise convolutions it does not."""

_FEW = 0.05
"""Share of all weights that the first ops, and the last, may hold to keep 8 bits."""

_BLOCK = 32
"""Weights that share a scale in LiteRT's blockwise kernels, which it has for fully connected layers only."""

_LEAST_BYTES = 2048
"""Of float weights: below that 4 bits save less than a file's alignment may cost."""


AUTO = "auto"
"""The recipe that is a search (`maas_converter.quantize.search`)."""


class Recipe(msgspec.Struct, frozen=True):
    """One way to quantize."""

    name: str
    title: str
    quantized: bool
    """Whether the bundle computes with integers: its answers then move in steps, see `maas_converter.bench.golden`."""
    build: Callable[[Contents], list[Entry]] | None
    """Makes litert-quantizer's recipe for a float model; ``None`` ships that as it is."""
    calibrated: bool
    """Whether activations get fixed ranges, which have to be measured on data."""
    computes: Computes
    io: tuple[Io, ...] = ("float",)
    """What ``--io`` may be, the default first."""
    rounds: Callable[[Contents], list[OpFacts]] | None = None
    """Finds the ops whose weights are rounded by what the op is fed, see `search.rounding`."""


def recipe(name: str) -> Recipe:
    """The recipe called ``name``; raises `UsageError` that lists the choices."""
    choices = RECIPES | {AUTO: SEARCHED}
    if name not in choices:
        raise UsageError(f"--quantize {name}: choose one of {', '.join(choices)}")
    return choices[name]


def narrow(contents: Contents) -> list[OpFacts]:
    """The ops that ``int4`` gives weights of 4 bits.

    The first ops, as long as they hold few of all weights, and the last, if it does, keep 8 bits: an error in the first
    ones goes through every later op, one in the last goes uncorrected. ResNet-8 reached 75.3 % so; with its last and
    its very first op only, 73.9 %.
    """
    ops = [op for op in contents.graphs[0].ops if _weight_bytes(contents, op)]
    few = _FEW * sum(_weight_bytes(contents, op) for op in ops)
    before = accumulate(_weight_bytes(contents, op) for op in ops)
    late = [op for op, passed in zip(ops, before, strict=True) if passed >= few]
    if late and _weight_bytes(contents, late[-1]) < few:
        late.pop()
    return [op for op in late if op.name in _WEIGHTED and _weight_bytes(contents, op) >= _LEAST_BYTES]


def _weight_bytes(contents: Contents, op: OpFacts) -> int:
    """Bytes of the constant that the op multiplies by; 0 for ops that do not."""
    if op.name not in (*_WEIGHTED, "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV") or len(op.inputs) < 2:
        return 0
    return contents.graphs[op.subgraph].tensors[op.inputs[1]].constant_bytes


def _int4(contents: Contents) -> list[Entry]:
    # What cannot be rounded by what it is fed gets scales by mean squared error: 69.6 % on ResNet-8, by the largest
    # weight 60.7 %.
    found = [(op.name, entries.only(contents, op)) for op in narrow(contents)]
    return [entries.static(8, 8), *(entries.static(8, 4, name, regex, entries.MSE) for name, regex in found)]


def _dynamic4(contents: Contents) -> list[Entry]:
    return [entries.dynamic(8), *(_dynamic4_of(contents, op) for op in narrow(contents))]


def _dynamic4_of(contents: Contents, op: OpFacts) -> Entry:
    regex, shape = entries.only(contents, op), contents.graphs[op.subgraph].tensors[op.inputs[1]].shape
    if op.name == "FULLY_CONNECTED" and shape[-1] % _BLOCK == 0:
        return entries.dynamic(4, op.name, regex, block=_BLOCK)
    return entries.dynamic(4, op.name, regex, entries.MSE)


RECIPES: dict[str, Recipe] = {
    found.name: found
    for found in (
        Recipe(
            "int8",
            "8-bit weights and activations: fastest on processors, and what most accelerators take",
            quantized=True,
            build=lambda _: [entries.static(8, 8)],
            calibrated=True,
            computes="integer",
            io=("int8", "uint8", "float"),
        ),
        Recipe(
            "dynamic",
            "8-bit weights; each inference finds the ranges of its activations, so no calibration data is needed",
            quantized=True,
            build=lambda _: [entries.dynamic(8)],
            calibrated=False,
            computes="hybrid",
        ),
        Recipe(
            "int4",
            "4-bit weights where LiteRT has them, else 8-bit; 8-bit activations: smallest, but slower than int8",
            quantized=True,
            build=_int4,
            calibrated=True,
            computes="integer",
            io=("int8", "uint8", "float"),
            rounds=narrow,
        ),
        Recipe(
            "dynamic4",
            "4-bit weights, in fully connected layers in blocks of 32 that share a scale; else as dynamic",
            quantized=True,
            build=_dynamic4,
            calibrated=False,
            computes="hybrid",
        ),
        Recipe(
            "int16x8",
            "8-bit weights, 16-bit activations: closest to float of the integer ones; very slow on processors",
            quantized=True,
            build=lambda _: [entries.static(16, 8)],
            calibrated=True,
            computes="integer",
        ),
        Recipe(
            "float16",
            "weights stored in 16 bits: half the size; computed as float32 on processors",
            quantized=False,
            build=lambda _: [entries.halved()],
            calibrated=False,
            computes="float",
        ),
        Recipe("float32", "as it was trained", quantized=False, build=None, calibrated=False, computes="float"),
    )
}

SEARCHED = Recipe(
    AUTO,
    "a mixture of these, found by a search under --max-drop, --max-size and --max-latency",
    quantized=True,
    build=None,
    calibrated=True,
    computes="float",
    io=("int8",),
)
"""What ``--quantize auto`` asks for: no way to quantize by itself."""

DEFAULT = RECIPES["int8"]
"""What a float model gets where nobody says."""

AS_IS = Recipe(
    "as-is", "quantized before it came here", quantized=True, build=None, calibrated=False, computes="float", io=()
)
"""What a model gets that came quantized: nothing. It cannot be asked for."""
