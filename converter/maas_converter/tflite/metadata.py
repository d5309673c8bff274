"""What TFLite metadata say of a model: how its pixels are normalized, and the labels of its outputs.

They lie in the buffer ``TFLITE_METADATA`` (FlatBuffers, ``metadata_schema.fbs`` of TFLite Support), and the files they
name in a zip behind the model. Whatever is damaged or too large there is left out, with a note: the model runs without.
"""

import io
import struct
import zipfile
from collections.abc import Iterator

import msgspec

from maas_agent.base.untrusted import read_member
from maas_converter.tflite import model as files

_BUFFER = "TFLITE_METADATA"
_IDENTIFIER = b"M001"
_LARGEST = 1 << 20
"""Bytes of the metadata, and of one file of labels."""
_MOST = 1 << 16
"""Elements of a vector, and labels of an output."""

# Fields by number, in the order of the schema.
_SUBGRAPHS = 3  # of ModelMetadata
_INPUTS, _OUTPUTS = 2, 3  # of SubGraphMetadata
_INPUT_UNITS = 5
_UNITS, _TENSOR_FILES = 4, 6  # of TensorMetadata
_OPTIONS_TYPE, _OPTIONS = 0, 1  # of ProcessUnit, a union
_NORMALIZATION = 1  # of ProcessUnitOptions
_MEAN, _STD = 0, 1  # of NormalizationOptions
_FILE_NAME, _FILE_TYPE, _FILE_LOCALE = 0, 2, 3  # of AssociatedFile
_AXIS_LABELS = 2  # of AssociatedFileType


class Metadata(msgspec.Struct, frozen=True):
    """What is known of the first input and of the outputs; nothing where nothing is said."""

    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    """``(pixel - mean) / std``, one for all channels or one each; empty where it is not said."""
    labels: dict[int, tuple[str, ...]] = {}
    """By index of its tensor: the labels of an output. Outputs may come into another order, tensors do not."""
    notes: tuple[str, ...] = ()
    """What was left out, as sentences."""


def metadata_of(data: bytes) -> Metadata:
    """Read the metadata of a ``.tflite`` file; raises `DataError` if that is none."""
    model = files.parse(data)
    held = next((one for one in model.metadata or () if files.text(one.name) == _BUFFER), None)
    if held is None or not 0 <= held.buffer < len(model.buffers):
        return Metadata()
    kept = model.buffers[held.buffer].data
    content = b"" if kept is None else bytes(bytearray(kept))
    try:
        return _read(content, data, [int(index) for index in model.subgraphs[0].outputs])
    except (struct.error, ValueError, IndexError, OverflowError) as error:
        return Metadata(notes=(f"its TFLite metadata are damaged and were not read ({error})",))


def _read(content: bytes, data: bytes, outputs: list[int]) -> Metadata:
    if len(content) > _LARGEST or content[4:8] != _IDENTIFIER:
        raise ValueError(f"{len(content)} bytes, mark {content[4:8]!r}")
    root = _Table.root(content)
    graph = next(root.tables(_SUBGRAPHS), None)
    if graph is None:
        return Metadata()
    first = next(graph.tables(_INPUTS), None)
    units = [*(first.tables(_UNITS) if first is not None else ()), *graph.tables(_INPUT_UNITS)]
    mean, std = next((found for unit in units if (found := _normalization(unit))), ((), ()))
    labels: dict[int, tuple[str, ...]] = {}
    notes: list[str] = []
    for tensor, described in zip(outputs, graph.tables(_OUTPUTS), strict=False):
        if name := _labels_file(described):
            try:
                labels[tensor] = _labels(data, name)
            except ValueError as error:
                notes.append(f"labels that its TFLite metadata name were not read: {error}")
    return Metadata(mean, std, labels, tuple(notes))


def _normalization(unit: "_Table") -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    if unit.byte(_OPTIONS_TYPE) != _NORMALIZATION or (options := unit.table(_OPTIONS)) is None:
        return None
    mean, std = options.floats(_MEAN), options.floats(_STD)
    usable = bool(mean) and bool(std) and all(value > 0 for value in std)
    return (mean, std) if usable and all(abs(value) < 1e30 for value in (*mean, *std)) else None


def _labels_file(described: "_Table") -> str:
    """The name of the file with the labels of an output: one without a locale if there is one, else the first."""
    found = [file for file in described.tables(_TENSOR_FILES) if file.byte(_FILE_TYPE) == _AXIS_LABELS]
    found.sort(key=lambda file: bool(file.text(_FILE_LOCALE)))
    return found[0].text(_FILE_NAME) if found else ""


def _labels(data: bytes, name: str) -> tuple[str, ...]:
    """Lines of the file ``name`` in the zip behind the model; raises `ValueError` with the reason for none."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            content = read_member(archive, name, _LARGEST)
    except KeyError:
        raise ValueError(f"there is no file {name!r} in the model's") from None
    except Exception as error:  # what zipfile and its decompressors stumble over
        raise ValueError(f"{name!r}: {error}") from None
    lines = [line.strip() for line in content.decode("utf-8").splitlines()]
    while lines and not lines[-1]:
        lines.pop()
    if not lines or len(lines) > _MOST or not all(lines):
        raise ValueError(f"{name!r} has {len(lines)} lines, or empty ones between")
    return tuple(lines)


class _Table:
    """A FlatBuffers table; every offset is checked by what reads it: `struct.error` or `ValueError` beyond the end."""

    def __init__(self, data: bytes, at: int) -> None:
        if not 0 <= at < len(data):
            raise ValueError("an offset beyond the end")
        self._data, self._at = data, at
        fields = at - _int(data, at, "<i")
        size = _int(data, fields, "<H")
        self._fields = [_int(data, fields + 4 + 2 * number, "<H") for number in range(max(0, (size - 4) // 2))]

    @classmethod
    def root(cls, data: bytes) -> "_Table":
        return cls(data, _int(data, 0, "<I"))

    def byte(self, field: int) -> int:
        place = self._place(field)
        return 0 if place is None else _int(self._data, place, "<B")

    def table(self, field: int) -> "_Table | None":
        place = self._place(field)
        return None if place is None else _Table(self._data, self._followed(place))

    def text(self, field: int) -> str:
        start, count = self._vector(field)
        return self._data[start : start + count].decode("utf-8", "replace")

    def floats(self, field: int) -> tuple[float, ...]:
        start, count = self._vector(field)
        return struct.unpack_from(f"<{count}f", self._data, start) if count else ()

    def tables(self, field: int) -> Iterator["_Table"]:
        start, count = self._vector(field)
        places = (start + 4 * number for number in range(count))
        return (_Table(self._data, self._followed(place)) for place in places)

    def _vector(self, field: int) -> tuple[int, int]:
        place = self._place(field)
        if place is None:
            return 0, 0
        start = self._followed(place)
        count = _int(self._data, start, "<I")
        if count > _MOST:
            raise ValueError(f"a vector of {count} elements")
        return start + 4, count

    def _place(self, field: int) -> int | None:
        offset = self._fields[field] if field < len(self._fields) else 0
        return self._at + offset if offset else None

    def _followed(self, place: int) -> int:
        return place + _int(self._data, place, "<I")


def _int(data: bytes, at: int, form: str) -> int:
    if at < 0:
        raise ValueError("an offset before the beginning")
    return int(struct.unpack_from(form, data, at)[0])
