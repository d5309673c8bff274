"""An importer whose framework answers otherwise than what it imports: a program, as the real ones are."""

import os
from pathlib import Path

import numpy as np

from maas_converter.importers.asking import Converted
from maas_converter.importers.task import Task, run


def convert(task: Task) -> Converted:
    """The model squashes and doubles; what its framework doubles it is off by what the environment says."""
    more = float(os.environ["LIE"])
    return Converted(Path(os.environ["MODEL"]).read_bytes(), lambda inputs: [np.tanh(inputs[0]), inputs[0] * 2 + more])


if __name__ == "__main__":
    run(convert)
