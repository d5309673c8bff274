"""The bare interpreter: NumPy and LiteRT imported, the model loaded and invoked once; nothing else.

    python -m bench.peers.bare cnn.tflite

Its peak memory is what a worker is measured against, so it imports nothing more before that is read. Afterwards
it times ``invoke`` alone, for scale. It prints ``{"peak_kib": ..., "invoke_us": ...}``.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter

_INVOCATIONS = 5000


def _peak_kib() -> int:
    """Return this process's peak resident memory, KiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))


def _invoke_us(interpreter: Interpreter) -> float:
    """Return the median microseconds of one invocation."""
    elapsed = []
    for _ in range(_INVOCATIONS):
        started = time.perf_counter_ns()
        interpreter.invoke()
        elapsed.append(time.perf_counter_ns() - started)
    return sorted(elapsed)[_INVOCATIONS // 2] / 1000


def main() -> None:
    """Load, invoke once, read the peak; then time."""
    interpreter = Interpreter(model_path=sys.argv[1], num_threads=1)
    interpreter.allocate_tensors()
    details = interpreter.get_input_details()[0]
    interpreter.set_tensor(details["index"], np.zeros(details["shape"], np.int8))
    interpreter.invoke()
    peak_kib = _peak_kib()
    print(f'{{"peak_kib": {peak_kib}, "invoke_us": {_invoke_us(interpreter):.2f}}}')


if __name__ == "__main__":
    main()
