"""Models made by their frameworks and imported in the same process: TensorFlow takes seconds to start.

A program of this kind calls `Workshop.add` for each model; `Workshop.open` gives what came of them to the tests.
"""

import contextlib
import io
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from maas_agent.errors import MaasError
from maas_agent.runtime.selection import accelerator
from maas_converter.importers.refusal import QUIET, Passed
from maas_converter.importers.task import Importing, Task
from maas_converter.importers.tflite import convert as finish
from maas_converter.tflite.contents import Contents, contents_of
from tests.once import once


class Outcome(msgspec.Struct, frozen=True):
    """What came of one model: a ``.tflite`` file, or a sentence."""

    path: str | None
    said: str
    """Why it was refused or passed on; else what was noted."""
    passed: bool
    """Whether another rung of the ladder would be asked."""
    samples: str
    """An ``.npz`` with samples ``x`` and what the source answers, ``y``."""

    @property
    def x(self) -> NDArray[Any]:
        """Some samples, one a row."""
        return np.asarray(np.load(self.samples)["x"])

    @property
    def expected(self) -> NDArray[Any]:
        """What the framework that made the model answers to them."""
        return np.asarray(np.load(self.samples)["y"])

    def answers(self) -> NDArray[Any]:
        """What the bundle's model answers to them, one at a time; an assertion shows why there is none."""
        assert self.path is not None, self.said
        model = accelerator("cpu").load(Path(self.path), 1)
        return np.concatenate([model.run([sample[None].astype(model.inputs[0].dtype)])[0] for sample in self.x])

    @property
    def contents(self) -> Contents:
        """What is in the file."""
        assert self.path is not None, self.said
        return contents_of(Path(self.path).read_bytes())


class Workshop:
    """Where a program adds its models."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._outcomes: dict[str, Outcome] = {}

    def add(self, name: str, module: str, source: Path, x: Any, y: Any, **options: Any) -> None:
        """Import ``source`` with the importer ``module``; ``y`` is what the source answers to the samples ``x``."""
        samples = self.folder / f"{name}.npz"
        np.savez(samples, x=x, y=np.asarray(y, np.float32 if np.asarray(y).dtype.kind not in "iub" else None))
        made, done = self.folder / f"{name}.made", self.folder / f"{name}.tflite"
        said = io.StringIO()
        path: Path | None = None
        passed = False
        with contextlib.redirect_stderr(said):
            try:
                converted = import_module(f"maas_converter.importers.{module}").convert(_task(source, made, options))
                made.write_bytes(converted.tflite)
                # What the importer's framework answers when it is asked is what the model itself answered.
                asked = converted.answer([np.asarray(x)[:1]])
                np.testing.assert_allclose(
                    np.asarray(asked[0], np.float32).ravel(), np.asarray(y, np.float32)[:1].ravel(), rtol=0.1, atol=0.1
                )
                done.write_bytes(finish(_task(made, done, options)).tflite)
                path = done
            except MaasError as error:
                said, passed = io.StringIO(str(error)), isinstance(error, Passed)
        self._outcomes[name] = Outcome(str(path) if path else None, said.getvalue(), passed, str(samples))

    def close(self) -> None:
        """Write down what came of the models."""
        (self.folder / "outcomes.json").write_bytes(msgspec.json.encode(self._outcomes))


def _task(source: Path, out: Path, options: dict[str, Any]) -> Task:
    return Task(source.resolve(), out, Importing(**options))


def outcomes(factory: pytest.TempPathFactory, program: str) -> dict[str, Outcome]:
    """What came of the models of ``tests.converter.importers.PROGRAM``, run once for all tests."""

    def run(folder: Path) -> None:
        command = [sys.executable, "-m", f"tests.converter.importers.{program}", str(folder)]
        done = subprocess.run(command, env=os.environ | QUIET, capture_output=True, text=True, timeout=400)
        assert done.returncode == 0, done.stderr[-3000:]

    folder = once(factory, f"importers-{program}", run)
    return msgspec.json.decode((folder / "outcomes.json").read_bytes(), type=dict[str, Outcome])
