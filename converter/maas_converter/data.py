"""Data files: samples and their classes, for calibration and evaluation.

What a file holds becomes samples by the device's own rules (`maas_agent.processing.decode.as_samples`), so that
nothing is measured on values that a device would refuse. Formats are lines of the table at the end of this file.
"""

import hashlib
import zipfile
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from maas_agent.bundle.manifest import Decode
from maas_agent.errors import DataError, DecodeError, NoInputError
from maas_agent.processing.decode import MAX_BATCH, as_samples

Array = NDArray[np.generic]


class Dataset(msgspec.Struct, frozen=True):
    """One data file as it was read, checked in itself but not yet against a model."""

    path: Path
    sha256: str
    x: Array
    """(N, …), N at least 1, numbers, all finite."""
    y: NDArray[np.int64] | None
    """(N,), class numbers from 0."""
    classes: tuple[str, ...]

    @property
    def name(self) -> str:
        """What metrics call it."""
        return self.path.stem


def load(path: Path) -> Dataset:
    """Read a data file; raises `NoInputError` if it is not there, `DataError` if it is not what is read."""
    if not path.exists():
        raise NoInputError(f"there is no data file {path}")
    if path.suffix.lower() not in READERS:
        raise DataError(f"{path} is no data this reads: give {', '.join(f'a {suffix}' for suffix in READERS)} file")
    return READERS[path.suffix.lower()](path)


def samples_of(dataset: Dataset, decode: Decode) -> Array:
    """The samples (N, …sample) in the sample's dtype.

    A missing or extra dimension of size 1 (gray images without a channel) is forgiven. Raises `DataError`.
    """
    x = dataset.x
    if x.shape[1:] != decode.shape and _squeezed(x.shape[1:]) == _squeezed(decode.shape):
        x = x.reshape(len(x), *decode.shape)
    if x.shape[1:] != decode.shape:
        found, wanted = list(x.shape[1:]), list(decode.shape)
        raise DataError(f"{dataset.path}: a sample in 'x' has the shape {found}, the model takes {wanted}")
    try:
        parts = [as_samples(x[at : at + MAX_BATCH], decode).samples for at in range(0, len(x), MAX_BATCH)]
    except DecodeError as error:
        raise DataError(f"{dataset.path}: 'x' is {x.dtype}, samples are {decode.dtype}: {error}") from None
    return np.concatenate(parts)


def classes_of(dataset: Dataset, count: int) -> NDArray[np.int64] | None:
    """The class numbers (N,), each below ``count``; ``None`` if the file holds none. Raises `DataError`."""
    if dataset.y is not None and int(dataset.y.max()) >= count:
        raise DataError(f"{dataset.path}: 'y' goes up to {int(dataset.y.max())}, the model has {count} classes from 0")
    return dataset.y


def read_labels(path: Path) -> tuple[str, ...]:
    """Labels, one a line, in the order of the model's outputs; raises `NoInputError` or `DataError`."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
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


def _read_npz(path: Path) -> Dataset:
    try:
        content = path.read_bytes()
        # allow_pickle: a pickle is a program, and data files come from anywhere.
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in ("x", "y", "classes") if name in getattr(file, "files", ())}
    except OSError as error:
        raise NoInputError(f"cannot read {path}: {error.strerror or error}") from None
    except (ValueError, EOFError, KeyError, TypeError, zipfile.BadZipFile, MemoryError) as error:
        raise DataError(f"{path} is no readable .npz file of plain arrays: {error}") from None
    if "x" not in arrays:
        raise DataError(f"{path} holds no array 'x': samples are 'x' (N, …), classes 'y' (N,)")
    return Dataset(
        path=path,
        sha256=hashlib.sha256(content).hexdigest(),
        x=_checked_x(path, arrays["x"]),
        y=_checked_y(path, arrays["y"], len(arrays["x"])) if "y" in arrays else None,
        classes=_checked_classes(path, arrays["classes"]) if "classes" in arrays else (),
    )


def _checked_x(path: Path, x: Array) -> Array:
    if x.ndim < 1 or x.size == 0:
        raise DataError(f"{path} holds no samples: 'x' has the shape {list(x.shape)}")
    if x.dtype.kind not in "biuf":
        raise DataError(f"{path}: 'x' holds {x.dtype}, not numbers")
    if x.dtype.kind == "f" and not np.isfinite(x).all():
        bad = int(np.argmin(np.isfinite(x.reshape(len(x), -1)).all(axis=1)))
        raise DataError(f"{path}: 'x' holds NaN or infinity, first in sample {bad}")
    return x


def _checked_y(path: Path, y: Array, samples: int) -> NDArray[np.int64]:
    if y.shape != (samples,):
        raise DataError(f"{path}: 'y' has the shape {list(y.shape)}, 'x' has {samples} samples: 'y' is (N,)")
    if y.dtype.kind not in "biuf" or not np.isfinite(y).all() or not np.array_equal(y, y.astype(np.int64)):
        raise DataError(f"{path}: 'y' holds {y.dtype} values that are no class numbers")
    if int(y.min()) < 0:
        raise DataError(f"{path}: 'y' holds {int(y.min())}, class numbers begin at 0")
    return y.astype(np.int64)


def _checked_classes(path: Path, classes: Array) -> tuple[str, ...]:
    if classes.ndim != 1 or classes.dtype.kind not in "Uiu":
        raise DataError(f"{path}: 'classes' is no list of names")
    return tuple(str(name) for name in classes)


def _squeezed(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(size for size in shape if size != 1)


READERS: dict[str, Callable[[Path], Dataset]] = {".npz": _read_npz}
