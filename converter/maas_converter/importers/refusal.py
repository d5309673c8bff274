"""How an importer speaks: one marked line on standard error a sentence, and an exit code.

`maas_converter.importers.process` reads both. Whatever else a framework writes is noise, unless it is all there is.
"""

import os
import sys
from typing import ClassVar, NoReturn

from maas_agent.errors import DataError
from maas_converter.importers.causes import cause_of

MARK = "maas-import: "
NOTE = "maas-import-note: "

QUIET = {
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "TF_ENABLE_ONEDNN_OPTS": "0",  # its reordered sums would make weights folded at conversion differ between machines
    "ABSL_MIN_LOG_LEVEL": "3",
    "CUDA_VISIBLE_DEVICES": "-1",  # converting needs no GPU, and finding one takes seconds
    "KERAS_BACKEND": "tensorflow",
    "PYTHONHASHSEED": "0",  # the same model gives the same bytes
}
"""Environment of every importer."""


class Passed(DataError):  # noqa: N818 - nothing is wrong yet
    """This importer cannot read or convert the model; the next rung of the ladder may."""

    exit_code: ClassVar[int] = 75


def refuse(exit_code: int, sentence: str) -> NoReturn:
    """End this process with a sentence for a person."""
    _say(MARK, sentence)
    # Not sys.exit: frameworks may hang in their own clean-up, and nothing here is worth one.
    os._exit(exit_code)


def note(sentence: str) -> None:
    """Tell what was decided without being asked; it reaches the user if the import succeeds."""
    _say(NOTE, sentence)


def first_sentence(error: BaseException | str) -> str:
    """What a framework says was the cause, one line of at most 300 characters."""
    return cause_of(str(error))


def _say(mark: str, sentence: str) -> None:
    sys.stderr.write(f"\n{mark}{' '.join(sentence.split())}\n")
    sys.stderr.flush()
