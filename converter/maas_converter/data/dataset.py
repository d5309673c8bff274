"""A data file as it was read: samples, and what is known of them, for calibration and evaluation.

What a file holds becomes samples by the device's own rules (`maas_agent.processing.decode`), so that nothing is
measured on values that a device would refuse or would see differently.
"""

from pathlib import Path
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from maas_agent.bundle.manifest import Decode
from maas_agent.errors import DataError, DecodeError
from maas_agent.processing.decode import decode
from maas_agent.processing.fit import fitted
from maas_converter.data.labels import some

Array = NDArray[np.generic]

MAX_BYTES = 1 << 32
"""Samples of one data set, decoded, all of which are held in memory."""


class StoredSamples(msgspec.Struct, frozen=True):
    """Samples that lie in the data file as numbers."""

    x: Array
    """(N, …), N at least 1, numbers, all finite."""

    @property
    def count(self) -> int:
        """How many samples there are."""
        return len(self.x)


class SampleFiles(msgspec.Struct, frozen=True):
    """Samples that are files of their own, which a device would decode."""

    paths: tuple[Path, ...]
    form: Literal["image", "audio"]

    @property
    def count(self) -> int:
        """How many samples there are."""
        return len(self.paths)


class Dataset(msgspec.Struct, frozen=True):
    """One data set, checked in itself but not yet against a model."""

    path: Path
    sha256: str
    """Of the file; of a folder, of the names, labels and contents of its samples."""
    source: StoredSamples | SampleFiles
    y: Array | None
    """(N,) or (N, …), finite numbers: class numbers from 0, or the values a regression is to give."""
    classes: tuple[str, ...]
    """Names of the classes, by number; empty where they are not known."""
    by_name: bool = False
    """Whether ``y`` was made of names: then the numbers mean something only if ``classes`` are all there are."""
    notes: tuple[str, ...] = ()
    """What was left out, as sentences."""

    @property
    def name(self) -> str:
        """What metrics call it."""
        return self.path.stem or self.path.resolve().name

    @property
    def count(self) -> int:
        """How many samples there are."""
        return self.source.count

    @property
    def sample_dtype(self) -> Literal["uint8", "float32"]:
        """The type samples have where nobody says which: ``uint8`` of pictures and of what is stored so."""
        if isinstance(self.source, SampleFiles):
            return "uint8" if self.source.form == "image" else "float32"
        return "uint8" if self.source.x.dtype == np.uint8 else "float32"


def some_of(dataset: Dataset, most: int) -> Dataset:
    """At most ``most`` samples of a data set, evenly spread over it, without what is true of them."""
    rows = np.unique(np.linspace(0, dataset.count - 1, min(dataset.count, most)).astype(np.int64))
    if isinstance(dataset.source, SampleFiles):
        source: StoredSamples | SampleFiles = SampleFiles(
            tuple(dataset.source.paths[row] for row in rows), dataset.source.form
        )
    else:
        source = StoredSamples(dataset.source.x[rows])
    return msgspec.structs.replace(dataset, source=source, y=None)


def samples_of(dataset: Dataset, spec: Decode) -> Array:
    """The samples (N, …sample) in the sample's dtype, as a device would decode them; raises `DataError`."""
    size = dataset.count * spec.sample_bytes
    if size > MAX_BYTES:
        raise DataError(
            f"{dataset.path} has {dataset.count} samples, decoded {size / 2**30:.1f} GiB; at most "
            f"{MAX_BYTES >> 30} GiB are held: give fewer"
        )
    if isinstance(dataset.source, SampleFiles):
        return _decoded(dataset.source, spec)
    return fitted(dataset.source.x, spec, str(dataset.path))


def classes_of(dataset: Dataset, count: int) -> NDArray[np.int64] | None:
    """The class numbers (N,), each below ``count``; ``None`` if there is no ``y``.

    Raises `DataError` if ``y`` holds no class numbers, or not those of a model with ``count`` classes.
    """
    if dataset.y is None:
        return None
    y = dataset.y.reshape(-1) if dataset.y.shape == (dataset.count, 1) else dataset.y
    with np.errstate(invalid="ignore"):
        numbers = y.astype(np.int64)
    if y.ndim != 1 or not np.array_equal(y, numbers):
        raise DataError(f"{dataset.path}: 'y' {list(y.shape)} holds {y.dtype} values that are no class numbers")
    if int(numbers.min()) < 0:
        raise DataError(f"{dataset.path}: 'y' holds {int(numbers.min())}, class numbers begin at 0")
    if dataset.by_name and len(dataset.classes) != count:
        raise DataError(
            f"{dataset.path} has {len(dataset.classes)} classes ({some(dataset.classes)}), the model has {count}: "
            "give --labels FILE with the names of all of them, in the order of the model's outputs"
        )
    if int(numbers.max()) >= count:
        raise DataError(
            f"{dataset.path}: 'y' goes up to {int(numbers.max())}, the model has {count} classes, numbered from 0"
        )
    return numbers


def targets_of(dataset: Dataset) -> NDArray[np.float32]:
    """The values (N, …) that a regression is to give; raises `DataError` if there are none."""
    if dataset.y is None:
        raise DataError(f"{dataset.path} holds no targets 'y' (N, …)")
    if dataset.by_name:
        raise DataError(f"{dataset.path} holds names of classes, no numbers that a regression could give")
    return dataset.y.astype(np.float32)


def _decoded(files: SampleFiles, spec: Decode) -> Array:
    samples = np.empty((files.count, *spec.shape), spec.dtype)
    for row, path in enumerate(files.paths):
        try:
            samples[row] = decode(path.read_bytes(), spec, configured=files.form).samples[0]
        except OSError as error:
            raise DataError(f"cannot read {path}: {error.strerror}") from None
        except DecodeError as error:
            raise DataError(f"{path}: {error}") from None
    return samples
