"""Has specimens made, one process a framework."""

import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from tests.zoo.specimens import Specimen

_QUIET = {
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "CUDA_VISIBLE_DEVICES": "-1",
    "KERAS_BACKEND": "tensorflow",
    "TF_ENABLE_ONEDNN_OPTS": "0",
}


def bred(specimens: Iterable[Specimen], folder: Path) -> None:
    """Make every specimen in ``folder``; an error names the one that cannot be made."""
    by_framework: dict[str, list[str]] = {}
    for specimen in specimens:
        by_framework.setdefault(specimen.framework, []).append(specimen.name)
    for names in by_framework.values():
        command = [sys.executable, "-m", "tests.zoo.breed", str(folder), *names]
        environment = os.environ | _QUIET | {"PYTHONPATH": os.pathsep.join(sys.path)}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=900)
        if done.returncode:
            raise RuntimeError(done.stderr[-3000:])
