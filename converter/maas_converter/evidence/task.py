"""Which task a model is judged by: told from its output and from what the data call ``y``.

(1) What ``--task`` says, if it fits.
(2) ``y`` of 0 and 1, and an output as large as the input (of more than two values) or of one value: *anomaly*, 1 being
    what is to be found. The score is the reconstruction error, or that one value. But one value whose two classes
    have names is a *classification*.
(3) ``y`` of class numbers (N,), and an output of two values or more: *classification*.
(4) ``y`` as large as the output, sample by sample: *regression*.

Several outputs are judged only when one of them is chosen: ``y`` does not say which of them it is about.
"""

from math import prod
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from maas_agent.bundle.manifest import Tensor
from maas_agent.errors import DataError, UsageError

Task = Literal["classification", "regression", "anomaly"]

TASKS: tuple[Task, ...] = get_args(Task)

Targets = NDArray[np.generic]


def check_asked(asked: str | None) -> Task | None:
    """What ``--task`` names; raises `UsageError` that lists the choices."""
    for task in TASKS:
        if asked == task:
            return task
    if asked is None:
        return None
    raise UsageError(f"--task {asked}: choose one of {', '.join(TASKS)}")


def task_of(
    y: Targets | None,
    outputs: tuple[Tensor, ...],
    input_size: int,
    asked: str | None = None,
    origin: str = "the data",
    *,
    binary: bool = False,
) -> Task | None:
    """The task, or ``None`` if nothing can be judged, see `why_none`.

    ``y`` (N, …) are class numbers or targets, as a data file holds them, and ``origin`` is what errors call that file;
    ``input_size`` counts the values of the model's input tensor; ``binary`` says that one value tells two classes
    apart. Raises `UsageError` if ``asked`` is no task or needs a
    choice of output, `DataError` if ``y`` fits no task or not the one that was asked for.
    """
    wanted = check_asked(asked)
    if wanted is not None and len(outputs) != 1:
        raise UsageError(f"--task {wanted}: the model has {len(outputs)} outputs, and 'y' is about one")
    if wanted is not None and y is None:
        raise DataError(f"--task {wanted}: {origin} holds no 'y' to judge by")
    if y is None or len(outputs) != 1:
        return None
    size = 2 if binary else prod(outputs[0].shape)
    found = wanted or _told(y, size, input_size)
    if wanted is None and found == "anomaly" and len(np.unique(y)) < 2:
        return None
    wrong = _misfit(found, y, size, input_size)
    if wrong:
        raise DataError(f"{origin}: {wrong}")
    return found


def why_none(y: Targets | None, outputs: tuple[Tensor, ...]) -> str:
    """The sentence that goes with ``None`` of `task_of`."""
    if y is None:
        return "no classes 'y' (N,) and no targets 'y' (N, …) to compare with"
    if len(outputs) != 1:
        return f"the model has {len(outputs)} outputs, and 'y' does not say which of them it is about"
    return f"an anomaly score needs samples of both kinds, every 'y' is {y.flat[0]}"


def is_reconstruction(size: int, input_size: int) -> bool:
    """Whether an output of ``size`` values repeats the input; two values are rather two classes."""
    return size == input_size and size > 2


def _told(y: Targets, size: int, input_size: int) -> Task:
    numbers = _class_numbers(y)
    if numbers is not None and numbers <= {0, 1} and (size == 1 or is_reconstruction(size, input_size)):
        return "anomaly"
    return "classification" if numbers is not None and size > 1 else "regression"


def _misfit(task: Task, y: Targets, size: int, input_size: int) -> str:
    """What does not fit, if anything."""
    if task == "classification":
        return _classes_misfit(y, size)
    if task == "anomaly":
        return _anomalies_misfit(y, size, input_size)
    if y.size == len(y) * size:
        return ""
    return f"'y' has {y.size // len(y)} values a sample, the model's output has {size}"


def _classes_misfit(y: Targets, size: int) -> str:
    numbers = _class_numbers(y)
    if size < 2:
        return "classification needs an output of two values or more, this model's has 1"
    if numbers is None:
        return f"classification needs class numbers 'y' (N,), these are {y.dtype} {list(y.shape)}"
    if not numbers <= set(range(size)):
        return f"'y' goes from {min(numbers)} to {max(numbers)}, the model has {size} classes, numbered from 0"
    return ""


def _anomalies_misfit(y: Targets, size: int, input_size: int) -> str:
    if _class_numbers(y) != {0, 1}:
        return "an anomaly score needs 'y' (N,) of 0 (normal) and 1 (what is to be found), and samples of both kinds"
    if size in (1, input_size):
        return ""
    return f"an anomaly score is one value, or as many as the input's {input_size}; this output has {size}"


def _class_numbers(y: Targets) -> set[int] | None:
    """The whole numbers that occur in ``y``, (N,) or (N, 1); ``None`` if it holds anything else."""
    flat = y.reshape(-1)
    if flat.size != len(y) or not np.array_equal(flat, flat.astype(np.int64)):
        return None
    return {int(number) for number in np.unique(flat)}
