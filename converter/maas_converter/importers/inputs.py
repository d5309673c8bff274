"""The rule for a model's input: one tensor, one sample at a time, every size fixed."""

import math
from collections.abc import Sequence

from maas_agent.errors import DataError

Shape = Sequence[int | None]

_CHANNELS = (1, 3, 4)
_MOST_VALUES = 1 << 28
"""Of one sample: a gigabyte of float32. A picture of 4,096 by 4,096 pixels has a fifth of that."""


def only_input(names: Sequence[str]) -> None:
    """Raise `DataError` unless there is exactly one input."""
    if not names:
        raise DataError("its input has no shape: build the model (give it a keras.Input) before saving it")
    if len(names) != 1:
        raise DataError(f"it has {len(names)} inputs ({', '.join(names)}), a bundle has one")


def refuse_text(name: str, dtype: object) -> None:
    """Raise `DataError` if the input ``name`` is of strings."""
    if getattr(dtype, "name", dtype) == "string":
        raise DataError(
            f"its input {name!r} is text, and a device takes numbers: let the model begin behind the layer that makes "
            "numbers of it (TextVectorization, StringLookup, Hashing), and give it those"
        )


def fixed_shape(shape: Shape | None, wanted: tuple[int, ...] | None) -> tuple[int, ...]:
    """As `_fixed_shape`; raises `DataError` also for a sample that nothing could hold."""
    fixed = _fixed_shape(shape, wanted)
    if math.prod(fixed) > _MOST_VALUES:
        raise DataError(
            f"its input {_told(fixed)} has {math.prod(fixed):,} values a sample, more than {_MOST_VALUES:,}"
        )
    return fixed


def _fixed_shape(shape: Shape | None, wanted: tuple[int, ...] | None) -> tuple[int, ...]:
    """The model's input shape for one sample, with a batch of 1 in front where the model has a batch.

    ``shape`` is the model's, batch first, ``None`` or -1 for an open size; without it the rank is open too. One size
    alone is a sample without a batch, such as a waveform. ``wanted`` is what the user gave, without the batch. Raises
    `DataError` if a size stays open or they disagree.
    """
    if wanted is not None and any(size < 1 for size in wanted):
        raise DataError(f"--input-shape {_joined(wanted)}: every size is 1 or more")
    if shape is None:
        if wanted is None:
            raise DataError("its input has no shape at all: give every size but the batch with --input-shape H,W,C")
        return (1, *wanted)
    if not shape:
        raise DataError("its input is a single number without a batch: save it with an input of shape (batch, …)")
    if len(shape) == 1 or _is_whole(shape, wanted):
        return _without_batch(shape, wanted)
    if wanted is None:
        _check_batch(shape)
    sizes = [None if size in (None, -1) else size for size in shape[1:]]
    if wanted is not None:
        _check_agreement(sizes, wanted)
        return (1, *wanted)
    if None in sizes:
        example = _joined([size or 96 for size in sizes])
        raise DataError(
            f"its input {_told(sizes)} has open sizes: give every size but the batch with --input-shape, "
            f"such as --input-shape {example}"
        )
    return (1, *(size for size in sizes if size is not None))


def _is_whole(shape: Shape, wanted: tuple[int, ...] | None) -> bool:
    """Whether all of a fixed shape was asked for, its first size too: then that is no batch."""
    return wanted is not None and len(shape) < 4 and tuple(shape) == wanted


def _without_batch(shape: Shape, wanted: tuple[int, ...] | None) -> tuple[int, ...]:
    sizes = [None if size in (None, -1) else size for size in shape]
    if wanted is not None:
        _check_agreement(sizes, wanted)
        return wanted
    if None in sizes:
        raise DataError(
            "its input has one size, which is open, and no batch, as that of a waveform: give the length of a sample "
            "with --input-shape, such as --input-shape 15600; if the size is a batch of single numbers, "
            "--input-shape 1"
        )
    return tuple(size for size in sizes if size is not None)


def _check_batch(shape: Shape) -> None:
    """Refuse what may be a picture without a batch, as (16, 16, 3): its height would be taken for one."""
    first, rest = shape[0], shape[1:]
    if len(shape) == 3 and shape[2] in _CHANNELS and first is not None and first > 1 and None not in rest:
        whole = ", ".join(map(str, shape))
        raise DataError(
            f"its input ({whole}) has no open batch. If a sample is all of it, give --input-shape {_joined(shape)}; "
            f"if {first} is a batch, give --input-shape {_joined(rest)}"
        )


def _check_agreement(sizes: Shape, wanted: tuple[int, ...]) -> None:
    if len(sizes) != len(wanted) or any(size not in (None, asked) for size, asked in zip(sizes, wanted, strict=True)):
        raise DataError(
            f"--input-shape {_joined(wanted)} does not fit its input, which is {_told(sizes)} ('any' is open, "
            "the batch is left out)"
        )


def _told(sizes: Shape) -> str:
    return f"({', '.join('any' if size is None else str(size) for size in sizes)})"


def _joined(sizes: Sequence[int | None]) -> str:
    return ",".join(str(size) for size in sizes)
