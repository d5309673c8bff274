"""What data may be given as: the table of formats, and how one is told from another."""

from collections.abc import Callable
from pathlib import Path

from maas_agent.errors import DataError, NoInputError
from maas_converter.data.csv_file import read_csv
from maas_converter.data.dataset import Dataset
from maas_converter.data.folder import read_folder
from maas_converter.data.npz import read_npz

Reader = Callable[[Path, tuple[str, ...]], Dataset]

READERS: dict[str, Reader] = {".npz": read_npz, ".csv": read_csv, ".tsv": read_csv, "folder": read_folder}
"""By the end of the name; a folder by being one."""


def load(path: Path, labels: tuple[str, ...] = ()) -> Dataset:
    """Read a data set; classes that it calls by names get the numbers these have in ``labels``, if there are any.

    Raises `NoInputError` if it is not there, `DataError` if it is not what is read.
    """
    if not path.exists():
        raise NoInputError(f"there is no data file {path}")
    kind = "folder" if path.is_dir() else path.suffix.lower()
    if kind not in READERS:
        known = ", ".join(f"a {suffix} file" for suffix in READERS if suffix != "folder")
        raise DataError(
            f"{path} is no data this reads: give {known} or a folder of PNG, JPEG or WAV files "
            "(pictures may also be BMP, GIF, WebP or TIFF)"
        )
    return READERS[kind](path, labels)
