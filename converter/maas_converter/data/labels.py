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
    spelled = counterparts(found, order)
    names = [spelled.get(name, name) for name in names]
    found = sorted(set(names))
    lines = Counter(order)
    unknown = [name for name in found if name not in lines]
    if unknown:
        left = [label for label in order if label not in found]
        raise DataError(
            f"{path} has classes that are no labels: {some(unknown)}; labels are {some(order)}"
            + (f", of which the data lack {some(left)}" if left else "")
        )
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


def renumbered(
    path: Path, y: NDArray[np.generic], classes: tuple[str, ...], labels: tuple[str, ...]
) -> tuple[NDArray[np.generic], tuple[str, ...], tuple[str, ...]]:
    """Class numbers ``y`` (N,) of a file that names its ``classes``, by the ``labels``; the names by number, and notes.

    If all its classes are labels, a number is that of its name's line. If none is, or those that are have their
    numbers, numbers stay, and that is said. Raises `DataError` where only some are, at other numbers.
    """
    if not labels or not classes or classes == labels or y.reshape(-1).size != len(y):
        return y, classes, ()
    spelled = counterparts(classes, labels)
    lines = Counter(labels)
    if all(lines[spelled.get(name, name)] == 1 for name in classes):
        places = np.array([labels.index(spelled.get(name, name)) for name in classes], np.int64)
        if np.array_equal(places, np.arange(len(classes))):
            return y, labels, ()
        flat = y.reshape(-1)
        if flat.min() < 0 or flat.max() >= len(classes) or not np.array_equal(flat, flat.astype(np.int64)):
            return y, labels, ()
        note = f"{path.name} has its classes in another order than the labels: they are numbered by name"
        return places[flat.astype(np.int64)], labels, (note,)
    missing = [name for name in classes if spelled.get(name, name) not in lines]
    alone = [label for label in labels if label not in {spelled.get(name, name) for name in classes}]
    moved = [
        name
        for number, name in enumerate(classes)
        if spelled.get(name, name) in lines and labels.index(spelled.get(name, name)) != number
    ]
    told = f"classes without a label: {some(missing)}; labels without a class: {some(alone) or 'none'}"
    if moved:
        raise DataError(f"{path}: {told}; {some(moved)} have other numbers than their labels: use the same names")
    return y, classes, (f"{path.name} calls classes otherwise than the labels, its numbers are taken: {told}",)


def counterparts(names: Sequence[str], labels: Sequence[str]) -> dict[str, str]:
    """The one label for each name that is none, differing from it in case, spaces, ``_`` and ``-`` only."""
    plain = Counter(_plain(label) for label in labels)
    by_plain = {_plain(label): label for label in labels}
    strange = set(names) - set(labels)
    other = Counter(_plain(name) for name in set(names))
    return {name: by_plain[_plain(name)] for name in strange if plain[_plain(name)] == 1 and other[_plain(name)] == 1}


def _plain(name: str) -> str:
    return "".join(letter for letter in name.casefold() if letter not in " _-\t")


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
