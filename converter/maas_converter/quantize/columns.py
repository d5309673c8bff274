"""What one scale for a whole tensor does to its columns: pure rules over the values that samples gave it.

A column is lost where rounding moves its values by more than an eighth of what they vary by (root mean squares; of one
that never varies: of its size). Even steps do so where fewer than eight of them fit into the column.
"""

from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.generic]

_SHARE = 1 / 8
"""Of a column's standard deviation, which rounding may take."""

_DIFFERENT = 0.05
"""Of an answer's standard deviation, by which an input's rounding may move it."""

_FEWEST = 8
"""Values of a column: fewer do not show how much it varies."""

_ROWS = 1 << 14
"""Values of a column that are looked at."""

_NARROW = 8
"""A first axis that is so many times shorter than the last one holds columns: detectors answer (1, 84, 8400)."""

_STEADY = 1e-6
_NAMED = 5


class Spoiled(msgspec.Struct, frozen=True):
    """Columns that are lost, and the ranges that say why."""

    columns: tuple[int, ...]
    small: tuple[float, float]
    """Where the first of them lies."""
    whole: tuple[float, float]
    bits: int
    what: str = "column"

    @property
    def sentence(self) -> str:
        """Why the columns are lost, in a sentence for people."""
        shown = ", ".join(map(str, self.columns[:_NAMED])) + (" …" if len(self.columns) > _NAMED else "")
        plural = "s" if len(self.columns) > 1 else ""
        return (
            f"{self.what}{plural} {shown} would be lost in {self.bits} bits (the first lies in "
            f"{_range(self.small)}, all of them in {_range(self.whole)})"
        )


def spoiled(values: Array, bits: int, *, by_sample: bool = False) -> Spoiled | None:
    """The columns of ``values`` (N, 1, …) that one scale spoils, ``None`` if it spoils none.

    Columns are the last axis, and the first of (N, 1, columns, many) where it is much shorter. ``by_sample``: each
    sample has a scale of its own.
    """
    stored = rounded(values, bits, by_sample=by_sample)
    for axis in _axes(values):
        rows, coarse = _rows(values, axis), _rows(stored, axis)
        lost = _lost(rows, coarse) if rows.shape[1] > 1 and len(rows) >= _FEWEST else ()
        if lost:
            return Spoiled(lost, _ends(rows[:, lost[0]]), _ends(values), bits)
    return None


def spoiled_parts(parts: Sequence[Array], bits: int) -> Spoiled | None:
    """The parts (n,) of a concatenation that one scale would spoil; each counts as a column."""
    if len(parts) < 2 or min(part.size for part in parts) < _FEWEST:
        return None
    whole = np.concatenate([np.asarray(_ends(part)) for part in parts])
    low, high = _ends(whole)
    lost = tuple(
        number
        for number, part in enumerate(parts)
        if _lost(part[:, None].astype(np.float64), _on_grid(part.astype(np.float64), low, high, bits)[:, None])
    )
    return Spoiled(lost, _ends(parts[lost[0]]), (low, high), bits, "part") if lost else None


def rounded(values: Array, bits: int, *, by_sample: bool = False) -> NDArray[np.float64]:
    """``values`` (N, …) as integers of so many bits would hold them: one scale for all, or one for each sample."""
    wide = values.astype(np.float64)
    if not by_sample:
        return _on_grid(wide, *_ends(wide), bits)
    reach = np.abs(wide).max(axis=tuple(range(1, wide.ndim)), keepdims=True)
    step = np.maximum(reach, 1e-30) / (2 ** (bits - 1) - 1)
    coarse: NDArray[np.float64] = np.rint(wide / step) * step
    return coarse


def differ(before: Array, after: Array) -> bool:
    """Whether some column of answers (N, …) moved by a twentieth of what it varies by."""
    first, second = (_rows(each, each.ndim - 1) for each in (before, after))
    spread = first.std(axis=0)
    moved = np.sqrt(np.mean((first - second) ** 2, axis=0))
    varies = spread > _STEADY * max(float(np.abs(first).max()), 1e-30)
    return bool(np.any(moved[varies] > _DIFFERENT * spread[varies]))


def _axes(values: Array) -> tuple[int, ...]:
    last = values.ndim - 1
    narrow = values.ndim == 4 and values.shape[2] * _NARROW <= values.shape[3]
    return (last, 2) if narrow else (last,)


def _rows(values: Array, axis: int) -> NDArray[np.float64]:
    """(values of a column, columns)."""
    rows = np.moveaxis(values, axis, -1).reshape(-1, values.shape[axis])
    return rows[:: -(-len(rows) // _ROWS)].astype(np.float64)


def _lost(rows: NDArray[np.float64], coarse: NDArray[np.float64]) -> tuple[int, ...]:
    spread, size = rows.std(axis=0), np.abs(rows).max(axis=0)
    measure = np.where(spread > _STEADY * size, spread, size)
    moved = np.sqrt(np.mean((rows - coarse) ** 2, axis=0))
    return tuple(int(number) for number in np.flatnonzero(moved > _SHARE * measure))


def _on_grid(values: NDArray[np.float64], low: float, high: float, bits: int) -> NDArray[np.float64]:
    """Round as the quantizer does: a range with 0 in it; 16 bits lie evenly around 0."""
    if bits == 16:
        step = max(abs(low), abs(high), 1e-30) / (2**15 - 1)
        even: NDArray[np.float64] = np.rint(values / step) * step
        return even
    step = max(max(high, 0.0) - min(low, 0.0), 1e-30) / (2**bits - 1)
    first = np.rint(min(low, 0.0) / step)
    coarse: NDArray[np.float64] = np.clip(np.rint(values / step), first, first + 2**bits - 1) * step
    return coarse


def _ends(values: Array | NDArray[np.float64]) -> tuple[float, float]:
    return float(values.min()), float(values.max())


def _range(ends: tuple[float, float]) -> str:
    return f"{ends[0]:.4g} … {ends[1]:.4g}"
