"""Golden samples: which ones go into a bundle, and how far from its answers on them a device may be."""

from collections.abc import Callable
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from maas_agent.bundle.golden import GoldenSamples, deflate_golden, encode_golden
from maas_agent.bundle.manifest import Decode, Output
from maas_agent.errors import RuntimeFailure
from maas_converter.bench.measure import Answers

GOLDEN_SAMPLES = 16
FEWEST = 2

PLAIN_BYTES = 1 << 20
"""Size up to which golden samples are stored as they are, which devices of every version read."""

MOST_BYTES = 4 << 20
"""What golden samples may take of a bundle: above, there are fewer of them, but at least two."""

_LARGEST = 1 << 28  # what a manifest may state, see `maas_agent.bundle.manifest.Golden`

Drawn = TypeVar("Drawn")

_STEPS = 4
_QUANTIZATION_NOISE = 2.0
_FLOAT_SHARE = 0.01
_LARGEST_SHARE = 0.5
_UNKNOWN_SHARE = 0.25
_RANDOM_SEED = 1
_ROWS = 128
_BOUNDS = (None, 64, 32, 16, 8, 4, 2)


class GoldenBlob(NamedTuple):
    """A blob of golden samples; ``inflated`` as in the manifest."""

    blob: bytes
    inflated: int

    @property
    def fits(self) -> bool:
        """Whether it may take so much of a bundle."""
        return len(self.blob) <= MOST_BYTES


def stored(golden: GoldenSamples) -> GoldenBlob:
    """The samples as they are where they are small, else deflated."""
    plain = encode_golden(golden)
    if len(plain) <= PLAIN_BYTES:
        return GoldenBlob(plain, 0)
    blob, inflated = deflate_golden(golden)
    return GoldenBlob(blob, inflated) if inflated <= _LARGEST else GoldenBlob(plain, 0)


def fewer(count: int, size: int) -> int:
    """How many of ``count`` samples to try, where these take ``size`` bytes, more than they may."""
    return max(FEWEST, min(count - 1, count * MOST_BYTES // size))


def chosen_rows(count: int, y: NDArray[np.int64] | None, most: int = GOLDEN_SAMPLES) -> list[int]:
    """``most`` of ``count`` samples: each class in turn if the classes ``y`` (N,) are known, else evenly spread."""
    if y is None:
        return sorted({int(row) for row in np.linspace(0, count - 1, min(count, most))})
    rank = np.empty(count, dtype=np.int64)
    for number in np.unique(y):
        members = np.flatnonzero(y == number)
        rank[members] = np.arange(len(members))
    in_turn = np.lexsort((y, rank))
    return sorted(int(row) for row in in_turn[:most])


def random_samples(decode: Decode, below: int | None = None) -> NDArray[np.generic]:
    """Seeded noise (16, …sample), for want of data: integers over their type's range, floats from 0 to 1.

    With ``below``, integers are from 0 to that, itself left out.
    """
    generator = np.random.default_rng(_RANDOM_SEED)
    shape = (GOLDEN_SAMPLES, *decode.shape)
    kind = np.dtype(decode.dtype)
    if kind.kind == "f":
        return generator.random(shape, dtype=np.float32).astype(kind)
    if kind.kind == "b":
        return generator.integers(0, 2, shape).astype(kind)
    if below is not None or kind.itemsize > 2:
        # Wide integers are indexes, and most tables have so many rows.
        return generator.integers(0, below or _ROWS, shape).astype(kind)
    limits = np.iinfo(kind)
    return generator.integers(limits.min, limits.max + 1, shape).astype(kind)


def fitting(draw: Callable[[int | None], Drawn], run: Callable[[Drawn], object]) -> Drawn:
    """What ``draw`` gives for the largest bound that the model can be ``run`` on: integers are rows of its tables.

    ``draw`` is given the ``below`` of `random_samples`. Raises what ``run`` does, a `RuntimeFailure`, on zeros too.
    """
    for below in _BOUNDS:
        drawn = draw(below)
        try:
            run(drawn)
        except RuntimeFailure:
            continue
        return drawn
    drawn = draw(1)
    run(drawn)
    return drawn


def tolerance(outputs: tuple[Output, ...], bundle: Answers, float32: Answers | None, *, quantized: bool) -> float:
    """How far (absolute, real units) a device's answers on the golden samples may be from the bundle's.

    ``bundle`` and ``float32`` are what the bundle and its float model, if there is one, answered on those samples; rows
    of NaN were not answered.

    *float*: 1 % of the answers' range. Sums in another order change the sixth digit; GPUs that compute
    in 16-bit floats change the third.

    *quantized*: twice the largest distance between the bundle and its float model, at least four steps of the output.
    Other integer kernels (reference ones, NPUs) may round each layer's result to the neighbouring step. A deep network
    amplifies that just as it amplifies quantization itself, so the latter is the yardstick. Measured on ResNet8: the
    reference kernels differ from XNNPACK's by up to 73 output steps; four steps would refuse nearly every device
    that uses them, this rule refuses one draw of 16 samples in 200.

    Never more than half of the range: a model that answers the same to everything must not pass.

    *quantized before it came here*: a quarter of the range. There is no float model to tell its noise by.
    """
    return max(_of_one(spec, bundle, float32, quantized) for spec in outputs)


def _of_one(spec: Output, bundle: Answers, float32: Answers | None, quantized: bool) -> float:
    name, quantization = spec.tensor.name, spec.tensor.quantization
    given = np.isfinite(bundle[name])
    if not given.any():
        return 0.0
    reference = bundle[name][given] if float32 is None else float32[name][given]
    reach = _range(reference)
    if not quantized:
        return reach * _FLOAT_SHARE
    step = quantization.scale if quantization is not None else reach / 255
    if float32 is None:
        return max(_STEPS * step, _UNKNOWN_SHARE * reach)
    noise = float(np.max(np.abs(bundle[name][given] - reference)))
    return max(_STEPS * step, min(_QUANTIZATION_NOISE * noise, _LARGEST_SHARE * reach))


def _range(values: NDArray[np.float32]) -> float:
    # Answers that hardly differ leave no range: their own size stands in, so that rounding is still allowed.
    reach = float(values.max() - values.min())
    return max(reach, float(np.abs(values).max()) * 1e-3, 1e-6)
