"""What an importer is asked to do, and the frame of every importer's program.

An importer runs as ``python -m MODULE SOURCE OUT.tflite OPTIONS``; options are one JSON object, see `Importing`. Once
it has written the file it waits to be asked what the source model answers, see `maas_converter.importers.asking`.
"""

import os
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec

from maas_agent.errors import MaasError
from maas_agent.host.children import die_with_parent
from maas_converter.importers.asking import Converted, wait_to_be_asked
from maas_converter.importers.refusal import first_sentence, refuse


class Importing(msgspec.Struct, frozen=True):
    """How to import; the defaults suit most models."""

    trust: bool = False
    """Whether Python code in the model (Lambda layers) may run: it can do whatever the user can."""
    custom: str | None = None
    """A Python file that defines classes of the model; only with ``trust``."""
    input_shape: tuple[int, ...] | None = None
    """One sample's shape, without the batch: for models that leave sizes open."""
    signature: str | None = None
    """Which signature of a SavedModel."""
    unroll: bool = False
    """Write recurrent layers out step by step: no loop is left, which quantizers cannot quantize."""
    several_inputs: bool = False
    """Whether a model may have more than one input, as a stage of a graph may."""


class Task(msgspec.Struct, frozen=True):
    """One call of an importer."""

    source: Path
    out: Path
    options: Importing

    def arguments(self) -> list[str]:
        """Itself as a command line; `task_of` reads it."""
        return [str(self.source), str(self.out), msgspec.json.encode(self.options).decode()]


def task_of(arguments: list[str]) -> Task:
    """Read the arguments of an importer's program."""
    source, out, options = arguments
    return Task(Path(source), Path(out), msgspec.json.decode(options, type=Importing))


def run(work: Callable[[Task], bytes | Converted]) -> None:
    """Body of an importer's program: ``work`` returns the ``.tflite``, or raises a `MaasError` for the user.

    One that runs the source's own framework returns `Converted`, and is asked.
    """
    die_with_parent()
    task = task_of(sys.argv[1:])
    try:
        made = work(task)
        task.out.write_bytes(made.tflite if isinstance(made, Converted) else made)
        if isinstance(made, Converted):
            wait_to_be_asked(made)
    except MaasError as error:
        refuse(error.exit_code, str(error))
    except MemoryError:
        refuse(70, "this machine has too little memory for it")
    except RecursionError as error:
        refuse(65, f"it is nested too deeply: {first_sentence(error)}")
    sys.stderr.flush()
    os._exit(0)  # as in `refuse`: no framework's clean-up
