"""Runs an importer in its own process: TensorFlow's memory, noise, crashes and threads stay out of the converter."""

import hashlib
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import msgspec

from maas_agent.errors import DataError, MaasError, NoInputError, RuntimeFailure, UnavailableError
from maas_converter.extras import require
from maas_converter.importers.refusal import MARK, QUIET
from maas_converter.importers.table import importer_for

_ERRORS: dict[int, type[MaasError]] = {kind.exit_code: kind for kind in (DataError, NoInputError, UnavailableError)}
_NOISE = re.compile(r"^([IWE]\d{4} |WARNING|INFO|\d{4}-\d\d-\d\d |\s|To enable the following)")


class Imported(msgspec.Struct, frozen=True):
    """A source model as a float32 ``.tflite`` file: one signature, batch size 1, fixed shapes."""

    tflite: bytes
    source_sha256: str


def import_model(source: Path, folder: Path) -> Imported:
    """Convert ``source``, using ``folder`` for scratch.

    Raises `NoInputError`, `DataError` (no model, damaged, or one that must not or cannot be converted),
    `UnavailableError` (its framework is not installed) or `RuntimeFailure` (the framework crashed).
    """
    importer = importer_for(source)
    require("convert", *importer.needs)
    digest = _sha256(source)
    out = folder / "float32.tflite"
    # -P: the current folder is the user's, and a keras.py in it must not become ours.
    command = [sys.executable, "-P", "-m", importer.module, str(source.resolve()), str(out)]
    done = subprocess.run(
        command, env=os.environ | QUIET, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace"
    )
    if done.returncode != 0 or not out.exists():
        raise _failure(source, done.returncode, done.stderr)
    return Imported(tflite=out.read_bytes(), source_sha256=digest)


def _failure(source: Path, status: int, stderr: str) -> MaasError:
    """What a dead importer's exit status and last words mean."""
    if status < 0:
        return RuntimeFailure(f"converting {source} died of {signal.Signals(-status).name}: {_last_line(stderr)}")
    sentence = next((line for line in reversed(stderr.splitlines()) if line.startswith(MARK)), None)
    if sentence is not None:
        return _ERRORS.get(status, RuntimeFailure)(f"{source}: {sentence.removeprefix(MARK)}")
    return DataError(f"{source} cannot be converted: {_last_line(stderr)}")


def _last_line(stderr: str) -> str:
    lines = [line for line in stderr.splitlines() if line and not _NOISE.match(line)]
    return lines[-1].strip()[:500] if lines else "it said nothing"


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise NoInputError(f"cannot read {path}: {error.strerror}") from None
