"""Whether an imported model answers what its own framework answers: both on the same samples, output by output."""

from collections.abc import Callable, Sequence
from math import inf

import msgspec
import numpy as np
from numpy.typing import NDArray

from maas_agent.bundle.manifest import Tensor
from maas_agent.errors import DataError
from maas_agent.processing.postprocess import dequantizer
from maas_agent.runtime.interface import Model
from maas_converter.importers.asking import Array
from maas_converter.tflite.contents import Contents

MOST = 32
"""Samples that are compared, at most."""

SHARES = {"float32": 1e-4, "float64": 1e-4, "float16": 2e-2, "bfloat16": 8e-2}
"""By what the source computes in, how far apart answers may be, as a part of the output's range. Sums in another order
and other kernels change the sixth digit; float16 has three digits, bfloat16 two."""

_OF_SIZE = 0.1
"""Answers far from zero lose digits whatever their range is: so much of that part again, of the largest answer."""

_QUANTIZED_SHARE = 0.25
"""Where the source came quantized (its fake quantization became real): each step that is rounded may go either way."""

_ODD_INTEGERS = 0.05
"""Part of an output's integers that may differ: what is rounded or chosen at a threshold may fall on either side."""

_SEED = 2


class Drawn(msgspec.Struct, frozen=True):
    """Samples as the model is given them: one array (N, …tensor) for each input."""

    inputs: tuple[Array, ...]
    origin: str
    given: bool = True
    """Whether they are somebody's data, and not drawn at random."""


Draw = Callable[[tuple[Tensor, ...]], Drawn | None]
"""Draws samples for a model with these inputs; ``None`` if there are no data for it."""


class Agreement(msgspec.Struct, frozen=True):
    """How far the import was from its framework: the largest difference of each output, in real units."""

    framework: str
    samples: int
    origin: str
    differences: dict[str, float]
    shares: dict[str, float]
    """The same as a part of the output's range; for integers, the part of values that differ."""

    @property
    def sentence(self) -> str:
        """For a person."""
        worst = max(self.shares, key=lambda name: self.shares[name])
        return (
            f"{self.framework} itself and what was imported differ by at most {self.shares[worst]:.1g} of an output's "
            f"range ({worst!r}) on {self.samples} samples: {self.origin}"
        )


def seeded(tensors: Sequence[Tensor], contents: Contents) -> Drawn:
    """Random samples that suit the inputs' types: indexes exist in each table that the model looks up."""
    generator = np.random.default_rng(_SEED)
    rows = _fewest_rows(contents)
    return Drawn(
        tuple(_noise(generator, tensor, rows) for tensor in tensors), "seeded random ones, for want of data", False
    )


def answer(model: Model, inputs: Sequence[Array]) -> list[Array]:
    """What the imported model answers to one sample, in real values (float64)."""
    made = model.run([np.ascontiguousarray(values) for values in inputs])
    real = [dequantizer(tensor) if tensor.quantization is not None else np.asarray for tensor in model.outputs]
    return [make(values).astype(np.float64) for make, values in zip(real, made, strict=True)]


def agreement(
    framework: str,
    drawn: Drawn,
    source: dict[str, Array],
    found: Sequence[Array],
    precision: str,
    quantized: bool,
) -> Agreement:
    """Compare what the framework answered, by output, with what the import did; raises `DataError` that names one."""
    share = _QUANTIZED_SHARE if quantized else SHARES.get(precision, SHARES["float32"])
    differences, shares = {}, {}
    for (name, wanted), values in zip(source.items(), found, strict=True):
        if values.size != wanted.size:
            raise DataError(
                f"its output {name!r} is {list(wanted.shape[1:])} in {framework} and {list(values.shape[1:])} as it "
                "was imported: the import is wrong"
            )
        real = values.reshape(wanted.shape).astype(np.float64)
        differences[name], shares[name], right = _compared(wanted, real, share)
        if not right:
            raise DataError(
                f"its output {name!r} is not what {framework} itself answers: on {len(wanted)} samples "
                f"({drawn.origin}) they differ by up to {differences[name]:.4g}, {shares[name]:.2g} of its range "
                f"(allowed: {share:.0e}). The import is wrong: save the model in another format (.keras, or a "
                "SavedModel by model.export) and try that"
            )
    return Agreement(framework, len(next(iter(source.values()))), drawn.origin, differences, shares)


def _compared(wanted: Array, found: NDArray[np.float64], share: float) -> tuple[float, float, bool]:
    """The largest difference, the part of the range that it is, and whether that is allowed."""
    given = wanted.astype(np.float64)
    if wanted.dtype.kind in "iub":
        odd = float(np.mean(given != found)) if given.size else 0.0
        return float(np.max(np.abs(given - found), initial=0.0)), odd, odd <= _ODD_INTEGERS
    same = (given == found) | (np.isnan(given) & np.isnan(found))  # infinities of one sign too
    with np.errstate(invalid="ignore"):
        apart = np.where(same, 0.0, np.abs(given - found))
    apart[np.isnan(apart)] = inf
    largest = float(np.max(apart, initial=0.0))
    finite = given[np.isfinite(given)]
    reach = float(np.ptp(finite)) if finite.size else 0.0
    size = float(np.abs(finite).max()) if finite.size else 0.0
    allowed = share * (reach + _OF_SIZE * size) + 1e-6 * min(1.0, max(size, 1e-3))
    return largest, largest / max(reach, _OF_SIZE * size, 1e-9), largest <= allowed


def _noise(generator: np.random.Generator, tensor: Tensor, rows: int | None) -> Array:
    shape, kind = (MOST, *tensor.shape), np.dtype(tensor.dtype)
    if kind.kind == "b":
        return generator.integers(0, 2, shape).astype(kind)
    if kind.kind != "f":
        top = min(rows or 128, 128) if kind.itemsize > 2 or rows else int(np.iinfo(kind).max) + 1
        low = 0 if kind.itemsize > 2 or rows else int(np.iinfo(kind).min)
        return generator.integers(low, top, shape).astype(kind)
    values = generator.random(shape)
    half = MOST // 2
    if rows is None:
        values[half:] = 2 * generator.standard_normal((MOST - half, *tensor.shape))
    else:  # numbers of rows as floats, as Keras takes them
        values[half:] = generator.integers(0, rows, (MOST - half, *tensor.shape))
    return values.astype(kind)


def _fewest_rows(contents: Contents) -> int | None:
    """Of the smallest constant table that the model looks something up in; ``None`` if it looks up nothing."""
    table = {"GATHER": 0, "EMBEDDING_LOOKUP": 1}
    found = [contents.graphs[op.subgraph].tensors[op.inputs[table[op.name]]] for op in contents.ops if op.name in table]
    return min((tensor.shape[0] for tensor in found if tensor.constant_bytes and tensor.shape), default=None)
