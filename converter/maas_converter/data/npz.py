"""``.npz`` files: the arrays ``x``, ``y`` and ``classes``."""

import hashlib
from pathlib import Path

from maas_agent.processing.npz import read_arrays
from maas_converter.base.user_files import content_of
from maas_converter.data.dataset import Dataset, StoredSamples
from maas_converter.data.labels import renumbered


def read_npz(path: Path, labels: tuple[str, ...]) -> Dataset:
    """Read a file of plain arrays; where it names its classes, ``labels`` number them. Raises as `numbered` does."""
    content = content_of(path)
    arrays = read_arrays(content, str(path))
    y, classes = arrays.y, arrays.classes
    notes: tuple[str, ...] = ()
    if y is not None:
        y, classes, notes = renumbered(path, y, classes, labels)
    return Dataset(
        path=path,
        sha256=hashlib.sha256(content).hexdigest(),
        source=StoredSamples(arrays.x),
        y=y,
        classes=classes,
        notes=notes,
    )
