"""``.npz`` files: the arrays ``x``, ``y`` and ``classes``."""

import hashlib
from pathlib import Path

from maas_agent.processing.npz import read_arrays
from maas_converter.data.dataset import Dataset, Stored
from maas_converter.data.text_table import content_of


def read_npz(path: Path, labels: tuple[str, ...]) -> Dataset:
    """Read a file of plain arrays; its class numbers need no ``labels``. Raises `NoInputError` or `DataError`."""
    content = content_of(path)
    arrays = read_arrays(content, str(path))
    return Dataset(
        path=path,
        sha256=hashlib.sha256(content).hexdigest(),
        source=Stored(arrays.x),
        y=arrays.y,
        classes=arrays.classes,
    )
