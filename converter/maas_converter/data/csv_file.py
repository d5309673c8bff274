"""CSV files: one sample a row, one number a column."""

import hashlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from maas_agent.processing.table import SampleTable, read_table
from maas_converter.base.user_files import content_of
from maas_converter.data.dataset import Dataset, StoredSamples
from maas_converter.data.labels import numbered


def read_csv(path: Path, labels: tuple[str, ...]) -> Dataset:
    """Read a table of samples; raises `NoInputError`, or `DataError` that names line and column."""
    content = content_of(path)
    table = read_table(content, str(path))
    y, classes = _answers(path, table, labels)
    return Dataset(
        path=path,
        sha256=hashlib.sha256(content).hexdigest(),
        source=StoredSamples(table.x),
        y=y,
        classes=classes,
        by_name=bool(classes),
    )


def _answers(
    path: Path, table: SampleTable, labels: tuple[str, ...]
) -> tuple[NDArray[np.generic] | None, tuple[str, ...]]:
    """``y`` (N,) and the classes."""
    if table.labels is None:
        return table.y, ()
    return numbered(path, table.labels, labels)
