"""``.npz`` files: the arrays ``x``, ``y`` and ``classes``, from a zip that may say anything of itself."""

import io
import zipfile

import msgspec
import numpy as np
from numpy.typing import NDArray

from maas_agent.errors import DataError

Array = NDArray[np.generic]

MAX_BYTES = 1 << 32
"""Of all arrays together, decompressed."""

_KNOWN = ("x", "y", "classes")
MAX_CLASSES = 1 << 20


class Arrays(msgspec.Struct, frozen=True):
    """What one file holds, checked in itself."""

    x: Array
    """(N, …), N at least 1, numbers, all finite."""
    y: Array | None = None
    """(N,) or (N, …), finite numbers: class numbers from 0, or the values a regression is to give."""
    classes: tuple[str, ...] = ()
    """Names of the classes, by number; empty where they are not known."""


def read_arrays(data: bytes, name: str, max_bytes: int = MAX_BYTES, *, or_the_only_one: bool = False) -> Arrays:
    """Read the file called ``name``; raises `DataError` that names the array and the sample.

    The samples are ``x``, or, if that is allowed, the only array that there is.
    """
    try:
        # allow_pickle: a pickle is a program, and data files come from anywhere.
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = _members(archive, name, max_bytes, or_the_only_one)
            arrays = {key: _array(archive, member) for key, member in members.items()}
            classes = _checked_classes(name, arrays["classes"]) if "classes" in arrays else ()
    except DataError:
        raise
    except Exception as error:  # what zipfile, its four decompressors, NumPy and the tokenizer it uses stumble over
        raise DataError(f"{name} is no readable .npz file of plain arrays: {error}") from None
    if "x" not in arrays:
        raise DataError(f"{name} holds no array 'x': samples are 'x' (N, …), classes 'y' (N,)")
    _check_x(name, arrays["x"])
    if "y" in arrays:
        _check_y(name, arrays["y"], len(arrays["x"]))
    return Arrays(arrays["x"], arrays.get("y"), classes)


def _members(archive: zipfile.ZipFile, name: str, max_bytes: int, or_the_only_one: bool) -> dict[str, str]:
    """By array, the file in the archive; their sizes are known before one of them is read."""
    stored = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
    wanted = {key: stored[key] for key in _KNOWN if key in stored}
    if or_the_only_one and len(stored) == 1:
        wanted = {"x": next(iter(stored.values()))}
    size = sum(info.file_size for info in wanted.values())
    if size > max_bytes:
        raise DataError(f"{name} holds {size / 2**30:.1f} GiB of arrays, at most {max_bytes / 2**30:.1f} GiB are read")
    return {key: info.filename for key, info in wanted.items()}


def _array(archive: zipfile.ZipFile, member: str) -> Array:
    with archive.open(member) as file:
        array: Array = np.lib.format.read_array(file, allow_pickle=False)
    return array


def _check_x(name: str, x: Array) -> None:
    if x.ndim < 1 or x.size == 0:
        raise DataError(f"{name} holds no samples: 'x' has the shape {list(x.shape)}")
    if x.dtype.kind not in "biuf":
        raise DataError(f"{name}: 'x' holds {x.dtype}, not numbers")
    if x.dtype.kind == "f" and not np.isfinite(x).all():
        bad = int(np.argmin(np.isfinite(x.reshape(len(x), -1)).all(axis=1)))
        raise DataError(f"{name}: 'x' holds NaN or infinity, first in sample {bad}")


def _check_y(name: str, y: Array, samples: int) -> None:
    if y.ndim < 1 or len(y) != samples or y.size == 0:
        raise DataError(
            f"{name}: 'y' has the shape {list(y.shape)}, 'x' has {samples} samples: "
            "'y' is (N,) class numbers, or targets (N, …)"
        )
    if y.dtype.kind not in "biuf":
        raise DataError(f"{name}: 'y' holds {y.dtype} values: neither class numbers nor targets")
    if not np.isfinite(y).all():
        bad = int(np.argmin(np.isfinite(y.reshape(len(y), -1)).all(axis=1)))
        raise DataError(f"{name}: 'y' holds NaN or infinity, first in sample {bad}")


def _checked_classes(name: str, classes: Array) -> tuple[str, ...]:
    # Names of no characters take no bytes: there may be any number of them.
    if classes.ndim != 1 or classes.dtype.kind not in "Uiu" or len(classes) > MAX_CLASSES:
        raise DataError(f"{name}: 'classes' is no list of names")
    return tuple(str(label) for label in classes)
