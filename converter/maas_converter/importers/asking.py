"""The talk with an importer that has converted its model: what does the framework itself answer to these samples?

The process stays until it is told the samples or its standard input ends, so that the framework is started once for an
import. It is asked by the path of a ``.npz`` file with one array (N, …tensor) for each input, and leaves another file
beside it, with one array (M ≤ N, …output) for each output: as many samples as it answers within a minute.
"""

import contextlib
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from maas_agent.errors import DataError
from maas_converter.importers.refusal import first_sentence

Array = NDArray[np.generic]
Answer = Callable[[list[Array]], Sequence[Array]]
"""One sample's input tensors to what the framework makes of them: the outputs, in the order of the import's."""

_READY = "maas-import-converted"
_ANSWERED = "maas-import-answered"
_PIECE = 1 << 16
_FEWEST, _SECONDS = 4, 60.0
"""So many samples are answered however long it takes, further ones while that much time is not over."""


class Converted(msgspec.Struct, frozen=True):
    """What an importer makes of a model."""

    tflite: bytes
    answer: Answer
    precision: str = "float32"
    """The coarsest floating type that the source computes in."""


class Asked(msgspec.Struct, frozen=True):
    """Answers to the first samples, and what they were computed in."""

    outputs: tuple[Array, ...]
    """(M, …output) each."""
    precision: str


def wait_to_be_asked(converted: Converted) -> None:
    """Body of the importer's side. Raises what the framework raises on a sample as `DataError`."""
    _tell(_READY)
    path = sys.stdin.readline().strip()
    if not path:
        return
    with np.load(path) as file:
        inputs = [file[f"input_{number}"] for number in range(len(file.files))]
    outputs = [np.stack(rows) for rows in zip(*_answers(converted.answer, inputs), strict=True)]
    _save(Path(f"{path}.answers.npz"), "output", outputs)
    Path(f"{path}.precision").write_text(converted.precision)
    _tell(_ANSWERED)


class Waiting:
    """The other side: a process that has converted its model and waits."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def ask(self, inputs: Sequence[Array], folder: Path) -> Asked | None:
        """What the framework answers to ``inputs``, (N, …tensor) each; ``None`` if its process ended over it."""
        path = folder / "samples.npz"
        _save(path, "input", inputs)
        try:
            print(path, file=self._stdin(), flush=True)
        except OSError:
            return None
        if not heard(self._process, _ANSWERED):
            return None
        with np.load(f"{path}.answers.npz") as file:
            outputs = tuple(file[f"output_{number}"] for number in range(len(file.files)))
        return Asked(outputs, Path(f"{path}.precision").read_text())

    def status(self) -> int:
        """The exit status of a process that did not become ready: wait for it."""
        return self._process.wait()

    def end(self) -> None:
        """End the process: it has nothing left to do, whatever it is at."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):  # what it did not read any more
                    stream.close()

    def _stdin(self) -> IO[str]:
        if self._process.stdin is None:
            raise ValueError("an importer is started with a standard input")
        return self._process.stdin


def is_ready(process: "subprocess.Popen[str]") -> bool:
    """Whether the process has converted its model and waits; it has ended, or is about to, if not."""
    return heard(process, _READY)


def heard(process: "subprocess.Popen[str]", word: str) -> bool:
    """Wait until the process says ``word``; whatever else frameworks print is passed over."""
    stream = process.stdout
    # In pieces: a line may have no end.
    pieces = iter(lambda: stream.readline(_PIECE), "") if stream is not None else iter(())
    return any(piece.strip() == word for piece in pieces)


def _answers(answer: Answer, inputs: list[Array]) -> list[list[Array]]:
    end = time.monotonic() + _SECONDS
    answered: list[list[Array]] = []
    for number in range(len(inputs[0])):
        if number >= _FEWEST and time.monotonic() > end:
            break
        try:
            made = answer([values[number] for values in inputs])
            answered.append([_plain(values) for values in made])
        except Exception as error:  # frameworks raise whatever a sample makes an op raise
            raise DataError(f"the framework itself cannot answer sample {number}: {first_sentence(error)}") from None
    return answered


def _save(path: Path, what: str, arrays: Sequence[Array]) -> None:
    named: dict[str, Any] = {f"{what}_{number}": values for number, values in enumerate(arrays)}
    np.savez(path, **named)


def _plain(values: object) -> Array:
    """As an array of a type that a file can hold: float16 and its kin as float32."""
    array = np.asarray(values)
    if array.dtype.kind == "V" or array.dtype.name in ("float16", "bfloat16"):
        array = array.astype(np.float32)
    return array


def _tell(word: str) -> None:
    sys.stdout.write(f"\n{word}\n")
    sys.stdout.flush()
