"""``python -m tests.agent.runtime.child``: loads a model on an accelerator and runs it where a crash costs nobody.

`run` starts it. A driver of a GPU or NPU, or a delegate, is native code that may take its process with it.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

ROOT = Path(__file__).parents[3]


class Task(msgspec.Struct):
    """What to load, and the inputs (flat) of each run."""

    path: str
    name: str
    options: dict[str, str] = {}
    library: str = "auto"
    inputs: list[list[float]] = []
    threads: int = 1


class Done(msgspec.Struct):
    """What came of it; ``error`` and its kind if it was refused."""

    outputs: list[list[float]] = []
    tensors: list[Any] = []
    share: tuple[int, int] | None = None
    runtime: str = ""
    error: str = ""
    kind: str = ""
    logged: str = ""


def run(task: Task, environment: dict[str, str] | None = None, seconds: float | None = None) -> Done:
    """Do ``task`` in a process of its own; a signal is an AssertionError with what it said.

    With ``seconds`` it is killed after them, which is a ``subprocess.TimeoutExpired``.
    """
    child = subprocess.run(
        [sys.executable, "-m", "tests.agent.runtime.child"],
        input=msgspec.json.encode(task),
        capture_output=True,
        cwd=ROOT,
        timeout=seconds,
        env=os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'agent'}"} | (environment or {}),
    )
    assert child.returncode == 0, f"status {child.returncode}: {child.stderr.decode(errors='replace')[-2000:]}"
    done = msgspec.json.decode(child.stdout, type=Done)
    done.logged = child.stderr.decode(errors="replace")
    return done


def main() -> None:
    from maas_agent.errors import MaasError
    from maas_agent.runtime.selection import accelerator

    task = msgspec.json.decode(sys.stdin.buffer.read(), type=Task)
    done = Done()
    stdout = os.dup(1)
    os.dup2(2, 1)
    try:
        chosen = accelerator(task.name, task.options, task.library)  # type: ignore[arg-type]
        done.runtime = chosen.runtime()
        model = chosen.load(Path(task.path), task.threads)
        taken = model.inputs[0]
        done.tensors = [json.loads(msgspec.json.encode(tensor)) for tensor in (*model.inputs, *model.outputs)]
        done.share = (model.share.accelerated, model.share.ops) if model.share else None
        for values in task.inputs:
            (made,) = model.run([np.array(values, taken.dtype).reshape(taken.shape)])
            done.outputs.append([float(value) for value in made.reshape(-1)])
    except MaasError as error:
        done.error, done.kind = str(error), type(error).__name__
    os.write(stdout, msgspec.json.encode(done))
    os._exit(0)  # as a worker ends


if __name__ == "__main__":
    main()
