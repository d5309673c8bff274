"""Runs importers, each in its own process: TensorFlow's memory, noise, crashes and threads stay out of this one."""

import os
import re
import signal
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

import msgspec

from maas_agent.errors import DataError, MaasError, NoInputError, RuntimeFailure, UnavailableError
from maas_converter.extras import require
from maas_converter.importers.digest import digest_of
from maas_converter.importers.refusal import MARK, NOTE, QUIET, Passed
from maas_converter.importers.table import FINISH, Importer, Rung, importer_for
from maas_converter.importers.task import Importing as Importing
from maas_converter.importers.task import Task
from maas_converter.tflite.contents import contents_of
from maas_converter.tflite.metadata import METADATA, Metadata

_ERRORS: dict[int, type[MaasError]] = {
    kind.exit_code: kind for kind in (DataError, NoInputError, UnavailableError, Passed)
}
_NOISE = re.compile(r"^([IWE]\d{4} |WARNING|INFO|\d{4}-\d\d-\d\d |\s|To enable the following)")


class Imported(msgspec.Struct, frozen=True):
    """A source model as a ``.tflite`` file: one signature, batch size 1, fixed shapes, only ops that LiteRT has."""

    tflite: bytes
    source_sha256: str
    """See `maas_converter.importers.digest`."""
    quantized: bool = False
    """Whether it was quantized already: it is packed as it is."""
    notes: tuple[str, ...] = ()
    """What was decided without being asked, such as which framework read it."""
    metadata: Metadata = Metadata()
    """Of a ``.tflite`` file."""


class Made(msgspec.Struct, frozen=True):
    """What one importer's process left."""

    tflite: Path
    notes: tuple[str, ...]


def import_model(source: Path, folder: Path, options: Importing | None = None) -> Imported:
    """Convert ``source``, using ``folder`` for scratch.

    Raises `NoInputError`, `DataError` (no model, damaged, or one that must not or cannot be converted),
    `UnavailableError` (its framework is not installed) or `RuntimeFailure` (the framework crashed).
    """
    options = options or Importing()
    importer = importer_for(source)
    require("convert", *importer.needs)
    digest = digest_of(source)
    with tempfile.TemporaryDirectory(prefix="import-", dir=folder) as scratch:
        made = _climb(importer, source, Path(scratch), options) if importer.rungs else Made(source, ())
        done = _run(FINISH, source, Task(made.tflite.resolve(), Path(scratch) / "float32.tflite", options))
        tflite = done.tflite.read_bytes()
        metadata = msgspec.json.decode(done.tflite.with_name(METADATA).read_bytes(), type=Metadata)
    contents = contents_of(tflite)
    if options.unroll and contents.has_control_flow:
        raise DataError(
            f"{source}: a loop is left, because only recurrent layers of Keras models can be unrolled: "
            "save it as .keras"
        )
    return Imported(tflite, digest, contents.quantized, (*made.notes, *done.notes, *metadata.notes), metadata)


def _climb(importer: Importer, source: Path, scratch: Path, options: Importing) -> Made:
    """Try the rungs in turn; one that refuses ends it, one that cannot or crashes leaves the next."""
    task = Task(source.resolve(), scratch / "made.tflite", options)
    fell: list[tuple[Rung, MaasError]] = []
    for rung in importer.rungs:
        try:
            made = _run(rung, source, task)
        except (Passed, UnavailableError, RuntimeFailure) as error:
            fell.append((rung, error))
            continue
        return msgspec.structs.replace(made, notes=(*_told(importer, rung, fell, source), *made.notes))
    raise _all_fell(fell, source)


def _run(rung: Rung, source: Path, task: Task) -> Made:
    missing = [module for module in rung.needs if find_spec(module) is None]
    if missing:
        raise UnavailableError(f"{source}: {', '.join(missing)} is not installed")
    # -P: the current folder is the user's, and a keras.py in it must not become ours.
    command = [sys.executable, "-P", "-m", rung.module, *task.arguments()]
    done = subprocess.run(
        command, env=os.environ | QUIET, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace"
    )
    if done.returncode != 0 or not task.out.exists():
        raise _failure(source, done.returncode, done.stderr)
    said = (line for line in done.stderr.splitlines() if line.startswith(NOTE))
    return Made(task.out, tuple(line.removeprefix(NOTE) for line in said))


def _told(importer: Importer, rung: Rung, fell: list[tuple[Rung, MaasError]], source: Path) -> list[str]:
    if len(importer.rungs) == 1:
        return []
    reasons = "; ".join(f"{lower.title}: {_without(source, error)}" for lower, error in fell)
    return [f"{source.name} was read by {rung.title}" + (f" ({reasons})" if reasons else "")]


def _all_fell(fell: list[tuple[Rung, MaasError]], source: Path) -> MaasError:
    if len(fell) == 1:
        error = fell[0][1]
        return DataError(str(error)) if isinstance(error, Passed) else error
    reasons = "; ".join(f"{rung.title}: {_without(source, error)}" for rung, error in fell)
    kind = RuntimeFailure if all(isinstance(error, RuntimeFailure) for _, error in fell) else DataError
    return kind(f"{source}: nothing here reads it. {reasons}")


def _without(source: Path, error: MaasError) -> str:
    return str(error).removeprefix(f"{source}: ")


def _failure(source: Path, status: int, stderr: str) -> MaasError:
    """What a dead importer's exit status and last words mean."""
    if status < 0:
        return RuntimeFailure(f"{source}: {_death(signal.Signals(-status))} {_last_line(stderr)}")
    sentence = next((line for line in reversed(stderr.splitlines()) if line.startswith(MARK)), None)
    if sentence is not None:
        return _ERRORS.get(status, RuntimeFailure)(f"{source}: {sentence.removeprefix(MARK)}")
    return Passed(f"{source} cannot be converted: {_last_line(stderr)}")


def _death(by: signal.Signals) -> str:
    if by is signal.SIGKILL:
        return "importing it was killed (SIGKILL), most likely for want of memory; its last words:"
    return (
        f"importing it crashed ({by.name}) in a native library; save the model in another format (.keras, or a "
        "SavedModel by model.export) and try that; its last words:"
    )


def _last_line(stderr: str) -> str:
    lines = [line for line in stderr.splitlines() if line and not _NOISE.match(line)]
    return lines[-1].strip()[:500] if lines else "it said nothing"
