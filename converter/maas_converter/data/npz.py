"""``.npz`` files: the arrays ``x``, ``y`` and ``classes``."""

import hashlib
import zipfile
from pathlib import Path

import numpy as np

from maas_agent.errors import DataError, NoInputError
from maas_converter.data.dataset import Array, Dataset, Stored


def read_npz(path: Path, labels: tuple[str, ...]) -> Dataset:
    """Read a file of plain arrays; its class numbers need no ``labels``. Raises `NoInputError` or `DataError`."""
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
    _check_x(path, arrays["x"])
    if "y" in arrays:
        _check_y(path, arrays["y"], len(arrays["x"]))
    return Dataset(
        path=path,
        sha256=hashlib.sha256(content).hexdigest(),
        source=Stored(arrays["x"]),
        y=arrays.get("y"),
        classes=_checked_classes(path, arrays["classes"]) if "classes" in arrays else (),
    )


def _check_x(path: Path, x: Array) -> None:
    if x.ndim < 1 or x.size == 0:
        raise DataError(f"{path} holds no samples: 'x' has the shape {list(x.shape)}")
    if x.dtype.kind not in "biuf":
        raise DataError(f"{path}: 'x' holds {x.dtype}, not numbers")
    if x.dtype.kind == "f" and not np.isfinite(x).all():
        bad = int(np.argmin(np.isfinite(x.reshape(len(x), -1)).all(axis=1)))
        raise DataError(f"{path}: 'x' holds NaN or infinity, first in sample {bad}")


def _check_y(path: Path, y: Array, samples: int) -> None:
    if y.ndim < 1 or len(y) != samples or y.size == 0:
        raise DataError(
            f"{path}: 'y' has the shape {list(y.shape)}, 'x' has {samples} samples: "
            "'y' is (N,) class numbers, or targets (N, …)"
        )
    if y.dtype.kind not in "biuf":
        raise DataError(f"{path}: 'y' holds {y.dtype} values: neither class numbers nor targets")
    if not np.isfinite(y).all():
        bad = int(np.argmin(np.isfinite(y.reshape(len(y), -1)).all(axis=1)))
        raise DataError(f"{path}: 'y' holds NaN or infinity, first in sample {bad}")


def _checked_classes(path: Path, classes: Array) -> tuple[str, ...]:
    if classes.ndim != 1 or classes.dtype.kind not in "Uiu":
        raise DataError(f"{path}: 'classes' is no list of names")
    return tuple(str(name) for name in classes)
