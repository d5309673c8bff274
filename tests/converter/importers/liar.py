"""An importer whose framework answers otherwise than what it imports: a program, as the real ones are."""

import numpy as np

from maas_converter.importers.asking import Converted
from maas_converter.importers.task import Task, run


def convert(task: Task) -> Converted:
    """The model squashes and doubles; what its framework doubles it is off by what the file's first line says."""
    head, _, tflite = task.source.read_bytes().partition(b"\n")
    more = float(head.split()[1])
    return Converted(tflite, lambda inputs: [np.tanh(inputs[0]), inputs[0] * 2 + more])


if __name__ == "__main__":
    run(convert)
