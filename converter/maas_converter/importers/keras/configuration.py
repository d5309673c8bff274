"""The configuration in a Keras file: what the model is made of, read as data before any framework sees it.

Keras refuses Lambda layers in ``.keras`` files by itself (``safe_mode``), but tf-keras runs those of an ``.h5`` file
while loading. Hence this look at the JSON, the same for both.
"""

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from maas_agent.base.terminal import printable
from maas_agent.base.untrusted import read_member
from maas_agent.errors import DataError
from maas_converter.importers.keras.allowed import entries, name_of, refuse_reach
from maas_converter.importers.keras.containers import refuse_archive, refuse_hdf5

_HDF5 = b"\x89HDF\r\n\x1a\n"
_CODE = ("Lambda", "__lambda__")
"""Class names under which Keras stores Python code: the layer, and any function given as an argument (Keras 3)."""

_MAX_BYTES = 256 << 20
"""Of a configuration, expanded."""

_NAMELESS = "a function"


def is_hdf5(head: bytes) -> bool:
    """Whether a file that begins so is HDF5."""
    return head.startswith(_HDF5)


def refuse_code(source: Path, *, trust: bool) -> None:
    """Raise `DataError` if the model in ``source`` holds Python code, or reaches for what may do more than compute.

    ``trust`` allows both. Nothing is run, see `maas_converter.importers.keras.allowed`. Files that take their weights
    from others are refused in any case.
    """
    configuration = read_configuration(source)
    with source.open("rb") as file:
        (refuse_hdf5 if is_hdf5(file.read(8)) else refuse_archive)(source)
    if trust:
        return
    found = set(code_in(configuration))
    if found:
        names = printable(", ".join((sorted(found - {_NAMELESS}) or [_NAMELESS])[:5]))
        raise DataError(
            f"it holds Python code (Lambda: {names}), which is not run: replace it by layers, "
            "or allow it with --trust if you know who wrote it"
        )
    refuse_reach(configuration)


def older_keras(source: Path) -> str | None:
    """The version of Keras 1 or 2 that wrote the HDF5 file ``source``; ``None`` if it was another, or no such file.

    Keras 3 reads many of these files, and computes otherwise where what a name stands for has changed since, such as
    ``hard_sigmoid``, which older recurrent layers have by default.
    """
    import h5py

    try:
        with h5py.File(source, "r") as file:
            written = file.attrs.get("keras_version", b"")
    except (OSError, KeyError, RuntimeError):  # no HDF5, or damaged: whoever reads it next says so
        return None
    version = written.decode("utf-8", "replace") if isinstance(written, bytes) else str(written)
    return version if version.startswith(("1.", "2.")) else None


def read_configuration(source: Path) -> Any:
    """The model's configuration as JSON; raises `DataError` if there is none or it is damaged."""
    with source.open("rb") as file:
        text = _of_hdf5(source) if is_hdf5(file.read(8)) else _of_archive(source)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"its model configuration is damaged: {error}") from None


def code_in(configuration: Any) -> Iterator[str]:
    """Names of all layers that hold Python code, wherever they are nested."""
    return (
        name_of(entry) or _NAMELESS
        for entry in entries(configuration, trained=True)
        if entry.get("class_name") in _CODE
    )


def _of_archive(source: Path) -> str:
    try:
        with zipfile.ZipFile(source) as archive:
            return read_member(archive, "config.json", _MAX_BYTES).decode()
    except Exception as error:  # what zipfile and its four decompressors stumble over
        raise DataError(f"a damaged or truncated Keras 3 file ({error})") from None


def _of_hdf5(source: Path) -> str:
    import h5py

    try:
        with h5py.File(source, "r") as file:
            text, names = file.attrs.get("model_config"), set(file) | set(file.attrs)
    except (OSError, KeyError, RuntimeError) as error:  # what h5py makes of HDF5's own errors
        raise DataError(f"a damaged or truncated HDF5 file ({error})") from None
    if text is not None:
        return text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text)
    if names & {"layer_names", "layers", "vars", "_layer_checkpoint_dependencies"}:
        raise DataError("it holds weights only, and not what they belong to: save the whole model with model.save()")
    raise DataError("an HDF5 file, but no Keras model: it has no 'model_config'")
