"""Names of classes: the labels file, and how names become class numbers."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from maas_agent.errors import DataError, NoInputError


def read_labels(path: Path) -> tuple[str, ...]:
    """Labels, one a line, in the order of the model's outputs; raises `NoInputError` or `DataError`."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise DataError(f"{path} is no UTF-8 text: labels are one a line") from None
    except OSError as error:
        raise NoInputError(f"cannot read labels {path}: {error.strerror}") from None
    while lines and not lines[-1].strip():
        lines.pop()
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            raise DataError(f"{path}: line {number} is empty: labels are one a line")
    if not lines:
        raise DataError(f"{path} holds no labels")
    return tuple(line.strip() for line in lines)


def numbered(path: Path, names: Sequence[str], labels: tuple[str, ...]) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Class numbers (N,) for one name a sample, and the names by number.

    A name has the number of its line in ``labels``; without labels, of its place in the sorted names, as the training
    libraries number class folders. Raises `DataError`, about ``path``, for names that have no number or two.
    """
    found = sorted(set(names))
    order = labels or tuple(found)
    lines = Counter(order)
    unknown = [name for name in found if name not in lines]
    if unknown:
        raise DataError(f"{path} has classes that are no labels: {', '.join(unknown[:8])}; labels are {some(order)}")
    twice = [name for name in found if lines[name] > 1]
    if twice:
        raise DataError(f"{path}: the class {twice[0]!r} has two lines in the labels: write class numbers, column 'y'")
    if not labels and _has_two_orders(found):
        raise DataError(
            f"{path}: classes called by numbers, {some(order)}, may be in the order of the numbers or of the letters: "
            "give --labels FILE, in the order of the model's outputs"
        )
    number = {name: position for position, name in enumerate(order)}
    return np.array([number[name] for name in names], np.int64), order


def _has_two_orders(names: list[str]) -> bool:
    """Whether all are numbers, and go up in another order than their letters: 10 before 9."""
    return all(name.isdecimal() for name in names) and sorted(names, key=_size) != names


def _size(number: str) -> tuple[int, str]:
    """Orders whole numbers as numbers, however many digits they have."""
    digits = number.lstrip("0")
    return len(digits), digits


def some(names: Sequence[str]) -> str:
    """The first few names, for a sentence."""
    return ", ".join(names[:8]) + (", …" if len(names) > 8 else "")
