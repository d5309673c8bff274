"""What a Keras file is made of: objects of HDF5, and members of an archive, which may be more than they look.

A dataset of HDF5 may say that its numbers are in another file, any file that the user can read: its bytes would become
weights, and be published. A few kilobytes may say that they expand to terabytes. No Keras file has either.
"""

import stat
import zipfile
from pathlib import Path, PurePosixPath
from tempfile import TemporaryFile
from typing import IO, Any

from maas_agent.errors import DataError

_MOST_BYTES = 8 << 30
"""Of everything in a file, expanded: four times what a ``.tflite`` file holds."""
_MOST_ENTRIES = 1_000_000
_DENSEST = 1100
"""More bytes than come of one by ``deflate``; what is small is not held to it."""
_SMALL_BYTES = 16 << 20
_WEIGHTS = "model.weights.h5"
_PACKED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


def refuse_archive(source: Path) -> None:
    """Raise `DataError` if the ``.keras`` archive ``source`` leads outside itself or expands beyond measure."""
    try:
        with zipfile.ZipFile(source) as archive:
            _check_members(archive.infolist())
            if _WEIGHTS in archive.namelist():
                with archive.open(_WEIGHTS) as packed, TemporaryFile() as expanded:
                    _copy(packed, expanded)
                    refuse_hdf5(expanded)
    except DataError:
        raise
    except Exception as error:  # what zipfile and its decompressors stumble over
        raise DataError(f"a damaged or truncated Keras 3 file ({error})") from None


def refuse_hdf5(source: Path | IO[bytes]) -> None:
    """Raise `DataError` if the HDF5 file ``source`` takes anything from other files or expands beyond measure."""
    import h5py

    try:
        with h5py.File(source, "r") as file:
            _check_objects(h5py, file)
    except DataError:
        raise
    except Exception as error:  # what h5py makes of HDF5's own errors
        raise DataError(f"a damaged or truncated HDF5 file ({error})") from None


def _check_members(members: list[zipfile.ZipInfo]) -> None:
    if len(members) > _MOST_ENTRIES:
        raise DataError(f"it is an archive of more than {_MOST_ENTRIES:,} files: save the model again")
    if len({member.filename for member in members}) != len(members):
        raise DataError("it holds two files of one name: save the model again")
    for member in members:
        path = PurePosixPath(member.filename.replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts or stat.S_ISLNK(member.external_attr >> 16):
            raise DataError(f"it holds {member.filename[:80]!r}, which leads outside it: save the model again")
        if member.compress_type not in _PACKED:
            raise DataError(f"its {member.filename[:80]!r} is compressed in another way than 'deflate': save it again")
    if sum(member.file_size for member in members) > _MOST_BYTES:
        raise DataError(f"it expands to more than {_MOST_BYTES >> 30} GiB, which no model has")


def _copy(packed: IO[bytes], expanded: IO[bytes]) -> None:
    """At most what the archive says of its size, which was looked at: `zipfile` reads no more."""
    while piece := packed.read(1 << 20):
        expanded.write(piece)


def _check_objects(h5py: Any, file: Any) -> None:
    """Look at every object once, and follow only links that stay in the file."""
    seen: set[int] = set()
    left = [file]
    names = total = 0
    while left:
        group = left.pop()
        for name in group:
            names += 1
            if names > _MOST_ENTRIES:
                raise DataError(f"it has more than {_MOST_ENTRIES:,} objects: save the model again")
            link = group.get(name, getlink=True)  # raises for kinds of links that h5py does not know
            if isinstance(link, h5py.ExternalLink):
                raise DataError(f"its {name[:80]!r} is in another file, {link.filename[:80]!r}: save the model again")
            if not isinstance(link, h5py.HardLink):
                continue
            found = group[name]
            address = h5py.h5o.get_info(found.id).addr
            if address in seen:
                continue
            seen.add(address)
            if isinstance(found, h5py.Group):
                left.append(found)
            elif isinstance(found, h5py.Dataset):
                total += _size_of(found)
    if total > _MOST_BYTES:
        raise DataError(f"it expands to more than {_MOST_BYTES >> 30} GiB, which no model has")


def _size_of(dataset: Any) -> int:
    """Its bytes when it is read, if they are all in this file."""
    if dataset.is_virtual or dataset.external:
        others = [*(dataset.external or ()), *(dataset.virtual_sources() if dataset.is_virtual else ())]
        named = next((str(getattr(other, "file_name", other[0])) for other in others), "another one")
        raise DataError(
            f"its {dataset.name[:80]!r} takes its numbers from another file, {named[:80]!r}: save the model again"
        )
    size = int(dataset.size or 0) * int(dataset.dtype.itemsize)
    stored = int(dataset.id.get_storage_size())
    if size > _SMALL_BYTES and size > stored * _DENSEST:
        raise DataError(f"its {dataset.name[:80]!r} expands from {stored:,} bytes to {size:,}: it is damaged")
    return size
