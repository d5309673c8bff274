"""What a search has measured, so that one that was interrupted goes on: a line of JSON for each measurement.

Lines are appended and fsynced. A line torn by a cut is ignored; a measurement without a line is made again.
"""

import hashlib
from importlib import metadata
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from maas_agent.base.untrusted import MALFORMED
from maas_agent.bundle.manifest import Input, Postprocess
from maas_agent.errors import UnavailableError
from maas_converter.base import outlet

_FORMAT = 2
"""Raise it when what a measurement means changes: older journals are then not read."""

_LIBRARIES = ("ai-edge-litert", "litert-quantizer", "numpy")


def digest_of(
    float32: bytes, spec: Input, arrays: tuple[NDArray[Any] | None, ...], seed: int, kind: Postprocess | None = None
) -> str:
    """What measurements depend on: model, preprocessing, data, seed, library versions and what an answer is.

    Budgets are none of it.
    """
    versions = [f"{name} {_version(name)}" for name in _LIBRARIES]
    # Not JSON: whether that leaves out a default depends on where the value came from.
    told = hashlib.sha256(repr([_FORMAT, seed, versions, spec, kind]).encode())
    told.update(hashlib.sha256(float32).digest())
    for array in arrays:
        told.update(b"none" if array is None else f"{array.dtype.str}{array.shape}".encode())
        if array is not None:
            told.update(hashlib.sha256(np.ascontiguousarray(array).data).digest())
    return told.hexdigest()


class MeasurementJournal:
    """The measurements of one digest."""

    def __init__(self, folder: Path, digest: str) -> None:
        """Read what is there; raises `UnavailableError` if the folder cannot be used."""
        self.path = folder / f"{digest}.jsonl"
        self._used: set[str] = set()
        self._known: dict[str, Any] = {}
        try:
            outlet.append(self.path, b"")
            self._read()
        except OSError as error:
            raise UnavailableError(f"the search keeps its journal in {folder}: {error.strerror or error}") from None
        self._old = frozenset(self._known)

    def recall(self, key: str) -> Any:
        """What was noted under ``key``, or ``None``."""
        if key in self._old:
            self._used.add(key)
        return self._known.get(key)

    @property
    def found(self) -> int:
        """How many measurements of an earlier search this one has used."""
        return len(self._used)

    def note(self, key: str, value: Any) -> None:
        """Keep ``value`` (JSON-ready); raises `UnavailableError` if it cannot be written."""
        self._known[key] = value
        line = msgspec.json.encode({"key": key, "value": value}) + b"\n"
        try:
            outlet.append(self.path, line)
        except OSError as error:
            raise UnavailableError(f"cannot write {self.path}: {error.strerror or error}") from None

    def _read(self) -> None:
        if not self.path.exists():
            return
        content = self.path.read_bytes()
        for line in content.splitlines():
            try:
                entry = msgspec.json.decode(line)
                self._known[entry["key"]] = entry["value"]
            except (*MALFORMED, TypeError, KeyError):
                continue  # torn
        if content and not content.endswith(b"\n"):
            outlet.append(self.path, b"\n")


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "none"
