"""Runs importers, each in its own process: TensorFlow's memory, noise, crashes and threads stay out of this one.

A process that imports is confined (see `maas_converter.base.sandbox`): it reads the model, and writes into a folder of
its own. Nothing of the model is run in this process; what answers samples are the importers' processes.
"""

import re
import signal
import tempfile
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path

import msgspec

from maas_agent.confinement.access import Access
from maas_agent.errors import DataError, MaasError, NoInputError, RuntimeFailure, UnavailableError
from maas_converter.base import sandbox
from maas_converter.base.extras import require
from maas_converter.importers.agreement import Agreement, Draw, agreement, seeded
from maas_converter.importers.asking import Waiting, is_ready
from maas_converter.importers.digest import digest_of
from maas_converter.importers.refusal import MARK, NOTE, QUIET, Passed
from maas_converter.importers.table import FINISH, Importer, Rung, importer_for
from maas_converter.importers.task import Importing as Importing
from maas_converter.importers.task import Task
from maas_converter.importers.tflite import HANDED_ON, HandedOn
from maas_converter.tflite.contents import Contents, contents_of
from maas_converter.tflite.metadata import Metadata
from maas_converter.tflite.names import names_of

_ERRORS: dict[int, type[MaasError]] = {
    kind.exit_code: kind for kind in (DataError, NoInputError, UnavailableError, Passed)
}
_MOST_WORDS = 16 << 20
"""Bytes of what an importer says that are read, the last ones."""
_NOISE = re.compile(r"^([IWE]\d{4} |WARNING|INFO|\d{4}-\d\d-\d\d |\s|To enable the following)")


class ImportedModel(msgspec.Struct, frozen=True):
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
    agreement: Agreement | None = None
    """With the source's own framework; ``None`` of a ``.tflite``, which LiteRT itself is the framework of."""


class Made(msgspec.Struct, frozen=True):
    """What one importer's process left."""

    tflite: Path
    notes: tuple[str, ...]
    title: str = ""
    """The framework's, as people call it."""
    waiting: Waiting | None = None
    """The process, if it can be asked what the source model answers."""


def import_model(
    source: Path, folder: Path, options: Importing | None = None, draw: Draw | None = None
) -> ImportedModel:
    """Convert ``source``, using ``folder`` for scratch, and compare the answers with those of its own framework.

    They are compared on what ``draw`` draws, else on random samples. Raises `NoInputError`, `DataError` (no model,
    damaged, one that must not or cannot be converted, or one that answers otherwise than its framework),
    `UnavailableError` (its framework is not installed) or `RuntimeFailure` (the framework crashed).
    """
    options = options or Importing()
    importer = importer_for(source)
    require("convert", *importer.needs)
    digest = digest_of(source)
    with tempfile.TemporaryDirectory(prefix="import-", dir=folder) as scratch, ExitStack() as stack:
        made = _climb(importer, source, Path(scratch), options, stack) if importer.rungs else Made(source, ())
        # In a folder of its own: what is looked at there is not changed by a process that still waits.
        finishing = Task(made.tflite.resolve(), _folder(scratch, "finished") / "float32.tflite", options)
        done = _run(FINISH, source, finishing, stack)
        tflite = done.tflite.read_bytes()
        handed = msgspec.json.decode(done.tflite.with_name(HANDED_ON).read_bytes(), type=HandedOn)
        contents = contents_of(tflite)
        agreed, told = (None, ()) if made.waiting is None else _compared(source, made, done, handed, contents, draw)
    if options.unroll and contents.has_control_flow:
        raise DataError(
            f"{source}: a loop is left, because only recurrent layers of Keras models can be unrolled: "
            "save it as .keras"
        )
    why = sandbox.lacking(moving=True) if sandbox.goes_without() else sandbox.lacking()
    unconfined = [f"{sandbox.UNCONFINED}: {why}"] if why and not options.trust else []
    notes = (*made.notes, *done.notes, *told, *handed.metadata.notes, *unconfined)
    return ImportedModel(tflite, digest, contents.quantized, notes, handed.metadata, agreed)


def _compared(
    source: Path, made: Made, done: Made, handed: HandedOn, contents: Contents, draw: Draw | None
) -> tuple[Agreement | None, tuple[str, ...]]:
    """The import beside its own framework, and a note where that could not be; raises `DataError` if they differ."""
    drawn = (draw(handed.inputs) if draw is not None else None) or seeded(handed.inputs, contents)
    asked = made.waiting.ask(drawn.inputs, made.tflite.parent) if made.waiting is not None else None
    try:
        if asked is None:
            raise DataError(
                f"{source}: {made.title} itself cannot answer samples, so nothing shows that it was imported right"
            )
        count = len(asked.outputs[0])
        inputs = [values[:count] for values in drawn.inputs]
        found = done.waiting.ask(inputs, done.tflite.parent) if done.waiting is not None else None
        if found is None:
            raise RuntimeFailure(f"{source}: LiteRT cannot run what was imported on the samples of {drawn.origin}")
    except (DataError, RuntimeFailure) as error:
        if drawn.given:
            raise
        return None, (f"{_without(source, error)} ({drawn.origin}): give --evaluation DATA",)
    both = len(found.outputs[0])
    wanted = [values[:both] for values in asked.outputs]
    named = dict(zip(names_of(done.tflite.read_bytes()).outputs, wanted, strict=True))
    try:
        agreed = agreement(made.title, drawn, named, found.outputs, asked.precision, contents.quantized)
    except DataError as error:
        raise DataError(f"{source}: {error}") from None
    return agreed, (agreed.sentence,)


def _climb(importer: Importer, source: Path, scratch: Path, options: Importing, stack: ExitStack) -> Made:
    """Try the rungs in turn; one that refuses ends it, one that cannot or crashes leaves the next."""
    fell: list[tuple[Rung, MaasError]] = []
    for number, rung in enumerate(importer.rungs):
        task = Task(source.resolve(), _folder(scratch, f"rung-{number}") / "made.tflite", options)
        try:
            made = _run(rung, source, task, stack)
        except (Passed, UnavailableError, RuntimeFailure) as error:
            fell.append((rung, error))
            continue
        return msgspec.structs.replace(made, notes=(*_told(importer, rung, fell, source), *made.notes))
    raise _all_fell(fell, source)


def _run(rung: Rung, source: Path, task: Task, stack: ExitStack) -> Made:
    """Run an importer until it has converted; it waits to be asked until ``stack`` is left, if it can be."""
    missing = [module for module in rung.needs if find_spec(module) is None]
    if missing:
        raise UnavailableError(f"{source}: {', '.join(missing)} is not installed")
    given = _access(rung, source, task)
    words = task.out.parent.with_suffix(".words")  # not in the folder that it may write to
    with words.open("wb") as file:
        process = sandbox.start(rung.module, task.arguments(), given, task.out.parent, QUIET, file)
    waiting = Waiting(process)
    stack.callback(waiting.end)
    ready = is_ready(process)
    status = 0 if ready else waiting.status()
    said = _end_of(words)
    if status != 0 or not task.out.exists():
        raise _failure(source, status, said)
    notes = (line.removeprefix(NOTE) for line in said.splitlines() if line.startswith(NOTE))
    return Made(task.out, tuple(notes), rung.title, waiting if ready else None)


def _access(rung: Rung, source: Path, task: Task) -> Access | None:
    """What an importer may do, ``None`` for all that its user may; raises `DataError` where that would be too much."""
    if (rung is not FINISH and task.options.trust) or sandbox.goes_without():
        return None
    why = sandbox.lacking(moving=True)
    if why and rung is not FINISH:
        raise DataError(
            f"{source}: its format can hold what runs while it is read, and this system cannot keep that from your "
            f"files: {why}. Convert it where it can, or add --trust if you know who wrote the model "
            f"({sandbox.ACCEPTED}=1 where nothing is to be protected, as in a container)"
        )
    return sandbox.access([task.source], task.out.parent)


def _folder(scratch: str | Path, name: str) -> Path:
    folder = Path(scratch).resolve() / name
    folder.mkdir()
    return folder


def _end_of(words: Path) -> str:
    with words.open("rb") as file:
        file.seek(max(0, words.stat().st_size - _MOST_WORDS))
        return file.read(_MOST_WORDS).decode("utf-8", "replace")


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
    if by is signal.SIGXCPU:
        return "importing it took more processor time than any model needs (SIGXCPU); its last words:"
    return (
        f"importing it crashed ({by.name}) in a native library; save the model in another format (.keras, or a "
        "SavedModel by model.export) and try that; its last words:"
    )


def _last_line(stderr: str) -> str:
    lines = [line for line in stderr.splitlines() if line and not _NOISE.match(line)]
    return lines[-1].strip()[:500] if lines else "it said nothing"
