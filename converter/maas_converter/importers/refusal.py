"""How an importer says no: one marked line on standard error, and an exit code.

`maas_converter.importers.process` reads both. Whatever else a framework writes is noise, unless it is all there is.
"""

import os
import sys
from typing import NoReturn

MARK = "maas-import: "

QUIET = {
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "TF_ENABLE_ONEDNN_OPTS": "0",  # its reordered sums would make weights folded at conversion differ between machines
    "ABSL_MIN_LOG_LEVEL": "3",
    "CUDA_VISIBLE_DEVICES": "-1",  # converting needs no GPU, and finding one takes seconds
    "KERAS_BACKEND": "tensorflow",
    "PYTHONHASHSEED": "0",  # the same model gives the same bytes
}
"""Environment of every importer."""


def refuse(exit_code: int, sentence: str) -> NoReturn:
    """End this process with a sentence for a person."""
    sys.stderr.write(f"\n{MARK}{' '.join(sentence.split())}\n")
    sys.stderr.flush()
    # Not sys.exit: frameworks may hang in their own clean-up, and nothing here is worth one.
    os._exit(exit_code)
